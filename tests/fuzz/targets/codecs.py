"""Codecs, and the affine maps between picture and input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hgfast import ops
from hgfast.codecs import CODECS, ExactUDPHeatmap, MSRAHeatmap, NewellHeatmap, UDPHeatmap, affine, affine_torch, build
from tests.fuzz.cases import Arg, Case, Spoiler, call, target
from tests.fuzz.compare import difference
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Int, Ints, Number, _ways, wrong_types
from tests.fuzz.targets.decode_ops import affine as matrix_argument
from tests.fuzz.targets.decode_ops import mirrored
from tests.fuzz.targets.heatmap_ops import SEEN, points
from tests.fuzz.tensor_kinds import Array, Tensor

SIZE = Ints(2, 1)
WHOLE = (torch.int64, torch.uint8, torch.int8)


def sizes(draw: Draw) -> dict[str, Arg]:
    width, height = draw.one((16, 20, 64)), draw.one((16, 24, 48))
    return {"input_size": Arg((width, height), SIZE), "heatmap_size": Arg((width // 4, height // 4), SIZE)}


def codec(draw: Draw) -> Any:
    made = {name: argument.value for name, argument in sizes(draw).items()}
    return build(draw.one(tuple(CODECS)), **made, sigma=1.0)


@target("codecs.MSRAHeatmap")
def msra(draw: Draw) -> Case:
    arguments = sizes(draw) | {
        "sigma": Arg(draw.one((1, 2.0)), Number(above=0)),
        "unbiased": Arg(draw.chance(0.5), Flag()),
        "blur_kernel_size": Arg(11, Int(1)),
    }
    return call(draw, MSRAHeatmap, arguments)


@target("codecs.UDPHeatmap")
def udp(draw: Draw) -> Case:
    return call(draw, UDPHeatmap, udp_arguments(draw))


@target("codecs.ExactUDPHeatmap")
def udp_exact(draw: Draw) -> Case:
    return call(draw, ExactUDPHeatmap, udp_arguments(draw))


def udp_arguments(draw: Draw) -> dict[str, Arg]:
    return sizes(draw) | {
        "sigma": Arg(draw.one((1, 2.0)), Number(above=0)),
        "blur_kernel_size": Arg(11, Int(1)),
        "heatmap_type": Arg("gaussian", Choice()),
    }


@target("codecs.NewellHeatmap")
def newell(draw: Draw) -> Case:
    arguments = sizes(draw) | {"sigma": Arg(draw.one((1, 2.0)), Number(above=0, optional=True))}
    return call(draw, NewellHeatmap, arguments)


@target("codecs.encode")
def encode(draw: Draw) -> Case:
    made = codec(draw)
    n, k = draw.one((0, 1, 2)), draw.one((1, 3))
    keypoints, visible = points(draw, n, k, made.input_size[1], made.input_size[0])
    arguments = {
        "keypoints": Arg(keypoints, Tensor((0, 1, 2))),
        "visible": Arg(visible, Tensor((0, 1), dtypes=SEEN)),
    }

    def check(result: Any) -> str | None:
        scaled = keypoints.float() / made.encode_scale()
        wanted = ops.gaussian_heatmaps(scaled, visible, made.heatmap_size, made.sigma, made.kind)
        return difference(result[0], wanted[0], 0, "heatmaps") or difference(result[1], wanted[1], 0, "weights")

    return call(draw, made.encode, arguments, check)


class Stacks:
    """A list of heatmaps."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]:
        ways = _ways(wrong_types() | {"number": 3, "text": "abc", "none": [], "member None": [None]})
        at = draw.int(0, len(value) - 1)
        for way in Tensor((0, 1, 2, 3) if len(value) > 1 else (0, 1)).spoilers(value[at], draw):
            replace = lambda make=way.make: [*value[:at], make(), *value[at + 1 :]]  # noqa: E731
            ways.append(Spoiler(f"member: {way.label}", replace, way.either))
        return ways


@target("codecs.loss", 100)
def loss(draw: Draw) -> Case:
    made = codec(draw)
    n, k = draw.one((1, 2)), draw.one((1, 3))
    count, size = draw.one((1, 2)), (n, k, *made.heatmap_size[::-1])
    stacks = [draw.tensor(*size, dtype=draw.dtype(), grad=draw.chance(0.5)) for _ in range(count)]
    keypoints, visible = draw.tensor(n, k, 2) * 30, draw.tensor(n, k, plain=True)
    arguments = {
        "stacks": Arg(stacks, Stacks()),
        "keypoints": Arg(keypoints, Tensor((0, 1, 2))),
        "visible": Arg(visible, Tensor((0, 1), dtypes=SEEN)),
    }

    def check(result: Any) -> str | None:
        targets, weights = made.encode(keypoints, visible)
        kept = None if made.kind == "newell" else weights
        wanted = sum(ops.keypoint_mse(stack.float(), targets, kept) for stack in stacks)
        return difference(result, wanted, 1e-5, "loss")

    return call(draw, made.loss, arguments, check)


@target("codecs.decode")
def decode(draw: Draw) -> Case:
    made = codec(draw)
    n, k = draw.one((0, 1, 2)), draw.one((1, 3))
    maps = draw.tensor(n, k, *made.heatmap_size[::-1], dtype=draw.dtype())
    arguments = {"heatmaps": Arg(maps, Tensor((2, 3), alone=True))}
    if draw.chance(0.5):
        arguments["inverse_affine"] = matrix_argument(draw, n)
        arguments["heatmaps"].kind = Tensor((2, 3))
    return call(draw, made.decode, arguments, _inside(k, n))


def _inside(k: int, n: int) -> Callable[[Any], str | None]:
    def check(result: Any) -> str | None:
        keypoints, scores = result
        good = keypoints.shape == (n, k, 2) and scores.shape == (n, k) and bool(keypoints.isfinite().all())
        return None if good else f"keypoints {tuple(keypoints.shape)} {keypoints}"

    return check


@target("codecs.decode_flip")
def decode_flip(draw: Draw) -> Case:
    made = codec(draw)
    n, k = draw.one((0, 1, 2)), draw.one((1, 3))
    dtype = draw.dtype()
    arguments = mirrored(draw) | {"shift": Arg(draw.one((None, True, False)), Flag(optional=True))}
    for name in ("heatmaps", "flipped"):
        arguments[name].value = draw.tensor(n, k, *made.heatmap_size[::-1], dtype=dtype)
    arguments["flip_indices"] = Arg(draw.random.sample(range(k), k), Ints(k, 0, k - 1))
    if draw.chance(0.5):
        arguments["inverse_affine"] = matrix_argument(draw, n)
    return call(draw, made.decode_flip, arguments, _inside(k, n))


def _close(wanted: Callable[[], Any]) -> Callable[[Any], str | None]:
    """Against an expression of numpy."""

    def check(result: Any) -> str | None:
        expected = np.asarray(wanted())
        if np.shape(result) != expected.shape:
            return f"shape {np.shape(result)}, expected {expected.shape}"
        good = np.allclose(np.asarray(result, np.float64), expected, rtol=1e-4, atol=1e-3, equal_nan=True)
        return None if good else "differs"

    return check


@target("codecs.affine.box_center_size")
def box_center_size(draw: Draw) -> Case:
    boxes = draw.array(draw.one((0, 1, 4)), 4)
    arguments = {"boxes": Arg(boxes, Array((1,))), "padding": Arg(draw.one((1, 1.25)), Number(above=0))}
    return call(draw, affine.box_center_size, arguments)


@target("codecs.affine.fix_aspect_ratio")
def fix_aspect_ratio(draw: Draw) -> Case:
    size = draw.array(*draw.one(((2,), (3, 2), (0, 2))), low=1)
    aspect = draw.float(0.5, 2)
    last = (size.ndim - 1,)
    arguments = {"size": Arg(size, Array(last, rank=False)), "aspect": Arg(aspect, Number(above=0))}

    def check(result: Any) -> str | None:
        good = np.allclose(result[..., 0], result[..., 1] * aspect, rtol=1e-4) and (result >= size * 0.9999).all()
        return None if good else "not the smallest box of this aspect"

    return call(draw, affine.fix_aspect_ratio, arguments, check)


def warp(draw: Draw) -> dict[str, Arg]:
    return {
        "center": Arg(draw.array(2), Array((0,))),
        "size": Arg(draw.array(2, low=1), Array((0,))),
        "rotation": Arg(draw.float(-180, 180), Number()),
        "out": Arg((draw.int(2, 40), draw.int(2, 40)), SIZE),
    }


@target("codecs.affine.warp_matrix")
def warp_matrix(draw: Draw) -> Case:
    arguments = warp(draw) | {"keep_aspect": Arg(draw.chance(0.5), Flag())}
    center, out = arguments["center"].value, arguments["out"].value
    check = _close(lambda: np.array(out) / 2)
    return call(
        draw, affine.warp_matrix, arguments, lambda matrix: check(affine.apply_affine(matrix, center.astype(float)))
    )


@target("codecs.affine.udp_warp_matrix")
def udp_warp_matrix(draw: Draw) -> Case:
    arguments = warp(draw)
    arguments["out"].kind = Ints(2, 2)
    center, out = arguments["center"].value, arguments["out"].value
    check = _close(lambda: (np.array(out) - 1) / 2)
    return call(
        draw, affine.udp_warp_matrix, arguments, lambda matrix: check(affine.apply_affine(matrix, center.astype(float)))
    )


@target("codecs.affine.newell_matrix")
def newell_matrix(draw: Draw) -> Case:
    arguments = warp(draw) | {"scale": Arg(draw.float(0.1, 3), Number(above=0))}
    del arguments["size"]
    center, out = arguments["center"].value, arguments["out"].value
    check = _close(lambda: np.array(out) / 2)
    return call(
        draw, affine.newell_matrix, arguments, lambda matrix: check(affine.apply_affine(matrix, center.astype(float)))
    )


@target("codecs.affine.input_to_picture")
def input_to_picture(draw: Draw) -> Case:
    arguments = {
        "points": Arg(draw.array(draw.one((0, 3)), 2), Array((1,), rank=False)),
        "center": Arg(draw.array(2), Array((0,))),
        "size": Arg(draw.array(2), Array((0,))),
        "input_size": Arg((draw.int(2, 40), draw.int(2, 40)), SIZE),
    }
    return call(draw, affine.input_to_picture, arguments)


@target("codecs.affine.matrices")
def matrices(draw: Draw) -> Case:
    """flip_matrix, compose, invert and apply_affine, one of them."""
    matrix = draw.array(2, 3, low=1)
    which = draw.one(("flip_matrix", "compose", "invert", "apply_affine"))
    if which == "flip_matrix":
        return call(draw, affine.flip_matrix, {"width": Arg(draw.int(1, 50), Int(1))})
    if which == "compose":
        arguments = {"outer": Arg(matrix, Array((0, 1))), "inner": Arg(draw.array(2, 3), Array((0, 1)))}
        return call(draw, affine.compose, arguments)
    if which == "invert":
        return call(draw, affine.invert, {"matrix": Arg(matrix, Array((0, 1)))})
    points = Arg(draw.array(draw.one((0, 3)), 2), Array((1,), rank=False))
    return call(draw, affine.apply_affine, {"matrix": Arg(matrix, Array((0, 1))), "points": points})


def batch(draw: Draw) -> dict[str, Arg]:
    n = draw.one((0, 1, 3))
    return {
        "centers": Arg(draw.tensor(n, 2, plain=True), Tensor((0, 1), dtypes=WHOLE)),
        "sizes": Arg(draw.tensor(n, 2, plain=True) * 10, Tensor((0, 1), dtypes=WHOLE)),
        "rotations": Arg(draw.tensor(n) * 60, Tensor((0,), dtypes=WHOLE)),
        "out": Arg((draw.int(2, 40), draw.int(2, 40)), SIZE),
    }


@target("codecs.affine_torch.warp_matrices")
def warp_matrices(draw: Draw) -> Case:
    arguments = batch(draw) | {"keep_aspect": Arg(draw.chance(0.5), Flag())}
    return call(draw, affine_torch.warp_matrices, arguments, _each(affine.warp_matrix, arguments))


@target("codecs.affine_torch.udp_warp_matrices")
def udp_warp_matrices(draw: Draw) -> Case:
    arguments = batch(draw)
    arguments["out"].kind = Ints(2, 2)
    return call(draw, affine_torch.udp_warp_matrices, arguments, _each(affine.udp_warp_matrix, arguments))


def _each(single: Callable[..., np.ndarray], arguments: dict[str, Arg]) -> Callable[[Any], str | None]:
    """Each matrix of a batch is what the function for a single one gives."""
    centers, angles, out = (arguments[name].value for name in ("centers", "rotations", "out"))
    box, rest = arguments["sizes"].value, {n: a.value for n, a in arguments.items() if n == "keep_aspect"}

    def wanted() -> np.ndarray:
        rows = zip(centers.double().numpy(), box.double().numpy(), angles.double().tolist(), strict=True)
        return np.array([single(c, s, r, out, **rest) for c, s, r in rows]).reshape(-1, 2, 3)

    return _close(wanted)


@target("codecs.affine_torch.maps")
def maps(draw: Draw) -> Case:
    """invert_affine and apply_affine, one of them."""
    n, k = draw.one((0, 1, 3)), draw.one((1, 4))
    matrices = draw.tensor(n, 2, 3, dtype=draw.one((torch.float32, torch.float64)))
    if draw.chance(0.4):
        arguments = {"matrices": Arg(matrices, Tensor((1, 2), alone=True, rank=False))}
        return call(draw, affine_torch.invert_affine, arguments)
    arguments = {
        "matrices": Arg(matrices, Tensor((1, 2), rank=False)),  # batches broadcast
        "points": Arg(draw.tensor(n, k, 2), Tensor((2,), rank=False, dtypes=WHOLE)),
    }
    return call(draw, affine_torch.apply_affine, arguments)
