"""torch.compile(backend="hgfast"): what is left to others, failures, options, and how the backend is found."""

# ruff: noqa: F811 - arguments with the names of fixtures that are imported

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomllib
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import hgfast
from hgfast.dynamo import backend, lowered, other
from hgfast.frozen.assemble import assemble
from tests.recipe import apply_recipe
from tests.test_dynamo import assert_alike, fresh, left, small  # noqa: F401 - fixtures among them
from tests.tolerances import relative_error

ROOT = Path(__file__).parents[1]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.name == "hgfast" and record.levelno >= logging.WARNING]
    return [record.getMessage() for record in records]


def writes_into_its_input(m: Any, x: Tensor) -> Tensor:
    x.add_(1)
    return m.conv(x)


def gives_a_view(m: Any, x: Tensor) -> Any:
    return m.conv(x), x[:, :1]


def gives_views_of_one(m: Any, x: Tensor) -> Any:
    y = m.conv(x)
    return y, y.flatten(1)


def drops_out(m: Any, x: Tensor) -> Tensor:
    return F.dropout(m.conv(x), 0.5, True)


def has_none(m: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2) + 1


def writes_statistics(m: Any, x: Tensor) -> Tensor:
    return F.batch_norm(m.conv(x), m.bn.running_mean, m.bn.running_var, training=True)


FORMS = [writes_into_its_input, gives_a_view, gives_views_of_one, drops_out, has_none, writes_statistics]


@pytest.mark.parametrize("forward", FORMS)
def test_what_is_left_to_others(forward: Callable[..., Any], left: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    model, twin, images = small(), small(), torch.randn(2, 3, 8, 8)
    taken = images.clone()
    with torch.no_grad():
        torch.manual_seed(1)
        got = torch.compile(lambda x: forward(model, x), backend=backend)(taken)
        torch.manual_seed(1)
        expected = forward(twin, images)
    for a, b in zip(tree_flatten(got)[0], tree_flatten(expected)[0], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(taken, images) and torch.equal(model.bn.running_mean, twin.bn.running_mean)
    assert len(left) == 1 and not warnings(caplog)


def broken(*given: Any) -> Any:
    raise KeyError("a part\nof it")


def wrong(*given: Any) -> Any:
    graph = assemble(*given)
    graph.calls[0].bias += 1  # type: ignore[union-attr]
    return graph


@pytest.mark.parametrize(
    ("instead", "message"), [(broken, "is not lowered: KeyError: 'a part"), (wrong, "differs from eager's by")]
)
def test_failures_are_told_and_eager_runs(
    instead: Any, message: str, left: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lowered, "assemble", instead)
    model, images = small(), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert_alike(torch.compile(model, backend=backend), model, images)
    (line,) = warnings(caplog)
    assert message in line and "\n" not in line and len(left) == 1


def test_results_may_differ_as_much_as_a_frozen_network_may(
    monkeypatch: pytest.MonkeyPatch, left: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Which is more where float32 is computed in tf32."""
    monkeypatch.setattr(lowered, "assemble", wrong)
    monkeypatch.setattr(lowered, "allowed_error", lambda frozen: 9.0 if frozen.dtype == torch.float32 else 0.0)
    with torch.no_grad():
        torch.compile(small(), backend=backend)(torch.randn(1, 3, 8, 8))
    assert not left and not warnings(caplog)


def test_a_failure_at_a_later_size(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    model = small()
    compiled = torch.compile(model, backend=backend, dynamic=True)
    with torch.no_grad():
        assert_alike(compiled, model, torch.randn(2, 3, 16, 24))
        monkeypatch.setattr(lowered, "assemble", broken)
        for _ in range(2):
            assert_alike(compiled, model, torch.randn(2, 3, 32, 16))
    (line,) = warnings(caplog)
    assert line.startswith("a graph of torch.compile's runs by eager at one size: KeyError")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"check": 1}, "must be of check_weights alone, got 'check'"),
        ({"check_weights": 3}, "must be one of numbers, v"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with torch.no_grad(), pytest.raises(Exception, match=message):
        torch.compile(small(), backend=backend, options=options)(torch.randn(1, 3, 8, 8))


def test_without_a_compiler_eager_runs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from torch._inductor import config, cpp_builder

    other.inductor_compiles.cache_clear()
    cpp_builder.cpp_compiler_search.cache_clear()
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    model, images = small().train(), torch.randn(2, 3, 8, 8)
    try:
        torch.compile(model, backend=backend)(images)["sum"].sum().backward()
    finally:
        other.inductor_compiles.cache_clear()
        cpp_builder.cpp_compiler_search.cache_clear()
    assert model.conv.weight.grad is not None
    assert "inductor does not compile for cpu, eager runs instead" in caplog.text


def test_inductor_trains() -> None:
    model, twin = apply_recipe(nn.Conv2d(2, 2, 1), 1), apply_recipe(nn.Conv2d(2, 2, 1), 1)
    images = torch.randn(2, 2, 4, 4)
    torch.compile(model, backend=backend)(images).square().sum().backward()
    twin(images).square().sum().backward()
    assert relative_error(model.weight.grad, twin.weight.grad) < 1e-6


def test_it_is_found_by_its_name(tmp_path: Path) -> None:
    """By what an installed hgfast says of itself."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "hgfast_entry-0.dist-info"
    info.mkdir()
    lines = [
        line for group, names in groups.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hgfast-entry\nVersion: 0\n")
    code = (
        "import sys, torch\nmodel, x = torch.nn.Conv2d(3, 4, 3, padding=1), torch.ones(1, 3, 8, 8)\n"
        "with torch.no_grad():\n    y = torch.compile(model, backend='hgfast', fullgraph=True)(x)\n"
        "assert (y - model(x)).abs().max() < 1e-5\n"
        "assert 'hgfast.dynamo.run' in sys.modules and 'torch._inductor.compile_fx' not in sys.modules\n"
    )
    path = {"PYTHONPATH": f"{tmp_path}:{Path(hgfast.__file__).parents[1]}"}  # with the kernels, wherever it is
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **path}, cwd=tmp_path)
