"""The ops that read heatmaps: decoding, the flip test, peaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hgfast import ops, reference
from hgfast.ops.decode_heatmaps import METHODS
from hgfast.reference.flip_merge import apply_affine
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.compare import against, difference
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Int, Ints, Number
from tests.fuzz.targets.ops import values_of
from tests.fuzz.tensor_kinds import Tensor


def heatmaps(draw: Draw, grad: bool = False) -> torch.Tensor:
    """Maps of numbers, some with NaN, infinities, equal maxima or nothing positive."""
    n, k, h, w = draw.maps()
    maps = draw.tensor(n, k, h, w, dtype=draw.dtype())
    if draw.chance(0.15):
        maps = maps.round()
    if draw.chance(0.1):
        maps = -maps.abs()
    if maps.numel() and draw.chance(0.15):
        maps = maps.clone(memory_format=torch.preserve_format)
        index = tuple(draw.int(0, size - 1) for size in maps.shape)
        maps[index] = draw.one((torch.nan, torch.inf, -torch.inf))
    return maps.detach().requires_grad_(grad)


def affine(draw: Draw, n: int) -> Arg:
    shape = draw.one(((2, 3), (1, 2, 3), (n, 2, 3)))
    dtype = draw.one((torch.float32, torch.float64))
    rank3 = tuple(range(3)) if len(shape) == 3 else (0, 1)
    kind = Tensor(rank3, optional=True)
    fine = ("one more dimension", "one dimension less", "empty in 0", "smaller in 0", "larger in 0")
    ok = [label for label in fine if _fits(label, shape, n)]
    value = draw.tensor(*shape, dtype=dtype)
    return Arg(value, kind, fine=(*ok, "torch.float64"))


def _fits(label: str, shape: tuple[int, ...], n: int) -> bool:
    """Whether a matrix is still fine when it is changed in this way."""
    if label == "one more dimension":
        return len(shape) == 2
    if label == "one dimension less":
        return len(shape) == 3
    if len(shape) == 2:
        return False
    size = {"empty in 0": 0, "smaller in 0": shape[0] - 1, "larger in 0": shape[0] + 1}[label]
    return size in (1, n)


def decoding(draw: Draw) -> dict[str, Arg]:
    """method, blur_kernel_size, temperature and window."""
    method = draw.one((*METHODS, "soft"))
    return {
        "method": Arg(method, Choice()),
        "blur_kernel_size": Arg(draw.one((1, 3, 5, 9, 11, 17)), Int(1)),
        "temperature": Arg(draw.one((0.1, 1.0, 3.0, 2)), Number(above=0)),
        "window": Arg(draw.one((None, 0, 1, 3)), Int(0, optional=True)),
    }


def same_points(
    result: Any, expect: Callable[[torch.dtype], tuple[torch.Tensor, torch.Tensor]], dtype: torch.dtype
) -> str | None:
    """Keypoints and scores against the reference; not where float32 and float64 differ there (ill-conditioned)."""
    keypoints, scores = result
    own = torch.float64 if dtype == torch.float64 else torch.float32
    wanted, wanted_scores = expect(own)
    complaint = difference(scores, wanted_scores, 1e-5, "scores")
    if complaint or difference(keypoints, wanted, 1e-3) is None:
        return complaint
    precise = expect(torch.float64)[0]
    steady = ((precise - wanted.double()).abs() < 1e-3) & precise.isfinite()
    steady = steady.all(-1, keepdim=True).expand_as(wanted)
    nothing = torch.zeros(())
    return difference(torch.where(steady, keypoints, nothing), torch.where(steady, wanted, nothing), 5e-2, "keypoints")


@target("ops.decode_heatmaps", 250)
def decode_heatmaps(draw: Draw) -> Case:
    maps = heatmaps(draw)
    arguments = {"heatmaps": Arg(maps, Tensor((), {2: 1, 3: 1}, alone=True))} | decoding(draw)
    if draw.chance(0.5):
        arguments["inverse_affine"] = affine(draw, len(maps))
        matrix = arguments["inverse_affine"].value
        fixed = (0,) if matrix.dim() == 3 and len(matrix) == len(maps) > 1 else ()
        arguments["heatmaps"].kind = Tensor(fixed, {2: 1, 3: 1})
    values = values_of(arguments)

    def expect(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        found = _decoded(maps.to(dtype), values)
        return apply_affine(found[0], _matrices(values)), found[1]

    return call(draw, ops.decode_heatmaps, arguments, lambda result: same_points(result, expect, maps.dtype))


def _decoded(maps: torch.Tensor, values: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    if values["method"] == "soft":
        window = -1 if values["window"] is None else values["window"]
        return reference.soft_argmax(maps, values["temperature"], window)[:2]
    return reference.decode_heatmaps(maps, values["method"], values["blur_kernel_size"])


def _matrices(values: dict[str, Any]) -> torch.Tensor | None:
    matrix = values.get("inverse_affine")
    return None if matrix is None else matrix.reshape(-1, 2, 3)


def mirrored(draw: Draw) -> dict[str, Arg]:
    """heatmaps, flipped, flip_indices and shift."""
    maps = heatmaps(draw)
    n, k, h, w = maps.shape
    flipped = draw.tensor(n, k, h, w, dtype=maps.dtype)
    indices = [draw.int(0, k - 1) for _ in range(k)] if k else []
    return {
        "heatmaps": Arg(maps, Tensor((0, 1, 2, 3), tied=True)),
        "flipped": Arg(flipped, Tensor((0, 1, 2, 3), tied=True)),
        "flip_indices": Arg(indices, Ints(k, 0, k - 1)),
        "shift": Arg(draw.chance(0.5), Flag()),
    }


@target("ops.flip_merge", 200)
def flip_merge(draw: Draw) -> Case:
    arguments = mirrored(draw)
    if draw.chance(0.4):
        for name in ("heatmaps", "flipped"):
            arguments[name].value = arguments[name].value.nan_to_num(0, 1, -1).detach().requires_grad_()
    return call(draw, ops.flip_merge, arguments, against(_flip_merge, values_of(arguments), "upsample_add"))


def _flip_merge(heatmaps: torch.Tensor, flipped: torch.Tensor, flip_indices: list[int], shift: bool) -> torch.Tensor:
    return reference.flip_merge(heatmaps, flipped, flip_indices, shift)


@target("ops.decode_flip", 200)
def decode_flip(draw: Draw) -> Case:
    arguments = mirrored(draw) | decoding(draw)
    arguments["shift"] = Arg(draw.one((None, True, False)), Flag(optional=True))
    maps = arguments["heatmaps"].value
    if draw.chance(0.5):
        arguments["inverse_affine"] = affine(draw, len(maps))
    values = values_of(arguments)

    def expect(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        method, shift = values["method"], values["shift"]
        shift = method not in ("dark_udp", "newell") if shift is None else shift
        both = maps.to(dtype), values["flipped"].to(dtype)
        if method == "soft":  # the averaged maps are written, in their own dtype
            merged = reference.flip_merge(*both, values["flip_indices"], shift).to(maps.dtype).to(dtype)
            found = _decoded(merged, values)
            return apply_affine(found[0], _matrices(values)), found[1]
        rest = shift, _matrices(values), method, values["blur_kernel_size"]
        return reference.decode_flip(*both, values["flip_indices"], *rest)

    return call(draw, ops.decode_flip, arguments, lambda result: same_points(result, expect, maps.dtype))


@target("ops.heatmap_peaks", 200)
def heatmap_peaks(draw: Draw) -> Case:
    maps = heatmaps(draw)
    arguments = {
        "heatmaps": Arg(maps, Tensor((), {2: 1, 3: 1}, alone=True)),
        "count": Arg(draw.one((1, 2, 5, 30)), Int(1)),
        "threshold": Arg(draw.one((0.0, 0.3, -0.5, 1)), Number(infinite=True)),
        "method": Arg(draw.one(("argmax", "quarter", "newell")), Choice()),
    }
    values = values_of(arguments)

    def check(result: Any) -> str | None:
        if not maps.numel():  # torch's pooling, of which the reference is made, does not take these
            return None
        wanted = reference.heatmap_peaks(**values)
        return difference(result[0], wanted[0], 1e-5, "keypoints") or difference(result[1], wanted[1], 1e-6, "scores")

    return call(draw, ops.heatmap_peaks, arguments, check)
