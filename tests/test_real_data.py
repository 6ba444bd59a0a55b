"""The command that measures training on real pictures: its order, its settings, its page; one tiny run."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks import real_data, real_data_page
from hgfast.files import write_json
from hgfast.train import Config, preset
from tests.test_split import own


def canned(config: Config) -> dict[str, Any]:
    """A result whose numbers tell its seed and implementation."""
    value = config.seed + (0.5 if config.implementation == "fused" else 0.0)
    measures = {**dict.fromkeys(real_data_page.MEASURES, value), "pictures": 7.0, "rate": 100.0}
    test = {"float32": measures, "frozen": {**measures, "RMSE": value + 10}}
    log = Path(config.output) / "log.csv"
    log.parent.mkdir(parents=True)
    log.write_text(f"epoch,loss,RMSE\n0,1.0,\n4,0.5,{value + 2}\n9,0.25,{value + 1}\n")
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
    assert [row[:4] for row in found] == [
        ["reference", "float32", "3", "1.00 ± 1.00"],
        ["reference", "frozen", "3", "11.00 ± 1.00"],
        ["fused", "float32", "3", "1.50 ± 1.00"],
        ["fused", "frozen", "3", "11.50 ± 1.00"],
        ["reference", "0.00 (0.00)", "1.00 (1.00)", "2.00 (2.00)"],
        ["fused", "0.50 (0.50)", "1.50 (1.50)", "2.50 (2.50)"],
    ]
    assert "Each seed draws a split of its own (20 train, 5 val, 7 test)" in page and "A try of" not in page
    assert cv2.imread(str(tmp_path / "out" / "curves.png")).ndim == 3


def test_what_others_are_at_is_left_to_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is of what is done; where nothing is of one implementation, there are no rows of it."""
    monkeypatch.setattr(real_data, "run", lambda config: canned(config) if config.implementation == "fused" else None)
    words = ["--data", str(data), "--out", str(tmp_path / "out"), "--seeds", "1", "--sets", "mirror-mouse"]
    assert real_data.main(words) == 0
    page = (tmp_path / "out" / "results.md").read_text()
    assert "| fused | float32 | 1 | 0.50 |" in page and "| reference" not in page
    assert capsys.readouterr().out.count("another process is at it") == 1


def test_a_page_alone_begins_nothing(data: Path, tmp_path: Path) -> None:
    words = ["--data", str(data), "--out", str(tmp_path / "out"), "--seeds", "2", "--sets", "mirror-mouse", "--page"]
    for seed in range(2):
        result = canned(real_data.settings("mirror-mouse", data, tmp_path / "out", seed, "fused", None))
        write_json(tmp_path / "out" / "mirror-mouse" / f"seed{seed}-fused" / "result.json", result)
    assert real_data.main(words) == 0
    assert "| fused | float32 | 2 | 1.00 ± 0.71 |" in (tmp_path / "out" / "results.md").read_text()
    assert {path.name for path in (tmp_path / "out" / "mirror-mouse").iterdir()} == {"seed0-fused", "seed1-fused"}


def test_a_run_of_another_process_is_not_begun(tmp_path: Path) -> None:
    config = own(tmp_path, val_share=0.2, test_share=0.2)
    folder = Path(config.output)
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of this opening of the file, as another process's would be
        assert real_data.run(config) is None


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
