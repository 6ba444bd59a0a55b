"""The ops' way to a GPU: devices, streams and graphs, on fake devices. (tests/emulator runs their kernels.)"""

from __future__ import annotations

import atexit
import importlib.util
import sys
import types
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import hgfast
from hgfast import _build_info, _native, _switches, ops
from hgfast.cli import main
from hgfast.cli.info import describe
from hgfast.ops import _conv_train, _conv_train_cuda
from hgfast.ops._conv_native import ConvShape
from tests import test_cuda_runtime as on_gpu
from tests.card_times import time_of, use
from tests.fake_cuda import kernels, library
from tests.fake_cuda.machine import Fault, Machine
from tests.op_samples import SAMPLES
from tests.sample_checks import call_op, check_sample, moved, sample

MAPS = ["decode_heatmaps", "flip_merge", "gaussian_heatmaps", "heatmap_peaks", "keypoint_mse"]
MAPS += ["soft_argmax", "upsample_add", "upsample_add_backward"]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_an_op(gpu: Machine, name: str) -> None:
    """On another device than the current one, in a graph, on two streams."""
    found = check_sample("cuda:1", name, 0)
    assert found["status"] == "ok" and torch.cuda.current_device() == 0
    assert not [line for line in gpu.log if line.startswith("cuda:0")]
    if not name.startswith("conv2d"):  # which PyTorch computes
        on_gpu.test_captured_in_a_cuda_graph(name, 0)
        on_gpu.test_two_streams_do_not_disturb_each_other(name, 0)


def test_weights_that_change_between_calls(gpu: Machine) -> None:
    """They are packed at each call, where it runs: nothing is kept that another stream or a graph could have made."""
    x, weight = torch.ones(1, 8, 4, 4, device="cuda"), torch.ones(8, 8, 1, 1, device="cuda")
    ops.conv_bias_act(x, weight, None)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = ops.conv_bias_act(x, weight, None)
    for value in (2.0, 3.0):
        weight.data.fill_(value)
        graph.replay()
        assert found.unique().tolist() == [8 * value] == ops.conv_bias_act(x, weight, None).unique().tolist()


def test_convolutions_of_training_that_nobody_timed(gpu: Machine) -> None:
    x, weight = torch.ones(1, 8, 4, 4, device="cuda"), torch.ones(8, 8, 3, 3, device="cuda")
    assert ops.explain("conv2d", x, weight, None, 1) == f"reference: {_conv_train_cuda.WHY_NOT}"
    reason = "the gradients of convolutions have kernels on the CPU only"
    assert _conv_train.weight_grad_choice(x, x, ConvShape(1, 4, 4, 8, 8, 3, 1)) == reason


@pytest.mark.verify
def test_convolutions_of_training_by_kernels(gpu: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Timed and tried at the first call, on the stream where it is; inside a capture nothing is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    use(monkeypatch, lambda name: time_of(100.0 if "torch" in name or name == "conv2d_add" else 10.0))
    monkeypatch.setattr(_conv_train_cuda, "_choices", {})
    given = torch.randn(2, 8, 4, 4), torch.randn(8, 8, 3, 3), torch.randn(8)
    x, weight, bias = (tensor.to("cuda:1").requires_grad_() for tensor in given)
    with torch.cuda.device(1), torch.cuda.graph(torch.cuda.CUDAGraph()):
        ops.conv2d(x, weight, bias)
    assert not _conv_train_cuda._choices
    stream = torch.cuda.Stream(1)
    stream.wait_stream(torch.cuda.current_stream(1))
    with torch.cuda.stream(stream):
        for _ in range(2):
            gpu.log.clear()
            found = ops.conv2d(x, weight, bias)
            kernels = [line for line in gpu.log if line.endswith(": conv")]
        gradients = torch.autograd.grad(found.square().sum(), (x, weight, bias))
    stream.synchronize()
    assert kernels == [f"{stream.name}: conv"] and torch.cuda.current_device() == 0
    plain = [tensor.requires_grad_() for tensor in given]
    expected = torch.conv2d(*plain, 1, 1)
    wanted = expected, *torch.autograd.grad(expected.square().sum(), plain)
    for ours, theirs in zip((found, *gradients), wanted, strict=True):
        torch.testing.assert_close(ours.detach().cpu(), theirs.detach(), rtol=1e-4, atol=1e-3)


def refuse(*arguments: object) -> None:
    raise ValueError("conv: no algorithm takes this shape")


@pytest.mark.verify
@pytest.mark.parametrize("why", ["dtype", "device", "no kernel", "wrong kernels"])
def test_convolutions_of_training_that_are_pytorchs(
    gpu: Machine, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    use(monkeypatch, lambda name: time_of(100.0 if "torch" in name or name == "conv2d_add" else 10.0))
    monkeypatch.setattr(_conv_train_cuda, "_choices", {})
    if why == "no kernel":
        monkeypatch.setitem(library.OWN, "conv_candidates", refuse)
    if why == "wrong kernels":
        monkeypatch.setattr(kernels, "NAMES", dict.fromkeys(kernels.NAMES, "fake wrong"))
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64 if why == "dtype" else torch.float32).to("cuda:1")
    sizes = ConvShape(2, 4, 4, 8, 8, 3, 1)
    with torch.cuda.device(0 if why == "device" else 1):
        found = _conv_train_cuda.choice(x, sizes, False)
    known = why in ("no kernel", "wrong kernels")
    assert found == ("there are no CUDA kernels for torch.float64" if why == "dtype" else _conv_train_cuda.WHY_NOT)
    assert list(_conv_train_cuda._choices.values()) == [None] * known
    assert any(line.endswith(": conv") for line in gpu.log) == (why == "wrong kernels")


@pytest.mark.parametrize("name", MAPS)
def test_float64(gpu: Machine, name: str) -> None:
    """These CUDA kernels do not take it: the ops run by PyTorch there."""
    args = moved(sample(name, 0), "cuda")
    args = tuple(
        arg.double() if isinstance(arg, torch.Tensor) and (arg.dim() == 4 or name == "keypoint_mse") else arg
        for arg in args
    )
    args = tuple(torch.float64 if isinstance(arg, torch.dtype) else arg for arg in args)
    assert ops.explain(name, *args) == "reference: float64 has no CUDA kernel"
    assert all(found.is_cuda for found in call_op(name, tuple(args)))


def test_maps_that_are_too_wide(gpu: Machine) -> None:
    args = list(moved(sample("decode_heatmaps", 0), "cuda"))
    args[0] = torch.rand(1, 1, 2, 5000, device="cuda")
    assert ops.explain("decode_heatmaps", *args) == "reference: maps are wider than 4096"


def test_arguments_of_two_devices_are_refused(gpu: Machine) -> None:
    skip, low = torch.rand(1, 4, 8, 8, device="cuda:0"), torch.rand(1, 4, 4, 4, device="cuda:1")
    with pytest.raises(ValueError, match="cuda"):
        ops.upsample_add(skip, low)


def test_a_kernel_on_another_devices_stream_is_seen(gpu: Machine) -> None:
    """What the device guard of an op is there for."""
    x = torch.zeros(1, 4, 8, 8, device="cuda:1")
    with pytest.raises(Fault, match="is given memory of cuda:1"):
        _native.library("cuda").max_pool(_native.ptr(x), 0, 0, 0, 0, 0, 1, 8, 8, 4, 0)  # type: ignore[union-attr]
    gpu.faults.clear()


def test_what_there_is(gpu: Machine) -> None:
    text = "\n".join(describe(hgfast.build_info()))
    assert "CUDA   kernels compiled" in text and "unusable" not in text and "Fake H100, Fake H100" in text
    assert _native.cuda_missing_reason() == ""


def test_what_the_import_does(
    gpu: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where hgfast._cuda is there: it is told what is disabled, and asked at the end what a kernel has left."""
    at_the_end: list[Callable[[], None]] = []
    cuda = types.SimpleNamespace(switch_family=lambda *call: told.append(call), wait_fault=lambda: "block 3")
    told: list[tuple[str, bool]] = []
    monkeypatch.setitem(sys.modules, "hgfast._cuda", cuda)
    monkeypatch.setattr(_switches, "disabled", frozenset({"wgmma"}))
    monkeypatch.setattr(atexit, "register", at_the_end.append)
    spec = importlib.util.spec_from_file_location("hgfast._native_again", str(_native.__file__))
    assert spec is not None and spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again._libraries["cuda"] is cuda and told == [("wgmma", False)]
    (at_end,) = at_the_end
    at_end()
    assert "a CUDA kernel gave up: block 3" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["_cpu", "_cuda"])
def test_an_import_without_a_module(gpu: Machine, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, f"hgfast.{missing}", None)
    spec = importlib.util.spec_from_file_location("hgfast._native_again", str(_native.__file__))
    assert spec is not None and spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError, match="compiled kernels are missing") if missing == "_cpu" else nullcontext():
        spec.loader.exec_module(again)
    if missing == "_cuda":
        assert again._cuda is None and again.library("cuda") is None
        monkeypatch.setattr(_build_info, "_native", again)
        assert _build_info.build_info()["cuda"]["reason"] == again.cuda_missing_reason() != ""


def test_which_device_an_op_is_asked_for(gpu: Machine) -> None:
    name = "keypoint_mse_from_points"
    assert ops.explain(name, *moved(sample(name, 0), "cuda")) == "kernel: cuda"
    with pytest.raises(TypeError, match="an hgfast op needs at least one tensor argument"):
        ops.explain("upsample_add", [], 1)


def test_info_of_a_device(gpu: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["info"], ["info", "--report"]):
        assert main(arguments) == 0
        assert "Fake H100" in capsys.readouterr().out
    monkeypatch.setattr(_switches, "disabled", frozenset({"conv2d"}))
    x, weight = torch.ones(1, 8, 4, 4, device="cuda"), torch.ones(8, 8, 3, 3, device="cuda")
    assert ops.explain("conv2d", x, weight, None, 1) == "reference: HGFAST_DISABLE names conv2d"
