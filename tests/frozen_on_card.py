"""Small frozen networks on an emulated card of which nothing is known, and mistakes planted in its kernels."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgfast import _kernel_table, models
from hgfast.frozen import verify
from hgfast.frozen.build import build_graph
from hgfast.frozen.choices import Needs
from hgfast.frozen.freeze import TOLERANCE
from hgfast.frozen.graph import Call, Graph
from hgfast.frozen.model import FrozenModel
from hgfast.frozen.plan import Plan
from hgfast.frozen.steps import Step, StepMaker
from tests.recipe import apply_recipe
from tests.tolerances import relative_error


class Sums(nn.Module):
    """A BatchNorm-ReLU and a sum that no convolution can have in its own call."""

    def __init__(self) -> None:
        """(N, 3, H, W) to (N, 4, H / 2, W / 2)."""
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.left, self.right = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 1)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """One map."""
        x = self.norm(x).relu()
        return [self.head((F.max_pool2d(self.left(x), 2) + F.max_pool2d(self.right(x), 2)).relu())]


NETWORKS: dict[str, Callable[[], Any]] = {
    "mmpose": lambda: models.HourglassPose(5, 1, 1, (8, 24), (1, 3), 16, (8, 8), "reference"),
    "princeton": lambda: models.StackedHourglass(1, 32, 17, 0, (16, 32), "reference"),
    "sums": Sums,
}
SIZES = {"mmpose": (3, 32, 32), "princeton": (2, 64, 64), "sums": (2, 16, 16)}  # images, height, width


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process knows no more than what the file says."""
    monkeypatch.setattr(_kernel_table, "_tables", {})


def trust(monkeypatch: pytest.MonkeyPatch, but: str) -> None:
    """Kernels are taken for right, but for those whose names begin so: test_right_kernels_pass tries all."""
    fault = verify.Probe.fault
    tried = lambda probe, needs: fault(probe, needs) if needs.kernel.startswith(but) else ""  # noqa: E731
    monkeypatch.setattr(verify.Probe, "fault", tried)


@functools.cache
def _network(family: str) -> tuple[Any, Graph]:
    model = apply_recipe(NETWORKS[family](), 7).eval()
    return model, build_graph(model)


def frozen_network(family: str, dtype: torch.dtype, tf32: bool = False) -> FrozenModel:
    return FrozenModel(_network(family)[1], dtype, torch.device("cpu"), tf32=tf32)


@functools.cache
def _example(family: str, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """Images, and the results in float64."""
    n, *size = SIZES[family]
    images = torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        return images, copy.deepcopy(_network(family)[0]).double()(images.double())


def check_results(family: str, dtype: torch.dtype, tf32: bool = False) -> Plan:
    """The network runs, with results that are right; its plan."""
    frozen = frozen_network(family, dtype, tf32)
    images, exact = _example(family, dtype)
    heatmaps = frozen(images)
    for ours, reference in zip(heatmaps, exact, strict=True):
        for image in range(len(images)):
            assert relative_error(ours[image], reference[image]) <= max(TOLERANCE[dtype], 1e-2)
    return plan_of(frozen)


def plan_of(frozen: FrozenModel) -> Plan:
    """That of the network's size."""
    family = "sums" if frozen.graph.any_size else "princeton" if frozen.graph.unit == 64 else "mmpose"
    plan = frozen.plan(*SIZES[family])
    assert isinstance(plan, Plan)
    return plan


Spoil = Callable[[Call, Tensor, "Tensor | None"], None]


def plant(
    monkeypatch: pytest.MonkeyPatch, kernel: str, spoil: Spoil, when: Callable[[Call], bool] = lambda call: True
) -> list[str]:
    """A mistake in all kernels whose names begin so: `spoil(call, y, y2)` after each; the kernels that were made."""
    original, made = StepMaker.make, list[str]()

    def make_spoilt(self: StepMaker, call: Call, needs: Needs) -> Step:
        step = original(self, call, needs)
        if not needs.kernel.startswith(kernel) or not when(call):
            return step
        made.append(needs.kernel)
        function, positions = step.function, {value: i for i, value, _ in step.external}

        def spoilt(*arguments: Any) -> None:
            function(*arguments)
            outputs = [call.output, *([call.second.value] if call.second else [])]
            places = [_tensor(arguments[positions[v]]) if v in positions else self.memory.tensor(v) for v in outputs]
            spoil(call, places[0], places[1] if call.second else None)

        step.function = spoilt
        return step

    monkeypatch.setattr(StepMaker, "make", make_spoilt)
    return made


def _tensor(argument: Any) -> Tensor:
    return argument if isinstance(argument, Tensor) else argument.tensor


def second_item(call: Call, y: Tensor, y2: Tensor | None) -> None:
    """One element of the last image, by an eighth of 1."""
    y[-1, -1, 0, 0] += 0.125


def calls(plan: Plan) -> list[Call]:
    return plan.graph.calls
