"""Base of the heatmap codecs: keypoints to targets and loss, and heatmaps back to keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hgfast import _checks
from hgfast.ops._heatmaps import check_affine, check_heatmaps
from hgfast.ops.decode_flip import decode_flip, default_shift
from hgfast.ops.decode_heatmaps import check_method, decode_heatmaps
from hgfast.ops.gaussian_heatmaps import VISIBLE_DTYPES, gaussian_heatmaps
from hgfast.ops.keypoint_mse import keypoint_mse_from_points

LONGEST_SIDE = 1 << 15


class HeatmapCodec:
    """Base of the codecs; a new one is a class that says what differs, and a row in :data:`hgfast.codecs.CODECS`.

    Attributes:
        input_size: (width, height) of the network's input.
        heatmap_size: (width, height) of its heatmaps.
        sigma: standard deviation of the targets, heatmap pixels.
        kind: of the targets, one of those of :func:`hgfast.ops.gaussian_heatmaps`.
        method: of :func:`hgfast.ops.decode_heatmaps`.
        udp: whether crops are cut by :func:`hgfast.codecs.affine.udp_warp_matrix`, else by `warp_matrix`.
        blur_kernel_size: of that method.

    Raises:
        TypeError, ValueError: sizes that are not two whole numbers from 2 to 32768, a sigma that is not a positive
            number, or an even blur_kernel_size.
    """

    kind: str
    method: str
    udp = False

    def __init__(
        self, input_size: tuple[int, int], heatmap_size: tuple[int, int], sigma: float, blur_kernel_size: int = 11
    ) -> None:
        where = type(self).__name__
        self.input_size = _checks.size(where, "input_size", input_size, 2, LONGEST_SIDE)
        self.heatmap_size = _checks.size(where, "heatmap_size", heatmap_size, 2, LONGEST_SIDE)
        self.sigma = _checks.number(where, "sigma", sigma, above=0)
        check_method(where, "dark", blur_kernel_size)
        self.blur_kernel_size = blur_kernel_size
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def encode(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the targets of a batch.

        Args:
            keypoints: (N, K, 2), x and y in pixels of the network's input.
            visible: (N, K); below 0.5 no target is drawn.

        Returns:
            heatmaps (N, K, H, W) float32 and weights (N, K) float32, see :func:`hgfast.ops.gaussian_heatmaps`.

        Raises:
            TypeError, ValueError: tensors of another kind or shape.
        """
        points = self._heatmap_points("encode", keypoints, visible)
        return gaussian_heatmaps(points, visible, self.heatmap_size, self.sigma, self.kind)

    def loss(self, stacks: Sequence[Tensor], keypoints: Tensor, visible: Tensor) -> Tensor:
        """Compute the mean squared error of predicted heatmaps against the targets, added up over the stacks.

        As in MMPose's KeypointMSELoss, joints that are not labelled have weight 0.

        Args:
            stacks: heatmaps (N, K, H, W) of ``heatmap_size``, any floating dtype. They are taken to float32 first: the
                gradient of a mean over millions of values is below what float16 can hold.
            keypoints: (N, K, 2), x and y in pixels of the network's input.
            visible: (N, K).

        Returns:
            the loss, a float32 scalar.

        Raises:
            TypeError, ValueError: an argument of another kind, shape or device.
        """
        points = self._heatmap_points("loss", keypoints, visible)
        self._check_stacks(stacks, keypoints, visible)
        return self._loss([stack.float() for stack in stacks], points, visible)

    def _loss(self, stacks: list[Tensor], points: Tensor, visible: Tensor) -> Tensor:
        """Compute the loss of float32 stacks; points (N, K, 2) are in heatmap pixels."""
        return keypoint_mse_from_points(stacks, points, visible, self.sigma, self.kind)

    def decode(self, heatmaps: Tensor, inverse_affine: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Find the keypoints of a batch of heatmaps.

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
        """Find keypoints in heatmaps of images and of their mirror images, see :func:`hgfast.ops.decode_flip`.

        Args:
            heatmaps, flipped: (N, K, H, W) of ``heatmap_size``, both as the network returns them.
            flip_indices: for each joint its left-right partner's channel.
            inverse_affine: (N, 2, 3) or (2, 3), from pixels of the network's input to those of the picture; None leaves
                the former.
            shift: move the mirrored maps by one pixel; default: the codec's own ``shift``.

        Returns:
            keypoints (N, K, 2) and scores (N, K).

        Raises:
            TypeError, ValueError: as :func:`hgfast.ops.decode_flip`.
        """
        matrix = self._matrix("decode_flip", heatmaps, inverse_affine)
        shift = self.shift if shift is None else _checks.flag("decode_flip", "shift", shift)
        return decode_flip(heatmaps, flipped, flip_indices, self.method, shift, matrix, self.blur_kernel_size)

    @property
    def shift(self) -> bool:
        """Whether the flip test moves the mirrored maps by one pixel before averaging, as the codec's peer does."""
        return default_shift(self.method)

    def to_input_matrix(self) -> Tensor:
        """Heatmap pixels to pixels of the network's input, (2, 3) float64."""
        return torch.cat((self.decode_scale().double().diag(), torch.zeros(2, 1, dtype=torch.float64)), 1)

    def _heatmap_points(self, name: str, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Scale input pixels to heatmap pixels, float32 (N, K, 2); errors name the method."""
        _checks.tensor(name, "keypoints", keypoints, ndim=3)
        _checks.shape(name, "keypoints", keypoints, (*keypoints.shape[:2], 2))
        _checks.tensor(name, "visible", visible, ndim=2, dtypes=VISIBLE_DTYPES)
        _checks.shape(name, "visible", visible, keypoints.shape[:2], "N and K of keypoints")
        return keypoints.float() / self._on(keypoints.device)[0]

    def _check_stacks(self, stacks: Sequence[Tensor], keypoints: Tensor, visible: Tensor) -> None:
        if not isinstance(stacks, (list, tuple)) or not stacks:
            raise TypeError(
                f"loss: stacks must be a list of heatmaps, not an empty one, got {_checks.describe(stacks)}"
            )
        expected = (*keypoints.shape[:2], *self.heatmap_size[::-1])
        for number, stack in enumerate(stacks):
            check_heatmaps("loss", f"stacks[{number}]", stack)
            _checks.shape("loss", f"stacks[{number}]", stack, expected, "N and K of keypoints, heatmap_size")
        others = (("visible", visible), *((f"stacks[{number}]", stack) for number, stack in enumerate(stacks)))
        for name, value in others:
            if value.device != keypoints.device:
                raise ValueError(f"loss: {name} must be on keypoints' device {keypoints.device}, got {value.device}")

    def _matrix(self, name: str, heatmaps: Tensor, inverse_affine: Tensor | None) -> Tensor:
        """Map heatmap pixels to input pixels, or with inverse_affine further; errors name the method."""
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
        """Return how many input pixels a heatmap pixel has, float32 (2,)."""
        return ratio(self.input_size, self.heatmap_size)

    def decode_scale(self) -> Tensor:
        """Return the factors that make input pixels of decoded positions, float32 (2,)."""
        return self.encode_scale()


def ratio(a: tuple[int, int], b: tuple[int, int]) -> Tensor:
    """Divide two sizes, (width, height) each, side by side: float32 (2,)."""
    return (torch.tensor(a, dtype=torch.float64) / torch.tensor(b, dtype=torch.float64)).float()
