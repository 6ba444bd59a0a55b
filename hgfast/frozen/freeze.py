"""hgfast.freeze: a trained model turned into a frozen one, and held against the model it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from hgfast import _checks as checks
from hgfast.frozen.build import Built
from hgfast.frozen.calibrate import BATCH, METHODS
from hgfast.frozen.check import check_graph
from hgfast.frozen.compare import check_calls
from hgfast.frozen.find import is_exported
from hgfast.frozen.model import FrozenModel
from hgfast.frozen.modes import evaluating
from hgfast.frozen.options import DTYPES, as_dtype, check_cuda_graph
from hgfast.frozen.quantise import quantise
from hgfast.models.common import check_images

if TYPE_CHECKING:
    from torch.export import ExportedProgram

TOLERANCE = {torch.float32: 3e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.int8: 2e-1}
"""Allowed ||frozen - model|| / ||model|| of an output, model in float32."""
TF32_TOLERANCE = 1e-2


def freeze(
    model: nn.Module | ExportedProgram,
    dtype: torch.dtype | None = None,
    cuda_graph: bool = False,
    batch_sizes: Sequence[int] | None = None,
    example: Any = None,
    calibration: Tensor | None = None,
    calibration_method: str = METHODS[0],
) -> FrozenModel:
    """Make the inference form of a trained network: BatchNorm folded, weights packed, epilogues fused, memory planned.

    Takes any network that hgfast.graph can capture, of one image or, with an example, of any arguments with an image
    among them. Its convolutions ("same", with a square kernel
    of 1, 3 or 7, without groups; transposed ones that double the size) run in hgfast's kernels, with the BatchNorm,
    ReLU, sums, merges and shortcuts behind them; all else is run by torch as it stands, and
    :meth:`FrozenModel.describe` says what. The model itself is not changed and shares no memory with the result.
    Modules run as in evaluation, BatchNorm by its running statistics, whatever mode the model is in. Before it is
    returned the result is compared with the model on random images, or the example: what the model gives, and each
    value that a kernel makes with the model in float64; see TOLERANCE.

    The result gives what the model gives, in the same containers. princeton-vl's networks, which take (N, H, W, 3) and
    stack their heatmaps, are frozen for (N, 3, H, W) and give a list; those of MMPose's hourglasses always give one.

    Args:
        model: on the device where the frozen model shall run. A program of torch.export, of a model in evaluation
            mode, is frozen for the sizes that it was exported for, and with its own example.
        dtype: of weights and activations; default float32, on CUDA the model's own. On the CPU float32 or bfloat16:
            the latter is the faster one on processors with AVX512_BF16 (docs/performance.md); elsewhere it is computed
            in float32, and only halves the memory of activations. Or int8, with calibration: the fastest one on
            processors with AVX512_VNNI and without AMX, in whose tiles only bfloat16 is computed yet; its error counts
            1e-2 and more of the heatmaps (docs/performance.md), its results are float32. float32 on CUDA is computed
            in tf32 if `torch.backends.cudnn.allow_tf32` is set when the model is frozen, else by three products of tf32
            numbers, which is as good as float32 arithmetic.
        cuda_graph: on CUDA, replay each plan as one CUDA graph from its second call on; where CUDA refuses to capture
            one, a warning of the log "hgfast" says so, and kernels are launched one by one.
        batch_sizes: with cuda_graph, the batch sizes that get a graph (default: all that occur).
        example: images as the model takes them, two or more, for models that take none of the usual sizes; or the
            arguments of a model that takes more, as a tuple or as a dict by name. Tensors in it, also inside of tuples,
            lists and dicts, stand for others with as many dimensions; all else is a constant of the frozen network.
            Where torch.fx cannot capture the model (hgfast.graph.capture), torch.export does, for the example's sizes.
        calibration: with dtype=torch.int8 only, and then needed: images (N, C, H, W), floating point, on the CPU,
            normalised as the model's are, of the kind that it will see: a hundred are plenty. From them come the scales
            of activations, and what is computed in int8 (hgfast.frozen.quantise).
        calibration_method: how the scales are chosen: "mse", "max", "percentile" or "entropy"
            (hgfast.frozen.calibrate).

    Raises:
        TypeError: not a module, or one that takes other things than images and there is no example; or an option of the
            wrong type.
        ValueError: it has no frozen form (the message says what stands in the way, and where), or the options do not
            fit the device.
        RuntimeError: the result differs from the model by more than the tolerance, or there are no kernels.
    """
    if not is_exported(model):
        checks.instance("freeze", "model", model, nn.Module)
    if example is not None:
        checks.instance("freeze", "example", example, Tensor, tuple, dict)
        if isinstance(example, Tensor):
            checks.tensor("freeze", "example", example, ndim=4)
    parameter = next(iter(model.parameters()), None)
    if parameter is None:
        raise TypeError(f"freeze: model must have parameters, {type(model).__name__} has none")
    device = parameter.device
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"freeze: model must be on the CPU or on CUDA, got {device}")
    dtype = _dtype(dtype, parameter)
    _check_calibration(dtype, calibration, calibration_method, example)
    check_cuda_graph("freeze", cuda_graph, batch_sizes, device)
    built = Built(model, example)
    try:
        check_graph(built.graph)
    except (TypeError, ValueError) as error:
        raise ValueError(f"freeze: model has no frozen form: {error}") from error
    first = torch.float32 if dtype == torch.int8 else dtype
    frozen = FrozenModel(built.graph, first, device, cuda_graph, batch_sizes)
    verify(frozen, built)
    check_calls(frozen, built, allowed_error(frozen))
    return frozen if calibration is None else _in_int8(frozen, calibration, calibration_method)


def _check_calibration(dtype: torch.dtype, calibration: Any, method: Any, example: Any) -> None:
    checks.choice("freeze", "calibration_method", method, METHODS)
    if dtype != torch.int8:
        if calibration is not None:
            raise ValueError(f"freeze: calibration is for dtype=torch.int8, got dtype={dtype}")
        return
    if calibration is None:
        raise ValueError("freeze: dtype=torch.int8 needs calibration, images as the model will see them")
    if example is not None and not isinstance(example, Tensor):
        raise ValueError("freeze: dtype=torch.int8 is for models of images alone; example must be images or None")
    checks.tensor("freeze", "calibration", calibration, ndim=4)
    if calibration.device.type != "cpu" or not len(calibration):
        raise ValueError(
            "freeze: calibration must be one or more images (N, C, H, W) on the CPU, got "
            f"{checks.describe(calibration)} on {calibration.device}"
        )
    if not bool(calibration.isfinite().all()):
        raise ValueError("freeze: calibration must be finite, got NaN or infinity in it")


@torch.no_grad()
def _in_int8(exact: FrozenModel, images: Tensor, method: str) -> FrozenModel:
    """Quantise the network to int8, compared with the one in float32 on the calibration images."""
    try:
        check_images(images, exact.graph.unit, exact.graph.slack, channels=exact.graph.in_channels)
    except ValueError as error:
        raise ValueError(f"freeze: calibration: {error}") from None
    graph = replace(exact.graph, quantisation=quantise(exact, images.detach().float(), method))
    frozen = FrozenModel(graph, torch.int8, exact.device)
    batch = images[:BATCH].detach().float()
    for i, (ours, theirs) in enumerate(zip(_tensors(frozen(batch)), _tensors(exact(batch)), strict=True)):
        if not is_close(ours, theirs):
            raise RuntimeError(
                f"freeze: output {i} in int8 differs from that in float32 by {_errors(ours, theirs)[0]:.2e} (relative) "
                f"on the calibration images, more than the {TOLERANCE[torch.int8]:.0e} that it may, and so do keypoints"
            )
    return frozen


def is_close(ours: Tensor, theirs: Tensor) -> bool:
    """Whether an output in int8 is as good as in float32: by its norm, see TOLERANCE, or by the keypoints in it.

    A heatmap's keypoint is its largest value; 95 in a hundred must be at most one pixel off, in each direction.
    """
    if _errors(ours, theirs)[0] <= TOLERANCE[torch.int8]:
        return True
    if ours.dim() != 4 or not bool(ours.isfinite().all()):
        return False
    width = ours.shape[-1]
    a, b = (tensor.flatten(2).argmax(2) for tensor in (ours, theirs))
    off = torch.maximum((a % width - b % width).abs(), (a // width - b // width).abs())
    return bool((off <= 1).double().mean() >= 0.95)


def _dtype(dtype: torch.dtype | None, parameter: Tensor) -> torch.dtype:
    if dtype is None:
        dtype = parameter.dtype if parameter.is_cuda and parameter.dtype in DTYPES else torch.float32
    if parameter.is_cuda:
        return as_dtype("freeze", dtype)
    return as_dtype("freeze", dtype, (torch.float32, torch.bfloat16, torch.int8), parameter.device.type)


def relative_errors(frozen: FrozenModel, model: nn.Module, images: Tensor) -> list[float]:
    """||frozen - model|| / ||model|| for each tensor that they give for images (N, C, H, W); 0 where both are 0."""
    built = Built(model, None)
    with torch.no_grad(), evaluating(built.model):
        expected = built.model(images.permute(0, 2, 3, 1) if built.nhwc else images)
    return _errors(frozen(images), expected.unbind(1) if built.nhwc else expected)


def _errors(ours: Any, theirs: Any) -> list[float]:
    errors = []
    for a, b in zip(_tensors(ours), _tensors(theirs), strict=True):
        if a.shape != b.shape:
            raise RuntimeError(f"freeze: the frozen network gives {tuple(a.shape)}, the model {tuple(b.shape)}")
        difference, size = (a.double() - b.double()).norm().item(), b.double().norm().item()
        errors.append(difference / size if size else difference)
    return errors


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def allowed_error(frozen: FrozenModel) -> float:
    """Return by how much a frozen network may differ from its model: see TOLERANCE."""
    if frozen.dtype == torch.float32 and frozen.device.type == "cuda" and frozen.tf32:
        return TF32_TOLERANCE
    return TOLERANCE[frozen.dtype]


def verify(frozen: FrozenModel, built: Built) -> None:
    """Compare on what the model was captured with.

    Raises:
        RuntimeError: beyond the tolerance.
    """
    allowed = allowed_error(frozen)
    for i, error in enumerate(_errors(frozen(*built.args, **built.kwargs), built.expected)):
        if not error <= allowed:
            raise RuntimeError(
                f"freeze: output {i} differs from the model's by {error:.2e} (relative), more than "
                f"the {allowed:.0e} that {frozen.dtype} may"
            )
