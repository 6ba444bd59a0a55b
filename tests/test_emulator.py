"""The emulator finds each mistake that it promises to find, in kernels made for it, and none in their right forms."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch

from tests.ahead import Ahead
from tests.emulator.build import NoToolkit, make, toolkit_include
from tests.emulator.probes import EmulatorError, Probes, probes, read, update, write

AHEAD = Ahead(make, first=True)

# probe: what it writes, and for each mistake (1, 2, ...) what the check build says of it
RULES = {
    "global_write": (torch.float32, [r"broken\.cu:\d+ is out of bounds: .*past the end of 'argument 0"]),
    "misaligned": (torch.float32, ["misaligned access"]),
    "unwritten_output": (torch.float32, ["which nobody wrote"]),
    "shared_bounds": (torch.float32, ["outside every shared array: shared array 'tile' of 128 bytes, byte 128"]),
    "dynamic_bounds": (torch.float32, ["outside every shared array: dynamic shared memory of 128 bytes, byte 128"]),
    "unwritten_shared": (torch.float32, ["read of uninitialised shared array 'tile' of 128 bytes, byte 124"]),
    "block_race": (torch.float32, ["uninitialised shared array|write-read race on shared array 'tile'"]),
    "warp_race": (torch.float32, ["uninitialised shared array|write-read race on shared array 'tile'"]),
    "overwrite_race": (torch.float32, ["read-write race|write-read race"]),
    "shared_atomic": (torch.int32, ["race on shared array 'count'"]),
    "divergent_barrier": (torch.float32, [r"divergent __syncthreads: this thread is at broken\.cu:\d+, thread \("]),
    "named_barrier": (torch.float32, [r"deadlock in block \(0,0,0\).*\[32 threads: bar.sync at broken\.cu:\d+\]"]),
    "shuffle_mask": (torch.float32, [r"lane \d+ reads lane \d+, which does not take part"]),
    "early_exit": (torch.float32, [r"ends while lane \d+ waits for it in __shfl_sync|lanes that have exited"]),
    "partial_warp_mma": (torch.float32, [r"needs all 32 lanes|ends while lane \d+ waits for it in mma"]),
    "stack": (torch.float32, ["stack overflow"]),
    "local_index": (torch.float32, ["array index out of bounds"]),
    "overflow": (torch.int32, ["signed overflow"]),
    "blocks_overlap": (torch.float32, [r"write-write race .* by block \d"]),
    "histogram": (torch.int32, ["write-read race on byte"]),
    "flag_deadlock": (torch.int32, ["deadlock in block .*ld.acquire"]),
    "null_pointer": (torch.float32, ["null pointer|host address"]),
    "block_size": (torch.float32, ["block of 1056 x 1 x 1 threads"]),
    "shared_size": (torch.float32, ["bytes of dynamic shared memory"]),
    "mbarrier": (
        torch.float32,
        ["never initialised", "no barrier since|never initialised", "more than its 32", "mid-phase", "deadlock"],
    ),
    "wgmma_rules": (
        torch.float32,
        ["without a fence.proxy.async", "without a wgmma.fence", "used at .* before the wait", "never waited for",
         "first row of a 128-byte swizzle", "different wgmma or descriptors", "operand B is outside"],
    ),
}  # fmt: skip
COPY_RULES = {  # those that read a first argument
    "global_read": (torch.float32, ["out of bounds: 4 bytes before 'argument 0"]),
    "input_write": (torch.float32, ["write to 'argument 0 of input_write' at .*, which is an input"]),
    "cp_async_early_read": (torch.int32, ["while an asynchronous copy to it is in flight"]),
    "cp_async_no_wait": (torch.int32, ["cp.async copies that it never waited for"]),
    "cp_async_race": (torch.int32, ["write-read race|uninitialised|in flight"]),
    "cp_async_alignment": (torch.int32, ["misaligned for 16 bytes"]),
    "cp_async_bounds": (torch.int32, ["cp.async at .*: out of bounds: 1 bytes past the end"]),
    "tma": (
        torch.int32,
        [
            "race|uninitialised",
            "mid-phase|more than it expects",
            "is not 1024-byte aligned",
            "race",
            "race",
        ],
    ),
    "tensor_map": (
        torch.int32,
        [
            "stride 120 of dimension 1",
            "box size 512 of dimension 1",
            "tensor map: out of bounds",
            "not the swizzle's 64",
        ],
    ),
}
SIZES = {"misaligned": 8, "blocks_overlap": 64, "histogram": 4, "flag_deadlock": 1, "block_race": 64, "tma": 64,
         "overwrite_race": 64, "shared_atomic": 64, "divergent_barrier": 64, "named_barrier": 64, "wgmma_rules": 128,
         "tensor_map": 64, "cp_async_race": 256}  # fmt: skip
INPUT_SIZES = {"tma": 2048, "tensor_map": 2048}
STORE_RULES = [
    "without a fence.proxy.async",
    "write-read race|uninitialised",
    "read-write race",
    "bulk stores may still",
]
SCHEDULES = [("forward", "lazy", 1), ("reverse", "eager", 1), ("shuffled", "mixed", 5)]


@pytest.fixture(scope="module", autouse=True)
def toolkit() -> None:
    try:
        toolkit_include()
    except NoToolkit as error:
        pytest.skip(str(error))


@pytest.fixture(params=SCHEDULES, ids=lambda s: "-".join(map(str, s)))
def checker(request: pytest.FixtureRequest) -> Iterator[Probes]:
    found = probes("emulator", "check")
    assert found.emulated is not None
    found.emulated.schedule(*request.param)
    yield found


def arguments(name: str, dtype: torch.dtype) -> list:
    count = SIZES.get(name, 128 if name.startswith("cp_async") else 32)
    out = torch.zeros(count, dtype=dtype)
    target = update(out) if name in ("histogram", "flag_deadlock") else write(out)
    if name in COPY_RULES:
        return [read(torch.zeros(INPUT_SIZES.get(name, count), dtype=dtype)), target]
    return [target]


CASES = [
    (name, dtype, bad, message)
    for name, (dtype, messages) in (RULES | COPY_RULES).items()
    for bad, message in enumerate(messages, 1)
]


@pytest.mark.parametrize(
    ("name", "dtype", "bad", "message"), CASES, ids=lambda v: str(v) if isinstance(v, int) else None
)
def test_mistake_is_found(checker: Probes, name: str, dtype: torch.dtype, bad: int, message: str) -> None:
    with pytest.raises(EmulatorError) as caught:
        checker.run(name, *arguments(name, dtype), bad)
    assert re.search(message, str(caught.value), re.S), str(caught.value)


@pytest.mark.parametrize("name", [*RULES, *COPY_RULES])
def test_right_form_passes(checker: Probes, name: str) -> None:
    dtype = (RULES | COPY_RULES)[name][0]
    checker.run(name, *arguments(name, dtype), 0)


@pytest.mark.parametrize("bad", range(5))
def test_bulk_store(checker: Probes, bad: int) -> None:
    out = torch.zeros(64, 64, dtype=torch.bfloat16)
    if not bad:
        checker.run("bulk_store", write(out), 0)
        assert sorted(out.view(torch.int32).flatten().tolist()) == list(range(2048))
        return
    with pytest.raises(EmulatorError, match=STORE_RULES[bad - 1]):
        checker.run("bulk_store", write(out), bad)


def test_blocks_ordered_by_fence_and_ticket(checker: Probes) -> None:
    parts, ticket, out = torch.zeros(5), torch.zeros(1, dtype=torch.int32), torch.zeros(1)
    checker.run("last_block", write(parts), update(ticket), write(out), 0)
    assert out.item() == 10
    with pytest.raises(EmulatorError, match="write-read race on byte"):
        checker.run("last_block", write(parts), update(torch.zeros(1, dtype=torch.int32)), write(out), 1)


def test_message_names_kernel_block_thread_and_line(checker: Probes) -> None:
    with pytest.raises(EmulatorError) as caught:
        checker.run("global_write", write(torch.zeros(32)), 1)
    assert re.match(
        r"emulator: kernel hgfast::cuda::\(anonymous namespace\)::global_write_kernel: block \(0,0,0\) "
        r"thread \(31,0,0\) \[warp 0 lane 31\]: write of 4 bytes at broken.cu:\d+ is out of bounds: "
        r"1 bytes past the end of 'argument 0 of global_write' \(128 bytes\)$",
        str(caught.value),
    ), str(caught.value)


FAST_RULES = ["global_write", "input_write", "null_pointer", "shared_bounds", "dynamic_bounds", "stack",
              "divergent_barrier", "named_barrier", "shuffle_mask", "early_exit", "partial_warp_mma", "flag_deadlock",
              "cp_async_no_wait", "cp_async_alignment", "cp_async_bounds", "mbarrier", "tensor_map"]  # fmt: skip


@pytest.mark.parametrize("name", FAST_RULES)
def test_found_by_the_fast_build_too(name: str) -> None:
    """Guard pages, canaries and the scheduler see these without instrumentation."""
    fast = probes("emulator", "fast")
    with pytest.raises(EmulatorError):
        fast.run(name, *arguments(name, (RULES | COPY_RULES)[name][0]), 1)


@pytest.mark.parametrize("name", ["unwritten_shared", "cp_async_early_read"])
def test_fast_build_gives_nan_for_what_nobody_wrote(name: str) -> None:
    args = arguments(name, torch.float32)
    probes("emulator", "fast").run(name, *args, 1)
    assert args[-1].tensor.isnan().any()


def test_schedules_change_the_order_of_threads() -> None:
    fast = probes("emulator", "fast")
    assert fast.emulated is not None
    seen = set()
    for schedule in [("forward", "lazy", 1), ("reverse", "lazy", 1), *(("shuffled", "lazy", s) for s in range(1, 4))]:
        fast.emulated.schedule(*schedule)
        order = torch.zeros(96, dtype=torch.int32)
        fast.run("tickets", update(torch.zeros(1, dtype=torch.int32)), write(order))
        assert sorted(order.tolist()) == list(range(96))
        seen.add(tuple(order.tolist()))
    assert len(seen) == 5


def test_counts_of_what_kernels_did() -> None:
    fast = probes("emulator", "fast")
    assert fast.emulated is not None
    fast.emulated.take_stats()
    fast.run("partial_warp_mma", write(torch.zeros(32)), 0)
    fast.run("ldmatrix_x4", read(torch.zeros(256, dtype=torch.int16)), write(torch.zeros(128, dtype=torch.int32)))
    stats = fast.emulated.take_stats()
    assert stats["launches"] == stats["blocks"] == 2 and stats["mma"] == stats["ldmatrix"] == 1
    assert stats["ldmatrix_conflicts"] == stats["wgmma"] == 0
    assert not any(fast.emulated.take_stats().values())
