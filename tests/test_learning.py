"""Three minutes of training on drawn figures, once with fused and once with reference modules.

Too long for every run: HGFAST_LEARNING=1 turns it on. What it gave is in docs/training.md.
"""

import os
import time

import pytest

from hgfast.data.synthetic import write_set
from hgfast.demo import TRAIN_FIGURES, VAL_FIGURES, demo_config
from hgfast.train import Trainer
from hgfast.train.config import apply

EPOCHS = 4

pytestmark = pytest.mark.skipif("HGFAST_LEARNING" not in os.environ, reason="takes minutes: set HGFAST_LEARNING=1")


def test_fused_and_reference_modules_learn_alike(tmp_path):
    for name, count, seed in (("train", TRAIN_FIGURES, 1), ("val", VAL_FIGURES, 2)):
        write_set(tmp_path / "data", count, seed, name)
    results = {}
    for name in ("fused", "reference"):
        config = apply(demo_config(tmp_path, epochs=EPOCHS, seed=0), {"val_interval": EPOCHS})
        started = time.perf_counter()
        trainer = Trainer(apply(config, {"implementation": name, "output": str(tmp_path / name)}), quiet=True)
        results[name] = trainer.fit()["PCKh"]
        print(f"{name}: PCKh {results[name]:.2f} after {time.perf_counter() - started:.0f} s")
    assert min(results.values()) >= 90
    assert abs(results["fused"] - results["reference"]) < 1
