"""`python -m benchmarks.device`: parses the options and runs the stages."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device import __doc__ as about
from benchmarks.device import process
from benchmarks.device.benching import run_cases
from benchmarks.device.budget import Deadline
from benchmarks.device.build import build
from benchmarks.device.checks import ceilings, check_networks, ops
from benchmarks.device.client import Client
from benchmarks.device.context import Context, StageAbsent, StageError
from benchmarks.device.markdown import short
from benchmarks.device.profiling import profile
from benchmarks.device.record import RESULTS, Record
from benchmarks.device.sanitizer import sanitizer
from benchmarks.device.testing import run_tests
from benchmarks.device.verdicts import verdicts


@dataclass(frozen=True)
class Stage:
    """A stage, the weight by which it shares the time left with those after it, and whether a CPU has it."""

    name: str
    run: Callable[[Context], None]
    weight: float
    on_cpu: bool = True


# What a new card would most likely show wrong comes first: instructions, then kernels, then networks.
STAGES = (
    Stage("build", build, 60),
    Stage("ceilings", ceilings, 4),
    Stage("wrappers", functools.partial(run_tests, stage="wrappers"), 3),
    Stage("kernels", functools.partial(run_tests, stage="kernels"), 4),
    Stage("layers", functools.partial(check_networks, stage="layers"), 6, on_cpu=False),
    Stage("choices", functools.partial(check_networks, stage="choices"), 2, on_cpu=False),
    Stage("graphs", functools.partial(check_networks, stage="graphs"), 2, on_cpu=False),
    Stage("ops", ops, 4),
    Stage("networks", functools.partial(run_cases, stage="networks"), 8),
    Stage("bench", functools.partial(run_cases, stage="bench"), 9),
    Stage("tests", functools.partial(run_tests, stage="tests"), 8),
    Stage("sanitizer", sanitizer, 4, on_cpu=False),
    Stage("profile", profile, 2, on_cpu=False),
)
NAMES = [stage.name for stage in STAGES]


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="time for everything")
    parser.add_argument("--only", default=",".join(NAMES), help=f"comma-separated, of {', '.join(NAMES)}")
    parser.add_argument(
        "--filter",
        default="",
        help="only ops, test files and cases whose name contains this, or one of several separated by commas",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record (default: benchmarks/results)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal without a GPU")
    found = parser.parse_args(arguments)
    unknown = set(found.only.split(",")) - set(NAMES)
    if unknown:
        parser.error(f"--only must be made of {', '.join(NAMES)}; got {', '.join(sorted(unknown))}")
    if found.minutes <= 0:
        parser.error(f"--minutes must be positive, got {found.minutes}")
    return found


def run_stage(context: Context, stage: Stage) -> str:
    """Run a stage and note how it ended; returns its status."""
    begin, status, note = time.monotonic(), "ok", ""
    context.unfinished.clear()
    context.say(f"== {stage.name} [at most {context.deadline.left:.0f} s]")
    try:
        if context.device == "cpu" and not stage.on_cpu:
            raise StageAbsent("needs a GPU")
        stage.run(context)
    except StageAbsent as reason:
        status, note = "absent", str(reason)
    except StageError as error:
        status, note = "failed", str(error)
    if context.unfinished:
        note = "; ".join([*([note] if note else []), "out of time, left out: " + ", ".join(context.unfinished)])
        status = "timeout" if status == "ok" else status
    if status != "ok":
        context.say(f"{stage.name}: {status}: {note}")
    context.record.data["stages"][stage.name] = {
        "status": status,
        "seconds": round(time.monotonic() - begin, 1),
        "note": note[:2000],
    }
    context.record.save()
    return status


def run_stages(context: Context, chosen: list[Stage], whole: Deadline) -> bool:
    """Run the stages in order. Without a build nothing of hgfast is measured. Returns whether all were right."""
    statuses = []
    for i, stage in enumerate(chosen):
        context.deadline = whole.share([later.weight for later in chosen[i:]])
        statuses.append(run_stage(context, stage))
        if stage.name == "build" and statuses[-1] != "ok":
            chosen[i + 1 :] = [later for later in chosen[i + 1 :] if later.name == "ceilings"]
    return all(status in ("ok", "absent") for status in statuses)


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 if all stages were right, 1 if one failed or ran out of time, 2 if there is no device."""
    wish = options(arguments)
    whole = Deadline.after(60 * wish.minutes)
    record = Record(wish.out, {key: str(value) for key, value in vars(wish).items() if key != "out"})
    log = process.Log(wish.out / "device.log")
    client = Client(wish.device, process.environment(), log)
    context = Context(wish.device, wish.filter, record, log, client, whole)
    try:
        machine = client.call("machine", whole.left)
        if machine.status != "ok":
            context.say(f"no device: {machine.note}")
            return 2
        record.name_after(machine.value)
        context.say(f"{machine.value['name']}, torch {machine.value['torch']}")
        right = run_stages(context, [stage for stage in STAGES if stage.name in wish.only.split(",")], whole)
        record.data["complete"] = True
        record.save()
    finally:
        client.close()
        log.close()
    print(f"\n{short(record.data)}\n")
    for claim, verdict, figures in verdicts(record.data):
        print(f"{verdict:>13}  {claim}" + (f" ({figures})" if figures else ""))
    print(f"\nrecord: {record.path}")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
