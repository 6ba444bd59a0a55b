"""Settings of training: in code, in TOML, on the command line; presets and the learning rate."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import Any

from hgfast.data import Augmentation
from hgfast.train import PRESETS, Config
from hgfast.train.config import apply, parse_assignments, read_toml, to_dict, to_toml
from hgfast.train.presets import preset
from hgfast.train.schedule import learning_rate
from tests.fuzz.cases import Arg, Case, Kind, Spoiler, call, target
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Instance, Int, Number, Text, _ways, wrong_types
from tests.fuzz.targets.annotations import file_case

POSITIVE = ("epochs", "batch_size", "val_batch_size", "val_interval", "checkpoint_interval", "accumulate")
NOT_NEGATIVE = ("workers", "cache_mb", "warmup_steps", "checkpoint_steps", "seed")
ABOVE = ("sigma", "padding", "lr", "loss_scale")
CHOICES = ("implementation", "format", "codec", "init", "amp", "milestone_unit", "keypoints")


class Numbers:
    """A list of numbers."""

    def __init__(self, length: int | None, whole: bool) -> None:
        self.length, self.whole = length, whole

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        count = len(value)
        members = {"None": None, "text": "a", "list": [1], "NaN": math.nan, "10^400": 10**400}
        table = wrong_types() | {"number": 3, "text": "abc"}
        table |= {f"members {label}": [member] * count for label, member in members.items()}
        if self.length is not None:
            table |= {"one more": [*value, value[0]], "none": []}
            if self.whole:
                table["members 0"] = [0] * count
        return _ways(table)


def _kind(name: str, value: Any) -> Kind:
    if name in CHOICES:
        return Choice()
    if isinstance(value, bool):
        return Flag()
    if isinstance(value, int):
        return Int(1 if name in POSITIVE else 0 if name in NOT_NEGATIVE else None)
    if isinstance(value, float):
        return Number(above=0) if name in ABOVE else Number()
    if isinstance(value, tuple):
        whole = isinstance(value[0], int)
        return Numbers(None if name == "milestones" else len(value), whole)
    return Text()


def _changes(draw: Draw) -> dict[str, Arg]:
    """Some settings with their defaults."""
    plain = {f.name: getattr(Config(), f.name) for f in dataclasses.fields(Config)}
    names = draw.random.sample([name for name in plain if name not in ("augment", "model_options")], 6)
    return {name: Arg(plain[name], _kind(name, plain[name])) for name in names}


@target("train.apply", 100)
def applied(draw: Draw) -> Case:
    arguments = _changes(draw)
    return call(draw, lambda **changes: apply(Config(), changes), arguments, _unchanged)


def _unchanged(config: Config) -> str | None:
    return None if config == Config() else "differs from the defaults"


@target("train.Config", 80)
def config(draw: Draw) -> Case:
    return call(draw, Config, _changes(draw), _unchanged)


@target("train.augment", 150)
def augment(draw: Draw) -> Case:
    """The settings of augmentation by their full names."""
    names = [f.name for f in dataclasses.fields(Augmentation)]
    name = draw.one(names)
    value = getattr(Augmentation(), name)
    kind: Kind = Choice() if isinstance(value, str) else Number()
    return call(draw, lambda **a: apply(Config(), {"augment": a}), {name: Arg(value, kind)})


def _write_toml(content: Any, path: Path) -> None:
    """What TOML can hold; texts for the rest."""
    settings = content if isinstance(content, dict) else {"odd": content}
    lines = [f"{name} = {_toml(value)}" for name, value in settings.items()]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, (int, float)) else '"' + str(value).replace("\\", "/") + '"'


@target("file.config_toml", 150, "file")
def toml_file(draw: Draw) -> Case:
    content = to_dict(Config())
    case = file_case(draw, "config.toml", content, lambda path: apply(Config(), read_toml(path)), _write_toml)
    if case.spoiled.startswith("odd value at "):  # the file is TOML all the same: the setting is to be named
        setting = case.spoiled.removeprefix("odd value at ").split("/")
        case.blame = (f"{setting[1 if setting[0] == 'augment' and len(setting) > 1 else 0]}|config.toml",)
    elif case.spoiled:
        case.blame = ()  # a setting, or the file
    return case


@target("train.to_toml", 60)
def round_trip(draw: Draw) -> Case:
    arguments = {"config": Arg(preset(draw.one(list(PRESETS))), Instance())}

    def check(text: str) -> str | None:
        path = draw.folder / "config.toml"
        path.write_text(text, encoding="utf-8")
        return None if apply(Config(), read_toml(path)) == arguments["config"].value else "another configuration"

    return call(draw, to_toml, arguments, check)


@target("train.preset", 60)
def presets(draw: Draw) -> Case:
    return call(draw, preset, {"name": Arg(draw.one(list(PRESETS)), Choice())})


@target("train.parse_assignments", 100)
def assignments(draw: Draw) -> Case:
    good = ("lr=1e-3", "augment.rotation=30", "output=runs/a", "milestones=[1, 2]", "model_options.channels=8")
    odd = ("lr", "=3", "", "lr.a.b=1", ".=1", "a..b=2", "lr=" + "[" * 3000, "x=\ud800", "lr=1\nsigma=2", "a\0=1")
    spoiled = draw.chance(0.5)
    text = draw.one(odd if spoiled else good)
    label = f"text: {text[:20]!r}" if spoiled else ""

    def run() -> Any:
        return apply(Config(), parse_assignments([text]))

    return Case(run, blame=() if spoiled else None, spoiled=label, either=True, inputs=[text])


@target("train.learning_rate", 100)
def rate(draw: Draw) -> Case:
    arguments = {
        "config": Arg(Config(), Instance()),
        "step": Arg(draw.int(0, 1000), Int(0)),
        "epoch": Arg(draw.int(0, 210), Int(0)),
    }
    return call(draw, learning_rate, arguments, lambda value: None if 0 <= value <= Config().lr else f"{value}")


@cache
def _in_mmengine() -> Any:
    return importlib.import_module("hgfast.mmpose")


if importlib.util.find_spec("mmengine"):  # which hgfast.mmpose asks for when it is imported

    @target("mmpose.options_of", 60, needs=[_in_mmengine])
    def mmengine_options(draw: Draw) -> Case:
        arguments = {name: Arg(draw.chance(0.5), Flag()) for name in ("fuse", "recompute")}
        return call(draw, lambda **options: _in_mmengine().options_of(options), arguments)
