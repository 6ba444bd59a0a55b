"""What a fuzz target is: a function that draws one case, and what is to be said of its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.fuzz.draw import Draw

TARGETS: dict[str, Target] = {}


@dataclass
class Case:
    """One call.

    Attributes:
        run: makes it.
        check: of a good call, says what is wrong with the result, or None.
        blame: words that the message of a refusal must have, each as a word of its own ("a|b": one of these); None: a
            good call.
        spoiled: what was done to the argument, for the report.
        either: whether a result is right, too (an argument of an unusual type that has the right value, say).
        errors: what a refusal may be.
        inputs: whose size counts for the memory that the call may take.
        outputs: whose size does, beside that of the result: files that are written, pictures in a file.
    """

    run: Callable[[], Any]
    check: Callable[[Any], str | None] = lambda result: None
    blame: Sequence[str] | None = None
    spoiled: str = ""
    either: bool = False
    errors: tuple[type[BaseException], ...] = (TypeError, ValueError)
    inputs: Any = ()
    outputs: int = 0


GOALS = {"function": 20_000, "file": 10_000, "command": 500}  # cases of a target, over all runs


@dataclass(frozen=True)
class Target:
    """A function that makes cases.

    Attributes:
        name: of what is tried.
        make: makes a case.
        cases: how many the ordinary test runs.
        group: of GOALS.
        needs: cached functions whose results cases share; called before processes are forked off.
    """

    name: str
    make: Callable[[Draw], Case]
    cases: int
    group: str
    needs: Sequence[Callable[[], Any]]


def target(
    name: str, cases: int = 100, group: str = "function", needs: Sequence[Callable[[], Any]] = ()
) -> Callable[[Callable[[Draw], Case]], Any]:
    """Decorator: registers a target."""

    def register(make: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
        assert name not in TARGETS, name
        TARGETS[name] = Target(name, make, cases, group, needs)
        return make

    return register


@dataclass(frozen=True)
class Spoiler:
    """One way of making a value wrong; either: the result may be right all the same."""

    label: str
    make: Callable[[], Any]
    either: bool = False


class Kind(Protocol):
    """A kind of argument: knows how its values can be spoiled."""

    def spoilers(self, value: Any, draw: Draw) -> list[Spoiler]: ...


@dataclass
class Arg:
    """A good value of an argument, its kind, and the names of spoilers after which it is good still, or at times."""

    value: Any
    kind: Kind
    fine: Sequence[str] = field(default_factory=tuple)


def call(
    draw: Draw,
    function: Callable[..., Any],
    arguments: Mapping[str, Arg],
    check: Callable[[Any], str | None] = lambda result: None,
    *,
    bad: float = 0.5,
    positional: bool = False,
    errors: tuple[type[BaseException], ...] = (TypeError, ValueError),
) -> Case:
    """function(**arguments), as a good call or with one argument spoiled."""
    values = {name: argument.value for name, argument in arguments.items()}
    blame, spoiled, either = None, "", False
    if draw.chance(bad):
        name = draw.one(list(arguments))
        ways = arguments[name].kind.spoilers(values[name], draw)
        if ways:
            way = draw.one(ways)
            values[name] = way.make()
            blame, spoiled = (name,), f"{name}: {way.label}"
            either = way.either or way.label in arguments[name].fine

    def run() -> Any:
        return function(*values.values()) if positional else function(**values)

    return Case(run, check, blame, spoiled, either, errors, inputs=list(values.values()))
