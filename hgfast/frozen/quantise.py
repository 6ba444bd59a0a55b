"""Which parts of a network are computed in int8, decided by the error that they make on the calibration images.

Candidates are tried from the fastest to the most exact, each as the plan that it would be, against the same network in
float32: all convolutions and all sums on codes; sums on numbers; then, one share after the other, the convolutions
whose inputs lose most by being coded are left out. The first one whose error is at most TARGET is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from hgfast.frozen.calibrate import BATCH, codes_for, coding_error, observe_values
from hgfast.frozen.codes import Codes, Quantisation
from hgfast.frozen.graph import IMAGE, ConvCall, Graph, PoolCall, Value
from hgfast.frozen.model import FrozenModel
from hgfast.frozen.quantise_convs import is_possible

log = logging.getLogger("hgfast")
TARGET = 2e-2  # ||int8 - float32|| / ||float32|| of each output
LEFT_OUT = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7)  # shares of the convolutions


@dataclass
class Found:
    """What calibration gave: codes of all values, and what each loses by them, relative to its norm."""

    codes: dict[Value, Codes]
    noise: dict[Value, float]


def quantise(frozen: FrozenModel, images: Tensor, method: str) -> Quantisation:
    """Choose how a network frozen in float32 is computed in int8.

    Args:
        frozen: the network.
        images: calibration images.
        method: one of hgfast.frozen.calibrate.METHODS.

    Raises:
        ValueError: activations are not finite.
    """
    found = _calibrated(frozen, images, method)
    expected = [_outputs(frozen, batch) for batch in images.split(BATCH)]
    best: tuple[float, Quantisation] | None = None
    for what, candidate in _candidates(frozen.graph, found):
        error = _error(frozen, candidate, images, expected)
        log.debug("int8 with %s: error %.2e", what, error)
        if best is None or error < best[0]:
            best = error, candidate
        if error <= TARGET:
            break
    assert best is not None
    return best[1]


def _calibrated(frozen: FrozenModel, images: Tensor, method: str) -> Found:
    seen = observe_values(frozen, images)
    codes = {value: codes_for(what, method) for value, what in seen.items()}
    for call in frozen.graph.calls:  # maxima of codes are codes of the same scale
        if isinstance(call, PoolCall) and call.x in codes:
            codes[call.output] = codes[call.x]
    noise = {
        value: (coding_error(what, codes[value]) / what.power()) ** 0.5 if what.power() > 0 else 0.0
        for value, what in seen.items()
    }
    return Found(codes, noise)


def _candidates(graph: Graph, found: Found) -> Iterator[tuple[str, Quantisation]]:
    convs = [c for c in graph.calls if isinstance(c, ConvCall) and is_possible(graph, c)]
    added = {v for c in convs for v in (c.residual, c.upsample_to) if v is not None} & found.codes.keys()
    added -= {IMAGE, *graph.others}
    yield "all of it on codes", _quantisation(graph, found, convs, added)

    def loss(call: ConvCall) -> float:
        extra = 0.0 if call.extra is None else found.noise.get(call.extra.value, 0.0)
        return max(found.noise.get(call.x, 0.0), extra)

    order = sorted(convs, key=loss, reverse=True)
    for share in LEFT_OUT:
        chosen = _quantisation(graph, found, order[round(share * len(order)) :], set())
        yield f"sums on numbers, without {share:.0%} of the convolutions", chosen


def _quantisation(graph: Graph, found: Found, convs: list[ConvCall], trunk: set[Value]) -> Quantisation:
    values: set[Value] = set()
    for call in convs:
        values |= {call.x, call.output} | ({call.extra.value} if call.extra else set())
        values |= {call.second.value} if call.second else set()
    values |= trunk
    inputs = {call.x for call in graph.calls if isinstance(call, PoolCall) and call.output in values}
    codes = {value: found.codes[value] for value in sorted(values | inputs) if value in found.codes}
    return Quantisation(codes, {call.output for call in convs}, trunk)


def _error(frozen: FrozenModel, candidate: Quantisation, images: Tensor, expected: list[list[Tensor]]) -> float:
    """Return the largest of the outputs' errors, relative to their norms."""
    tried = FrozenModel(replace(frozen.graph, quantisation=candidate), torch.int8, frozen.device)
    differences = torch.zeros(len(expected[0]), dtype=torch.float64)
    sizes = torch.zeros_like(differences)
    for batch, right in zip(images.split(BATCH), expected, strict=True):
        for i, (ours, theirs) in enumerate(zip(_outputs(tried, batch), right, strict=True)):
            differences[i] += (ours.double() - theirs.double()).square().sum()
            sizes[i] += theirs.double().square().sum()
    return float((differences.sqrt() / sizes.sqrt().clamp(min=1e-300)).nan_to_num(torch.inf).max())


def _outputs(frozen: FrozenModel, images: Tensor) -> list[Tensor]:
    return [leaf.float() for leaf in tree_leaves(frozen(images)) if isinstance(leaf, Tensor)]
