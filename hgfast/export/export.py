"""export_network: a network in a file for another runtime, checked before the file is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import __version__, _checks
from hgfast.codecs import HeatmapCodec
from hgfast.data import KeypointSet
from hgfast.data.images import IMAGENET_MEAN, IMAGENET_STD
from hgfast.export.compare import Differences, ExportError, Run, differences_of
from hgfast.export.deployed import Deployed
from hgfast.export.forms import FORMS
from hgfast.files import atomic_write, check_writable
from hgfast.frozen.modes import evaluating

LEAST_STD, MOST_STD = 1e-3, 1e6  # pixels are whole numbers of 0..255, and float32 shall hold them normalised
BATCHES = 1, 3  # that the result is tried with; it is traced with 2


@dataclass(frozen=True)
class ExportReport:
    """What was exported; ``str()`` gives two lines.

    Attributes:
        path: the file with the network.
        form: one of FORMS.
        about: what the file says of itself (also ``hgfast.json`` in it): sizes, normalisation, names of keypoints.
        differences: from the original, in the runtime of the form.
    """

    path: Path
    form: str
    about: dict[str, Any]
    differences: Differences

    def __str__(self) -> str:
        width, height = self.about["input"]["size"]
        outputs = ", ".join(self.about["outputs"])
        return (
            f"{self.path}: {FORMS[self.form].title}, images (N, 3, {height}, {width}) to {outputs}\n"
            f"checked in float32: {self.differences}"
        )


def export_network(
    model: nn.Module,
    path: str | Path,
    to: str,
    codec: HeatmapCodec,
    *,
    keypoints: KeypointSet,
    decode: bool = False,
    pixels: bool = False,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> ExportReport:
    """Write a network for another runtime: an unfused copy, in float32, for any number of images of one size.

    The file is written beside its place and run in its own runtime on random images; only if it gives what the model
    gives it comes to its place.

    Args:
        model: gives heatmaps (N, K, h, w) for normalised images (N, 3, H, W), or a list of them, the last of which
            counts; fused or not. It is not changed.
        path: the file. OpenVINO writes the weights beside it, in a ``.bin`` of the same name.
        to: "onnx", "torchscript", "torch.export" or "openvino". Files of torch.export and TorchScript need torch alone.
        codec: has the sizes, and decodes.
        keypoints: whose names, pairs and limbs the file gets.
        decode: whether the file gives keypoints (N, K, 2) in pixels of the images and scores (N, K); else the last
            heatmaps (N, K, h, w). There is no flip test in it.
        pixels: whether it takes images of 0..255 and normalises them itself.
        mean, std: by which images are normalised (red, green, blue, of 0..255); std from 0.001 to a million.

    Raises:
        TypeError, ValueError: an argument of another kind, or a model that gives no such heatmaps.
        ImportError: a package that the form needs is not installed.
        OSError: the file cannot be written.
        ExportError: what was written differs from the model.
    """
    where = "export_network"
    _checks.instance(where, "model", model, nn.Module)
    path = _checks.path(where, "path", path)
    _checks.choice(where, "to", to, tuple(FORMS))
    _checks.instance(where, "codec", codec, HeatmapCodec)
    _checks.instance(where, "keypoints", keypoints, KeypointSet)
    decode, pixels = _checks.flag(where, "decode", decode), _checks.flag(where, "pixels", pixels)
    mean = _checks.array(where, "mean", mean, (3,), finite=True).tolist()
    std = _checks.array(where, "std", std, (3,), finite=True).tolist()
    if not all(0 <= value <= 255 for value in mean):
        raise ValueError(f"{where}: mean must be from 0 to 255, got {mean}")
    if not all(LEAST_STD <= value <= MOST_STD for value in std):
        raise ValueError(f"{where}: std must be from {LEAST_STD:g} to {MOST_STD:g}, got {std}")
    form = FORMS[to]
    form.check_packages()
    targets = [path, *(path.with_suffix(suffix) for suffix in form.suffixes[1:])]
    for target in targets:
        check_writable(target)
    deployed = Deployed(model, codec if decode else None, (mean, std) if pixels else None)
    about = _about(deployed, _heatmap_shape(model, codec, keypoints), codec, keypoints, mean, std)
    with TemporaryDirectory() as folder:
        written = [Path(folder, f"network{suffix}") for suffix in form.suffixes]
        form.write(deployed, _images(codec, 2), written[0], json.dumps(about))
        differences = _differences(form.run(written[0]), model, deployed, codec)
        if not differences.allowed:
            raise ExportError(f"{where}: what {form.title} gives is not what the network gives: {differences}")
        for source, target in reversed(list(zip(written, targets, strict=True))):
            with atomic_write(target) as file:
                file.write(source.read_bytes())
    return ExportReport(path, to, about, differences)


def _images(codec: HeatmapCodec, count: int) -> Tensor:
    """Draw random images, normalised, the same each time."""
    width, height = codec.input_size
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(count))


def _heatmap_shape(model: nn.Module, codec: HeatmapCodec, keypoints: KeypointSet) -> list[int]:
    """(K, h, w) of the model's heatmaps.

    Raises:
        ValueError: they are not the codec's, of these keypoints.
    """
    heatmaps = _last_heatmaps(model, _images(codec, 1))
    width, height = codec.heatmap_size
    if not isinstance(heatmaps, Tensor) or heatmaps.shape != (1, keypoints.count, height, width):
        expected = f"(1, {keypoints.count}, {height}, {width}) for keypoints {keypoints.name!r}"
        raise ValueError(f"export_network: model must give heatmaps {expected}, got {_checks.describe(heatmaps)}")
    return list(heatmaps.shape[1:])


@torch.no_grad()
def _last_heatmaps(model: nn.Module, images: Tensor) -> Any:
    """Return what the model gives in evaluation mode, on the CPU in float32."""
    parameter = next(model.parameters(), images)
    with evaluating(model):
        result = model(images.to(parameter.device, parameter.dtype))
    last = result[-1] if isinstance(result, (list, tuple)) and result else result
    return last.float().cpu() if isinstance(last, Tensor) else last


def _differences(run: Run, model: nn.Module, deployed: Deployed, codec: HeatmapCodec) -> Differences:
    """Between the file that was written and the model with the codec's kernel, on batches of several sizes."""
    found, expected = [], []
    for count in BATCHES:
        images = _images(codec, count)
        heatmaps = _last_heatmaps(model, images)
        expected.append([heatmaps] if deployed.codec is None else list(codec.decode(heatmaps)))
        found.append(list(run(deployed.as_taken(images))))
    ours, theirs = ([torch.cat(parts) for parts in zip(*results, strict=True)] for results in (found, expected))
    return differences_of(ours, theirs)


def _about(
    deployed: Deployed,
    heatmap_shape: Sequence[int],
    codec: HeatmapCodec,
    keypoints: KeypointSet,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """Return what the file says of itself, as JSON has it."""
    count, height, width = heatmap_shape
    return {
        "hgfast": __version__,
        "input": {
            "name": "images",
            "size": list(codec.input_size),
            "layout": "NCHW",
            "colours": "RGB",
            "values": "0..255" if deployed.is_normalising else "normalised: (0..255 - mean) / std",
            "mean": list(mean),
            "std": list(std),
        },
        "outputs": deployed.outputs,
        "heatmaps": {"count": count, "size": [width, height], "decode": codec.method, "sigma": codec.sigma},
        "keypoints": keypoints.to_table(),
    }
