"""Which kernel a convolution of the training step runs by on the CPU, as measured (docs/notebook.md, Training).

Winograd's algorithm multiplies less, but its weights, transformed at every step, take 16/9 or 36/9 of their room: the
more pixels share them, and the better they fit the caches, the larger the transform may be. A choice is the number of
an algorithm of csrc/cpu/conv_layout.h (or STRIDED), or a sentence that says why torch's own operator (oneDNN) is taken.
"""

from __future__ import annotations

from hgfast.ops._conv_native import ConvShape

Choice = int | str

DIRECT, F23, F43, S23, S43 = 1, 2, 3, 5, 6
STRIDED = 7  # csrc/cpu/conv_strided_grad.cpp, for input gradients
_DIRECT_NOTE = "Winograd is turned off, and the direct convolution of oneDNN is the faster one"

_winograd = True


def set_winograd(enabled: bool) -> None:
    """Let 3x3 convolutions of the training step run by Winograd's algorithm on the CPU (the default), or not.

    Winograd convolutions need 2.25 to 4 times fewer multiplications and err more: by 3e-6 relative to the exact result
    where direct float32 sums err by 2e-7 to 1e-6. The setting belongs to the process; it concerns
    :func:`hgfast.ops.conv2d` and the fused blocks, gradients included, not frozen networks or `conv_bias_act`.

    Raises:
        TypeError: enabled is no bool.
    """
    global _winograd
    if not isinstance(enabled, bool):
        raise TypeError(f"set_winograd: enabled must be a bool, got {type(enabled).__name__}")
    _winograd = enabled


def winograd_enabled() -> bool:
    """Return what :func:`set_winograd` has set."""
    return _winograd


def result(sizes: ConvShape) -> Choice:
    """Choose for a convolution, or for the input gradient of one of stride 1 (which is a convolution)."""
    height, width = sizes.result
    pixels = sizes.n * height * width
    if (choice := _without_winograd(sizes)) is not None:
        return choice
    few_weights = sizes.c * sizes.k <= 256 * 256
    if sizes.stride == 2:
        return S43 if pixels >= 2048 and few_weights else S23 if pixels >= 512 else DIRECT
    if pixels < 64:
        return DIRECT
    large = pixels >= (256 if few_weights else 1024)
    return F43 if large and min(height, width) > 8 else F23


def input_grad(sizes: ConvShape) -> Choice:
    """sizes: of the convolution whose input's gradient is asked for."""
    if sizes.stride == 2 and sizes.kernel in (1, 3):
        return STRIDED
    if sizes.stride != 1:
        return "only strides of 1 and 2 have input gradients here"
    return result(turned(sizes))


def weight_grad(sizes: ConvShape) -> Choice:
    """sizes: of the convolution whose weight's gradient is asked for."""
    if (choice := _without_winograd(sizes)) is not None:
        return choice
    if sizes.stride == 2:
        return S23
    return F43 if min(sizes.result) > 8 else F23


def _without_winograd(sizes: ConvShape) -> Choice | None:
    """Return the choice if Winograd's algorithm does not apply or is turned off."""
    if sizes.kernel == 1:
        return DIRECT
    if sizes.kernel != 3 or sizes.stride > 2:
        return "only 1x1 kernels, and 3x3 of stride 1 and 2, are faster here than oneDNN's"
    return None if _winograd else _DIRECT_NOTE


def turned(sizes: ConvShape) -> ConvShape:
    """Return the stride-1 convolution that computes an input gradient."""
    return ConvShape(sizes.n, sizes.h, sizes.w, sizes.k, sizes.c, sizes.kernel, 1, dtype=sizes.dtype)
