"""The command line: help, errors without tracebacks, and the way from training to pictures."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import hgfast
from hgfast import _native
from hgfast._kernel_table import Table
from hgfast.checkpoint import read_checkpoint
from hgfast.cli import COMMANDS, main
from hgfast.data.synthetic import write_set
from hgfast.train import TrainingError, TrainingStopped
from hgfast.train.config import apply, to_toml
from hgfast.train.presets import PRESETS, preset
from tests.processes import PACKAGE_FOLDER
from tests.test_train import SMALL


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished small run: data/, run.toml, run/."""
    folder = tmp_path_factory.mktemp("cli")
    for name, count, seed in (("train", 8, 1), ("val", 4, 2)):
        write_set(folder / "data", count, seed, name)
    paths = {f"{part}_annotations": str(folder / "data" / f"{part}.json") for part in ("train", "val")}
    paths |= {f"{part}_images": str(folder / "data" / "images") for part in ("train", "val")}
    config = apply(preset("demo"), SMALL | paths | {"epochs": 1, "output": str(folder / "run")})
    (folder / "run.toml").write_text(to_toml(config))
    assert main(["train", "--config", str(folder / "run.toml"), "--quiet"]) == 0
    return folder


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    text = capsys.readouterr().out
    assert exit_.value.code == 0 and all(name in text for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert f"usage: hgfast {name}" in capsys.readouterr().out


def test_help_does_not_wait_for_torch():
    """Nor do a wrong word and the version; torch, OpenCV and numpy are imported by the work itself."""
    lines = ["import sys", "from hgfast.cli import COMMANDS, main"]
    lines += ["for words in [['--help'], ['--version'], ['fly'], *([name, '--help'] for name in COMMANDS)]:"]
    lines += ["    try: main(words)", "    except SystemExit: pass"]
    lines += ["assert not {'torch', 'cv2', 'numpy'} & sys.modules.keys()"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, cwd=PACKAGE_FOLDER)


def test_each_part_can_be_imported_first():
    """Names are imported when they are asked for, in any order, so no part may count on what another one imports."""
    parts = sorted(path.parent.name for path in PACKAGE_FOLDER.glob("hgfast/*/__init__.py"))
    lines = ["import cv2, importlib, os, sys, torch", "for part in sys.argv[1:]:", "    child = os.fork()"]
    lines += ["    if not child: importlib.import_module(f'hgfast.{part}'); os._exit(0)"]
    lines += ["    assert os.waitpid(child, 0)[1] == 0, part"]
    command = [sys.executable, "-c", "\n".join(lines), *parts]
    subprocess.run(command, check=True, cwd=PACKAGE_FOLDER)


def test_report_has_what_a_wrong_kernel_is_told_by(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HGFAST_SYNC", "0")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    table = Table({"card": "NVIDIA H100", "driver": "580"}, tmp_path / "hgfast")
    table.note("wgmma 128x64", "conv", right=False, why="1 of 8 elements")
    table.note("mma 64x64", "conv", right=True, card=3.0, card_error=0.2, host=5.0, host_error=0.1)
    table.save()
    assert main(["info", "--report"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["info", "--report", str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text()) == printed and not capsys.readouterr().out
    assert printed["kernels"] == [
        {
            "identity": {"card": "NVIDIA H100", "driver": "580"},
            "right": 1,
            "timed": 1,
            "failures": {"wgmma 128x64 | conv": "1 of 8 elements"},
        }
    ]
    assert printed["environment"]["HGFAST_SYNC"] == "0" and "SECRET_TOKEN" not in printed["environment"]
    for key in (
        "version",
        "torch",
        "cpu",
        "cuda",
        "ops",
        "disabled",
        "python",
        "platform",
        "driver",
        "module",
        "cards",
    ):
        assert key in printed


def test_report_of_a_machine_with_cards(gpu, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module = tmp_path / "_cuda.so"
    module.write_bytes(b"kernels")
    monkeypatch.setattr(_native._cuda, "__file__", str(module))
    assert main(["info", "--report"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in printed["cards"]] == ["Fake H100"] * 2 and len(printed["module"]) == 16
    assert printed["cards"][0] == {
        "name": "Fake H100",
        "capability": "9.0",
        "multiprocessors": 132,
        "memory_gb": 80.0,
    }


def test_info(capsys):
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"hgfast {hgfast.__version__}, torch ")
    cuda = [line for line in lines if line.startswith("CUDA")]
    info = hgfast.build_info()["cuda"]
    assert len(cuda) == 1 and ("compiled;" in cuda[0] if info["compiled"] else info["reason"] in cuda[0])
    assert any(line.split()[0] == "upsample_add" for line in lines[4:] if line)
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(hgfast.build_info()))


def test_train_lists_presets_and_shows_settings(capsys):
    assert main(["train", "--list"]) == 0
    assert capsys.readouterr().out.split() == list(PRESETS)
    assert main(["train", "--preset", "hg8-mpii", "--show", "--set", "lr=3e-4", "--output", "there"]) == 0
    text = capsys.readouterr().out
    assert 'model = "hg8"' in text and "lr = 0.0003" in text and 'output = "there"' in text


def test_train_prints_accuracy_and_resumes(run_folder, capsys):
    command = ["train", "--config", str(run_folder / "run.toml"), "--quiet"]
    assert main(command) == 2
    assert "already holds a training run" in capsys.readouterr().err
    assert main([*command, "--resume", "--set", "epochs=2"]) == 0
    text = capsys.readouterr().out
    assert "resuming at epoch 2, step 2" in text and "PCKh@0.1" in text and "best.pt" in text


def test_eval_repeats_the_measure_of_the_checkpoint(run_folder, tmp_path, capsys):
    assert main(["eval", str(run_folder / "run" / "best.pt"), "--json", str(tmp_path / "m.json")]) == 0
    assert "4 persons of" in capsys.readouterr().out
    measured = json.loads((tmp_path / "m.json").read_text())
    stored = read_checkpoint(run_folder / "run" / "best.pt")["meta"]["metrics"]
    assert measured == pytest.approx(stored)


def test_a_path_of_digits_is_a_path(run_folder, tmp_path, monkeypatch, capsys):
    """Not a number or a date, as it would be in TOML."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(run_folder / "data" / "val.json", "2024")
    Path("2025-01-01").symlink_to(run_folder / "data" / "images")
    checkpoint = str(run_folder / "run" / "best.pt")
    assert main(["eval", checkpoint, "--annotations", "2024", "--images", "2025-01-01", "--quiet"]) == 0
    assert "4 persons of 2024" in capsys.readouterr().out


def test_eval_writes_the_keypoints(run_folder, tmp_path):
    loadmat = pytest.importorskip("scipy.io").loadmat
    files = [tmp_path / name for name in ("a.csv", "a.json", "a.mat")]
    command = ["eval", str(run_folder / "run" / "best.pt"), "--quiet", "--json", str(tmp_path / "m.json")]
    assert main([*command, *(word for file in files for word in ("--out", str(file)))]) == 0
    content = json.loads(files[1].read_text())
    assert content["metrics"] == json.loads((tmp_path / "m.json").read_text())
    points = np.array([person["keypoints"] for person in content["persons"]])
    np.testing.assert_allclose(loadmat(files[2])["preds"], points + 1, atol=1e-3)
    assert len(files[0].read_text().splitlines()) == 5
    assert main([*command, "--no-flip", "--no-freeze"]) == 0
    assert json.loads((tmp_path / "m.json").read_text()).keys() == content["metrics"].keys()


def test_predict_draws_and_writes(run_folder, tmp_path, capsys):
    picture = run_folder / "data" / "images" / "val_00000.jpg"
    before = picture.read_bytes()
    command = ["predict", str(run_folder / "run" / "best.pt"), str(picture), "--output", str(tmp_path)]
    assert main([*command, "--annotations", str(run_folder / "data" / "val.json"), "--min-score", "-1"]) == 0
    assert "1 persons in 1 inputs" in capsys.readouterr().out
    (person,) = json.loads((tmp_path / "val_00000.json").read_text())
    assert np.shape(person["keypoints"]) == (16, 2) and np.shape(person["keypoint_scores"]) == (16,)
    drawn = cv2.imread(str(tmp_path / "val_00000_keypoints.png"))
    assert drawn.shape == (208, 224, 3) and np.abs(drawn.astype(int) - cv2.imread(str(picture))).max() > 100
    assert main([*command, "--box", "10,10,90,100", "--box", "50,60,120,130", "--no-flip"]) == 0
    persons = json.loads((tmp_path / "val_00000.json").read_text())
    assert [p["bbox"] for p in persons] == [[[10, 10, 90, 100]], [[50, 60, 120, 130]]]
    assert picture.read_bytes() == before


def test_convert_and_back(run_folder, tmp_path, capsys):
    source = str(run_folder / "run" / "best.pt")
    torch.save({"state_dict": read_checkpoint(source)["state_dict"]}, tmp_path / "plain.pth")
    assert main(["convert", source, str(tmp_path / "plain.pth")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["convert", source, str(tmp_path / "mmpose.pth"), "--form", "mmpose"]) == 2
    assert "stem_channels (128, 256), as MMPose's" in capsys.readouterr().err
    assert main(["eval", str(tmp_path / "plain.pth")]) == 2
    assert "holds no configuration of hgfast; give a preset" in capsys.readouterr().err
    assert main(["convert", source, str(tmp_path / "again.pt"), "--set", "lr=0.5"]) == 0
    assert main(["eval", str(tmp_path / "again.pt")]) == 0
    assert read_checkpoint(tmp_path / "again.pt")["meta"]["config"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--preset", "nothing"], "preset: name must be one of"),
        (["train", "--set", "lr"], "expected key=value"),
        (["train", "--config", "nowhere.toml"], "nowhere.toml: configuration file not found"),
        (["train", "--preset", "demo"], "annotation file not found"),
        (["train", "--device", "cuda:99", "--preset", "demo"], "device: cannot use 'cuda:99'"),
        (["eval", "nowhere.pt"], "nowhere.pt: no such checkpoint"),
        (["predict", "nowhere.pt", "nowhere.jpg"], "nowhere.jpg: picture not found"),
        (["eval", "nowhere.pt", "--out", "a.xls"], "nowhere.pt: no such checkpoint"),
        (["convert", "nowhere.pt", "x.pt"], "nowhere.pt: no such checkpoint"),
    ],
)
def test_errors_are_one_line_and_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"hgfast {arguments[0]}: error: ") and message in captured.err
    assert len(captured.err.splitlines()) == 1 and "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "code"), [(TrainingStopped("stopped at 3"), 130), (TrainingError("loss is nan"), 2)])
def test_training_that_ends_early_is_no_traceback(error, code, capsys, tmp_path, monkeypatch):
    def stop(*_):
        raise error

    monkeypatch.setattr("hgfast.cli.demo.run_demo", stop)
    assert main(["demo", "--output", str(tmp_path)]) == code
    assert str(error) in capsys.readouterr().err


def test_cut_off_checkpoint(run_folder, tmp_path, capsys):
    broken = tmp_path / "broken.pt"
    broken.write_bytes((run_folder / "run" / "best.pt").read_bytes()[:2000])
    assert main(["eval", str(broken)]) == 2
    assert "broken.pt: not a readable checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "code"), [("fly", 2), ("--version", 0)])
def test_unknown_command_and_version(word, code, capsys):
    with pytest.raises(SystemExit) as ended:
        main([word])
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert printed.out.strip() == ("" if code else f"hgfast {hgfast.__version__}")
    assert ("invalid choice: 'fly'" in printed.err) == bool(code)


def test_interrupted_while_it_is_imported(tmp_path):
    """Half of `hgfast info` is the import of torch; here its name interrupts, and swallows what an interrupt raises."""
    lines = ["import os, signal, time", "try:", "    os.kill(os.getpid(), signal.SIGINT)", "    time.sleep(60)"]
    (tmp_path / "torch.py").write_text("\n".join([*lines, "except KeyboardInterrupt:", "    pass"]))
    environment = os.environ | {"PYTHONPATH": str(PACKAGE_FOLDER)}  # behind the current folder
    process = subprocess.run(
        [sys.executable, "-m", "hgfast", "info"], capture_output=True, text=True, cwd=tmp_path, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs behind a shell's & ignores it
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (130, "hgfast: interrupted\n")


@pytest.mark.parametrize("where", ["_parser", "_module"])
def test_interrupted_while_it_reads_the_line_or_works(where, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"hgfast.cli.{where}", interrupt)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "hgfast: interrupted\n"


def test_module_entry_and_a_closed_pipe_which_is_no_error():
    process = subprocess.run(
        [f"{sys.executable} -m hgfast info | head -1; exit ${{PIPESTATUS[0]}}"],
        shell=True, executable="/bin/bash", capture_output=True, text=True, cwd=PACKAGE_FOLDER, env=os.environ,
    )  # fmt: skip
    assert process.returncode == 0 and process.stderr == ""
    assert process.stdout.startswith(f"hgfast {hgfast.__version__}, torch ")
