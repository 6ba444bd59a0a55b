"""Heatmap codecs: keypoints to training targets, and heatmaps back to keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hgfast import _checks
from hgfast.ops._heatmaps import check_affine, check_heatmaps
from hgfast.ops.decode_flip import decode_flip
from hgfast.ops.decode_heatmaps import check_method, decode_heatmaps
from hgfast.ops.gaussian_heatmaps import VISIBLE_DTYPES, gaussian_heatmaps

_LONGEST_SIDE = 1 << 15


class HeatmapCodec:
    """What all codecs share; the kinds of targets are those of :func:`hgfast.ops.gaussian_heatmaps`.

    Attributes:
        input_size: (width, height) of the network's input.
        heatmap_size: (width, height) of its heatmaps.
        sigma: standard deviation of the targets, heatmap pixels.
        kind: of the targets.
        method: of :func:`hgfast.ops.decode_heatmaps`.
        blur_kernel_size: of that method.

    Raises:
        TypeError, ValueError: sizes that are not two whole numbers from 2 to 32768, a sigma that is not a positive
            number, or an even blur_kernel_size.
    """

    kind: str
    method: str

    def __init__(
        self, input_size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float, blur_kernel_size: int = 11
    ) -> None:
        where = type(self).__name__
        self.input_size = _checks.size(where, "input_size", input_size, 2, _LONGEST_SIDE)
        self.heatmap_size = _checks.size(where, "heatmap_size", heatmap_size, 2, _LONGEST_SIDE)
        self.sigma = _checks.number(where, "sigma", sigma, above=0)
        check_method(where, "dark", blur_kernel_size)
        self.blur_kernel_size = blur_kernel_size
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def encode(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Targets of a batch.

        Args:
            keypoints: (N, K, 2), x and y in pixels of the network's input.
            visible: (N, K); below 0.5 no target is drawn.

        Returns:
            heatmaps (N, K, H, W) float32 and weights (N, K) float32, see :func:`hgfast.ops.gaussian_heatmaps`.

        Raises:
            TypeError, ValueError: tensors of another kind or shape.
        """
        _checks.tensor("encode", "keypoints", keypoints, ndim=3)
        _checks.shape("encode", "keypoints", keypoints, (*keypoints.shape[:2], 2))
        _checks.tensor("encode", "visible", visible, ndim=2, dtypes=VISIBLE_DTYPES)
        _checks.shape("encode", "visible", visible, keypoints.shape[:2], "N and K of keypoints")
        keypoints = keypoints.float() / self._on(keypoints.device)[0]
        return gaussian_heatmaps(keypoints, visible, self.heatmap_size, self.sigma, self.kind)

    def decode(self, heatmaps: Tensor, inverse_affine: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keypoints of a batch of heatmaps.

        Args:
            heatmaps: (N, K, H, W) of ``heatmap_size``, floating point.
            inverse_affine: (N, 2, 3) or (2, 3), from pixels of the network's input to those of the picture; None leaves
                the former.

        Returns:
            keypoints (N, K, 2) and scores (N, K), the maxima.

        Raises:
            TypeError, ValueError: not heatmaps of that size, or a matrix of another shape.
        """
        matrix = self._matrix("decode", heatmaps, inverse_affine)
        return decode_heatmaps(heatmaps, self.method, self.blur_kernel_size, inverse_affine=matrix)

    def decode_flip(
        self,
        heatmaps: Tensor,
        flipped: Tensor,
        flip_indices: Sequence[int],
        inverse_affine: Tensor | None = None,
        shift: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Keypoints from the heatmaps of images and of their mirror images, see :func:`hgfast.ops.decode_flip`.

        Args:
            heatmaps, flipped: (N, K, H, W) of ``heatmap_size``, both as the network returns them.
            flip_indices: for each joint its left-right partner's channel.
            inverse_affine: (N, 2, 3) or (2, 3), from pixels of the network's input to those of the picture; None leaves
                the former.
            shift: move the mirrored maps by one pixel; default: what the codec's peer does.

        Returns:
            keypoints (N, K, 2) and scores (N, K).

        Raises:
            TypeError, ValueError: as :func:`hgfast.ops.decode_flip`.
        """
        matrix = self._matrix("decode_flip", heatmaps, inverse_affine)
        shift = None if shift is None else _checks.flag("decode_flip", "shift", shift)
        return decode_flip(heatmaps, flipped, flip_indices, self.method, shift, matrix, self.blur_kernel_size)

    def to_input_matrix(self) -> Tensor:
        """Heatmap pixels to pixels of the network's input, (2, 3) float64."""
        return torch.cat((self.decode_scale().double().diag(), torch.zeros(2, 1, dtype=torch.float64)), 1)

    def _matrix(self, name: str, heatmaps: Tensor, inverse_affine: Tensor | None) -> Tensor:
        """From heatmap pixels to input pixels, or with inverse_affine further; errors name the method."""
        check_heatmaps(name, "heatmaps", heatmaps)
        _checks.shape(name, "heatmaps", heatmaps, (*heatmaps.shape[:2], *self.heatmap_size[::-1]))
        matrix = self._on(heatmaps.device)[1]
        if inverse_affine is None:
            return matrix
        if isinstance(inverse_affine, Tensor) and inverse_affine.dtype in (torch.float16, torch.bfloat16):
            inverse_affine = inverse_affine.double()
        affine = check_affine(name, inverse_affine, heatmaps)
        assert affine is not None
        return torch.cat((affine[..., :2] * matrix.diagonal(), affine[..., 2:]), -1)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """encode_scale and to_input_matrix, copied to a device once."""
        if device not in self._constants:
            self._constants[device] = self.encode_scale().to(device), self.to_input_matrix().to(device)
        return self._constants[device]

    def encode_scale(self) -> Tensor:
        """Input pixels to a heatmap pixel, float32 (2,)."""
        return _ratio(self.input_size, self.heatmap_size)

    def decode_scale(self) -> Tensor:
        """What decoded positions are multiplied by to become input pixels, float32 (2,)."""
        return self.encode_scale()


class MSRAHeatmap(HeatmapCodec):
    """MMPose's ``MSRAHeatmap`` (Xiao et al., ECCV 2018), and with ``unbiased`` DARK (Zhang et al., CVPR 2020).

    Targets are Gaussians about the nearest pixel (``unbiased``: about the keypoint itself); decoding takes the maximum
    and moves it by a quarter of a pixel (``unbiased``: by a Newton step on the blurred map's logarithm). A heatmap
    pixel x is at input pixel x * stride, without half a pixel, as in the peer.

    Args:
        input_size: (width, height) of the network's input.
        heatmap_size: (width, height) of its heatmaps.
        sigma: of the Gaussians, heatmap pixels.
        unbiased: see above.
        blur_kernel_size: of decoding with ``unbiased``: 11 for sigma 2, 17 for sigma 3.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float,
        unbiased: bool = False,
        blur_kernel_size: int = 11,
    ) -> None:
        super().__init__(input_size, heatmap_size, sigma, blur_kernel_size)
        self.unbiased = _checks.flag("MSRAHeatmap", "unbiased", unbiased)
        self.kind, self.method = ("unbiased", "dark") if self.unbiased else ("msra", "quarter")


class UDPHeatmap(HeatmapCodec):
    """MMPose's ``UDPHeatmap`` with Gaussian maps (Huang et al., CVPR 2020).

    Sizes are measured between the centres of the outermost pixels: encoding divides by (input - 1) / (heatmap - 1).
    Decoding multiplies by input / (heatmap - 1), as the peer does, although the inverse would be (input - 1).
    An empty map gives (-1, -1) in the heatmap; the peer gives NaN there and lets it leak into the next map.

    Args:
        input_size, heatmap_size, sigma, blur_kernel_size: as for :class:`MSRAHeatmap`.
        heatmap_type: "gaussian"; the peer's "combined" maps with offsets have no hourglass checkpoints.
    """

    kind, method = "udp", "dark_udp"

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float = 2.0,
        blur_kernel_size: int = 11,
        *,
        heatmap_type: str = "gaussian",
    ) -> None:
        _checks.choice("UDPHeatmap", "heatmap_type", heatmap_type, ("gaussian",))
        super().__init__(input_size, heatmap_size, sigma, blur_kernel_size)

    def encode_scale(self) -> Tensor:
        """Input pixels to a heatmap pixel, float32 (2,)."""
        return _ratio(_less_one(self.input_size), _less_one(self.heatmap_size))

    def decode_scale(self) -> Tensor:
        """What decoded positions are multiplied by to become input pixels, float32 (2,)."""
        return _ratio(self.input_size, _less_one(self.heatmap_size))


class NewellHeatmap(HeatmapCodec):
    """Targets and decoding of princeton-vl/pytorch_stacked_hourglass (Newell et al., ECCV 2016).

    Targets are Gaussians about the truncated position; decoding always takes a quarter step and adds half a pixel.

    Args:
        input_size, heatmap_size: as for :class:`MSRAHeatmap`.
        sigma: of the Gaussians, heatmap pixels; default: the peer's, width of the heatmap / 64.
    """

    kind, method = "newell", "newell"

    def __init__(self, input_size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float | None = None) -> None:
        if sigma is None:
            sigma = _checks.size("NewellHeatmap", "heatmap_size", heatmap_size, 2, _LONGEST_SIDE)[0] / 64
        super().__init__(input_size, heatmap_size, sigma)


def _ratio(a: tuple[int, int], b: tuple[int, int]) -> Tensor:
    return (torch.tensor(a, dtype=torch.float64) / torch.tensor(b, dtype=torch.float64)).float()


def _less_one(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] - 1, size[1] - 1
