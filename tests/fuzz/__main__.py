"""`python -m tests.fuzz`: fuzz for as long as you like.

Each distinct failure is printed when it is first seen, with the command that shows it again; the table comes last.
Cases are numbered: the same target, seed and index give the same case again. With --index one case runs in this process
and shows its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.cases import GOALS, TARGETS
from tests.fuzz.record import Record
from tests.fuzz.run import Results, batches, run, table


def main() -> int:
    """Parse, run, print; exit status 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", metavar="NAME", help="one target, or all that begin so with NAME*")
    parser.add_argument("--cases", type=int, help="cases of each target (default: as in the ordinary tests)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="index of the first case")
    parser.add_argument("--share", type=float, help="cases of each target as a share of its goal, instead of --cases")
    parser.add_argument("--minutes", type=float, help="go on with further cases until so long has passed")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="servers at a time")
    parser.add_argument("--index", type=int, help="run this one case here, with its traceback")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the counts to those in this Markdown file")
    parser.add_argument("--list", action="store_true", help="list the targets and stop")
    options = parser.parse_args()
    from tests.fuzz.server import prepare

    prepare()
    chosen = [name for name in TARGETS if _is_chosen(name, options.target)]
    if options.list or not chosen:
        print("\n".join(f"{name:<40} {TARGETS[name].group:<10} {TARGETS[name].cases}" for name in TARGETS))
        return 0 if options.list else 2
    if options.index is not None:
        return _show(chosen[0], options.seed, options.index)
    results = Results(say=lambda failure: print(failure, file=sys.stderr, flush=True))
    record = Record(options.record, options.seed, options.start) if options.record else None
    counts = {name: _count(name, options.cases, options.share) for name in chosen}
    started, turn = time.monotonic(), 0
    while turn == 0 or (options.minutes and time.monotonic() - started < 60 * options.minutes):
        requests = batches(counts, {name: options.start + turn * count for name, count in counts.items()})
        results = run(requests, options.seed, options.jobs, results)
        turn += 1
        if record:
            record.write(results)
    print(table(results.counts))
    return 1 if results.failures else 0


def _count(name: str, cases: int | None, share: float | None) -> int:
    return cases or (max(1, round(share * GOALS[TARGETS[name].group])) if share else TARGETS[name].cases)


def _is_chosen(name: str, wanted: list[str] | None) -> bool:
    return wanted is None or any(name == w or (w.endswith("*") and name.startswith(w[:-1])) for w in wanted)


def _show(name: str, seed: int, index: int) -> int:
    """One case in this process."""
    from tests.fuzz.draw import Draw
    from tests.fuzz.judge import judge

    case = TARGETS[name].make(Draw(name, seed, index))
    print(f"{'bad' if case.blame else 'good'} call, {case.spoiled}; arguments {str(case.inputs)[:2000]}")
    try:
        print("result:", str(case.run())[:500])
    except Exception:
        traceback.print_exc()
    print(judge(name, seed, index))
    return 0


if __name__ == "__main__":
    sys.exit(main())
