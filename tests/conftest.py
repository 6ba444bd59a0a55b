"""Devices for the tests.

A test that asks for the `device` fixture runs once for each device of `--device` (default: cpu, and cuda where there is
a GPU); where that is given, only such tests run. The fixture's value goes into `.to(device)`. "emulator" runs the CUDA
kernels' sources on the CPU (tests/emulator): its tensors are CPU tensors whose ops are routed to the emulated kernels.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch, in whose library of threads it counts: threads that wait must not spin. Tests are of small operations,
# between which, on a machine with other work, most of the time would go into waiting for one another.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402 - see above

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # last: `tests` is found here, hgfast where it is installed

from tests import ahead  # noqa: E402 - see above

DEVICES = ("cpu", "cuda", "emulator")
DEFAULT_MPII_ROOT = ROOT.parent / "shared" / "data" / "mpii"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default=None, help=f"comma-separated list of {', '.join(DEVICES)}")
    parser.addoption("--gpu", choices=["only", "without"], help="only tests with the fixture gpu, or those without")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "verify: frozen networks try their kernels first on the devices of `gpu`")


def pytest_collection_finish(session: pytest.Session) -> None:
    """A collection that goes through all that torch, dynamo and the tests are made of costs a fifth of a second.

    They stay, and are not looked at again; what tests leave is, every million objects instead of every 70,000.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 20)
    ahead.begin(session.config, session.items)


def chosen_devices(config: pytest.Config) -> list[str]:
    wish = config.getoption("--device")
    if wish is None:
        return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    devices = wish.split(",")
    unknown = [device for device in devices if device not in DEVICES]
    if unknown:
        raise pytest.UsageError(f"--device must be made of {', '.join(DEVICES)}; got {', '.join(unknown)}")
    return devices


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", chosen_devices(metafunc.config), indirect=True)


@pytest.hookimpl(trylast=True)  # behind pytest-randomly
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --device only the tests that take a device: the others are the same on all of them.

    benchmarks/device chooses by itself (--device-only): some take one by another name.
    """
    if config.getoption("--device") is not None and not config.getoption("device_only", False):
        _keep(config, items, "device", True)
    if config.getoption("--gpu") is not None:
        _keep(config, items, "gpu", config.getoption("--gpu") == "only")
    ahead.order(items)


def _keep(config: pytest.Config, items: list[pytest.Item], fixture: str, wanted: bool) -> None:
    """Only the tests that use a fixture, or those that do not."""
    others = [item for item in items if (fixture in getattr(item, "fixturenames", ())) != wanted]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "emulator":
        from tests.emulator.device import emulated_cuda

        with emulated_cuda():
            yield "cpu"
    else:
        yield request.param


@pytest.fixture
def machine(device: str) -> str:
    """The device, in tests of CUDA kernels alone: skipped where tensors there have none."""
    from hgfast import _native

    if not _native.on_cuda(torch.empty(0, device=device)):
        pytest.skip("CUDA kernels: run with --device emulator, or cuda")
    return device


@pytest.fixture(params=["emulator", "cuda"] if torch.cuda.is_available() else ["emulator"])
def probed(request: pytest.FixtureRequest) -> Any:
    """The kernels of tests/emulator/probes on the emulator, and on the GPU where there is one."""
    from tests.emulator.build import NoToolkit, toolkit_include
    from tests.emulator.probes import probes

    try:
        toolkit_include()
    except NoToolkit as error:
        pytest.skip(str(error))
    return probes(request.param)


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The machine (tests/fake_cuda) with two GPUs that are not there; no memory may be freed too early on it.

    Frozen networks try their kernels there only in tests that are marked `verify`.

    Where there is a real one, its own tests tell more, and these are skipped.
    """
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from tests.fake_cuda.install import fake_cuda

    with fake_cuda(verify=request.node.get_closest_marker("verify") is not None) as machine:
        yield machine


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An emulated card on which frozen networks try their kernels; nothing is known of it. The folder of its table."""
    from hgfast import _kernel_table
    from tests.emulator.build import NoToolkit
    from tests.emulator.device import emulated_cuda, load

    try:
        load("fast")
    except NoToolkit as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_kernel_table, "_tables", {})
    with emulated_cuda("fast", verify=True):
        yield tmp_path / "hgfast"


@pytest.fixture
def mpii_root() -> Path:
    """Folder with the five real MPII pictures; the test is skipped where they are not."""
    root = Path(os.environ.get("HGFAST_MPII_ROOT", DEFAULT_MPII_ROOT))
    if not (root / "test_mpii.json").exists():
        pytest.skip(f"no MPII pictures in {root} (set HGFAST_MPII_ROOT)")
    return root
