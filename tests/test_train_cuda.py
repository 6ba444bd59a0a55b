"""Training on CUDA: mixed precision, its scaler, copies that nobody waits for, on fake devices that see every wait."""

from __future__ import annotations

import atexit
import dataclasses
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import hgfast
from hgfast import demo
from hgfast.codecs import MSRAHeatmap
from hgfast.data.synthetic import write_set
from hgfast.predict import Predictor
from hgfast.train import Trainer, TrainingStopped, preset
from hgfast.train.build import make_model, place
from hgfast.train.config import Config, apply
from hgfast.train.log import read_log
from hgfast.train.parallel import World
from hgfast.train.step import Batch, TrainingStep
from tests.fake_cuda.machine import Machine
from tests.test_train import SMALL, same_state, trainer_for


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    write_set(folder, 6, 1, "train")
    write_set(folder, 2, 2, "val")
    return folder


@pytest.fixture(scope="module")
def config(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    paths = {f"{part}_annotations": str(figures / f"{part}.json") for part in ("train", "val")}
    paths |= {f"{part}_images": str(figures / "images") for part in ("train", "val")}
    output = {"output": str(tmp_path_factory.mktemp("runs") / "run"), "epochs": 1, "batch_size": 2, "device": "cuda:1"}
    return apply(preset("demo"), SMALL | paths | output)


def changed(config: Config, folder: Path, **values: object) -> Config:
    return apply(config, values | {"output": str(folder / "run")})


@pytest.fixture(scope="module")
def of_the_cpu(config: Config) -> list[dict[str, str]]:
    config = changed(config, Path(config.output).parent / "cpu", device="cpu")
    trainer_for(config).fit()
    return read_log(Path(config.output) / "log.csv")


def batch_of(config: Config) -> Batch:
    """As a loader gives it: in pinned memory."""
    torch.manual_seed(3)
    points = torch.rand(2, 16, 2) * 60
    batch = {"image": torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8), "keypoints": points}
    return {name: value.pin_memory() for name, value in (batch | {"visible": torch.ones(2, 16)}).items()}


def step_of(config: Config) -> TrainingStep:
    device = torch.device(config.device)
    return TrainingStep(config, place(make_model(config), device), device, World())


def test_a_run_gives_what_it_gives_on_the_cpu(
    of_the_cpu: list[dict[str, str]], gpu: Machine, config: Config, tmp_path: Path
) -> None:
    trainer_for(changed(config, tmp_path, workers=1)).fit()
    (row,), (expected,) = read_log(tmp_path / "run/log.csv"), of_the_cpu
    assert float(row["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-4) and row["lr"] == expected["lr"]
    assert not [line for line in gpu.log if line.startswith("cuda:0")], "work on a device that was not asked for"
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"best.pt", "last.pt", "log.csv"}


def test_a_run_goes_on_bit_for_bit(gpu: Machine, config: Config, tmp_path: Path) -> None:
    options = {"amp": "fp16", "grad_clip": 1.0, "ema": 0.9, "accumulate": 2}
    straight, stopped = (changed(config, tmp_path / name, **options) for name in ("straight", "stopped"))
    trainer = trainer_for(straight)
    whole_epoch(trainer)
    trainer = trainer_for(stopped)
    trainer.stop.asked, trainer._draw = True, lambda: None  # type: ignore[method-assign]
    states = [generator.get_state() for generator in gpu.generators]
    with pytest.raises(TrainingStopped):
        trainer._train_epoch()
    for generator in gpu.generators:
        generator.manual_seed(99)
    whole_epoch(trainer_for(stopped, resume=True))
    assert same_state(tmp_path / "straight/run/last.pt", tmp_path / "stopped/run/last.pt")
    assert all(torch.equal(g.get_state(), state) for g, state in zip(gpu.generators, states, strict=True))


def whole_epoch(trainer: Trainer) -> None:
    trainer._train_epoch()
    trainer._save_last()


def test_a_step_never_waits(gpu: Machine, config: Config) -> None:
    for options in ({"amp": "fp16", "grad_clip": 1.0, "ema": 0.9}, {"amp": "bf16", "codec": "udp"}):
        step = step_of(dataclasses.replace(config, **options))
        step([batch_of(config)], 1e-3)
        gpu.log.clear()
        step([batch_of(config), batch_of(config)], 1e-3, 1)
        assert gpu.waits() == [] and any("copy from the host" in line for line in gpu.log)
        torch.cuda.synchronize(1)


def test_the_loss_is_read_while_the_next_step_runs(gpu: Machine, config: Config, tmp_path: Path) -> None:
    trainer = trainer_for(changed(config, tmp_path))
    trainer._train_epoch()
    steps = [i for i, line in enumerate(gpu.log) if line.endswith(": _fused_adam_")]
    reads = [i for i, line in enumerate(gpu.log) if line == "host waits: _local_scalar_dense" and i > steps[0]]
    assert len(steps) == len(reads) == 3
    assert steps[0] < steps[1] < reads[0] < steps[2] < reads[1] < reads[2]


def test_gradients_are_clipped_at_their_true_size(
    gpu: Machine, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms, clip = [], torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: norms.append(clip(*args)))
    for amp in ("off", "fp16"):
        step = step_of(dataclasses.replace(config, amp=amp, grad_clip=1.0))
        step([batch_of(config)], 1e-3)
    exact, half = (float(norm) for norm in norms)
    assert half == pytest.approx(exact, rel=0.05)


def test_a_gradient_that_is_not_finite_is_left_out(gpu: Machine, config: Config) -> None:
    step = step_of(dataclasses.replace(config, amp="fp16"))
    step([batch_of(config)], 1e-3)
    before, scale = [p.tolist() for p in step.bare.parameters()], float(step.scaler.get_scale())
    step.config = dataclasses.replace(step.config, loss_scale=1e20)
    step([batch_of(config)], 1e-3)
    assert [p.tolist() for p in step.bare.parameters()] == before and step.scaler.get_scale() == scale / 2


def test_a_process_of_several_has_its_own_device(gpu: Machine) -> None:
    world = World(1, 2, 1)
    assert world.device(torch.device("cuda")) == torch.device("cuda:1") and torch.cuda.current_device() == 1
    assert world.device(torch.device("cuda:0")) == torch.device("cuda:0") and torch.cuda.current_device() == 0
    assert World().device(torch.device("cuda", 1)) == torch.device("cuda:1") and torch.cuda.current_device() == 0


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_predictor(gpu: Machine, config: Config, amp: str) -> None:
    model = make_model(config).eval()
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    inverse = torch.eye(3)[:2].expand(2, 2, 3).contiguous()
    codec = MSRAHeatmap((64, 64), (16, 16), 2.0)
    expected = Predictor(model, codec, device="cpu", amp=amp)(crops[0].numpy())
    predictor = Predictor(model, codec, device="cuda:1", amp=amp)
    assert isinstance(predictor.network, hgfast.FrozenModel) and predictor.network.device == torch.device("cuda:1")
    found = predictor(crops[0].numpy())
    largest = float(abs(expected.scores).max())  # of a network that nobody trained: some are next to 0
    assert found.scores == pytest.approx(expected.scores, abs=(1e-3 if amp == "off" else 0.1) * largest)
    points, scores = predictor.predict_crops(crops.pin_memory(), inverse)
    assert points.device == scores.device == torch.device("cuda:1")
    model.to("cpu")


def test_the_demo(gpu: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "TRAIN_FIGURES", 4)
    monkeypatch.setattr(demo, "VAL_FIGURES", 2)
    config, small = demo.demo_config, {name: value for name, value in SMALL.items() if name not in ("epochs", "device")}
    monkeypatch.setattr(demo, "demo_config", lambda *args: apply(config(*args), small))
    monkeypatch.setattr(demo, "compare_speed", partial(demo.compare_speed, batch=1, seconds=0.0))
    summary = demo.run_demo(tmp_path, epochs=1, quiet=True, say=lambda text: None)
    assert summary["device"] == "cuda" and set(summary["speed"]) == {"training step", "inference"}
    assert (tmp_path / "overlay.png").exists() and "host waits: synchronize" in gpu.waits()


def test_joining_other_processes(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By NCCL, and every network on the process's own device."""
    begun, wrapped = [], []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    for name, value in {
        "is_initialized": lambda: False,
        "init_process_group": lambda backend, timeout: begun.append(backend),
        "get_backend": lambda: begun[-1],
        "new_group": lambda backend, timeout: backend,
        "get_rank": lambda: 1,
        "all_reduce": lambda tensor, *options, **more: tensor.mul_(1 if options else 2),
        "all_gather": lambda parts, tensor, **options: [part.copy_(tensor) for part in parts],
    }.items():
        monkeypatch.setattr(torch.distributed, name, value)
    monkeypatch.setitem(sys.modules, "torch._dynamo", torch)
    monkeypatch.setattr(atexit, "register", lambda function: None)
    world = World.join("cuda")
    assert begun == ["nccl"] and (world.rank, world.size, world.local_rank) == (1, 2, 1)
    model = torch.nn.BatchNorm2d(3).to(world.device(torch.device("cuda")))
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", lambda net, **options: wrapped.append(options))
    world.wrap(model)
    assert wrapped == [{"device_ids": [torch.device("cuda:1")], "broadcast_buffers": False}]
    world.average_buffers(model)
    assert model.running_var.tolist() == [1.0] * 3
    part = torch.ones(3, device="cuda:1")
    assert world.gather(part).tolist() == [[1.0] * 3] * 2 and world.gather(part).device == part.device
    assert world.mean(4.0, part.device) == 4.0 and world.highest(7) == 7
