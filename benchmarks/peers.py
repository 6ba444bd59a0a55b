"""Whole-network peers on the CPU: how each runtime runs a PyTorch model, set up as its users would for speed.

Each maker takes an unfrozen model in evaluation mode and images (N, 3, H, W) and returns a call that gives the
heatmaps of the last stack as an array or tensor (N, K, h, w). Threads are torch's at the time of set-up. Imports are
lazy; what is not installed is not listed. Set-up waits for the first call, which also checks the result.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Call

Maker = Callable[[nn.Module, Tensor], Call]
ALLOWED_ERROR = 1e-3
BFLOAT16_ERROR = 3e-2


class LastStack(nn.Module):
    """A model whose output is the last stack's heatmaps only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()  # the ONNX exporter puts the model back into the mode of the outermost module

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[-1]


def inference(model: nn.Module, images: Tensor) -> Call:
    """A call without gradients."""

    def call() -> Tensor:
        with torch.inference_mode():
            return model(images)

    return call


def eager(model: nn.Module, images: Tensor) -> Call:
    """PyTorch as it comes, NCHW."""
    return inference(LastStack(model), images)


def eager_channels_last(model: nn.Module, images: Tensor) -> Call:
    """PyTorch, channels_last."""
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return inference(LastStack(model), images.contiguous(memory_format=torch.channels_last))


def compiled(model: nn.Module, images: Tensor) -> Call:
    """torch.compile with freezing, which folds BatchNorm and packs weights; channels_last, the faster layout."""
    import torch._inductor.config as config

    torch._dynamo.reset()
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    function = torch.compile(LastStack(model))
    images = images.contiguous(memory_format=torch.channels_last)

    def call() -> Tensor:
        with torch.inference_mode(), config.patch(freezing=True):
            return function(images)

    return call


def compiled_bfloat16(model: nn.Module, images: Tensor) -> Call:
    """torch.compile with freezing under autocast to bfloat16."""
    call = compiled(model, images)

    def cast() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return call().float()

    return cast


def onnx_bytes(model: nn.Module, images: Tensor) -> bytes:
    """The model as ONNX, constants folded."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"input_names": ["images"], "output_names": ["heatmaps"], "opset_version": 17}
        torch.onnx.export(LastStack(model), (images,), buffer, dynamo=False, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def onnxruntime(model: nn.Module, images: Tensor) -> Call:
    """ONNX Runtime, all optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(onnx_bytes(model, images), options, providers=["CPUExecutionProvider"])
    feed = {"images": images.numpy()}
    return lambda: session.run(None, feed)[0]


def openvino(model: nn.Module, images: Tensor) -> Call:
    """OpenVINO, latency hint, float32 arithmetic."""
    return _openvino(model, images, {"INFERENCE_PRECISION_HINT": "f32"})


def openvino_default(model: nn.Module, images: Tensor) -> Call:
    """OpenVINO, latency hint, in the precision that it chooses: bfloat16 where the processor multiplies in it."""
    return _openvino(model, images, {})


def _openvino(model: nn.Module, images: Tensor, more: dict[str, str]) -> Call:
    import openvino as ov

    core = ov.Core()
    read = core.read_model(onnx_bytes(model, images))
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        **more,
    }
    request = core.compile_model(read, "CPU", options).create_infer_request()
    feed = {"images": images.numpy()}
    return lambda: request.infer(feed)["heatmaps"]


def opencv(model: nn.Module, images: Tensor) -> Call:
    """OpenCV's dnn module (Winograd for 3x3)."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx_bytes(model, images))
        net = cv2.dnn.readNetFromONNX(str(path))
    blob, threads = images.numpy(), torch.get_num_threads()

    def call() -> Any:
        cv2.setNumThreads(threads)
        net.setInput(blob)
        return net.forward()

    return call


MAKERS: dict[str, tuple[Maker, tuple[str, ...]]] = {
    "eager NCHW": (eager, ()),
    "eager channels_last": (eager_channels_last, ()),
    "torch.compile, freezing": (compiled, ()),
    "ONNX Runtime": (onnxruntime, ("onnx", "onnxruntime")),
    "OpenVINO": (openvino, ("onnx", "openvino")),
    "OpenCV dnn": (opencv, ("onnx", "cv2")),
}
BFLOAT16_MAKERS: dict[str, tuple[Maker, tuple[str, ...]]] = {
    "OpenVINO, default": (openvino_default, ("onnx", "openvino")),
    "torch.compile, bf16 autocast": (compiled_bfloat16, ()),
}


def available_peers(makers: dict[str, tuple[Maker, tuple[str, ...]]] = MAKERS) -> list[str]:
    """Names of the peers whose packages are installed."""
    return [name for name, (_, needs) in makers.items() if all(map(importlib.util.find_spec, needs))]


class Lazy:
    """A peer's call, made and checked against the model at the first use."""

    def __init__(self, name: str, model: nn.Module, images: Tensor) -> None:
        """name: one of MAKERS or BFLOAT16_MAKERS."""
        self.name, self.model, self.images = name, model, images
        self.call: Call | None = None

    def __call__(self) -> Any:
        """Run the peer."""
        if self.call is None:
            self.call = {**MAKERS, **BFLOAT16_MAKERS}[self.name][0](self.model, self.images)
            allowed = BFLOAT16_ERROR if self.name in BFLOAT16_MAKERS else ALLOWED_ERROR
            check(self.name, self.call(), self.model, self.images, allowed)
        return self.call()


def check(name: str, result: Any, model: nn.Module, images: Tensor, allowed: float = ALLOWED_ERROR) -> None:
    """A peer that computes something else is no peer.

    Raises:
        RuntimeError: result is not the model's last heatmaps within the allowed relative error.
    """
    with torch.no_grad():
        expected = model(images)[-1]
    error = ((torch.as_tensor(result) - expected).norm() / expected.norm()).item()
    if not error <= allowed:
        raise RuntimeError(f"{name} differs from the model: relative error {error:.1e}")
