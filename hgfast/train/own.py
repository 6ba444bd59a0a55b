"""What a configuration leaves open, found in the data: keypoints, boxes, and the measure that decides."""

from __future__ import annotations

from pathlib import Path

from hgfast import _checks
from hgfast.data import KeypointSet
from hgfast.data.formats import FORMATS
from hgfast.data.keypoints import known_name
from hgfast.train.config import Config, ConfigError, apply, read_toml
from hgfast.train.measures import deciding_measure


def complete(config: Config) -> Config:
    """Return the configuration with keypoints read, and boxes and monitored measure chosen where they are "auto".

    Raises:
        TypeError: no Config.
        FileNotFoundError: the keypoints' file, or the annotations that are to say them, are not there.
        ConfigError, AnnotationError: they do not describe keypoints.
    """
    _checks.instance("complete", "config", config, Config)
    if isinstance(config.keypoints, str) and config.keypoints.endswith(".toml"):
        config = apply(config, {"keypoints": read_keypoints(config.keypoints).to_table()})
    elif config.keypoints == "auto":
        table = FORMATS[config.format].keypoints(config.train_annotations)
        config = apply(config, {"keypoints": known_name(table) or table.to_table()})
    if config.boxes == "auto":
        config = apply(config, {"boxes": FORMATS[config.format].boxes[0]})
    if config.monitor == "auto":
        config = apply(config, {"monitor": deciding_measure(config.table)})
    return config


def read_keypoints(path: str | Path) -> KeypointSet:
    """Read keypoints of a TOML file, which has them at the top or, as a configuration, in a table ``keypoints``.

    Raises:
        TypeError: not a path.
        FileNotFoundError: no such file.
        ConfigError: no TOML, or not a table that :meth:`hgfast.data.KeypointSet.from_table` takes.
    """
    content = read_toml(path)
    try:
        return KeypointSet.from_table({"name": Path(path).stem} | content.get("keypoints", content), str(path))
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def notes(config: Config) -> list[str]:
    """Say what a user should know about the keypoints of a run; nothing about the known sets."""
    table = config.table
    if known_name(table):
        return []
    lines = [f"keypoints {table.name}: {', '.join(table.names)}"]
    if table.pairs is None:
        wanted = config.flip_test or config.augment.flip_prob > 0
        return lines + (["no mirror pairs are known: no mirroring in training, no flip test"] if wanted else [])
    pairs = ", ".join(f"{table.names[a]} - {table.names[b]}" for a, b in table.pairs) or "none"
    return [*lines, f"joints that change places in a mirrored picture: {pairs}"]
