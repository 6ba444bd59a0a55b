"""The commands, by `hgfast.cli.main` in the process: good lines, and lines with one word spoiled.

A wrong line ends with exit code 2 and one line on standard error that names the option, setting or file.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hgfast.checkpoint import save_checkpoint
from hgfast.cli import main
from hgfast.cli._journal import Journal
from hgfast.data.synthetic import write_set
from hgfast.train.build import make_model
from hgfast.train.state import checkpoint_meta
from tests.fuzz.cases import Case, target
from tests.fuzz.damage import any_bytes, damaged
from tests.fuzz.draw import Draw
from tests.fuzz.targets.annotations import file_case
from tests.fuzz.targets.checkpoints import TINY, small_run


class Refused(ValueError):
    """Exit code 2, with what standard error said."""


def line(arguments: Sequence[str]) -> str:
    """What a command prints; Refused for exit code 2, AssertionError for another one, or for a wordy message."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
    message = err.getvalue()
    if code == 2:
        said = [text for text in message.splitlines() if "error:" in text]
        if "Traceback" in message or len(said) != 1:
            raise AssertionError(f"not one line of error: {message[-500:]}")
        raise Refused(message)
    if code:
        raise AssertionError(f"exit code {code}: {message[-300:]}")
    return out.getvalue()


@cache
def small_files() -> dict[str, Path]:
    """A checkpoint, pictures with annotations and boxes, made once in a process; not to be changed."""
    folder = Path(tempfile.mkdtemp())
    config = small_run(folder)
    annotations, images = write_set(folder, 2, 0, "train")
    checkpoint = folder / "net.pt"
    save_checkpoint(make_model(config), checkpoint, meta=checkpoint_meta(config, {"PCKh": 1.0}))
    picture = sorted(images.iterdir())[0]
    boxes = folder / "boxes.json"
    boxes.write_text(json.dumps({picture.name: [[1, 2, 60, 70]]}), encoding="utf-8")
    settings = folder / "settings.toml"
    settings.write_text("lr = 0.001\n[augment]\nscale = 0.1\n", encoding="utf-8")
    return {
        "checkpoint": checkpoint, "annotations": annotations, "images": images, "picture": picture, "boxes": boxes,
        "settings": settings,
    }  # fmt: skip


def numbers(option: str) -> list[str]:
    """Wrong values of an option that takes a number."""
    return [f"{option}={value}" for value in ("", "abc", "nan", "inf", "1e400", "--", "[1]", "9" * 5000, "\x00")]


SETTINGS = (
    "nothing=1", "lr=abc", "lr=nan", "lr=-1", "epochs=0", "epochs=1.5", "input_size=[0, 0]", "input_size=3", "codec=x",
    "model=nothing", "model_options.channels=-1", "model_options.nothing=1", "augment.scale=7", "std=[0, 0, 0]",
    "keypoints=coco", "batch_size=99999999999999999999", "device=abc", "padding=inf", "sigma=0", "seed=-1",
)  # fmt: skip


def spoiled_setting(draw: Draw, start: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The words of `start` with a wrong setting, and its name."""
    text = draw.one(SETTINGS)
    return [*start, "--set", text], (text.partition("=")[0].rpartition(".")[2],)


def broken(draw: Draw, path: Path) -> Path:
    """A damaged copy of a file, another file, a folder, or nothing there."""
    copy = draw.folder / f"broken-{path.name}"
    way = draw.one(("damaged", "damaged", "other", "missing", "folder"))
    if way == "folder":
        copy.mkdir()
    elif way != "missing":
        content = damaged(path.read_bytes(), draw) if way == "damaged" else any_bytes(draw)
        copy.write_bytes(content)
    return copy


def command(
    draw: Draw, good: Sequence[str], bad: Sequence[Callable[[], tuple[list[str], Sequence[str]]]], share: float = 0.75
) -> Case:
    """A good line, or one of the bad ones: each gives the whole line and the words that its refusal must have."""
    if not draw.chance(share):
        return Case(lambda: line(good), spoiled="", inputs=list(good), outputs=256 << 20)
    words, blame = draw.one(bad)()
    spoiled = " ".join(words)[-120:]
    return Case(
        lambda: line(words), blame=blame, spoiled=spoiled, either=True, errors=(Refused,), inputs=list(words),
        outputs=256 << 20,
    )  # fmt: skip


@target("hgfast info", 60, "command")
def info(draw: Draw) -> Case:
    odd = draw.one(["--nothing", "more", "--json=3"])
    return command(draw, draw.one((["info"], ["info", "--json"])), [lambda: (["info", odd], ())], 0.5)


@target("hgfast predict", 40, "command", needs=[small_files])
def predict(draw: Draw) -> Case:
    files = small_files()
    start = ["predict", str(files["checkpoint"]), str(files["picture"]), "--output", str(draw.folder), "--quiet"]
    whole = [*start, "--whole-picture"]
    extra = draw.one(
        ([], ["--no-flip"], ["--no-draw"], ["--no-freeze"], ["--table", "csv"], ["--min-score=-1"], ["--resume"])
    )
    good = draw.one(([*start, "--box", "1,2,60,70"], whole))
    box = draw.one(("1,2,3", "a,b,c,d", "5,5,1,1", "1,2,nan,4", "1,2,inf,4", "", "1,2,3,4,5", "1e400,0,1,1"))

    def with_file(place: int | str) -> tuple[list[str], tuple[str, ...]]:
        words = list(whole if isinstance(place, int) else start)
        if isinstance(place, int):
            path = broken(draw, Path(words[place]))
            words[place] = str(path)
            return words, (path.name,)
        path = broken(draw, files[place])
        return [*words, f"--{place}", str(path)], (path.name,)

    bad = [
        lambda: with_file(1),
        lambda: with_file(2),
        lambda: (start, ("boxes",)),
        lambda: ([*whole, "--smooth"], ("--smooth",)),
        lambda: ([*whole, "--track", draw.one(("", "abc"))], ("--track",)),
        lambda: ([*whole, "--table", "xls"], ("--table",)),
        lambda: ([*whole, "--detector-weights", "a.pth"], ("--detector-weights",)),
        lambda: with_file("boxes"),
        lambda: with_file("annotations"),
        lambda: spoiled_setting(draw, whole),
        lambda: ([*start, "--box", box], ("--box",)),
        lambda: ([*whole, draw.one(numbers("--min-score"))], ("--min-score",)),
        lambda: ([*whole, draw.one(numbers("--detector-score"))], ("--detector-score",)),
        lambda: ([*whole, "--device", draw.one(("abc", "", "cuda:99", "meta"))], ("device",)),
        lambda: ([*whole, "--preset", draw.one(("", "abc"))], ("preset",)),
        lambda: ([*whole[:4], str(files["boxes"]), *whole[5:]], (files["boxes"].name,)),
    ]
    return command(draw, [*good, *extra], bad)


def _write_lines(content: Any, path: Path) -> None:
    lines = content if isinstance(content, list) else [content]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8", errors="surrogatepass")


@target("file.predicted", 60, "file")
def journal(draw: Draw) -> Case:
    """What --resume goes on from."""
    settings = {"checkpoint": "ab12", "no_flip": False, "table": ["csv"]}
    content = [{"settings": settings}, {"input": "/a/1.png", "persons": 2}, {"input": "/a/2.mp4", "persons": 0}]
    name = ".predicted-0.jsonl"
    return file_case(draw, name, content, lambda path: Journal(path.parent, 0, settings).done(), _write_lines)


@target("hgfast export", 10, "command", needs=[small_files])
def export(draw: Draw) -> Case:
    """Into hgfast's own form: the others take seconds."""
    checkpoint, out = small_files()["checkpoint"], str(draw.folder / "out.pt")
    start = ["export", str(checkpoint), out, "--to", "frozen"]

    def with_file() -> tuple[list[str], tuple[str, ...]]:
        path = broken(draw, checkpoint)
        return ["export", str(path), out, "--to", "frozen"], (path.name,)

    bad = [
        with_file,
        lambda: spoiled_setting(draw, start),
        lambda: ([*start[:4], draw.one(("", "abc"))], ("--to",)),
        lambda: ([*start, "--decode"], ("--decode",)),
        lambda: (["export", str(checkpoint), str(checkpoint), "--to", "frozen"], (checkpoint.name,)),
        lambda: ([*start, "--preset", "abc"], ("preset",)),
    ]
    return command(draw, start, bad)


@target("hgfast eval", 20, "command", needs=[small_files])
def evaluate(draw: Draw) -> Case:
    files = small_files()
    start = ["eval", str(files["checkpoint"]), "--quiet"]
    out = draw.folder / draw.one(("out.csv", "out.json", "out.mat"))
    extra = draw.one(([], ["--no-flip"], ["--out", str(out)], ["--json", str(draw.folder / "m.json")]))

    def with_file(option: str) -> tuple[list[str], tuple[str, ...]]:
        if option == "checkpoint":
            path = broken(draw, files["checkpoint"])
            return ["eval", str(path), "--quiet"], (path.name,)
        path = broken(draw, files[option]) if option != "images" else draw.folder / "none"
        # or the picture, where a damaged file names another one
        return [*start, f"--{option}", str(path)], (f"{path.name}|picture not found",)

    bad = [
        lambda: with_file("checkpoint"),
        lambda: with_file("annotations"),
        lambda: with_file("images"),
        lambda: spoiled_setting(draw, start),
        lambda: ([*start, "--out", str(draw.folder / draw.one(("a.txt", "a", ".csv.x")))], ()),
        lambda: ([*start, "--device", draw.one(("abc", "cuda:99", "meta"))], ("device",)),
    ]
    return command(draw, [*start, *extra], bad)


@target("hgfast train", 12, "command", needs=[small_files])
def train(draw: Draw) -> Case:
    files = small_files()
    settings = {
        "model": "hourglass52", "input_size": [32, 32], "sigma": 1, "epochs": 1, "batch_size": 2, "workers": 0,
        "train_annotations": files["annotations"],
        "train_images": files["images"], "val_annotations": files["annotations"], "val_images": files["images"],
        "freeze": "false", "flip_test": "false",
    } | {f"model_options.{name}": value for name, value in TINY.items()}  # fmt: skip
    start = ["train", "--quiet", "--output", str(draw.folder / "run"), "--device", "cpu"]
    for name, value in settings.items():
        start += ["--set", f"{name}={value}"]
    show = [*start, "--show"]
    good = draw.one((start, ["train", "--list"], show, [*show, "--config", str(files["settings"])]))

    def with_config() -> tuple[list[str], tuple[str, ...]]:
        path = broken(draw, files["settings"])
        return [*start, "--show", "--config", str(path)], ()

    def with_annotations() -> tuple[list[str], tuple[str, ...]]:
        path = broken(draw, files["annotations"])
        return [*start, "--set", f"{draw.one(('train', 'val'))}_annotations={path}"], (
            f"{path.name}|picture not found",
        )

    bad = [
        lambda: spoiled_setting(draw, start),
        with_config,
        with_annotations,
        lambda: ([*start, "--preset", draw.one(("", "abc", "\ud800"))], ("preset",)),
        lambda: ([*start, "--nothing"], ("--nothing",)),
    ]
    return command(draw, good, bad, 0.8)


@target("hgfast convert", 25, "command", needs=[small_files])
def convert(draw: Draw) -> Case:
    files = small_files()
    out = draw.folder / "out.pt"
    start = ["convert", str(files["checkpoint"]), str(out)]

    def with_file() -> tuple[list[str], tuple[str, ...]]:
        path = broken(draw, files["checkpoint"])
        return ["convert", str(path), str(out)], (path.name,)

    bad = [
        with_file,
        lambda: spoiled_setting(draw, start),
        lambda: ([*start, "--form", draw.one(("princeton", "mmpose"))], ("form",)),
        lambda: ([*start, "--form", draw.one(("", "abc"))], ("--form",)),
        lambda: (["convert", str(files["checkpoint"]), str(files["boxes"])], (files["boxes"].name,)),
        lambda: ([*start, "--preset", "abc"], ("preset",)),
    ]
    return command(draw, [*start, "--form", "hgfast"], bad)


@target("hgfast demo", 40, "command")
def demo(draw: Draw) -> Case:
    """Its wrong lines: the right ones take minutes."""
    (draw.folder / "summary.json").write_text("{}", encoding="utf-8")
    output = ["--output", str(draw.folder)]
    bad = [
        lambda: (["demo", *output, draw.one(numbers("--epochs"))], ("epochs",)),
        lambda: (["demo", *output, draw.one(numbers("--seed"))], ("seed",)),
        lambda: (["demo", *output], (draw.folder.name,)),
        lambda: (["demo", "--output", str(draw.folder / "summary.json" / "x")], ()),
        lambda: (["demo", "--epochs", draw.one(("0", "-1")), "--output", str(draw.folder / "new")], ("epochs",)),
    ]
    return command(draw, [], bad, 1.0)
