"""The PTX interpreter (tests/ptx) does what the PTX manual says and finds each mistake that it promises to find.

Kernels are written as PTX. `%r1` is the thread's index, `%rd1` the address of the output, `%rd2` that of the thread's
own word of it, `%rd3` the address of the input; a kernel ends by storing `%r2` there.
"""

from __future__ import annotations

import ctypes
import functools
import re

import pytest
import torch

from tests.ahead import Ahead
from tests.emulator.build import NoToolkit
from tests.emulator.memory import READ, WRITE, Address, Device
from tests.ptx.build import build

AHEAD = Ahead(lambda: build("interpreter.so"), first=True)
KERNEL = """
.version 8.0
.target sm_90a
.address_size 64
.extern .shared .align 128 .b8 dynamic[];
.visible .entry kernel(.param .u64 out, .param .u64 in)
{
.reg .pred %p<9>;
.reg .b16 %h<9>;
.reg .b32 %r<30>;
.reg .f32 %f<30>;
.reg .b64 %rd<30>;
.shared .align 8 .b64 barrier[2];
.shared .align 16 .b8 tile[512];
ld.param.u64 %rd1, [out];
ld.param.u64 %rd3, [in];
mov.u32 %r1, %tid.x;
mad.wide.u32 %rd2, %r1, 4, %rd1;
mov.u32 %r2, 0;
BODY
st.global.u32 [%rd2], %r2;
ret;
}
"""


@functools.cache
def interpreter() -> Device:
    device = Device(AHEAD.result())
    device.control.hgfast_ptx_run.restype = ctypes.c_char_p
    return device


def run(
    body: str, source: torch.Tensor | None = None, threads: int = 32, shared: int = 0, **schedule: str
) -> list[int]:
    """Run a kernel of one block; returns its output, one word a thread.

    Raises:
        RuntimeError: what the interpreter found.
    """
    try:
        device = interpreter()
    except NoToolkit as error:
        pytest.skip(str(error))
    device.schedule(**schedule)
    out = torch.empty(threads, dtype=torch.int32)
    source = torch.arange(threads, dtype=torch.int32) if source is None else source

    def call(out_address: int, in_address: int) -> None:
        shape = (ctypes.c_uint32 * 10)(1, 1, 1, threads, 1, 1, 1, 1, 1, shared)
        values = [ctypes.c_uint64(out_address), ctypes.c_uint64(in_address)]
        pointers = (ctypes.c_void_p * 2)(*(ctypes.addressof(value) for value in values))
        text = KERNEL.replace("BODY", body).encode()
        if error := device.control.hgfast_ptx_run(text, b"kernel", shape, pointers, ctypes.c_uint64(LIMIT)):
            raise RuntimeError(error.decode())

    device.call(call, [Address(out, WRITE), Address(source, READ)], "kernel")
    return out.tolist()


def bits(value: float) -> str:
    return f"0f{torch.tensor(value).view(torch.int32).item() & 0xFFFFFFFF:08X}"


LANES = range(32)
LIMIT = 1_000_000  # instructions of a warp
INIT = "mov.u32 %r9, barrier; mbarrier.init.shared.b64 [%r9], 1;"
WGMMA = """
mov.u64 %rd9, 0; mov.f32 %f1, 0f00000000; mov.f32 %f2, %f1; mov.f32 %f3, %f1; mov.f32 %f4, %f1;
setp.ne.u32 %p1, %r1, %r1;
wgmma.fence.sync.aligned;
wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1, %f2, %f3, %f4}, %rd9, %rd9, %p1, 1, 1, 0, 0;
wgmma.commit_group.sync.aligned;
"""
# body, what each thread stores
RIGHT = {
    "both sides of a branch": (
        "setp.lt.u32 %p1, %r1, 10; @%p1 bra LESS; mov.u32 %r2, 5; bra END; LESS: mov.u32 %r2, 7; "
        "END: add.s32 %r2, %r2, 1;",
        [8 if lane < 10 else 6 for lane in LANES],
    ),
    "loops of different lengths": (
        "mov.u32 %r3, %r1; LOOP: add.s32 %r2, %r2, %r3; sub.s32 %r3, %r3, 1; setp.ge.s32 %p1, %r3, 0; "
        "@%p1 bra LOOP;",
        [lane * (lane + 1) // 2 for lane in LANES],
    ),
    "lanes meet again for a vote": (
        "and.b32 %r3, %r1, 1; setp.eq.u32 %p1, %r3, 0; @%p1 bra EVEN; mov.u32 %r2, 1; "
        "EVEN: setp.eq.u32 %p2, %r2, 1; vote.sync.ballot.b32 %r2, %p2, 0xffffffff;",
        [torch.tensor(0xAAAAAAAA).int().item()] * 32,
    ),
    "a guard": ("setp.gt.u32 %p1, %r1, 15; @!%p1 mov.u32 %r2, 3;", [3] * 16 + [0] * 16),
    "a branch table": (
        "TABLE: .branchtargets A, B, C; rem.u32 %r3, %r1, 3; brx.idx %r3, TABLE;"
        "A: mov.u32 %r2, 10; bra D; B: mov.u32 %r2, 20; bra D; C: mov.u32 %r2, 30; D:",
        [10 * (lane % 3 + 1) for lane in LANES],
    ),
    "shfl.up within segments of 8": (
        "shfl.sync.up.b32 %r2|%p1, %r1, 1, 0x1800, 0xffffffff;",
        [lane - (lane % 8 > 0) for lane in LANES],
    ),
    "prmt of b:a": (
        "mov.u32 %r3, 0x33221100; mov.u32 %r4, 0x77665544; prmt.b32 %r2, %r3, %r4, 0x6420;",
        [0x66442200] * 32,
    ),
    "a signed field": ("mov.u32 %r3, 0xf0; bfe.s32 %r2, %r3, 4, 4;", [-1] * 32),
    "the upper half of a product": ("mov.u32 %r3, -2; mul.hi.s32 %r2, %r3, 7;", [-1] * 32),
    "tf32: ties away": (f"mov.f32 %f1, {bits(1 + 2**-11)}; cvt.rna.tf32.f32 %r2, %f1;", [0x3F802000] * 32),
    "tf32: ties to even": (f"mov.f32 %f1, {bits(1 + 2**-11)}; cvt.rn.tf32.f32 %r2, %f1;", [0x3F800000] * 32),
    "f16: ties to even": (
        f"mov.f32 %f1, {bits(1 + 3 * 2**-11)}; cvt.rn.f16.f32 %h1, %f1; cvt.u32.u16 %r2, %h1;",
        [0x3C02] * 32,
    ),
    "integers are cut": (f"mov.f32 %f1, {bits(-2.7)}; cvt.rzi.s32.f32 %r2, %f1;", [-2] * 32),
    "and clamped": (f"mov.f32 %f1, {bits(300.0)}; cvt.rzi.u8.f32 %r2, %f1;", [255] * 32),
    "max of a NaN is the number": (
        "mov.f32 %f1, 0f7FC00000; mov.f32 %f2, 0f3F800000; max.f32 %f3, %f1, %f2; mov.b32 %r2, %f3;",
        [0x3F800000] * 32,
    ),
    "min.NaN of a NaN is NaN": (
        "mov.f32 %f1, 0f7FC00000; mov.f32 %f2, 0f3F800000; min.NaN.f32 %f3, %f1, %f2; mov.b32 %r2, %f3;",
        [0x7FFFFFFF] * 32,
    ),
    "a wait that sees its copy": (
        "mul.lo.u32 %r3, %r1, 4; mov.u32 %r4, tile; add.u32 %r4, %r4, %r3; mad.wide.u32 %rd4, %r1, 4, %rd3;"
        "cp.async.ca.shared.global [%r4], [%rd4], 4; cp.async.commit_group; cp.async.wait_group 0; "
        "ld.shared.u32 %r2, [%r4];",
        list(LANES),
    ),
    "local memory is each thread's own": (
        ".local .align 4 .b8 stack[16]; mov.u64 %rd5, stack; cvta.local.u64 %rd6, %rd5; "
        "st.u32 [%rd6+8], %r1; ld.local.u32 %r2, [%rd5+8];",
        list(LANES),
    ),
    "an mbarrier's phase": (
        f"setp.ne.u32 %p1, %r1, 0; @%p1 bra WAIT; {INIT} mbarrier.arrive.shared.b64 %rd5, [%r9];"
        "WAIT: bar.warp.sync 0xffffffff; mov.u32 %r9, barrier;"
        "POLL: mbarrier.try_wait.parity.shared.b64 %p2, [%r9], 0; @!%p2 bra POLL; mov.u32 %r2, 4;",
        [4] * 32,
    ),
}  # fmt: skip
# body, what the interpreter says
WRONG = {
    "one byte past the end": (
        "add.s64 %rd4, %rd1, 125; ld.global.u8 %r3, [%rd4+3];",
        "read of 1 bytes is out of bounds: 0 bytes past the end of 'argument 0",
    ),
    "before the beginning": (
        "ld.global.u32 %r2, [%rd3+-4];",
        "4 bytes before 'argument 1 of kernel' .128 bytes.*lane 0|lane 0.*4 bytes before",
    ),
    "one lane": (
        "mad.wide.u32 %rd4, %r1, 8, %rd1; setp.eq.u32 %p1, %r1, 20; @%p1 ld.global.u32 %r2, [%rd4];",
        "thread .20,0,0. .warp 0 lane 20.*32 bytes past the end",
    ),
    "a write to an input": ("st.global.u32 [%rd3], %r1;", "write to 'argument 1 of kernel', which is only read"),
    "misaligned": ("ld.global.v2.u32 {%r2, %r3}, [%rd2];", "lane 1.*is not aligned to 8 bytes"),
    "a null pointer": ("mov.u64 %rd4, 0; ld.global.u32 %r2, [%rd4];", "0x0 is no memory"),
    "out of shared memory": (
        "mov.u32 %r3, tile; ld.shared.u32 %r2, [%r3+512];",
        "out of the block's .* bytes of shared memory",
    ),
    "shfl from a lane that is elsewhere": (
        "setp.lt.u32 %p1, %r1, 16; @%p1 shfl.sync.idx.b32 %r2|%p2, %r1, 20, 0x1f, 0xffff;",
        "reads lane 20, which does not take part",
    ),
    "lanes that wait for each other": (
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra A; bar.warp.sync 0xffffffff; bra B; "
        "A: bar.warp.sync 0xffffffff; B:",
        "wait for each other",
    ),
    "half a warp loads a matrix": (
        "mov.u32 %r3, tile; setp.lt.u32 %p1, %r1, 16; @!%p1 exit; "
        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r3];",
        "lane 16.*the lane does not take part in an instruction that needs it",
    ),
    "a lane that its mask names skips a vote": (
        "setp.lt.u32 %p1, %r1, 16; @%p1 vote.sync.ballot.b32 %r2, %p1, 0xffffffff;",
        "lane 16.*the lane does not take part",
    ),
    "no mbarrier": ("mov.u32 %r9, barrier; mbarrier.arrive.shared.b64 %rd5, [%r9];", "no initialised mbarrier"),
    "an mbarrier that nobody completes": (
        f"setp.ne.u32 %p1, %r1, 0; @%p1 exit; {INIT} "
        "POLL: mbarrier.try_wait.parity.shared.b64 %p2, [%r9], 0; @!%p2 bra POLL;",
        r"deadlock.*\n.*polls an mbarrier",
    ),
    "a read too early": (
        WGMMA + "mov.b32 %r2, %f1; wgmma.wait_group.sync.aligned 0;",
        "reads an accumulator of a wgmma that it has not waited for",
    ),
    "no wait at all": (WGMMA, "ends with a wgmma that it has not waited for"),
    "too many registers": (
        "setmaxnreg.inc.sync.aligned.u32 256; setmaxnreg.dec.sync.aligned.u32 24; "
        "setmaxnreg.inc.sync.aligned.u32 256; setmaxnreg.dec.sync.aligned.u32 200; "
        "setmaxnreg.dec.sync.aligned.u32 208;",
        "setmaxnreg.dec to more registers than the warp has, 200",
    ),
    "trap": ("trap;", "lane 0.*trap"),
    "an endless loop": ("LOOP: bra LOOP;", "no end"),
    "what is not modelled": ("dp4a.u32.u32 %r2, %r1, %r1, %r1;", "this instruction is not modelled: 'dp4a.u32.u32"),
}  # fmt: skip


@pytest.mark.parametrize("order", ["forward", "shuffled"])
@pytest.mark.parametrize("name", RIGHT)
def test_instruction(name: str, order: str) -> None:
    body, expected = RIGHT[name]
    assert run(body, order=order) == expected


@pytest.mark.parametrize("name", WRONG)
def test_mistake_is_found(name: str) -> None:
    body, message = WRONG[name]
    with pytest.raises(RuntimeError) as error:
        run(body, threads=128 if "wgmma" in body else 32)
    assert re.search(message, str(error.value), re.S), error.value


def test_warps_that_miss_a_barrier() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)deadlock.*warp 0.*at barrier 1"):
        run("setp.gt.u32 %p1, %r1, 31; @%p1 exit; bar.sync 1, 64;", threads=64)


def test_copies_are_late_or_at_once() -> None:
    body = (
        "mul.lo.u32 %r3, %r1, 4; mov.u32 %r4, tile; add.u32 %r4, %r4, %r3; mad.wide.u32 %rd4, %r1, 4, %rd3;"
        "cp.async.ca.shared.global [%r4], [%rd4], 4; cp.async.commit_group; ld.shared.u32 %r2, [%r4]; "
        "cp.async.wait_all;"
    )
    assert run(body, asynchronous="lazy") == [-1] * 32
    assert run(body, asynchronous="eager") == list(LANES)


def test_registers_go_where_they_are_free() -> None:
    """setmaxnreg.inc waits for what the other warpgroup gives back; without that it waits for ever."""
    first = "setp.lt.u32 %p1, %r1, 128; @%p1 bra A; setmaxnreg.inc.sync.aligned.u32 {}; bra B;"
    rest = "A: {} B:"
    give = "setmaxnreg.dec.sync.aligned.u32 24;"
    assert run(first.format(160) + rest.format(give), threads=512) == [0] * 512
    with pytest.raises(RuntimeError, match="deadlock"):
        run(first.format(160) + rest.format(""), threads=512)
