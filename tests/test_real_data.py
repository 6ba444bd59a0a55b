"""The command that measures training on real pictures: its order, its settings, its page; one tiny run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import real_data
from hgfast.train import Config, preset
from tests.test_split import own


def canned(config: Config) -> dict[str, Any]:
    """A result whose numbers tell its seed and implementation."""
    value = config.seed + (0.5 if config.implementation == "fused" else 0.0)
    measures = {**dict.fromkeys(real_data.MEASURES, value), "pictures": 7.0, "rate": 100.0}
    test = {"float32": measures, "frozen": {**measures, "RMSE": value + 10}}
    return {"seconds": 9.0, "processor": 8.0, "pictures": {"train": 20, "val": 5}, "val": value + 1, "test": test}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in real_data.SETS:
        (tmp_path / "data" / name).mkdir(parents=True)
    return tmp_path / "data"


def test_order_and_page(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which implementation goes first alternates; the page has the mean and the deviation of the seeds."""
    order: list[tuple[str, int, str]] = []

    def run(config: Config) -> dict[str, Any]:
        order.append((Path(config.train_annotations).name, config.seed, config.implementation))
        return canned(config)

    monkeypatch.setattr(real_data, "run", run)
    words = ["--data", str(data), "--out", str(tmp_path / "out"), "--seeds", "3", "--sets", "mirror-mouse"]
    assert real_data.main(words) == 0
    kinds = [
        kind for seed in range(3) for kind in (("reference", "fused") if seed % 2 == 0 else ("fused", "reference"))
    ]
    assert [kind for _, _, kind in order] == kinds and {name for name, _, _ in order} == {"mirror-mouse"}
    page = (tmp_path / "out" / "results.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith(("| reference", "| fused"))]
    found = [[cell.strip() for cell in row] for row in rows]
    assert [row[:3] for row in found] == [
        ["reference", "float32", "1.00 ± 1.00"],
        ["reference", "frozen", "11.00 ± 1.00"],
        ["fused", "float32", "1.50 ± 1.00"],
        ["fused", "frozen", "11.50 ± 1.00"],
    ]
    assert "3 seeds, each with a split of its own (20 train, 5 val, 7 test)" in page and "A try of" not in page


def test_settings_move_the_milestones(data: Path, tmp_path: Path) -> None:
    own = preset("openfield-mouse")
    config = real_data.settings("openfield-mouse", data, tmp_path, 3, "fused", own.epochs // 10)
    assert (config.epochs, config.seed, config.split_seed, config.implementation) == (own.epochs // 10, 3, 3, "fused")
    assert config.milestones == type(config.milestones)(mile // 10 for mile in own.milestones)
    assert config.val_interval <= config.epochs


def test_a_run_trains_and_measures_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = own(tmp_path, val_share=0.2, test_share=0.2)
    result = real_data.run(config)
    assert result["pictures"] == {"train": 3, "val": 1} and result["test"].keys() == {"float32", "frozen"}
    exact, frozen = (result["test"][form] for form in ("float32", "frozen"))
    assert frozen["pictures"] == 1 and 0 < frozen["RMSE"] == pytest.approx(exact["RMSE"], abs=0.01)
    assert (Path(config.output) / "test.jpg").is_file()
    monkeypatch.setattr(real_data, "Trainer", None)
    assert real_data.run(config) == result, "what is done is read"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--seeds", "0"], ValueError, "--seeds must be at least 1"),
        (["--epochs", "0"], ValueError, "--epochs must be at least 1"),
        (["--data", "/nowhere"], FileNotFoundError, "--data /nowhere: no folder openfield-mouse"),
    ],
)
def test_bad_words(words: list[str], error: type[Exception], message: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        real_data.main(["--data", str(data), "--out", str(tmp_path), *words])
