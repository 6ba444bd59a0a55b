"""CUTLASS's kernels on the interpreter, against float64: `python -m tests.ptx.cutlass [text in the kernels' names]`.

Its headers come from PyPI: `pip install nvidia-cutlass`. Each kernel runs with asynchronous work at once and in order,
and late and shuffled. Compiling them takes about ten minutes the first time.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.emulator.build import BuildError
from tests.emulator.memory import READ, READ_WRITE, Address, Device
from tests.ptx.build import OUT as PTX_OUT
from tests.ptx.build import build as build_ptx
from tests.ptx.build import gencode, nvcc

HERE = Path(__file__).parent
OUT = PTX_OUT / "cutlass"
FLAGS = "-std=c++17 -O3 -DNDEBUG --expt-relaxed-constexpr -Xcompiler=-fPIC -Xcompiler=-fvisibility=hidden --no-compress"
WORKSPACE = 1 << 20
SCHEDULES = ({"order": "forward", "asynchronous": "eager"}, {"order": "shuffled", "asynchronous": "lazy", "seed": 3})
# module: source, architecture, -DPART
MODULES = {
    "gemm_sm80": ("gemm_sm80.cu", "80", 0),
    "layouts_sm90": ("layouts_sm90.cu", "90a", 0),
    "conv_sm90": ("conv_sm90.cu", "90a", 0),
} | {f"gemm_sm90_{part}": ("gemm_sm90.cu", "90a", part) for part in range(7)}
HALF, BFLOAT16, FLOAT = torch.float16, torch.bfloat16, torch.float32
# kernel: module, type of A and B, type of C and D, whether A and B are column-major, (m, n, k)
GEMMS = {
    "half_tn": ("gemm_sm80", HALF, HALF, False, True, (136, 72, 96)),
    "bfloat16_nn": ("gemm_sm80", BFLOAT16, FLOAT, False, False, (136, 72, 96)),
    "tf32_tn": ("gemm_sm80", FLOAT, FLOAT, False, True, (136, 72, 96)),
    "cooperative_tn": ("gemm_sm90_0", BFLOAT16, BFLOAT16, False, True, (136, 136, 200)),
    "pingpong_tn": ("gemm_sm90_1", HALF, HALF, False, True, (136, 136, 200)),
    "cooperative_nt": ("gemm_sm90_2", HALF, HALF, True, False, (136, 136, 200)),
    "swizzle_64": ("gemm_sm90_3", BFLOAT16, BFLOAT16, False, True, (136, 136, 200)),
    "cluster_2x1": ("gemm_sm90_4", BFLOAT16, BFLOAT16, False, True, (264, 136, 200)),
    "swizzle_32": ("gemm_sm90_5", BFLOAT16, BFLOAT16, False, True, (136, 136, 200)),
    "tf32_sm90_tn": ("gemm_sm90_6", FLOAT, FLOAT, False, True, (136, 136, 100)),
}
LAYOUTS = [f"{major}_{swizzle}" for major in ("k", "mn") for swizzle in ("none", "32", "64", "128")]
CONVOLUTIONS = {  # n, height, width, channels, output channels, kernel, stride
    "3x3": (2, 9, 11, 72, 136, 3, 1),
    "3x3 stride 2": (2, 9, 11, 64, 64, 3, 2),
    "1x1": (2, 9, 11, 64, 64, 1, 1),
}


def headers() -> Path:
    """Folder of CUTLASS's headers.

    Raises:
        BuildError: they are not installed.
    """
    found = importlib.util.find_spec("cutlass_library")
    if found is None or found.origin is None:
        raise BuildError("CUTLASS's headers are not installed: pip install nvidia-cutlass")
    return Path(found.origin).parent / "source"


def build(module: str) -> Path:
    """Compile a module, where its source is newer, and link it with the interpreter.

    Raises:
        NoToolkit: there is no nvcc.
        BuildError: there are no headers, or they do not compile.
    """
    build_ptx("interpreter.so")
    OUT.mkdir(parents=True, exist_ok=True)
    file, arch, part = MODULES[module]
    source, target, library = HERE / file, OUT / f"{module}.o", OUT / f"{module}.so"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        include = headers()
        command = f"{nvcc()[0]} {FLAGS} {gencode((arch,))} -I{include}/include -I{include}/tools/util/include"
        _run(f"{command} -DPART={part} -c {source} -o {target}".split())
    interpreter = sorted((PTX_OUT / "interpreter").glob("*.o"))
    _run([os.environ.get("CXX", "c++"), "-shared", "-Wl,-Bsymbolic", target, *interpreter, "-o", library])
    return library


def _run(command: Sequence[str | Path]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(result.stderr[-4000:])


class Kernels:
    """The kernels of one module."""

    def __init__(self, module: str) -> None:
        """module: of MODULES."""
        path = build(module)
        self.library, self.device = ctypes.CDLL(str(path)), Device(path)

    def run(
        self, name: str, inputs: list[Tensor], out: Tensor, sizes: tuple[int, ...] = (), workspace: bool = True
    ) -> None:
        """Launch a kernel: pointers of the inputs, the output and a workspace, then sizes.

        Raises:
            RuntimeError: CUTLASS or the interpreter refuse it.
        """
        more = [torch.zeros(WORKSPACE, dtype=torch.uint8)] if workspace else []
        addresses = [Address(t, READ) for t in inputs] + [Address(t, READ_WRITE) for t in (out, *more)]

        def call(*pointers: int) -> None:
            status = getattr(self.library, name)(*(ctypes.c_void_p(p) for p in pointers), *sizes)
            if status:
                raise RuntimeError(f"status {status} of {name}: {self.message()}")

        self.device.call(call, addresses, name)

    def message(self) -> str:
        """What the interpreter found wrong in the latest launch."""
        self.device.control.hgfast_ptx_message.restype = ctypes.c_char_p
        return self.device.control.hgfast_ptx_message().decode()


def tf32(x: Tensor) -> Tensor:
    """float32 rounded to tf32, which the kernels take as it is."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) if x.dtype == FLOAT else x


def try_gemm(name: str) -> tuple[Tensor, Tensor]:
    """What a GEMM gives, and float64."""
    module, inner, outer, a_columns, b_columns, (m, n, k) = GEMMS[name]
    a, b = (tf32(torch.randn(shape).to(inner)) for shape in ((m, k), (k, n)))
    c, d = tf32(torch.randn(m, n).to(outer)), torch.zeros(m, n, dtype=outer)  # sm_90's kernel takes C, too, as tf32
    stored_a, stored_b = a.T.contiguous() if a_columns else a, b.T.contiguous() if b_columns else b
    kernels(module).run(name, [stored_a, stored_b, c], d, (m, n, k))
    return d, a.double() @ b.double() + c.double()


def try_layout(name: str) -> tuple[Tensor, Tensor]:
    """What one tile with a layout's descriptors gives, and float64."""
    a, b, d = torch.randn(64, 64).half(), torch.randn(64, 64).half(), torch.zeros(64, 64)
    kernels("layouts_sm90").run(name, [a, b], d, workspace=False)
    return d, a.double() @ b.double().T


def try_convolution(name: str) -> tuple[Tensor, Tensor]:
    """What a convolution gives, and float64."""
    n, h, w, c, k, r, stride = CONVOLUTIONS[name]
    p, q = ((side + 2 * (r // 2) - r) // stride + 1 for side in (h, w))
    x, residual = torch.randn(n, h, w, c).bfloat16(), torch.randn(n, p, q, k).bfloat16()
    weight, bias = (torch.randn(k, r, r, c) / (r * r * c) ** 0.5).bfloat16(), torch.randn(k)
    y = torch.zeros(n, p, q, k, dtype=BFLOAT16)
    kernels("conv_sm90").run("conv_bias_residual_relu", [x, weight, bias, residual], y, CONVOLUTIONS[name])
    exact = F.conv2d(
        x.double().permute(0, 3, 1, 2), weight.double().permute(0, 3, 1, 2), bias.double(), stride, padding=r // 2
    )
    return y, (exact.permute(0, 2, 3, 1) + residual.double()).relu()


_kernels: dict[str, Kernels] = {}


def kernels(module: str) -> Kernels:
    """The kernels of a module, loaded once."""
    if module not in _kernels:
        _kernels[module] = Kernels(module)
    return _kernels[module]


def check(title: str, run: Callable[[str], tuple[Tensor, Tensor]], name: str, module: str) -> bool:
    """Run a kernel under each schedule; whether it was right."""
    right = True
    for schedule in SCHEDULES:
        torch.manual_seed(0)
        kernels(module).device.schedule(**schedule)  # type: ignore[arg-type]
        try:
            found, exact = run(name)
        except RuntimeError as error:
            print(f"FAILED {title}, {schedule['asynchronous']}: {error}", flush=True)
            return False
        error = float(((found.double() - exact).abs() / (exact.abs() + 1)).max())
        limit = 2e-2 if found.dtype in (HALF, BFLOAT16) else 1e-3
        right &= error <= limit
        print(
            f"{'right ' if error <= limit else 'WRONG '} {title}, {schedule['asynchronous']}: {error:.1e}", flush=True
        )
    return right


def main() -> int:
    """Run all kernels whose names have the text; 1 if any is wrong."""
    wanted = " ".join(sys.argv[1:])
    checks = [(f"gemm {name}", try_gemm, name, GEMMS[name][0]) for name in GEMMS]
    checks += [(f"layout {name}", try_layout, name, "layouts_sm90") for name in LAYOUTS]
    checks += [(f"convolution {name}", try_convolution, name, "conv_sm90") for name in CONVOLUTIONS]
    results = [check(*one) for one in checks if wanted in one[0]]
    print(f"{sum(results)} of {len(results)} right")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
