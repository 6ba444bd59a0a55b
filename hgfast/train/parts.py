"""The persons of each part of a run's data: of a file of its own, or a share of the training file's."""

from __future__ import annotations

from hgfast import _checks
from hgfast.data import AnnotationError, Person
from hgfast.data.deeplabcut_split import ENDING, split_by_deeplabcut
from hgfast.data.formats import FORMATS, Source
from hgfast.data.split import PARTS, split_by_list, split_by_shares
from hgfast.train.config import Config, ConfigError


def persons_of_part(config: Config, part: str) -> list[Person]:
    """Read the persons of "train", "val" or "test".

    Raises:
        TypeError, ValueError: another kind of argument, annotations that cannot be used, a part that is empty; the
            message names the file.
        OSError: a file that cannot be read.
    """
    _checks.instance("persons_of_part", "config", config, Config)
    _checks.choice("persons_of_part", "part", part, PARTS)
    annotations = getattr(config, f"{part}_annotations")
    source = annotations or config.train_annotations
    persons = _read(config, part if annotations else "train")
    if not persons:
        raise ConfigError(f"{source}: no persons in this file")
    if part == "train" or not annotations:
        persons = _share(config, part, persons)
    if not persons:
        raise ConfigError(f"{source}: no pictures {_PURPOSES[part]}: {_advice(config, part)}")
    return persons


def truth_file(config: Config, part: str) -> str:
    """Return the file whose annotations are those of a part and no others; "" where the part is a share of a file."""
    _checks.instance("truth_file", "config", config, Config)
    _checks.choice("truth_file", "part", part, PARTS)
    shared = config.split or any(
        getattr(config, f"{name}_share") and not getattr(config, f"{name}_annotations") for name in ("val", "test")
    )
    return "" if part == "train" and shared else str(getattr(config, f"{part}_annotations"))


_PURPOSES = {"train": "to train on", "val": "to validate with", "test": "to test with"}


def _read(config: Config, part: str) -> list[Person]:
    """Read all persons of the file of one part."""
    return FORMATS[config.format].read(
        Source(
            annotations=getattr(config, f"{part}_annotations"),
            images=getattr(config, f"{part}_images"),
            table=config.table,
            boxes=FORMATS[config.format].boxes[0] if config.boxes == "auto" else config.boxes,
            outside=config.outside,
            pixel_origin=config.pixel_origin,
            head_boxes=config.val_head_boxes if part == "val" else "",
            detections=config.val_detections if part == "val" else "",
        )
    )


def _share(config: Config, part: str, persons: list[Person]) -> list[Person]:
    """Return what a part has of the training file, whose other parts without files of their own take their shares."""
    val = 0.0 if config.val_annotations else config.val_share
    test = 0.0 if config.test_annotations else config.test_share
    try:
        if config.split.endswith(ENDING):
            return split_by_deeplabcut(persons, config.split, val, config.split_seed)[part]
        if config.split:
            return split_by_list(persons, config.split)[part]
        return split_by_shares(persons, val, test, config.split_seed)[part]
    except AnnotationError:
        raise
    except ValueError as error:
        raise ConfigError(f"{config.train_annotations}: {error}") from None


def _advice(config: Config, part: str) -> str:
    if config.split and not (config.split.endswith(ENDING) and part == "val"):
        return f"{config.split} lists none as {part!r}"
    return f"{part}_annotations names no file, and {part}_share is 0"
