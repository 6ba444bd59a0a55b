"""Trains on real labelled pictures, reference and fused modules side by side, several seeds, and writes the table.

    python -m benchmarks.real_data --data ../shared/data --out build/results                    # both sets, five seeds
    python -m benchmarks.real_data --data ../shared/data --out build/tiny --seeds 2 --epochs 2  # a try, minutes

Each seed draws weights, augmentation and the split into pictures to learn from, to validate with and to test with.
best.pt is chosen by the validation pictures alone; the test pictures are read once by each network that is measured: as
it was trained ("float32") and frozen ("frozen"). Which implementation goes first alternates from seed to seed.

The folder gets a run's folder and a JSON file for each training, so that a command that was stopped goes on; results.md
(docs/results.md is a copy of it); and pictures of the first seed's test frames, which are other people's data and not
for the repository.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.device.markdown import table
from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.data import read_image
from hgfast.files import write_json, write_text
from hgfast.train import Config, Trainer, preset
from hgfast.train.build import choose_device, make_codec, make_dataset, make_predictor
from hgfast.train.config import apply
from hgfast.train.evaluate import predict_dataset
from hgfast.train.loaded import load_network
from hgfast.train.measures import measure
from hgfast.viz import draw_people, grid

SETS = ("openfield-mouse", "mirror-mouse")  # presets, and folders of the same names
IMPLEMENTATIONS = ("reference", "fused")
FORMS = {"float32": False, "frozen": True}
MEASURES = ("RMSE", "median", "PCK@0.1", "AP")
Result = dict[str, Any]
Results = dict[str, dict[str, list[Result]]]  # of each set and implementation, by seed


def settings(name: str, data: Path, out: Path, seed: int, implementation: str, epochs: int | None) -> Config:
    """The run of one seed and implementation; fewer epochs move the milestones by the same share."""
    config = preset(name)
    changes: dict[str, Any] = {
        "train_annotations": str(data / name),
        "implementation": implementation,
        "seed": seed,
        "split_seed": seed,
        "output": str(out / name / f"seed{seed}-{implementation}"),
    }
    if epochs is not None:
        changes["milestones"] = [mile * epochs // config.epochs for mile in config.milestones]
        changes |= {"epochs": epochs, "val_interval": min(config.val_interval, epochs)}
    return apply(config, changes)


def run(config: Config) -> Result:
    """Trains, or goes on, and measures the best network on the test pictures, once in each form."""
    folder = Path(config.output)
    done = folder / "result.json"
    if done.is_file():
        return dict(json.loads(done.read_text()))
    started, processor = time.perf_counter(), time.process_time()
    trainer = Trainer(config, resume=(folder / "last.pt").is_file(), quiet=True)
    trainer.fit()
    seconds = {"seconds": time.perf_counter() - started, "processor": time.process_time() - processor}
    counts = {"train": len(trainer.train_set), "val": len(trainer.val_set)}
    result: Result = seconds | {"pictures": counts, "val": trainer.position.best, "test": {}}
    for form, frozen in FORMS.items():
        result["test"][form] = tested(folder / "best.pt", frozen, folder / "test.jpg" if frozen else None)
    write_json(done, result)
    return result


def tested(checkpoint: Path, frozen: bool, drawing: Path | None) -> dict[str, float]:
    """Measures on the test pictures, and a sheet of the first of them."""
    config, model, _ = load_network(checkpoint)
    config = apply(config, {"freeze": frozen})
    dataset = make_dataset(config, "test")
    predictor = make_predictor(config, model, make_codec(config), choose_device(config.device))
    started = time.perf_counter()
    keypoints, scores = predict_dataset(predictor, dataset)
    rate = len(dataset) / (time.perf_counter() - started)
    if drawing is not None:
        sheet = [
            draw_people(read_image(person.image), found[None], config.table)
            for person, found in zip(dataset.persons[:12], keypoints, strict=False)
        ]
        cv2.imwrite(str(drawing), grid(sheet, 4, 320))
    return {**measure(dataset, keypoints, scores), "pictures": float(len(dataset)), "rate": rate}


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Mean and standard deviation of the seeds."""
    given = list(values)
    deviation = f" ± {statistics.stdev(given):.{digits}f}" if len(given) > 1 else ""
    return f"{statistics.fmean(given):.{digits}f}{deviation}"


def page(results: Results, epochs: int | None) -> str:
    """Markdown: a table for each set."""
    lines = ["# Real pictures", "", f"Made by `python -m benchmarks.real_data` on {machine()}.", ""]
    if epochs is not None:
        lines += [f"**A try of {epochs} epochs, not the presets' recipe.**", ""]
    head = ["modules", "form", *(f"test {name}" for name in MEASURES), "validation RMSE", "training, s of processor"]
    for name, by_implementation in results.items():
        first = by_implementation[IMPLEMENTATIONS[0]]
        counts = first[0]["pictures"] | {"test": int(first[0]["test"]["float32"]["pictures"])}
        parts = ", ".join(f"{count} {part}" for part, count in counts.items())
        lines += [
            f"## {name}",
            "",
            f"{len(first)} seeds, each with a split of its own ({parts}); mean ± deviation.",
            "",
        ]
        rows = [row(by_implementation[kind], kind, form) for kind in IMPLEMENTATIONS for form in FORMS]
        lines += [*table(head, rows), ""]
    lines += [
        "RMSE is the mean distance in pixels of the picture, as DeepLabCut calls it. Its own published numbers are for "
        "other splits and networks that were pretrained on ImageNet, so they are not comparable with these."
    ]
    return "\n".join(lines) + "\n"


def row(results: Sequence[Result], implementation: str, form: str) -> list[str]:
    """One implementation in one form."""
    measures = [spread(result["test"][form][name] for result in results) for name in MEASURES]
    validated = [result["val"] if result["val"] is not None else np.nan for result in results]
    return [
        implementation,
        form,
        *measures,
        spread(validated),
        spread((result["processor"] for result in results), 0),
    ]


def machine() -> str:
    """What it ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all that is not done yet and writes the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, help=f"folder with {' and '.join(SETS)}")
    parser.add_argument("--out", required=True, type=Path, help="folder for everything")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="instead of the presets'")
    options = parser.parse_args(arguments)
    _checks.integer("", "--seeds", options.seeds, 1, 1000)
    if options.epochs is not None:
        _checks.integer("", "--epochs", options.epochs, 1, 10**6)
    for name in options.sets:
        if not (options.data / name).is_dir():
            raise FileNotFoundError(f"--data {options.data}: no folder {name} in there")
    results: dict[str, dict[str, list[Result]]] = {
        name: {kind: [] for kind in IMPLEMENTATIONS} for name in options.sets
    }
    for seed in range(options.seeds):
        for name in options.sets:
            for kind in IMPLEMENTATIONS[:: 1 if seed % 2 == 0 else -1]:
                print(f"== {name}, seed {seed}, {kind}", flush=True)
                result = run(settings(name, options.data, options.out, seed, kind, options.epochs))
                results[name][kind].append(result)
                print({form: round(values["RMSE"], 2) for form, values in result["test"].items()}, flush=True)
    write_text(options.out / "results.md", page(results, options.epochs))
    print(options.out / "results.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
