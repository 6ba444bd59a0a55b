"""What both model families share: the table of implementations and the check of the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_variadic

from hgfast import _checks as checks
from hgfast.nn.blocks import FUSED
from hgfast.reference.blocks import REFERENCE, BlockSet

__all__ = ["IMPLEMENTATIONS", "PoseNetwork", "block_set", "check_images", "check_size", "images_to_layout"]

LARGEST, MOST, LARGEST_DEPTH = 1 << 16, 256, 16  # channels; stacks and blocks of a level; depth of an hourglass
IMPLEMENTATIONS: dict[str, BlockSet] = {"fused": FUSED, "reference": REFERENCE}


class PoseNetwork(nn.Module):
    """A network that is built of one implementation's blocks and works in that one's layout.

    Attributes:
        implementation: "fused" or "reference".
        head_layers: how the names begin of the weights that have a channel for each keypoint.
    """

    implementation: str
    head_layers: tuple[str, ...] = ()

    @property
    def size_rule(self) -> tuple[int, int]:
        """Sizes of images must be a multiple of the first number, or smaller than one by at most the second."""
        raise NotImplementedError

    @property
    def memory_format(self) -> torch.memory_format | None:
        """Layout that the network brings its input to; None leaves it as it comes.

        No attribute, for torch.save refuses these.
        """
        return IMPLEMENTATIONS[self.implementation].memory_format


def block_set(implementation: str) -> BlockSet:
    """Return the block classes of an implementation, "fused" or "reference".

    Raises:
        TypeError: If it is not a str.
        ValueError: For any other name.
    """
    checks.choice("", "implementation", implementation, sorted(IMPLEMENTATIONS))
    return IMPLEMENTATIONS[implementation]


def check_images(images: Tensor, unit: int, slack: int, weight: Tensor | None = None, channels: int = 3) -> None:
    """Raise unless ``images`` is (N, channels, H, W), floating point, of a size that the network can take.

    Args:
        images: What the caller passed.
        unit: Sizes must be a multiple of this, ...
        slack: ... or smaller than a multiple by at most this.
        weight: One of the network's, whose device and (unless autocast sees to it) dtype the images must have.
        channels: Of the images.

    Raises:
        TypeError: If images is not a tensor of floating point numbers, or of other ones than the weights.
        ValueError: If the shape or the device does not fit.
    """
    if isinstance(images, checks.UNINITIALISED):  # of which torch's own functions are not to be asked
        checks.tensor("", "images", images)
    if has_torch_function_variadic(images):  # a trace of the network: the check is one of its calls
        return handle_torch_function(check_images, (images,), images, unit, slack, weight)
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch.Tensor (N, {channels}, H, W), got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point, already normalised, got {images.dtype}")
    checks.tensor("", "images", images)
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(f"images must have shape (N, {channels}, H, W), got {tuple(images.shape)}")
    if weight is not None and images.device != weight.device:
        raise ValueError(f"images must be on the weights' device {weight.device}, got {images.device}")
    if weight is not None and images.dtype != weight.dtype and not torch.is_autocast_enabled(images.device.type):
        raise TypeError(f"images must have the weights' dtype {weight.dtype}, or autocast be on; got {images.dtype}")
    height, width = images.shape[2:]
    check_size("images", (width, height), unit, slack)


def check_size(name: str, size: tuple[int, int], unit: int, slack: int) -> None:
    """Raise unless images of (width, height) are of a size that a network can take, see :func:`check_images`.

    Raises:
        ValueError: If they are not; the message begins with the name.
    """
    width, height = size
    if any(side == 0 or -side % unit > slack for side in (height, width)):
        less = f", or up to {slack} less than one" if slack else ""
        raise ValueError(
            f"{name}: height and width must each be a multiple of {unit}{less} "
            f"({unit}, {2 * unit}, {3 * unit}, ...), got height {height}, width {width}"
        )


def images_to_layout(images: Tensor, memory_format: torch.memory_format | None) -> Tensor:
    """Bring images (N, 3, H, W) to a memory format, once, at the entrance; None leaves them as they come."""
    return images if memory_format is None else images.contiguous(memory_format=memory_format)
