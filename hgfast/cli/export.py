"""``hgfast export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn

from hgfast._extras import require
from hgfast.cli._shared import changed
from hgfast.export import FORMS, export_network
from hgfast.files import check_writable
from hgfast.frozen import freeze
from hgfast.train.build import make_codec
from hgfast.train.loaded import load_network

OF_FREEZE = {"frozen": ".frozen.pt", "safetensors": ".safetensors"}


def run(options: argparse.Namespace) -> None:
    """Write the network in another form, checked."""
    form, checkpoint = options.to, Path(options.checkpoint)
    suffix = OF_FREEZE[form] if form in OF_FREEZE else FORMS[form].suffixes[0]
    target = Path(options.target) if options.target else checkpoint.with_name(f"{checkpoint.stem}{suffix}")
    if target.exists() and checkpoint.exists() and target.samefile(checkpoint):
        raise ValueError(f"{target}: would overwrite the checkpoint")
    check_writable(target)
    if form in OF_FREEZE:
        _check_frozen(options, target)
    else:
        FORMS[form].check_packages()
    config, model, _ = load_network(options.checkpoint, options.preset)
    config = changed(config, options)
    if form in OF_FREEZE:
        _save_frozen(model, target)
        return
    report = export_network(
        model,
        target,
        form,
        make_codec(config),
        keypoints=config.table,
        decode=options.decode,
        pixels=options.pixels,
        mean=config.mean,
        std=config.std,
    )
    print(report)


def _check_frozen(options: argparse.Namespace, target: Path) -> None:
    for name in ("decode", "pixels"):
        if getattr(options, name):
            raise ValueError(f"--{name}: is for the forms that run without hgfast, got --to {options.to}")
    if options.to == "safetensors":
        require("safetensors", "--to safetensors", "hub")
        if target.suffix != ".safetensors":
            raise ValueError(f"{target}: expected a name that ends in .safetensors")


def _save_frozen(model: nn.Module, target: Path) -> None:
    """hgfast.freeze compares the result with the network itself."""
    frozen = freeze(model.eval())
    frozen.save(target)
    print(f"{target}: frozen, {len(frozen.graph.calls)} calls, {target.stat().st_size / 1e6:.1f} MB")
