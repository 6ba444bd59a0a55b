"""``hgfast demo``: draws figures, trains a small hourglass of fused modules on them, and shows what it has learnt."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import __version__, _checks
from hgfast._opencv import cv2
from hgfast.data import read_image
from hgfast.data.synthetic import write_set
from hgfast.files import atomic_write, write_text
from hgfast.progress import progress_bar
from hgfast.train import Config, Trainer, preset
from hgfast.train.build import make_model, place
from hgfast.train.config import apply
from hgfast.train.evaluate import predict_dataset
from hgfast.train.log import draw_curves
from hgfast.viz import draw_people, grid

TRAIN_FIGURES, VAL_FIGURES = 3000, 200
_TRAIN_SEED, _VAL_SEED = 1, 2  # of the figures; the validation figures are never trained on


def run_demo(
    output: str | Path, epochs: int = 4, seed: int = 0, quiet: bool = False, say: Callable[[str], Any] = print
) -> dict[str, Any]:
    """Run the demonstration, or goes on with one that was stopped.

    Args:
        output: folder for everything: ``data/``, ``run/`` (log and checkpoints), ``overlay.png``, ``curves.png``,
            ``summary.json`` and ``summary.md``.
        epochs: how long to train.
        seed: of the weights and the augmentation.
        quiet: no progress bars.
        say: receives lines of text.

    Returns:
        the summary: accuracy on figures that were not trained on, times, speed of fused against reference modules.

    Raises:
        TypeError, ValueError: another kind of argument, epochs below 1, a negative seed.
        OSError: the folder cannot be written.
    """
    folder, started = _checks.path("run_demo", "output", output), time.perf_counter()
    epochs = _checks.integer("run_demo", "epochs", epochs, 1, 2**31)
    seed = _checks.integer("run_demo", "seed", seed, 0)
    quiet = _checks.flag("run_demo", "quiet", quiet)
    _checks.function("run_demo", "say", say)
    config = demo_config(folder, epochs, seed)
    say(f"1/4  drawing {TRAIN_FIGURES} + {VAL_FIGURES} figures into {folder / 'data'}")
    for name, count, figures_seed in (("train", TRAIN_FIGURES, _TRAIN_SEED), ("val", VAL_FIGURES, _VAL_SEED)):
        write_set(folder / "data", count, figures_seed, name, progress_bar(name, quiet))
    say(f"2/4  training a small hourglass of fused modules, {torch.get_num_threads()} CPU threads")
    trainer = Trainer(config, resume=True, quiet=quiet, say=say)
    training_started = time.perf_counter()
    metrics = trainer.fit()
    training_seconds = time.perf_counter() - training_started
    say("3/4  drawing predictions for figures that were not trained on")
    _draw_overlay(trainer, folder / "overlay.png")
    draw_curves(trainer.log.rows, folder / "curves.png")
    say("4/4  timing fused against reference modules")
    summary = {
        "hgfast": __version__,
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "metrics": metrics,
        "training_seconds": training_seconds,
        "speed": compare_speed(config, trainer.device),
        "total_seconds": time.perf_counter() - started,
    }
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_text(folder / "summary.md", _markdown(summary))
    say(_markdown(summary))
    return summary


def demo_config(folder: Path, epochs: int, seed: int) -> Config:
    """Return the preset "demo" with its files in a folder, averaged weights, and a rate that falls after 3 epochs."""
    return apply(
        preset("demo"),
        {
            "train_annotations": str(folder / "data" / "train.json"),
            "train_images": str(folder / "data" / "images"),
            "val_annotations": str(folder / "data" / "val.json"),
            "val_images": str(folder / "data" / "images"),
            "output": str(folder / "run"),
            "epochs": epochs,
            "milestones": [epochs - left for left in (2, 1) if epochs - left >= 3],
            "gamma": 0.4,
            "ema": 0.99,
            "seed": seed,
        },
    )


def _draw_overlay(trainer: Trainer, path: Path, count: int = 24) -> None:
    """Draw a sheet of the first validation pictures with the predicted skeletons."""
    dataset = trainer.val_set
    keypoints, _ = predict_dataset(trainer.make_predictor(), dataset)
    pictures = [
        draw_people(read_image(person.image), points[None], dataset.table)
        for person, points in zip(dataset.persons[:count], keypoints, strict=False)
    ]
    with atomic_write(path) as file:
        file.write(cv2.imencode(".png", grid(pictures, columns=6, cell=224))[1].tobytes())


def compare_speed(config: Config, device: torch.device, batch: int = 16, seconds: float = 2.0) -> dict[str, Any]:
    """Measure a training step and inference in median milliseconds, fused and reference modules by turns.

    Both networks have the same weights and get the same batch.
    """
    models = {name: make_model(apply(config, {"implementation": name})) for name in ("fused", "reference")}
    networks = {name: place(model, device) for name, model in models.items()}
    width, height = config.input_size
    images = torch.randn(batch, 3, height, width, device=device)
    calls = {"training step": _training_step, "inference": _inference}
    return {
        title: _by_turns({name: _bind(call, model, images) for name, model in networks.items()}, device, seconds)
        for title, call in calls.items()
    }


def _bind(call: Callable[[nn.Module, Tensor], None], model: nn.Module, images: Tensor) -> Callable[[], None]:
    return lambda: call(model, images)


def _training_step(model: nn.Module, images: Tensor) -> None:
    model.train()
    model(images)[-1].square().mean().backward()
    model.zero_grad()


@torch.inference_mode()
def _inference(model: nn.Module, images: Tensor) -> None:
    model.eval()
    model(images)


def _by_turns(calls: dict[str, Callable[[], None]], device: torch.device, seconds: float) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # the first run allocates
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or not all(len(values) >= 3 for values in times.values()):
        for name, call in calls.items():
            _wait(device)
            start = time.perf_counter()
            call()
            _wait(device)
            times[name].append(time.perf_counter() - start)
    result = {f"{name}_ms": 1e3 * median(values) for name, values in times.items()}
    return result | {"ratio": result["reference_ms"] / result["fused_ms"]}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _markdown(summary: dict[str, Any]) -> str:
    metrics = summary["metrics"]
    lines = [
        "# hgfast demo",
        "",
        f"{VAL_FIGURES} unseen figures: **PCKh {metrics['PCKh']:.1f}** (PCKh@0.1 {metrics['PCKh@0.1']:.1f}); "
        f"training took {summary['training_seconds']:.0f} s on {summary['device']} "
        f"({summary['threads']} threads), everything {summary['total_seconds']:.0f} s.",
        "",
        "| " + " | ".join(metrics) + " |",
        "|" + "---|" * len(metrics),
        "| " + " | ".join(f"{value:.1f}" for value in metrics.values()) + " |",
        "",
        "| batch of 16 | fused, ms | reference, ms | reference / fused |",
        "|---|---|---|---|",
    ]
    for title, row in summary["speed"].items():
        lines.append(f"| {title} | {row['fused_ms']:.1f} | {row['reference_ms']:.1f} | {row['ratio']:.2f} |")
    return "\n".join(lines) + "\n"
