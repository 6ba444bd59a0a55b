"""Trains on real labelled pictures, reference and fused modules side by side, several seeds; writes table and curves.

    python -m benchmarks.real_data --data ../shared/data --out build/results                    # both sets, five seeds
    python -m benchmarks.real_data --data ../shared/data --out build/tiny --seeds 2 --epochs 2  # a try, minutes

Each seed draws weights, augmentation and the split into pictures to learn from, to validate with and to test with.
best.pt is chosen by the validation pictures alone; the test pictures are read once by each network that is measured: as
it was trained ("float32") and frozen ("frozen"). Which implementation goes first alternates from seed to seed.

The folder gets a run's folder and a JSON file for each training, so that a command that was stopped goes on, and that
several of them share the work (OMP_NUM_THREADS=1 for two on two cores): each takes what no other one is at. results.md
and curves.png are of all that is done. Pictures of the test frames are other people's data, and not for the repository.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.real_data_page import FORMS, IMPLEMENTATIONS, Result, Results, draw_curves, page
from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.data import read_image
from hgfast.files import write_json, write_text
from hgfast.train import Config, ConfigError, Trainer, preset
from hgfast.train.build import choose_device, make_codec, make_dataset, make_predictor
from hgfast.train.config import apply
from hgfast.train.evaluate import predict_dataset
from hgfast.train.loaded import load_network
from hgfast.train.lock import hold
from hgfast.train.measures import measure
from hgfast.viz import draw_people, grid

SETS = ("openfield-mouse", "mirror-mouse")  # presets, and folders of the same names
RESULT = "result.json"


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


def run(config: Config) -> Result | None:
    """Trains, or goes on, and measures the best network on the test pictures, once in each form.

    Returns:
        what was measured, now or before; None where another process is at it.
    """
    if (before := finished(config)) is not None:
        return before
    folder = Path(config.output)
    try:
        lock = hold(folder)  # the trainer's own, which it will find held
    except ConfigError:
        return None
    started, processor = time.perf_counter(), time.process_time()
    trainer = Trainer(config, resume=(folder / "last.pt").is_file(), quiet=True)
    trainer.fit()
    del lock
    seconds = {"seconds": time.perf_counter() - started, "processor": time.process_time() - processor}
    counts = {"train": len(trainer.train_set), "val": len(trainer.val_set)}
    result: Result = seconds | {"pictures": counts, "val": trainer.position.best, "test": {}}
    for form in FORMS:
        frozen = form == "frozen"
        result["test"][form] = tested(folder / "best.pt", frozen, folder / "test.jpg" if frozen else None)
    write_json(folder / RESULT, result)
    return result


def finished(config: Config) -> Result | None:
    """What a run has measured, if it is done."""
    done = Path(config.output) / RESULT
    return dict(json.loads(done.read_text())) if done.is_file() else None


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
    parser.add_argument("--page", action="store_true", help="begin nothing; write the page of what is done")
    options = parser.parse_args(arguments)
    _checks.integer("", "--seeds", options.seeds, 1, 1000)
    if options.epochs is not None:
        _checks.integer("", "--epochs", options.epochs, 1, 10**6)
    for name in options.sets:
        if not (options.data / name).is_dir():
            raise FileNotFoundError(f"--data {options.data}: no folder {name} in there")
    results: Results = {name: {kind: {} for kind in IMPLEMENTATIONS} for name in options.sets}
    for seed in range(options.seeds):
        for name in options.sets:
            for kind in IMPLEMENTATIONS[:: 1 if seed % 2 == 0 else -1]:
                config = settings(name, options.data, options.out, seed, kind, options.epochs)
                result = finished(config) if options.page else run(config)
                if result is not None:
                    results[name][kind][seed] = result
                errors = "" if result is None else {form: round(v["RMSE"], 2) for form, v in result["test"].items()}
                print(name, f"seed {seed}", kind, errors or "is not done, or another process is at it", flush=True)
    write_text(options.out / "results.md", page(results, options.epochs))
    draw_curves(results, options.out, options.out / "curves.png")
    print(options.out / "results.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
