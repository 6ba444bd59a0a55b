"""The affine maps of :mod:`hgfast.codecs.affine` for whole batches, as tensors on any device.

Matrices are (N, 2, 3) float64 and act on column vectors (x, y, 1). Sizes are (width, height). The inverses are what
`inverse_affine` of :func:`hgfast.ops.decode_flip` and of the codecs' `decode_flip` take. All functions raise TypeError
for what is no dense tensor of real numbers, and ValueError for other shapes or devices; values are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hgfast import _checks
from hgfast.codecs.affine import pixels

_REAL = (*_checks.FLOATING, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def fix_aspect_ratios(sizes: Tensor, aspect: float) -> Tensor:
    """Return smallest widths and heights (..., 2) that hold ``sizes`` (..., 2), of ``width / height == aspect``."""
    _tensor("fix_aspect_ratios", "sizes", sizes, 2)
    aspect = _checks.number("fix_aspect_ratios", "aspect", aspect, above=0)
    width, height = sizes.unbind(-1)
    wide = width > height * aspect
    return torch.stack((torch.where(wide, width, height * aspect), torch.where(wide, width / aspect, height)), -1)


def warp_matrices(
    centers: Tensor, sizes: Tensor, rotations: Tensor, out: tuple[int, int], *, keep_aspect: bool = True
) -> Tensor:
    """Map pictures to network input, see :func:`hgfast.codecs.affine.warp_matrix`.

    Args:
        centers, sizes: (N, 2), of the boxes, in pixels of the picture.
        rotations: (N,), degrees.
        out: (width, height) of the input.
        keep_aspect: both axes have the scale of the width.

    Raises:
        TypeError, ValueError: an argument of another type, shape or device.
    """
    where = "warp_matrices"
    _check_boxes(where, centers, sizes, rotations)
    target = _pair(where, out, centers)
    scales = target / sizes.double()
    if _checks.flag(where, "keep_aspect", keep_aspect):
        scales = scales[:, :1].expand(-1, 2)
    return _similarities(centers, rotations, scales, target / 2, sense=1)


def udp_warp_matrices(centers: Tensor, sizes: Tensor, rotations: Tensor, out: tuple[int, int]) -> Tensor:
    """Return UDP's unbiased maps, see :func:`hgfast.codecs.affine.udp_warp_matrix`; arguments as `warp_matrices`."""
    _check_boxes("udp_warp_matrices", centers, sizes, rotations)
    target = _pair("udp_warp_matrices", out, centers, 2) - 1
    return _similarities(centers, rotations, target / sizes.double(), target / 2, sense=-1)


def invert_affine(matrices: Tensor) -> Tensor:
    """Inverses (..., 2, 3) of maps (..., 2, 3) in closed form: no solver, which waits for a GPU. inf where singular."""
    _tensor("invert_affine", "matrices", matrices, 2, 3, dtypes=_checks.FLOATING)
    a, b, c, d = (matrices[..., i, j] for i in (0, 1) for j in (0, 1))
    linear = torch.stack((torch.stack((d, -b), -1), torch.stack((-c, a), -1)), -2) / (a * d - b * c)[..., None, None]
    return torch.cat((linear, -linear @ matrices[..., 2:]), -1)


def apply_affine(matrices: Tensor, points: Tensor) -> Tensor:
    """Map points (N, K, 2) by (N, 2, 3) matrices, in the wider of their precisions."""
    where = "apply_affine"
    _tensor(where, "matrices", matrices, 2, 3, dtypes=_checks.FLOATING)
    _tensor(where, "points", points, 2)
    try:
        torch.broadcast_shapes(matrices.shape[:-2], points.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"{where}: points must have shape (N, K, 2) for matrices {tuple(matrices.shape)}, got {tuple(points.shape)}"
        ) from None
    _same_device(where, ("matrices", matrices), ("points", points))
    dtype = torch.promote_types(matrices.dtype, points.dtype)
    mapped = points.to(dtype) @ matrices[..., :2].to(dtype).transpose(-1, -2)
    return mapped + matrices[..., 2].to(dtype)[..., None, :]


def _tensor(where: str, name: str, value: Tensor, *last: int, dtypes: Sequence[torch.dtype] = _REAL) -> None:
    """Require a tensor of real numbers whose last dimensions are these."""
    _checks.tensor(where, name, value, dtypes=dtypes)
    if tuple(value.shape[-len(last) :]) != last:
        wanted = ", ".join(map(str, last))
        raise ValueError(f"{where}: {name} must have shape (..., {wanted}), got {tuple(value.shape)}")


def _same_device(where: str, first: tuple[str, Tensor], *others: tuple[str, Tensor]) -> None:
    for name, other in others:
        if other.device != first[1].device:
            raise ValueError(f"{where}: {name} must be on {first[0]}'s device {first[1].device}, got {other.device}")


def _check_boxes(where: str, centers: Tensor, sizes: Tensor, rotations: Tensor) -> None:
    for name, value, ndim in (("centers", centers, 2), ("sizes", sizes, 2), ("rotations", rotations, 1)):
        _checks.tensor(where, name, value, ndim=ndim, dtypes=_REAL)
        _checks.shape(where, name, value, (centers.shape[0], 2)[:ndim], "N of centers")
    _same_device(where, ("centers", centers), ("sizes", sizes), ("rotations", rotations))


def _pair(where: str, out: tuple[int, int], like: Tensor, minimum: int = 1) -> Tensor:
    return torch.tensor(pixels(where, "out", out, minimum).tolist(), dtype=torch.float64, device=like.device)


def _similarities(centers: Tensor, rotations: Tensor, scales: Tensor, target: Tensor, sense: int) -> Tensor:
    angles = torch.deg2rad(rotations.double())
    cos, sin = angles.cos(), sense * angles.sin()
    turned = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), -2)
    linear = scales[..., None] * turned
    return torch.cat((linear, target[:, None] - linear @ centers.double()[..., None]), -1)
