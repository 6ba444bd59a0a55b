"""Stage build: installs this checkout for the card's architecture into build/device, timing it."""

from __future__ import annotations

import shutil
import time

from benchmarks.device import process
from benchmarks.device.context import Context, StageError

SITE = process.ROOT / "build" / "device"


def archs_of(capability: str) -> str:
    """$HGFAST_CUDA_ARCHS for a compute capability: Hopper's kernels need 90a."""
    return "90a" if capability == "9.0" else capability.replace(".", "")


def build(context: Context) -> None:
    """`pip install --no-build-isolation --no-deps .` into a folder of its own; the environment stays as it is.

    Raises:
        StageError: the build failed; without it nothing else of hgfast can be measured here.
    """
    settings = {"HGFAST_CUDA": "0"}
    if context.device == "cuda":
        settings = {"HGFAST_CUDA": "1", "HGFAST_CUDA_ARCHS": archs_of(context.record.data["machine"]["capability"])}
    shutil.rmtree(SITE, ignore_errors=True)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(SITE)]
    command = process.python("-m", "pip", "install", *options, str(process.ROOT))
    begin = time.monotonic()
    finished = process.run(command, process.environment(None, **settings), context.deadline.left, context.log)
    seconds = round(time.monotonic() - begin, 1)
    if finished.status != "ok":
        raise StageError(f"pip install: {finished.status} after {seconds} s: {finished.tail(6)}")
    context.use_site(SITE)
    outcome = context.client.call("build_info", 60.0)
    if outcome.status != "ok":
        raise StageError(f"the installed hgfast does not load: {outcome.note}")
    context.set("build", {"seconds": seconds, "archs": settings.get("HGFAST_CUDA_ARCHS"), **outcome.value})
    context.say(f"built in {seconds} s")
