"""What several commands need: options, and networks out of checkpoints."""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

from hgfast.checkpoint import read_checkpoint
from hgfast.checkpoint.load import load_content
from hgfast.train.build import make_model
from hgfast.train.config import Config, apply, parse_assignments, read_toml
from hgfast.train.presets import preset
from hgfast.train.state import stored_config


def add_set(parser: argparse.ArgumentParser) -> None:
    """Adds ``--set KEY=VALUE``."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, e.g. --set lr=1e-3 --set augment.rotation=30 (may be repeated)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds ``--device``."""
    parser.add_argument("--device", default=None, help='"cpu", "cuda", "cuda:1"; default: the GPU where there is one')


def add_freeze(parser: argparse.ArgumentParser) -> None:
    """Adds ``--no-freeze``."""
    parser.add_argument(
        "--no-freeze", action="store_true", help="run the network as it was trained, without hgfast.freeze"
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds the checkpoint and the preset that tells what network it holds."""
    parser.add_argument("checkpoint", help="weights: a .pt file of hgfast, or a checkpoint of MMPose or princeton-vl")
    parser.add_argument("--preset", help="configuration of a checkpoint without one of its own (see `train --list`)")


def changed(config: Config, options: argparse.Namespace) -> Config:
    """Configuration with what ``--set``, ``--device`` and ``--no-freeze`` say."""
    config = apply(config, parse_assignments(options.set))
    if getattr(options, "no_freeze", False):
        config = apply(config, {"freeze": False})
    return apply(config, {"device": options.device}) if options.device else config


def base_config(options: argparse.Namespace) -> Config:
    """Configuration of ``--preset`` and ``--config``."""
    config = preset(options.preset)
    return apply(config, read_toml(options.config)) if options.config else config


def load_network(path: str, preset_name: str | None) -> tuple[Config, nn.Module, dict[str, Any]]:
    """Network of a checkpoint, its configuration, and the checkpoint's measured accuracy (empty where unknown).

    Raises:
        FileNotFoundError, ValueError: no such file, not a checkpoint, or one of another network.
    """
    content = read_checkpoint(path)
    config = preset(preset_name) if preset_name else stored_config(content, path)
    model = make_model(config)
    load_content(model, content, path)
    meta = content.get("meta") if isinstance(content, dict) else None
    return config, model, meta.get("metrics", {}) if isinstance(meta, dict) else {}


def one_line(error: BaseException) -> str:
    """What an error says, in one line; of one in a loader's process, which brings a whole traceback, the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("Original Traceback" in line for line in lines):
        return lines[-1].partition(": ")[2] or lines[-1]
    return " ".join(lines) or type(error).__name__


def measures_table(metrics: dict[str, float]) -> str:
    """Two lines of aligned text: names above numbers."""
    width = max([8, *(len(name) + 1 for name in metrics)])
    return "\n".join(
        ("".join(f"{name:>{width}}" for name in metrics), "".join(f"{value:>{width}.2f}" for value in metrics.values()))
    )
