"""hgfast.freeze: a trained model turned into a frozen one, and held against the model it came from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from hgfast import _checks as checks
from hgfast.frozen.build import build_graph, run_model
from hgfast.frozen.check import check_graph
from hgfast.frozen.model import FrozenModel
from hgfast.frozen.options import DTYPES, as_dtype, check_cuda_graph

TOLERANCE = {torch.float32: 3e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Allowed ||frozen - model|| / ||model|| of a stack's heat-maps, model in float32."""
TF32_TOLERANCE = 1e-2


def freeze(
    model: nn.Module,
    dtype: torch.dtype | None = None,
    cuda_graph: bool = False,
    batch_sizes: Sequence[int] | None = None,
) -> FrozenModel:
    """The inference form of a trained hourglass: BatchNorm folded, weights packed, epilogues fused, memory planned.

    Takes hgfast's models, fused or not, and those of MMPose (`backbone`, `head`) and princeton-vl, which are known by
    their attributes. The model itself is not changed and shares no memory with the result. BatchNorm uses its running
    statistics, whatever mode the model is in. Before it is returned the result is compared with the model on a random
    image; see TOLERANCE.

    Args:
        model: on the device where the frozen model shall run.
        dtype: of weights and activations; default float32, on CUDA the model's own. On the CPU only float32. float32
            on CUDA is computed in tf32 if `torch.backends.cudnn.allow_tf32` is set when the model is frozen, else by
            three products of tf32 numbers, which is as good as float32 arithmetic.
        cuda_graph: on CUDA, replay each plan as one CUDA graph from its second call on; where CUDA refuses to capture
            one, a warning of the log "hgfast" says so, and kernels are launched one by one.
        batch_sizes: with cuda_graph, the batch sizes that get a graph (default: all that occur).

    Raises:
        TypeError: not a module, or not one of these networks; or an option of the wrong type.
        ValueError: a part of it has no fused form, it takes or gives something else than these networks do, or the
            options do not fit the device.
        RuntimeError: the result differs from the model by more than the tolerance, or there are no kernels.
    """
    checks.instance("freeze", "model", model, nn.Module)
    graph = build_graph(model)
    parameter = next(model.parameters())
    device = parameter.device
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"freeze: model must be on the CPU or on CUDA, got {device}")
    try:
        check_graph(graph)
    except (TypeError, ValueError) as error:
        raise ValueError(f"freeze: model has no frozen form: {error}") from error
    dtype = _dtype(dtype, parameter)
    check_cuda_graph("freeze", cuda_graph, batch_sizes, device)
    frozen = FrozenModel(graph, dtype, device, cuda_graph, batch_sizes)
    verify(frozen, model)
    return frozen


def _dtype(dtype: torch.dtype | None, parameter: Tensor) -> torch.dtype:
    if dtype is None:
        dtype = parameter.dtype if parameter.is_cuda and parameter.dtype in DTYPES else torch.float32
    if parameter.is_cuda:
        return as_dtype("freeze", dtype)
    return as_dtype("freeze", dtype, (torch.float32,), parameter.device.type)


def relative_errors(frozen: FrozenModel, model: nn.Module, images: Tensor) -> list[float]:
    """||frozen - model|| / ||model|| for each stack; 0 where both are 0."""
    expected = _run(model, images)
    ours_and_theirs = list(zip(frozen(images), expected, strict=False))
    if len(expected) != len(frozen.graph.outputs) or any(a.shape != b.shape for a, b in ours_and_theirs):
        shapes = [[tuple(maps.shape) for maps in all_maps] for all_maps in (frozen(images), expected)]
        raise ValueError(f"freeze: model must give one tensor a stack, {shapes[0]} for {_of(images)}, got {shapes[1]}")
    errors = []
    for ours, theirs in ours_and_theirs:
        difference, size = (ours.double() - theirs.double()).norm().item(), theirs.double().norm().item()
        errors.append(difference / size if size else difference)
    return errors


def _run(model: nn.Module, images: Tensor) -> list[Tensor]:
    """What the model itself gives.

    Raises:
        ValueError: it does not take such images, or gives something else than tensors.
    """
    images = images.to(next(model.parameters()).dtype)
    try:
        with torch.no_grad(), _evaluating(model):
            heatmaps = run_model(model, images)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ValueError(
            f"freeze: model must take images (N, 3, H, W); for {_of(images)} it raised {type(error).__name__}: {error}"
        ) from error
    for maps in heatmaps:
        checks.tensor("freeze", "what model gives", maps, ndim=4)
    return heatmaps


def _of(images: Tensor) -> str:
    return f"images of {tuple(images.shape)}"


def verify(frozen: FrozenModel, model: nn.Module) -> None:
    """Compare on a random image of the smallest size.

    Raises:
        RuntimeError: beyond the tolerance.
    """
    generator = torch.Generator().manual_seed(0)
    side = frozen.graph.unit
    images = torch.randn(1, frozen.graph.in_channels, side, side, generator=generator).to(frozen.device)
    allowed = TOLERANCE[frozen.dtype]
    if frozen.dtype == torch.float32 and frozen.device.type == "cuda" and frozen.tf32:
        allowed = TF32_TOLERANCE
    for stack, error in enumerate(relative_errors(frozen, model, images)):
        if not error <= allowed:
            raise RuntimeError(
                f"freeze: heat-maps of stack {stack} differ from the model's by {error:.2e} (relative), more than "
                f"the {allowed:.0e} that {frozen.dtype} may"
            )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and back in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
