"""What happens before what: vector clocks of streams and of the host, and uses of memory held against each other."""

from __future__ import annotations

from dataclasses import dataclass

HOST = 0
"""The host's place in a clock. Its threads count as one: they are seen in the order in which they came."""

Clock = dict[int, int]
"""For every agent (the host, streams) the number of its steps that are known to be done."""


def merge(clock: Clock, other: Clock) -> None:
    """Whoever has `clock` now comes after all that `other` knows of."""
    for agent, step in other.items():
        if step > clock.get(agent, 0):
            clock[agent] = step


def step(clock: Clock, agent: int) -> int:
    """The agent does something; returns its number."""
    clock[agent] = clock.get(agent, 0) + 1
    return clock[agent]


@dataclass(frozen=True)
class Access:
    """A step that reads or writes bytes [begin, end) of a block."""

    begin: int
    end: int
    write: bool
    agent: int
    step: int
    what: str

    def done_before(self, clock: Clock) -> bool:
        """Whether whoever has this clock comes after it."""
        return clock.get(self.agent, 0) >= self.step

    def meets(self, other: Access) -> bool:
        """Whether the two touch the same bytes and one of them changes them."""
        return (self.write or other.write) and self.begin < other.end and other.begin < self.end

    def replaces(self, other: Access) -> bool:
        """Whether whoever comes after this one comes after the other one, too, in all that matters."""
        inside = self.begin <= other.begin and other.end <= self.end
        return inside and (self.write or (not other.write and self.agent == other.agent))


def add_access(accesses: list[Access], new: Access, clock: Clock) -> Access | None:
    """Write an access down; returns one in conflict with it: the same bytes, and none comes before the other."""
    conflict = next((old for old in accesses if old.meets(new) and not old.done_before(clock)), None)
    accesses[:] = [old for old in accesses if not (old.done_before(clock) and new.replaces(old))]
    accesses.append(new)
    return conflict
