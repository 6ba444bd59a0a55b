"""The affine maps of :mod:`hgfast.codecs.affine` for whole batches, as tensors on any device.

Matrices are (N, 2, 3) float64 and act on column vectors (x, y, 1). Sizes are (width, height). The inverses are what
`inverse_affine` of :func:`hgfast.ops.decode_flip` and of the codecs' `decode_flip` take.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fix_aspect_ratios(sizes: Tensor, aspect: float) -> Tensor:
    """Smallest widths and heights (..., 2) that hold ``sizes`` (..., 2) and have ``width / height == aspect``."""
    width, height = sizes.unbind(-1)
    wide = width > height * aspect
    return torch.stack((torch.where(wide, width, height * aspect), torch.where(wide, width / aspect, height)), -1)


def warp_matrices(
    centers: Tensor, sizes: Tensor, rotations: Tensor, out: tuple[int, int], *, keep_aspect: bool = True
) -> Tensor:
    """Pictures to network input, see :func:`hgfast.codecs.affine.warp_matrix`.

    Args:
        centers, sizes: (N, 2), of the boxes, in pixels of the picture.
        rotations: (N,), degrees.
        out: (width, height) of the input.
        keep_aspect: both axes have the scale of the width.

    Raises:
        ValueError: shapes do not fit.
    """
    target = _pair(out, centers)
    scales = target / sizes.double()
    if keep_aspect:
        scales = scales[:, :1].expand(-1, 2)
    return _similarities(centers, rotations, scales, target / 2, sense=1)


def udp_warp_matrices(centers: Tensor, sizes: Tensor, rotations: Tensor, out: tuple[int, int]) -> Tensor:
    """The unbiased maps of UDP, see :func:`hgfast.codecs.affine.udp_warp_matrix`; arguments as `warp_matrices`."""
    target = _pair(out, centers) - 1
    return _similarities(centers, rotations, target / sizes.double(), target / 2, sense=-1)


def invert_affine(matrices: Tensor) -> Tensor:
    """Inverses (..., 2, 3) of maps (..., 2, 3) in closed form: no solver, which waits for a GPU. inf where singular."""
    a, b, c, d = (matrices[..., i, j] for i in (0, 1) for j in (0, 1))
    linear = torch.stack((torch.stack((d, -b), -1), torch.stack((-c, a), -1)), -2) / (a * d - b * c)[..., None, None]
    return torch.cat((linear, -linear @ matrices[..., 2:]), -1)


def apply_affine(matrices: Tensor, points: Tensor) -> Tensor:
    """Points (N, K, 2) mapped by (N, 2, 3) matrices, in the wider of their precisions."""
    dtype = torch.promote_types(matrices.dtype, points.dtype)
    mapped = points.to(dtype) @ matrices[..., :2].to(dtype).transpose(-1, -2)
    return mapped + matrices[..., 2].to(dtype)[..., None, :]


def _pair(size: tuple[int, int], like: Tensor) -> Tensor:
    return torch.tensor([float(size[0]), float(size[1])], dtype=torch.float64, device=like.device)


def _similarities(centers: Tensor, rotations: Tensor, scales: Tensor, target: Tensor, sense: int) -> Tensor:
    n = centers.shape[0]
    if centers.shape != (n, 2) or scales.shape != (n, 2) or rotations.shape != (n,):
        raise ValueError(
            f"centers, sizes and rotations must have shapes (N, 2), (N, 2) and (N,); got {tuple(centers.shape)}, "
            f"{tuple(scales.shape)} and {tuple(rotations.shape)}"
        )
    angles = torch.deg2rad(rotations.double())
    cos, sin = angles.cos(), sense * angles.sin()
    turned = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), -2)
    linear = scales[..., None] * turned
    return torch.cat((linear, target[:, None] - linear @ centers.double()[..., None]), -1)
