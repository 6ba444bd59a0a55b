"""Training steps as CUDA graphs, on fake devices: the numbers of steps launch by launch, and nobody waits."""

from __future__ import annotations

import copy
import dataclasses
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

import hgfast
from hgfast import _switches, constants
from hgfast.checkpoint import read_checkpoint
from hgfast.train import TrainingStopped, graph
from hgfast.train.build import make_model, place
from hgfast.train.config import Config
from hgfast.train.graph import why_not
from hgfast.train.parallel import World
from hgfast.train.step import Batch, TrainingStep
from tests import test_train_cuda
from tests.fake_cuda.machine import Machine
from tests.small_models import small_model
from tests.test_train import StopAfter, trainer_for
from tests.test_train_cuda import changed, whole_epoch

config, figures = test_train_cuda.config, test_train_cuda.figures
HALF = {"amp": "fp16", "grad_clip": 1.0, "ema": 0.9}
OPTIONS = [{}, HALF, {"amp": "bf16", "accumulate": 2}]


def batches_of(config: Config, seed: int, size: int = 2) -> list[Batch]:
    """What a step is to see, as a loader gives it."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(config.accumulate):
        points = torch.rand(size, 16, 2, generator=generator) * 60
        image = torch.randint(0, 256, (size, 64, 64, 3), dtype=torch.uint8, generator=generator)
        batch = {"image": image, "keypoints": points, "visible": torch.ones(size, 16)}
        made.append({name: value.pin_memory() for name, value in batch.items()})
    return made


def step_of(config: Config, said: list[str] | None = None) -> TrainingStep:
    device = torch.device(config.device)
    model = place(make_model(config), device)
    step = TrainingStep(config, model, device, World(), [].append if said is None else said.append)
    step.begin_epoch()
    return step


def losses_of(step: TrainingStep, sizes: tuple[int, ...]) -> list[Tensor]:
    """Of steps at different rates; read when the last one is launched."""
    return [
        step(batches_of(step.config, number, size), 1e-3 / (number + 1), number) for number, size in enumerate(sizes)
    ]


def numbers_of(step: TrainingStep) -> list[Tensor]:
    tensors = [value for model in step.models for value in model.state_dict().values()]
    tensors += [value for state in step.optimizer.state.values() for value in state.values()]
    return [value.cpu() for value in tensors] + [torch.tensor(step.scaler.get_scale())]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("options", OPTIONS)
def test_replayed_steps_are_eager_ones(gpu: Machine, config: Config, options: dict[str, object]) -> None:
    """At rates and shares of the average that change; with a short batch between replays."""
    sizes, found = (2, 2, 2, 2, 1, 2, 2), []
    for cuda_graph in (True, False):
        step = step_of(dataclasses.replace(config, cuda_graph=cuda_graph, **options))
        losses = losses_of(step, sizes)
        found.append([*(loss.cpu() for loss in losses), *numbers_of(step)])
        assert any("_fused_adam_ (graph)" in line for line in gpu.log) == cuda_graph
        gpu.log.clear()
    assert_same(*found)


def test_a_replay_is_all_that_a_step_launches(gpu: Machine, config: Config) -> None:
    step = step_of(dataclasses.replace(config, **HALF))
    losses_of(step, (2, 2, 2, 2))
    begun = batches_of(step.config, 9)
    gpu.log.clear()
    step(begun, 1e-4, 4)
    assert gpu.waits() == []
    launched = [line.split(": ")[1] for line in gpu.log if "(graph)" not in line]
    assert launched == ["fill_", "fill_", *["copy from the host"] * 3, "copy_"]  # rate, share; batch; loss
    assert "(graph)" in gpu.log[-2] and "(graph)" not in gpu.log[4]
    assert all(parameter.grad is None for parameter in step.bare.parameters())


def test_it_is_said_once(gpu: Machine, config: Config) -> None:
    said: list[str] = []
    losses_of(step_of(config, said), (2,) * 5)
    assert said == ["from step 4 on full batches run as one CUDA graph a step (cuda_graph=false: none)"]
    said.clear()
    losses_of(step_of(dataclasses.replace(config, cuda_graph=False), said), (2,))
    assert said == ["the steps run without a CUDA graph, launch by launch: cuda_graph is off"]


def test_what_keeps_steps_from_being_captured(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    card = torch.device("cuda", 0)
    assert why_not(config, card, World()) == ""
    assert "device is cpu" in why_not(config, torch.device("cpu"), World())
    assert "DistributedDataParallel" in why_not(config, card, World(0, 2))
    monkeypatch.setattr(_switches, "disabled", frozenset({"graph"}))
    assert "HGFAST_DISABLE names graph" in why_not(config, card, World())
    said: list[str] = []
    step_of(dataclasses.replace(config, device="cpu"), said)
    assert said == []


def test_a_refused_capture(gpu: Machine, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the scaler's work: the steps go on as if nobody had tried, and it is tried once."""
    tried, said, clip = [], [], torch.nn.utils.clip_grad_norm_

    def refuse(parameters: list[Tensor], limit: float) -> Tensor:
        if torch.cuda.is_current_stream_capturing():
            tried.append(1)
            float(parameters[0].detach().sum())
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", refuse)
    step = step_of(dataclasses.replace(config, **HALF), said)
    found = [*(loss.cpu() for loss in losses_of(step, (2,) * 6)), *numbers_of(step)]
    expected = step_of(dataclasses.replace(config, cuda_graph=False, **HALF))
    assert_same(found, [*(loss.cpu() for loss in losses_of(expected, (2,) * 6)), *numbers_of(expected)])
    assert len(tried) == 1 and len(said) == 2 and "_local_scalar_dense" in said[1]
    assert not any("(graph)" in line for line in gpu.log)
    assert torch.cuda.current_stream(1) == torch.cuda.default_stream(1)


def test_an_interrupt_in_a_capture_ends_it(gpu: Machine, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(config)
    losses_of(step, (2,) * graph.WARM_UP)
    run = step._loss

    def interrupted(batch: Batch) -> Tensor:
        run(batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        losses_of(step, (2,))
    assert gpu.captures == [] and not step.optimizer.param_groups[0]["capturable"]


def test_a_loader_pins_memory_during_a_capture(gpu: Machine, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    step = step_of(config, said)
    run, pinned = step._loss, []

    def loss(batch: Batch) -> Tensor:
        if torch.cuda.is_current_stream_capturing():
            thread = threading.Thread(target=lambda: pinned.append(torch.ones(3).pin_memory()))
            thread.start()
            thread.join()
        return run(batch)

    monkeypatch.setattr(step, "_loss", loss)
    losses_of(step, (2,) * 4)
    assert len(pinned) == 1 and len(said) == 1 and any("(graph)" in line for line in gpu.log)


def test_files_are_the_same_and_go_on_either_way(gpu: Machine, config: Config, tmp_path: Path) -> None:
    """Stopped between replays, gone on with launch by launch, and the other way round."""
    options = HALF | {"batch_size": 1, "milestones": [1], "warmup_steps": 0}
    files = []
    for first, then in ((True, False), (False, True)):
        settings = changed(config, tmp_path / str(first), cuda_graph=first, **options)
        trainer = trainer_for(settings)
        whole_epoch(trainer)
        files.append(content_of(trainer.last))
        trainer.position.epoch, trainer.position.batch = 1, 0
        trainer.loader, trainer._draw = Stopping(trainer, 8), lambda: None  # type: ignore[assignment, method-assign]
        with pytest.raises(TrainingStopped):
            trainer._train_epoch()
        whole_epoch(trainer_for(dataclasses.replace(settings, cuda_graph=then), resume=True))
        files.append(content_of(trainer.last))
    assert any("(graph)" in line for line in gpu.log)
    for ours, theirs in zip(files[:2], files[2:], strict=True):
        assert str(ours["optimizer"]["param_groups"]) == str(theirs["optimizer"]["param_groups"])
        for part in ours:
            assert_same(tensors_in(ours[part]), tensors_in(theirs[part]))
    rates = [file["optimizer"]["param_groups"][0] for file in files[:2]]
    assert [group["lr"] for group in rates] == pytest.approx([config.lr, config.lr * config.gamma], rel=1e-12)
    assert "rate" not in rates[0] and rates[0]["capturable"] is False


class Stopping(StopAfter):
    """Without a signal."""

    def __iter__(self):
        for batch in self.loader:
            self.trainer.stop.asked = self.trainer.position.step + 1 == self.step
            yield batch


def content_of(path: Path) -> dict[str, object]:
    content = read_checkpoint(path)
    return {name: content[name] for name in ("state_dict", "averaged", "optimizer", "scaler", "ranks")}


def tensors_in(value: object) -> list[Tensor]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [tensor for entry in value for tensor in tensors_in(entry)]
    return [value] if isinstance(value, Tensor) else []


def test_a_state_that_is_loaded_later_is_the_next_steps(gpu: Machine, config: Config) -> None:
    """The optimizer has other memory then: the graph is captured anew."""
    step = step_of(config)
    losses_of(step, (2,) * 4)
    kept = copy.deepcopy(hgfast.train.rates.state_of(step.optimizer))
    rates = [group["lr"] for group in step.optimizer.param_groups]
    step.load_optimizer(kept)
    assert [group["lr"] is rate for group, rate in zip(step.optimizer.param_groups, rates, strict=True)] == [True]
    assert rates[0].item() == pytest.approx(kept["param_groups"][0]["lr"])
    losses_of(step, (2,) * 2)
    counts = [state["step"].item() for state in step.optimizer.state.values()]
    assert set(counts) == {6}


def test_constants_of_a_graph_stay(gpu: Machine) -> None:
    """However many others are asked for after the capture."""
    constants.forget()
    device, side, captured = torch.device("cuda", 0), torch.cuda.Stream(), torch.cuda.CUDAGraph()
    constants.constant((7.0,), device)
    x = torch.ones(1, device=device)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        captured.capture_begin()
        y = x * constants.constant((7.0,), device)
        captured.capture_end()
    for number in range(100):
        constants.constant((100.0 + number,), device)
    captured.replay()
    assert y.item() == 7


@pytest.mark.parametrize("family", ["mmpose", "princeton"])
def test_own_loops_with_graphed_callables(gpu: Machine, family: str) -> None:
    """As docs/training.md shows it."""
    x, results = torch.randn(2, 3, 64, 64), []
    for graphed in (False, True):
        torch.manual_seed(1)
        model = small_model(family, "fused").train().to("cuda")
        kept = copy.deepcopy(model.state_dict())
        if graphed:
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                model = torch.cuda.make_graphed_callables(model, (torch.zeros(2, 3, 64, 64, device="cuda"),))
            model.load_state_dict(kept)  # the warm-up has moved BatchNorm's statistics
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
        gpu.log.clear()
        for scale in (1.0, 0.5):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                outputs = model(x.to("cuda") * scale)
            loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
            # The fake devices do not see where `backward` puts a gradient that somebody else holds, too.
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        assert any("(graph)" in line for line in gpu.log) == graphed
        results.append([value.cpu() for value in model.state_dict().values()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
