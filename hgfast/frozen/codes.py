"""Activations as codes of 8 bits: which values of a graph have them, and which convolutions compute with them.

Design, from csrc/common/conv_int8.h up. A code is a uint8 c that stands for scale * (c - zero), with one scale and zero
for a whole value; zero is 0 where nothing is negative. Weights are int8 with a scale for each output channel and no
zero; they are made from the graph's float32 weights when a plan is (hgfast.frozen.coded_weights), so that a file of a
network in int8 is one of float32 with a few numbers more, and can be loaded as either.

The scales come from the values that the float32 plan gives for the calibration images (hgfast.frozen.calibrate). Which
convolutions compute in int8, and which sums read their residual as codes, is decided by the error that a network has on
those images (hgfast.frozen.quantise). Everything else is computed in float32 or, on processors that multiply it, in
bfloat16; a convolution writes its result as codes, as such numbers, or as both, as its readers want it
(hgfast.frozen.coded_graph).
"""

from __future__ import annotations

from dataclasses import dataclass, field

LARGEST_CODE = 255


@dataclass(frozen=True)
class Codes:
    """What codes stand for: scale * (code - zero); scale > 0, zero from 0 to 255."""

    scale: float = 1.0
    zero: int = 0

    def native(self) -> tuple[float, int]:
        """Return scale and zero as the kernels take them."""
        return self.scale, self.zero


@dataclass
class Quantisation:
    """How a graph is computed in int8.

    Attributes:
        codes: of values, by their numbers.
        convs: the outputs of the convolutions that compute in int8; they and what they read have codes.
        trunk: the values that are read as codes too where they are added to a sum; elsewhere as numbers.
    """

    codes: dict[int, Codes] = field(default_factory=dict)
    convs: set[int] = field(default_factory=set)
    trunk: set[int] = field(default_factory=set)
