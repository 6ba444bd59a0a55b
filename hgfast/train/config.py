"""All settings of a training run in one dataclass, from a preset, a TOML file and ``key=value`` arguments."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hgfast import _checks
from hgfast.data.augment import Augmentation
from hgfast.data.images import IMAGENET_MEAN, IMAGENET_STD
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import KEYPOINT_SETS
from hgfast.train.settings import checked

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BARE = re.compile(r"[A-Za-z0-9_-]+")  # a name that TOML takes without quotes


ERRORS = ("NME", "EPE", "RMSE", "median")  # measures of which less is better


class ConfigError(ValueError):
    """A setting that does not exist or cannot have that value."""


@dataclass(frozen=True)
class Config:
    """Settings; the defaults are MMPose's ``td-hm_hourglass52_8xb64-210e_mpii-256x256``.

    Paths are relative to the working folder; sizes are (width, height) in pixels.
    """

    # the network
    model: str = "hourglass52"  # a name of hgfast.models.MODELS
    model_options: dict[str, Any] = field(default_factory=dict)  # further arguments of its class
    implementation: str = "fused"
    init: str = "peer"  # new weights: as MMPose or princeton-vl draws them; "kaiming" learns much faster at first
    weights: str = ""  # a checkpoint that a new run begins with; its layers for other keypoints are drawn anew
    backbone_rate: float = 1.0  # share of the rate for all but the last layers; 0: they stay, statistics included
    keypoints: str | dict[str, Any] = "mpii"  # a known name, "auto" (what the data says), a .toml file, or a table
    codec: str = "msra"
    sigma: float = 2.0  # of the targets, heatmap pixels
    input_size: tuple[int, int] = (256, 256)
    mean: tuple[float, float, float] = IMAGENET_MEAN  # red, green, blue of 0..255
    std: tuple[float, float, float] = IMAGENET_STD
    # the data
    format: str = "mpii"
    train_annotations: str = "data/mpii/annotations/mpii_train.json"
    train_images: str = "data/mpii/images"
    val_annotations: str = "data/mpii/annotations/mpii_val.json"
    val_images: str = "data/mpii/images"
    test_annotations: str = ""  # "": a share of the training file's
    test_images: str = ""
    val_share: float = 0.0  # of the training file's pictures, where val_annotations is ""
    test_share: float = 0.0
    split_seed: int = 0  # of that draw
    split: str = (
        ""  # instead of shares: JSON lists of pictures, or DeepLabCut's pickle, whose training part val_share is of
    )
    boxes: str = (
        "auto"  # "given", "picture" (the whole), "keypoints" (their extent); "auto": as is usual for the format
    )
    outside: str = "error"  # points outside of their picture: "error", "hide", "keep"; of own keypoints
    val_head_boxes: str = ""  # mpii_gt_val.mat; "" takes head sizes from the annotations
    val_detections: str = ""  # COCO: detected boxes; "" evaluates with the annotated ones
    pixel_origin: int = 0  # of MPII; 1 is MMPose 1.x's, see hgfast.data.load_mpii
    padding: float = 1.25  # how much larger than the box a crop is; whole pictures get none
    augment: Augmentation = field(default_factory=Augmentation)
    fast_decode: bool = True  # training's JPEGs at 1/2, 1/4, 1/8 where the crop has fewer pixels; False: as MMPose
    cache_mb: int = 0  # decoded pictures that each loader process keeps in memory
    cache_dir: str = ""  # folder for decoded pictures that all processes share; "" for none
    workers: int = 4
    # the optimisation
    epochs: int = 210
    batch_size: int = 64  # per process; the recipe has 8 of them
    lr: float = 5e-4
    warmup_steps: int = 500
    warmup_factor: float = 0.001
    milestones: tuple[int, ...] = (170, 200)
    milestone_unit: str = "epoch"
    gamma: float = 0.1
    loss_scale: float = 1.0  # the loss times this; matters for Adam's eps and for half precision only
    amp: str = "off"
    grad_clip: float = 0.0  # largest norm of all gradients together; 0 for no limit
    accumulate: int = 1  # batches for a step of the optimizer, which sees them as one
    ema: float = 0.0  # share of the averaged weights that a step keeps; they are what is validated; 0 for none
    seed: int = 0
    device: str = "auto"
    cuda_graph: bool = True  # on CUDA: steps of full batches are captured once and replayed, by one process
    # validation and files
    val_interval: int = 10
    val_batch_size: int = 32
    flip_test: bool = True
    freeze: bool = True  # validate and predict with hgfast.freeze's form of the network
    tensorboard: bool = False  # write events for TensorBoard into the output folder (needs tensorboard)
    checkpoint_interval: int = 1  # save the state every so many epochs
    checkpoint_steps: int = 0  # and also every so many steps; 0: do not
    monitor: str = "auto"  # the measure that decides about the best checkpoint; "auto": the usual one
    output: str = "runs/hourglass52"

    def __post_init__(self) -> None:
        try:
            values = checked(vars(self))
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from None
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def lower_is_better(self) -> bool:
        """Whether the monitored measure is an error."""
        return self.monitor in ERRORS

    @property
    def crop_padding(self) -> float:
        """How much larger than the boxes the crops are."""
        return 1.0 if self.boxes == "picture" else self.padding

    @property
    def table(self) -> KeypointSet:
        """The keypoints.

        Raises:
            ConfigError: they are still to be read, see :func:`hgfast.train.own.complete`.
        """
        if isinstance(self.keypoints, dict):
            return KeypointSet.from_table(self.keypoints)
        if self.keypoints not in KEYPOINT_SETS:
            raise ConfigError(f"keypoints: {self.keypoints!r} has not been read yet; a checkpoint or a run knows them")
        return KEYPOINT_SETS[self.keypoints]


def apply(config: Config, changes: Mapping[str, Any]) -> Config:
    """Copy of a configuration with some settings changed; tables (``augment``, ``model_options``) are merged.

    Raises:
        TypeError: not a configuration, or changes that are no mapping.
        ConfigError: unknown setting, or a value that it cannot have.
    """
    _checks.instance("apply", "config", config, Config)
    _checks.instance("apply", "changes", changes, Mapping)
    return _replace(config, changes, "")


def _replace(target: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    known = {f.name: getattr(target, f.name) for f in dataclasses.fields(target)}
    values = {}
    for name, value in changes.items():
        if name not in known:
            close = difflib.get_close_matches(str(name)[:80], known, n=1)
            hint = f"; did you mean {prefix}{close[0]}?" if close else ""
            raise ConfigError(f"{prefix}{str(name)[:80]}: no such setting{hint}")
        values[name] = _merged(known[name], value, prefix + name)
    try:
        return dataclasses.replace(target, **values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{prefix}{error}") from None


def _merged(old: Any, new: Any, name: str) -> Any:
    """Return ``new``; where both are tables, what it has and the rest of ``old``."""
    if dataclasses.is_dataclass(old) and isinstance(new, Mapping):
        return _replace(old, new, name + ".")
    if name == "keypoints" and isinstance(new, Mapping) and "names" in new:
        return dict(new)  # another set, not a change of the old one
    return {**old, **new} if isinstance(old, dict) and isinstance(new, Mapping) else new


def read_toml(path: str | Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises:
        TypeError: not a path.
        FileNotFoundError: no such file.
        ConfigError: not TOML.
    """
    path = _checks.path("read_toml", "path", path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: configuration file not found")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        raise ConfigError(f"{path}: not a TOML file ({str(error).splitlines()[0]:.200})") from None


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Nested changes of texts such as ``lr=1e-3``, ``augment.rotation=30`` or ``output=runs/a``.

    Values are read as TOML; what is not TOML is taken as text.

    Raises:
        TypeError: something else than a list of texts.
        ConfigError: a text that is no assignment.
    """
    if isinstance(assignments, str) or not isinstance(assignments, Iterable):
        raise TypeError(f"assignments must be texts in a list, got {_checks.describe(assignments)}")
    changes: dict[str, Any] = {}
    for number, text in enumerate(assignments):
        _checks.instance("", f"assignments[{number}]", text, str)
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text:.80}: expected key=value")
        *tables, name = key.strip().split(".")
        place = changes
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text:.80}: {table} is not a table")
        place[name] = _value(value)
    return changes


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()  # a text of several lines


def to_dict(config: Config) -> dict[str, Any]:
    """Return plain dictionaries and lists, as stored in checkpoints; raises TypeError for what is no Config."""
    _checks.instance("", "config", config, Config)
    plain = dataclasses.asdict(config)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def to_toml(config: Config) -> str:
    """TOML text that :func:`read_toml` and :func:`apply` turn back into the same configuration."""
    plain = to_dict(config)
    tables = {name: value for name, value in plain.items() if isinstance(value, dict)}
    lines = [f"{name} = {_toml_value(value)}" for name, value in plain.items() if name not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_toml_items(table)]
    return "\n".join(lines) + "\n"


def _toml_items(table: dict[str, Any]) -> list[str]:
    names = {name: name if _BARE.fullmatch(name) else _toml_value(name) for name in table}
    return [f"{names[name]} = {_toml_value(value)}" for name, value in table.items()]


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_toml_items(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, (str, bool)):  # as JSON has them, but for one control character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
