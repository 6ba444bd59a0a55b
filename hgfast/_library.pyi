"""What the compiled modules have, for type checkers: written by `python -m tests.native_stub` from csrc.

Kernels of one backend alone are in its module only. An `Address` is a tensor's, 0 where there is none; `Exec` is a CUDA
stream, or a number of threads.
"""

# fmt: off
from typing import Any, TypeAlias

from hgfast._native import Address

Exec: TypeAlias = int
Addresses: TypeAlias = list[int]
Place: TypeAlias = tuple[int, int] | None  # a sequence's operand: number of the tensor, bytes from its beginning
CodesTuple: TypeAlias = tuple[float, int]  # scale and zero

class ConvCodes:
    def __init__(self, x_zero: int, residual_coded: int, residual: CodesTuple, upsample_to_coded: int,
        upsample_to: CodesTuple, y: CodesTuple, y2: CodesTuple) -> None: ...

class ConvShape:
    def __init__(self, n: int, h: int, w: int, c: int, k: int, kernel: int, stride: int, out_h: int, out_w: int,
        extra_h: int, extra_w: int, extra_c: int, extra_stride: int, dtype: int, algorithm: int,
        exact: int) -> None: ...

class Device:
    major: int
    minor: int
    multiprocessors: int
    shared_bytes: int
    shared_bytes_all: int
    registers: int
    threads: int
    def __init__(self, major: int, minor: int, multiprocessors: int, shared_bytes: int, shared_bytes_all: int,
        registers: int, threads: int) -> None: ...

class Sequence:
    def __init__(self, tensors: int) -> None: ...
    def conv_train(self, shape: ConvShape, transposed: bool, weight_channels_last: bool, x: Place, weight: Place,
        bias: Place, addend: Place, y: Place) -> None: ...
    def conv_strided_grad(self, shape: ConvShape, weight_channels_last: bool, grad: Place, weight: Place, addend: Place,
        x_grad: Place) -> None: ...
    def conv_weight_grad(self, shape: ConvShape, weight_channels_last: bool, x: Place, grad: Place,
        weight_grad: Place) -> None: ...
    def batch_norm_stats(self, rows: int, c: int, x: Place, mean: Place, var: Place, workspace: Place) -> None: ...
    def batch_norm_apply(self, rows: int, c: int, eps: float, relu: bool, x: Place, residual: Place, mean: Place,
        var: Place, weight: Place, bias: Place, out: Place) -> None: ...
    def move_running(self, c: int, momentum: float, count: float, mean: Place, var: Place, running_mean: Place,
        running_var: Place) -> None: ...
    def batch_norm_backward_reduce(self, rows: int, c: int, eps: float, gated: bool, grad: Place, x: Place,
        residual: Place, mean: Place, var: Place, weight: Place, bias: Place, masked: Place, weight_grad: Place,
        bias_grad: Place, workspace: Place) -> None: ...
    def batch_norm_backward_apply(self, rows: int, c: int, eps: float, gated: bool, count: float,
        batch_statistics: bool, grad: Place, x: Place, residual: Place, mean: Place, var: Place, weight: Place,
        bias: Place, weight_grad: Place, bias_grad: Place, addend: Place, x_grad: Place) -> None: ...
    def upsample_add(self, n: int, h: int, w: int, c: int, skip: Place, low: Place, out: Place) -> None: ...
    def upsample_add_backward(self, n: int, h: int, w: int, c: int, grad: Place, grad_low: Place) -> None: ...
    def pointwise(self, kind: int, count: int, a: Place, b: Place, out: Place) -> None: ...
    def channel_sum(self, rows: int, c: int, x: Place, sum: Place, workspace: Place) -> None: ...
    def run(self, addresses: Addresses, exec: Exec) -> None: ...

_ConvCodes = ConvCodes
_ConvShape = ConvShape
_Device = Device
_Sequence = Sequence

class Library:
    __file__: str
    ConvCodes: type[ConvCodes]
    ConvShape: type[ConvShape]
    Device: type[Device]
    Sequence: type[Sequence]
    @staticmethod
    def backend_info() -> dict[str, Any]: ...
    @staticmethod
    def batch_norm_apply(x: Address, residual: Address, mean: Address, var: Address, weight: Address, bias: Address,
        out: Address, mask: Address, dtype: int, layout: int, n: int, hw: int, c: int, eps: float, relu: bool,
        exec: Exec) -> None: ...
    @staticmethod
    def batch_norm_backward_apply(grad: Address, grad2: Address, x: Address, residual: Address, mask: Address,
        mean: Address, var: Address, weight: Address, bias: Address, weight_grad: Address, bias_grad: Address,
        addend: Address, x_grad: Address, count: float, batch_statistics: bool, dtype: int, layout: int, n: int,
        hw: int, c: int, eps: float, gate: int, exec: Exec) -> None: ...
    @staticmethod
    def batch_norm_backward_reduce(grad: Address, grad2: Address, x: Address, residual: Address, mask: Address,
        mean: Address, var: Address, weight: Address, bias: Address, masked: Address, weight_grad: Address,
        bias_grad: Address, workspace: Address, tickets: Address, dtype: int, layout: int, n: int, hw: int, c: int,
        eps: float, gate: int, exec: Exec) -> None: ...
    @staticmethod
    def batch_norm_sizes(dtype: int, layout: int, n: int, hw: int, c: int) -> tuple[int, int, int]: ...
    @staticmethod
    def batch_norm_stats(x: Address, running_mean: Address, running_var: Address, batches: Address, mean: Address,
        var: Address, workspace: Address, tickets: Address, dtype: int, layout: int, n: int, hw: int, c: int,
        momentum: float, cumulative: bool, exec: Exec) -> None: ...
    @staticmethod
    def bottleneck(n: int, h: int, w: int, c: int, mid: int, out_h: int, out_w: int, dtype: int, algorithm: int,
        x: Address, scale1: Address, shift1: Address, weight1: Address, bias1: Address, weight2: Address,
        bias2: Address, weight3: Address, bias3: Address, upsample_to: Address, y: Address, scale2: Address,
        shift2: Address, y2: Address, workspace: Address, workspace_bytes: int, exec: Exec) -> None: ...
    @staticmethod
    def bottleneck_candidates(n: int, h: int, w: int, c: int, mid: int, out_h: int, out_w: int, dtype: int,
        device: _Device) -> tuple[list[tuple[Any, ...]], float]: ...
    @staticmethod
    def bottleneck_query(n: int, h: int, w: int, c: int, mid: int, out_h: int, out_w: int, dtype: int, algorithm: int,
        exec: Exec) -> tuple[int, bool, int, int, int, int, str]: ...
    @staticmethod
    def capture_id(stream: Exec) -> int: ...
    @staticmethod
    def conv(shape: _ConvShape, x: Address, weight: Address, bias: Address, residual: Address, upsample_to: Address,
        extra_x: Address, y: Address, scale2: Address, shift2: Address, y2: Address, relu: int, workspace: Address,
        workspace_bytes: int, exec: Exec) -> None: ...
    @staticmethod
    def conv_candidates(shape: _ConvShape, device: _Device) -> list[tuple[Any, ...]]: ...
    @staticmethod
    def conv_int8(shape: _ConvShape, codes: _ConvCodes, x: Address, extra_x: Address, weight: Address, scale: Address,
        bias: Address, residual: Address, upsample_to: Address, y: Address, y_codes: Address, scale2: Address,
        shift2: Address, y2: Address, y2_codes: Address, relu: int, workspace: Address, workspace_bytes: int,
        exec: Exec) -> None: ...
    @staticmethod
    def conv_int8_pack(shape: _ConvShape, weight: Address, extra: Address, packed: Address, exec: Exec) -> None: ...
    @staticmethod
    def conv_int8_query(shape: _ConvShape, exec: Exec) -> tuple[int, int, str, bool]: ...
    @staticmethod
    def conv_pack(shape: _ConvShape, weight: Address, extra: Address, packed: Address, exec: Exec) -> None: ...
    @staticmethod
    def conv_query(shape: _ConvShape, exec: Exec) -> tuple[int, int, int, int, str]: ...
    @staticmethod
    def conv_strided_grad(shape: _ConvShape, grad: Address, weight: Address, addend: Address, x_grad: Address,
        weight_channels_last: int, exec: Exec) -> None: ...
    @staticmethod
    def conv_train(shape: _ConvShape, x: Address, weight: Address, bias: Address, addend: Address, y: Address,
        transposed: int, weight_channels_last: int, exec: Exec) -> None: ...
    @staticmethod
    def conv_weight_grad(shape: _ConvShape, x: Address, grad: Address, weight_grad: Address, weight_channels_last: int,
        exec: Exec) -> None: ...
    @staticmethod
    def current_device() -> _Device: ...
    @staticmethod
    def decode_heatmaps(heatmaps: Address, dtype: int, layout: int, n: int, k: int, h: int, w: int, flipped: Address,
        flip_indices: tuple[int, ...], shift: int, affine: Address, affine_dtype: int, affine_stride: int,
        keypoints: Address, scores: Address, method: int, blur_kernel_size: int, exec: Exec) -> None: ...
    @staticmethod
    def dequantise(codes: Address, numbers: Address, scale: float, zero: int, dtype: int, count: int,
        exec: Exec) -> None: ...
    @staticmethod
    def flip_merge(heatmaps: Address, dtype: int, layout: int, n: int, k: int, h: int, w: int, flipped: Address,
        flip_indices: tuple[int, ...], shift: int, out: Address, exec: Exec) -> None: ...
    @staticmethod
    def gaussian_heatmaps(keypoints: Address, visible: Address, heatmaps: Address, weights: Address, dtype: int,
        kind: int, sigma: float, n: int, k: int, h: int, w: int, exec: Exec) -> None: ...
    @staticmethod
    def heatmap_peaks(heatmaps: Address, dtype: int, layout: int, n: int, k: int, h: int, w: int, keypoints: Address,
        scores: Address, count: int, threshold: float, method: int, exec: Exec) -> None: ...
    @staticmethod
    def keypoint_mse(pred: Address, target: Address, weight: Address, keypoints: Address, visible: Address,
        grad: Address, partial: Address, axes: Address, loss: Address, dtype: int, layout: int, kind: int, sigma: float,
        n: int, k: int, h: int, w: int, exec: Exec) -> None: ...
    @staticmethod
    def max_pool(x: Address, y: Address, scale2: Address, shift2: Address, y2: Address, dtype: int, n: int, h: int,
        w: int, c: int, exec: Exec) -> None: ...
    @staticmethod
    def max_pool_backward(x: Address, grad: Address, addend: Address, x_grad: Address, dtype: int, n: int, h: int,
        w: int, c: int, exec: Exec) -> None: ...
    @staticmethod
    def max_pool_codes(x: Address, y: Address, n: int, h: int, w: int, c: int, exec: Exec) -> None: ...
    @staticmethod
    def quantise(x: Address, codes: Address, scale: float, zero: int, dtype: int, count: int, exec: Exec) -> None: ...
    @staticmethod
    def soft_argmax(heatmaps: Address, dtype: int, layout: int, n: int, k: int, h: int, w: int, keypoints: Address,
        scores: Address, totals: Address, temperature: float, window: int, exec: Exec) -> None: ...
    @staticmethod
    def soft_argmax_backward(heatmaps: Address, dtype: int, n: int, k: int, h: int, w: int, keypoints: Address,
        scores: Address, totals: Address, grad_keypoints: Address, grad_scores: Address, grad: Address,
        temperature: float, window: int, exec: Exec) -> None: ...
    @staticmethod
    def switch_family(family: str, on: bool) -> None: ...
    @staticmethod
    def upsample_add(skip: Address, low: Address, out: Address, dtype: int, layout: int, n: int, h: int, w: int, c: int,
        exec: Exec) -> None: ...
    @staticmethod
    def upsample_add_backward(grad: Address, grad_low: Address, dtype: int, layout: int, n: int, h: int, w: int, c: int,
        exec: Exec) -> None: ...
    @staticmethod
    def wait_fault() -> str: ...
