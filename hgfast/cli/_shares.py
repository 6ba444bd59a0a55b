"""The inputs of ``hgfast predict`` shared by several processes, and what they did put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hgfast.cli._inputs import is_video
from hgfast.train.parallel import World


@dataclass
class Outcome:
    """What became of inputs.

    Attributes:
        done: persons of each input whose results are all written.
        failed: what was wrong with each input that could not be used.
        count: persons, those in parts of videos that failed included.
    """

    done: dict[Path, int] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    count: int = 0


def share(paths: Sequence[Path], world: World) -> list[Path]:
    """Return the inputs of this process: every so many pictures, and whole videos, the largest files first.

    Each process gets the same answer from the same paths, so that together they do everything once.
    """
    pictures = [path for path in paths if not is_video(path)]
    mine = pictures[world.rank :: world.size]
    loads = [0] * world.size
    for video in sorted((path for path in paths if is_video(path)), key=lambda path: (-path.stat().st_size, str(path))):
        least = loads.index(min(loads))
        loads[least] += video.stat().st_size
        mine += [video] if least == world.rank else []
    return mine


def together(own: Outcome, paths: Sequence[Path], world: World) -> Outcome:
    """Return the outcome of all processes, in the order of the inputs; each process waits for all others."""
    parts: list[Outcome] = world.objects(own)
    all_done = {path: persons for part in parts for path, persons in part.done.items()}
    all_failed = {path: text for part in parts for path, text in part.failed.items()}
    return Outcome(
        {path: all_done[path] for path in paths if path in all_done},
        {path: all_failed[path] for path in paths if path in all_failed},
        sum(part.count for part in parts),
    )
