"""The command ``hgfast``: a file a subcommand with ``run(options)``, and in ``options`` one with its options."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hgfast import __version__
from hgfast._errors import TrainingError, TrainingStopped
from hgfast.cli._text import one_line

COMMANDS = {
    "info": "what was built and what of it this machine can run",
    "demo": "train a small hourglass on drawn figures: pictures, curves and speed in two minutes",
    "train": "train a network on MPII, COCO or your own annotations",
    "eval": "measure the accuracy of a checkpoint",
    "predict": "find the keypoints of persons in pictures and draw them",
    "export": "write a network for ONNX, TorchScript, torch.export or OpenVINO, or frozen",
    "convert": "turn checkpoints of MMPose and princeton-vl into hgfast's, and back into plain weights",
}

_DESCRIPTION = """\
Stacked-hourglass pose networks with fused CPU and CUDA kernels.

`hgfast COMMAND --help` explains each command. Exit codes: 0 done, 2 wrong use or unusable files (the
message says which), 130 interrupted. HGFAST_DEBUG=1 shows where in the program an error came from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and returns the exit code; mistakes of the user become one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold what the encoding does not have
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("hgfast: interrupted", file=sys.stderr)
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(_with_negative_values(sys.argv[1:] if arguments is None else arguments))
    if options.command is None:
        parser.print_help()
        return 0
    try:
        with _interruptible():
            command = _module(options.command)  # this imports torch and OpenCV
        return command.run(options) or 0
    except BrokenPipeError:  # the reader of our output has gone (`hgfast info | head`): nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except TrainingStopped as stopped:
        print(f"hgfast {options.command}: {stopped}", file=sys.stderr)
        return 130
    except (OSError, ValueError, TypeError, ImportError, MemoryError, RuntimeError, TrainingError) as error:
        unforeseen = type(error) is RuntimeError and "DataLoader worker" not in str(error)
        if os.environ.get("HGFAST_DEBUG") or unforeseen:
            raise
        print(f"hgfast {options.command}: error: {one_line(error)}", file=sys.stderr)
        return 2


def _with_negative_values(arguments: Sequence[str]) -> list[str]:
    """Write ``--box -10,5,60,90`` as ``--box=-10,5,60,90``: argparse takes the second word for an option."""
    joined: list[str] = []
    for word in arguments:
        if re.match(r"-(\d|\.\d|inf|nan)", word) and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hgfast", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"hgfast {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _module(f"options.{name}").add_arguments(sub)
    return parser


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the process at once: an exception in the midst of numpy's import is swallowed by torch's."""

    def stop(*_: object) -> None:
        print("hgfast: interrupted", file=sys.stderr, flush=True)
        os._exit(130)

    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # somebody else's, or ignored
        yield
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _module(name: str) -> Any:
    return importlib.import_module(f"hgfast.cli.{name}")
