"""What a GPU run says of README's claims, and how the stages of whole networks write down their answers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import process
from benchmarks.device.__main__ import STAGES
from benchmarks.device.budget import Deadline
from benchmarks.device.checks import check_networks
from benchmarks.device.client import Client, Outcome
from benchmarks.device.context import Context, StageError
from benchmarks.device.markdown import render
from benchmarks.device.record import Record
from benchmarks.device.testing import STAGE_FILES, stage_files
from benchmarks.device.verdicts import CLAIMS, WORDS, verdicts


def times(seconds: float, peak_mb: float = 100.0) -> dict[str, Any]:
    graph = {"median": seconds, "best": seconds, "spread": 0.02, "rounds": 5}
    return {"status": "ok", "graph": graph, "peak_mb": peak_mb}


def bench(case: str, ours: float, **peers: float) -> dict[str, Any]:
    entry = {"case": case, "stage": "networks", "bytes": 0, "flops": 0, "arithmetic": "bfloat16"}
    return {**entry, "peers": {"hgfast": times(ours), **{name: times(value) for name, value in peers.items()}}}


def counted(failed: int = 0, **changes: Any) -> dict[str, Any]:
    return {"passed": 9, "failed": failed, "skipped": 0, "failures": [], "skips": {}, "unfinished": [], **changes}


def with_peaks(entry: dict[str, Any], ours: float, eager: float) -> dict[str, Any]:
    entry["peers"]["hgfast"]["peak_mb"], entry["peers"]["eager"]["peak_mb"] = ours, eager
    return entry


TRAINING = "networks/hg2-256/train/batch 32/bfloat16"
GOOD = {
    "machine": {"name": "NVIDIA H100 80GB HBM3", "cuda": "12.8"},
    "build": {"info": {"cuda": {"nvcc": "13.0.88"}}},
    "wrappers": counted(),
    "kernels": counted(),
    "tests": counted(),
    "layers": [{"name": "hg2, batch 8", "status": "ok", "note": ""}],
    "choices": [{"name": "hg2", "status": "ok", "note": ""}],
    "graphs": [{"name": "a", "status": "ok", "note": ""}, {"name": "b", "status": "absent", "note": "one card"}],
    "ops": [{"op": "conv2d", "status": "ok"}],
    "sanitizer": {"memcheck": {"conv2d": {"status": "clean", "findings": []}}},
    "bench": [
        *(bench(f"networks/hg2-256/batch {batch}/bfloat16", 1e-3, eager=2e-3) for batch in (1, 8, 64)),
        bench("networks/hg8-256/batch 64/bfloat16", 10e-3, eager=20e-3),
        bench(TRAINING, 1e-3, eager=1.5e-3),
        bench("conv3x3 s1 bfloat16/64x256x64x64 to 256", 1e-3, eager=0.99e-3),
        bench("bottleneck/64x256-128x64x64/bfloat16", 1e-3, eager=2e-3),
        bench("upsample_add/8", 1e-3, eager=2e-3),
        bench("decode_heatmaps/64", 1e-3, eager=2e-3),
    ],
}


def words(data: dict[str, Any]) -> list[str]:
    return [verdict for _, verdict, _ in verdicts(data)]


def test_without_a_run_nothing_is_claimed() -> None:
    assert words({}) == ["not run"] * len(CLAIMS)
    unfinished = {key: counted(unfinished=["test_x.py: out of time"]) for key in ("wrappers", "kernels", "tests")}
    assert words(unfinished) == ["not run"] * len(CLAIMS)
    absent = [{"name": "a", "status": "absent", "note": ""}]
    assert words({"graphs": absent, "layers": [], "ops": [], "sanitizer": {}, "bench": []}) == ["not run"] * len(CLAIMS)


def test_a_good_run_holds_them_all() -> None:
    assert words(GOOD) == ["holds"] * len(CLAIMS)


@pytest.mark.parametrize(
    ("key", "wrong", "claim"),
    [
        ("wrappers", counted(failed=1), "Each wrapper"),
        ("kernels", counted(failed=1), "Each convolution"),
        ("tests", counted(failed=1), "All tests"),
        ("layers", [{"name": "hg2, batch 33", "status": "wrong", "note": ""}], "Every layer"),
        ("choices", [{"name": "hg2", "status": "late", "note": ""}], "Kernels are tried"),
        ("graphs", [*GOOD["graphs"], {"name": "c", "status": "crashed", "note": ""}], "Frozen networks as"),
        ("sanitizer", {"racecheck": {"conv2d": {"status": "timeout", "findings": []}}}, "compute-sanitizer"),
        ("bench", [*GOOD["bench"], bench("networks/hg8-256/batch 8/tf32", 1e-3, eager=9e-4, hand=2e-3)], "batch 8"),
        ("bench", [*GOOD["bench"], bench("conv1x1 s1 tf32/1x256x64x64 to 256", 1e-3, eager=0.97e-3)], "Convolutions"),
        ("bench", [*GOOD["bench"], bench("networks/hourglass52-256/batch 1/bfloat16", 7e-4, eager=2e-3)], "On an H100"),
        ("bench", [*GOOD["bench"], with_peaks(bench(TRAINING, 1e-3, eager=2e-3), 110.0, 100.0)], "no more memory"),
        ("bench", [*GOOD["bench"], bench("networks/hg8-256/train/batch 32/bfloat16", 2e-3, eager=1e-3)], "Training"),
    ],
)
def test_what_went_wrong_is_told(key: str, wrong: Any, claim: str) -> None:
    found = {text: verdict for text, verdict, _ in verdicts({**GOOD, key: wrong})}
    bad = [text for text, verdict in found.items() if verdict == WORDS[False]]
    assert len(bad) == 1 and claim in bad[0]


def test_what_another_card_or_one_cuda_does_not_decide() -> None:
    slow = [bench("networks/hg8-256/batch 64/bfloat16", 20e-3, eager=40e-3)]
    data = {**GOOD, "machine": {"name": "NVIDIA A100", "cuda": "13.0"}, "bench": slow}
    found = {text: verdict for text, verdict, _ in verdicts(data)}
    assert [text[:11] for text, verdict in found.items() if verdict == WORDS[None]][:2] == [
        "hgfast runs",
        "Convolution",
    ]
    assert found[next(text for text in found if text.startswith("On an H100"))] == WORDS[None]
    wrong = {**GOOD, "ops": [{"op": "conv2d", "status": "wrong"}]}
    bad = [text for text, verdict, _ in verdicts(wrong) if verdict == WORDS[False]]
    assert bad == ["Every op agrees with the float64 reference", "hgfast runs beside a torch of another major of CUDA"]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    log = process.Log(tmp_path / "device.log")
    record = Record(tmp_path / "out", {})
    record.name_after({"name": "Some card"})
    return Context("cuda", "", record, log, Client("cuda", {}, log), Deadline.after(60))


def test_networks_are_checked_one_by_one(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash costs its network only; the record and its claims say what happened."""
    answers = {1: Outcome("ok", {"status": "ok", "note": ""}), 8: Outcome("crashed", note="exit status -11")}

    def call(job: str, timeout: float, **arguments: Any) -> Outcome:
        if job == "network_list":
            return Outcome("ok", {"layers": [{"name": "hg2", "batch": batch} for batch in (1, 8, 1)]})
        return answers[arguments["batch"]]

    monkeypatch.setattr(context.client, "call", call)
    with pytest.raises(StageError, match="wrong or failed: hg2, batch 8"):
        check_networks(context, "layers")
    statuses = [entry["status"] for entry in context.record.data["layers"]]
    assert statuses == ["ok", "crashed", "ok"]
    text = render(context.record.data)
    assert "exit status -11" in text and "DOES NOT HOLD" in text
    context.deadline, context.record.data["layers"] = Deadline.after(0), []
    check_networks(context, "layers")
    assert context.unfinished == ["3 of 3"] and not context.record.data["layers"]


def test_instructions_come_before_kernels_and_kernels_before_networks(context: Context) -> None:
    names = [stage.name for stage in STAGES]
    order = ["build", "wrappers", "kernels", "layers", "graphs", "networks", "sanitizer", "profile"]
    assert sorted(order, key=names.index) == order
    files = {stage: [path.stem for path in stage_files(context, stage)] for stage in ("wrappers", "kernels", "tests")}
    for stage, own in STAGE_FILES.items():
        assert sorted(files[stage]) == sorted(own) and not set(own) & set(files["tests"])
    assert "test_upsample_add" in files["tests"] and "test_device_run" not in files["tests"]


PRETENDS = "import torch; torch.cuda.is_available = lambda: True"  # nothing is run


def test_a_cards_own_stages_find_their_tests(tmp_path: Path) -> None:
    """None of them may be left out for want of a parameter: then the first minutes on a card would try nothing."""
    (tmp_path / "pretends.py").write_text(PRETENDS)
    names = [name for names in STAGE_FILES.values() for name in names]
    options = ["-q", "--collect-only", "-p", "pretends", "-p", "benchmarks.device.outcomes", "--device-only"]
    options += ["--outcomes", str(tmp_path / "outcomes"), "--device", "cuda", "-p", "no:cacheprovider"]
    env = process.environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(process.ROOT)]))
    command = process.python("-m", "pytest", *options, *(f"tests/{name}.py" for name in names))
    listing = subprocess.run(command, cwd=process.ROOT, env=env, capture_output=True, text=True).stdout
    found = {name: listing.count(f"{name}.py::") for name in names}
    assert min(found.values()) > 20, listing[-2000:]
