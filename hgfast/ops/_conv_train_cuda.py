"""The forward convolution of training on CUDA: hgfast's kernel where it is faster on this card than cuDNN's, else ATen.

Sizes that are new are timed and tried as a frozen network's are (hgfast.frozen.tune, .verify), on random data, in a
small graph of two such convolutions, one with a residual; then the fastest kernel, with the packing of the weights
before it, is held against ATen (hgfast.ops._ways). Without times, as with HGFAST_TUNE=0, ATen has them all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgfast import _native
from hgfast._native import ABSENT
from hgfast.ops._candidates import has_candidates
from hgfast.ops._conv_native import ConvNeeds, ConvShape, NoKernel, pack
from hgfast.ops._ways import KERNEL, TORCH, fastest
from hgfast.reference.conv2d import conv2d_add

if TYPE_CHECKING:
    from hgfast._library import Library

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
WHY_NOT = "cuDNN's convolution is the faster one here, or nothing was timed (HGFAST_TUNE)"

_choices: dict[tuple[int, ConvShape, bool], ConvNeeds | None] = {}


def choice(x: Tensor, sizes: ConvShape, with_residual: bool) -> ConvNeeds | str:
    """hgfast's kernel for a convolution of x, on CUDA, or why ATen has it; sizes: as of float32."""
    if x.dtype not in DTYPES:
        return f"there are no CUDA kernels for {x.dtype}"
    exact = x.dtype == torch.float32 and not torch.backends.cudnn.allow_tf32
    return _known(x, replace(sizes, dtype=x.dtype, exact=exact), with_residual) or WHY_NOT


def _known(x: Tensor, sizes: ConvShape, with_residual: bool) -> ConvNeeds | None:
    from hgfast.frozen.make import is_capturing
    from hgfast.frozen.tune import tunes

    lib = _native.library("cuda")
    if lib is None or not has_candidates(lib) or not tunes(x.device):
        return None
    if x.is_cuda and x.get_device() != torch.cuda.current_device():
        return None  # a kernel would be launched on the current one
    key = x.get_device(), sizes, with_residual
    if key not in _choices:
        if is_capturing(x.device):
            return None  # nothing can be timed here: it is decided outside
        _choices[key] = _measured(lib, x, sizes, with_residual)
    return _choices[key]


def _measured(lib: Library, x: Tensor, sizes: ConvShape, with_residual: bool) -> ConvNeeds | None:
    from hgfast.frozen.graph import IMAGE, ConvCall, Graph
    from hgfast.frozen.make import make_plan
    from hgfast.frozen.torch_step import BY_TORCH
    from hgfast.frozen.weights import Weights

    weight, bias = torch.zeros(sizes.k, sizes.c, sizes.kernel, sizes.kernel), torch.zeros(sizes.k)
    calls = [
        ConvCall("without residual", 1, IMAGE, weight, bias, sizes.stride),
        ConvCall("with residual", 2, IMAGE, weight.clone(), bias.clone(), sizes.stride, residual=1),
    ]
    graph = Graph(1, 0, sizes.c, list(calls), [2], values=3)
    try:
        plan = make_plan(lib, graph, Weights(graph, x.dtype, x.device, sizes.exact), sizes.n, sizes.h, sizes.w)
    except NoKernel:
        return None
    output = calls[with_residual].output
    needs = plan.needs[output]
    if not isinstance(needs, ConvNeeds) or needs.algorithm in BY_TORCH or plan.choices.table is None:
        return None
    return needs if _is_faster(lib, needs, x, sizes, with_residual, plan.choices.names[output]) else None


@torch.no_grad()
def _is_faster(lib: Library, needs: ConvNeeds, x: Tensor, sizes: ConvShape, with_residual: bool, name: str) -> bool:
    """Whether a kernel beats ATen, by more than the noise, in whole calls for images like x."""
    from hgfast.frozen.verify import generator_on

    generator = generator_on(x.device)

    def drawn(*shape: int) -> Tensor:
        like = torch.empty(shape, dtype=x.dtype, device=x.device)
        like = like.contiguous(memory_format=torch.channels_last) if like.dim() == 4 else like
        return like.uniform_(-1, 1, generator=generator)

    images, weight = drawn(*x.shape), drawn(sizes.k, sizes.c, sizes.kernel, sizes.kernel)
    addend = drawn(sizes.n, sizes.k, *sizes.result) if with_residual else None
    ways = {
        TORCH: partial(conv2d_add, images, weight, None, sizes.stride, addend),
        KERNEL: partial(convolve, needs, sizes, images, weight, None, addend),
    }
    return fastest(lib, x.device, f"training, {name}", ways) == KERNEL


def convolve(
    needs: ConvNeeds, sizes: ConvShape, x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None
) -> Tensor:
    """Compute the convolution plus addend, (N, K, P, Q) in channels_last, as x and addend are; sizes: as of float32."""
    exact = x.dtype == torch.float32 and not torch.backends.cudnn.allow_tf32
    sizes = replace(sizes, dtype=x.dtype, exact=exact)
    lib, handle = _native.library("cuda"), _native.exec_handle(x)
    assert lib is not None
    packed = pack(lib, sizes, needs, weight.detach(), None, handle)
    bias = None if bias is None else bias.float().contiguous()
    shape = sizes.n, sizes.k, *sizes.result
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    workspace = torch.zeros(needs.workspace_bytes, dtype=torch.uint8, device=x.device)
    lib.conv(
        sizes.native(lib, needs.algorithm), _native.ptr(x), _native.ptr(packed), _native.ptr(bias), _native.ptr(addend),
        ABSENT, ABSENT, _native.out(y), ABSENT, ABSENT, ABSENT, False, _native.inout(workspace), needs.workspace_bytes,
        handle,
    )  # fmt: skip
    return y
