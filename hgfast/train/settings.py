"""What each setting of a training run may be."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hgfast import _checks
from hgfast.codecs import CODECS
from hgfast.data.augment import Augmentation
from hgfast.data.formats import FORMATS
from hgfast.data.frames import BOXES, OUTSIDE
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import KEYPOINT_SETS, known_name

_MANY = 2**53  # of steps
_CHOICES: dict[str, Collection[str]] = {
    "implementation": ("fused", "reference"),
    "format": FORMATS,
    "boxes": ("auto", *BOXES),
    "outside": OUTSIDE,
    "codec": CODECS,
    "init": ("peer", "kaiming"),
    "amp": ("off", "bf16", "fp16"),
    "milestone_unit": ("epoch", "step"),
}
_WHOLE = {  # smallest and largest
    "epochs": (1, _MANY),
    "batch_size": (1, 2**20),
    "val_batch_size": (1, 2**20),
    "val_interval": (1, _MANY),
    "checkpoint_interval": (1, _MANY),
    "checkpoint_steps": (0, _MANY),
    "accumulate": (1, _MANY),
    "warmup_steps": (0, _MANY),
    "workers": (0, 1024),
    "cache_mb": (0, 2**40),
    "seed": (0, 2**63 - 1),
    "pixel_origin": (0, 1),
    "split_seed": (0, 2**63 - 1),
}
_NUMBERS = {  # smallest and largest: what float32 can compute with
    "sigma": (1e-6, 1e6),
    "lr": (1e-30, 1e6),
    "padding": (1e-3, 1e3),
    "warmup_factor": (0.0, 1e6),
    "gamma": (0.0, 100.0),
    "loss_scale": (1e-20, 1e20),
    "grad_clip": (0.0, 1e20),
    "backbone_rate": (0.0, 1e6),
}
_FLAGS = ("cuda_graph", "fast_decode", "flip_test", "freeze", "tensorboard")
_MOST_MILESTONES = 100  # gamma to this power is still a number
_LONGEST_SIDE = 32766  # of a crop, for OpenCV


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check all settings of a Config, each of which gets the type of its field.

    Raises:
        TypeError, ValueError: one of them cannot be; the message begins with its name.
    """
    values = {name: _checked(name, value) for name, value in settings.items()}
    chosen = FORMATS[values["format"]]
    if chosen.fixed is not None and values["keypoints"] not in (chosen.fixed.name, "auto"):
        name = f"keypoints (of format {values['format']!r})"
        raise ValueError(f"{name} must be {chosen.fixed.name!r}; got {reprlib.repr(values['keypoints'])}")
    _checks.choice("", f"boxes (of format {values['format']!r})", values["boxes"], ("auto", *chosen.boxes))
    return values


def _checked(name: str, value: Any) -> Any:
    if name in _CHOICES:
        _checks.choice("", name, value, _CHOICES[name])
    elif name in _WHOLE:
        return _checks.integer("", name, value, *_WHOLE[name])
    elif name in _NUMBERS:
        return _checks.number("", name, value, *_NUMBERS[name])
    elif name in _FLAGS:
        return _checks.flag("", name, value)
    elif name in _OTHERS:
        return _OTHERS[name](name, value)
    else:
        _text(name, value)
    return value


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {_checks.describe(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be Unicode text, which can be written into files; got {value!r:.80}") from None
    if "\0" in value:
        raise ValueError(f"{name} must be text without zero bytes, got {value!r:.80}")


def _milestones(name: str, value: Any) -> tuple[int, ...]:
    whole = _checks.integers("", name, value, minimum=0, maximum=_MANY)
    if len(whole) > _MOST_MILESTONES:
        raise ValueError(f"{name} must have at most {_MOST_MILESTONES} entries, got {len(whole)}")
    return tuple(whole)


def _colour(smallest: float) -> Callable[[str, Any], tuple[float, ...]]:
    def three(name: str, value: Any) -> tuple[float, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise ValueError(f"{name} must be three numbers, got {reprlib.repr(value)}")
        return tuple(_checks.number("", f"{name}[{i}]", entry, smallest, 1e6) for i, entry in enumerate(value))

    return three


def _share(name: str, value: Any) -> float:
    share = _checks.number("", name, value, 0)
    if share >= 1:
        raise ValueError(f"{name} must be below 1, got {share}")
    return share


def _augmentation(name: str, value: Any) -> Augmentation:
    if not isinstance(value, Augmentation):
        raise TypeError(f"{name} must be a table (an Augmentation), got {_checks.describe(value)}")
    return value


def _options(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a table (a dict), got {_checks.describe(value)}")
    return {_key(name, key): plain(f"{name}.{key}", entry) for key, entry in value.items()}


def _keypoints(name: str, value: Any) -> str | dict[str, Any]:
    """Check a name, "auto", a file's name, or a table in full; a table that is a known set becomes its name."""
    if isinstance(value, dict):
        table = KeypointSet.from_table(plain(name, value), name)
        return known_name(table) or table.to_table()
    _text(name, value)
    if value not in (*KEYPOINT_SETS, "auto") and not value.endswith(".toml"):
        known = ", ".join(KEYPOINT_SETS)
        raise ValueError(f"{name} must be one of {known}, auto, a .toml file, or a table; got {value!r:.80}")
    return str(value)


def plain(name: str, value: Any, depth: int = 8) -> Any:
    """Check a value that files can hold: finite numbers, texts, lists and tables of these, not too deep.

    Raises:
        TypeError, ValueError: anything else; the message begins with the name.
    """
    if isinstance(value, (list, tuple, dict)) and not depth:
        raise ValueError(f"{name} must not be nested so deep")
    if isinstance(value, (list, tuple)):
        return [plain(f"{name}[{i}]", entry, depth - 1) for i, entry in enumerate(value)]
    if isinstance(value, dict):
        return {_key(name, key): plain(f"{name}.{key}", entry, depth - 1) for key, entry in value.items()}
    if isinstance(value, str):
        _text(name, value)
    elif isinstance(value, int):
        return value if isinstance(value, bool) else _checks.integer("", name, value, -_checks.INT64_MAX)
    elif isinstance(value, float):
        return _checks.number("", name, value)
    else:
        raise TypeError(f"{name} must be a number, text, list or table, got {_checks.describe(value)}")
    return value


def _key(name: str, key: Any) -> str:
    _text(f"{name}'s names", key)
    return key


_OTHERS: dict[str, Callable[[str, Any], Any]] = {
    "keypoints": _keypoints,
    "input_size": lambda name, value: _checks.size("", name, value, 1, _LONGEST_SIDE),
    "mean": _colour(-1e6),
    "std": _colour(1e-6),
    "milestones": _milestones,
    "ema": _share,
    "val_share": _share,
    "test_share": _share,
    "augment": _augmentation,
    "model_options": _options,
}
