"""What the CUDA driver is told of kernels' shared memory before their first launch, and when it is told again."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cuda_host import compile_host
from tests.emulator.build import NoToolkit

REFUSED = 1  # cudaErrorInvalidValue
KB = 1024


class Runtime:
    """The compiled header on a runtime that writes down its calls."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library: Any = library
        library.tell.restype = library.take_calls.restype = ctypes.c_char_p

    def tell(self, kernel: int = 0, threads: int = 128, nbytes: int = 50 * KB) -> list[str]:
        """What the runtime was asked for before a launch.

        Raises:
            RuntimeError: the launch is not to be.
        """
        if error := self.library.tell(kernel, threads, nbytes):
            raise RuntimeError(error.decode())
        return self.library.take_calls().decode().splitlines()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return compile_host(tmp_path_factory.mktemp("host"), "shared_memory.cpp")
    except NoToolkit as error:
        pytest.skip(str(error))


@pytest.fixture
def runtime(compiled: Path, tmp_path: Path) -> Runtime:
    """One that knows nothing yet: a library of another name has variables of its own."""
    return Runtime(ctypes.CDLL(str(shutil.copy(compiled, tmp_path))))


def test_once_for_each_kernel_and_card(runtime: Runtime) -> None:
    first = runtime.tell()
    assert [line.split(" of ")[0] for line in first] == ["attributes", "bytes", "share"]
    assert runtime.tell() == []
    assert runtime.tell(kernel=1) == [line.replace("kernel 0", "kernel 1") for line in first]
    runtime.library.set_card(1)
    assert [line.split(": ")[0] for line in runtime.tell()] == [
        "attributes of kernel 0 on card 1", "bytes of kernel 0 on card 1", "share of kernel 0 on card 1"
    ]  # fmt: skip
    runtime.library.set_card(0)
    assert runtime.tell() == runtime.tell(kernel=1) == []


@pytest.mark.parametrize(
    ("registers", "threads", "fixed", "nbytes", "share"),
    [
        (128, 128, 0, 50 * KB, 90),  # 4 blocks by their registers, and 4 of 51 KB of 228
        (128, 256, 0, 50 * KB, 45),  # 2 blocks by their registers
        (32, 1024, 0, 10 * KB, 10),  # 2 blocks by their threads: 22 of 228 KB
        (128, 128, 6 * KB, 50 * KB, 100),  # 4 of 57 KB, static memory with it
        (168, 384, 0, 200 * KB, 89),  # one
        (255, 512, 0, 227 * KB, 100),  # one that has all of it
    ],
)
def test_room_for_the_blocks_that_registers_and_threads_allow(
    runtime: Runtime, registers: int, threads: int, fixed: int, nbytes: int, share: int
) -> None:
    runtime.library.set_kernel(2, registers, fixed)
    assert runtime.tell(2, threads, nbytes)[-1] == f"share of kernel 2 on card 0: {share}"


def test_48_kilobytes_need_no_permission(runtime: Runtime) -> None:
    assert not [line for line in runtime.tell(nbytes=48 * KB) if line.startswith("bytes")]
    assert "bytes of kernel 0 on card 0: 49153" in runtime.tell(nbytes=48 * KB + 1)


def test_only_more_than_before_is_told(runtime: Runtime) -> None:
    runtime.library.set_kernel(0, 64, 0)
    shares = [runtime.tell(threads=512, nbytes=nbytes) for nbytes in (20 * KB, 60 * KB, 20 * KB, 60 * KB, 70 * KB)]
    assert shares[1:] == [
        ["bytes of kernel 0 on card 0: 61440", "share of kernel 0 on card 0: 54"],
        [],
        [],
        ["bytes of kernel 0 on card 0: 71680", "share of kernel 0 on card 0: 63"],
    ]


def test_a_share_that_is_refused_is_no_error_of_the_launch(runtime: Runtime) -> None:
    runtime.library.set_answer(0, 1)
    assert runtime.tell()[-1].startswith("share")
    assert runtime.library.take_last_error() == 0
    assert runtime.tell() == []  # nor asked for again


def test_bytes_that_are_refused_name_the_kernel_and_are_asked_for_again(runtime: Runtime) -> None:
    runtime.library.set_answer(REFUSED, 0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="attributes of the_kernel: refused"):
            runtime.tell()
    runtime.library.take_calls()
    runtime.library.set_answer(0, 0)
    assert [line.split(" of ")[0] for line in runtime.tell(nbytes=KB)] == ["attributes", "share"]
    runtime.library.set_answer(REFUSED, 0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shared memory of the_kernel: refused"):
            runtime.tell()
    assert runtime.library.take_last_error() == 0
