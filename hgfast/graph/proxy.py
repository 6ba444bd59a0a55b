"""What stands for a value while a module is traced."""

from __future__ import annotations

import dis
import operator
import sys
from types import FrameType
from typing import Any

from torch import Tensor, fx

OWN = ("torch", "hgfast")


class Stand(fx.Proxy):
    """A value of torch's during a trace.

    Whoever asks for its class is told that it is a tensor where that is certain, and stopped where it is not: code that
    decides by classes must not take another way in a trace than it takes in a run.
    """

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] in OWN:
            return Stand
        if self.node.meta.get("tensor"):
            return Tensor
        raise fx.proxy.TraceError("its class is asked for, which is not known before it runs")

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def __bool__(self) -> bool:
        frame = sys._getframe(1)
        if _is_asserted(frame):
            self.tracer.create_proxy("call_function", require, (self, line_of(frame)), {})
            return True
        return self.tracer.to_bool(self)


def require(condition: Any, line: str) -> None:
    """Note an assertion of the module's code.

    Raises:
        AssertionError: it does not hold.
    """
    assert condition, line


def line_of(frame: FrameType) -> str:
    """File and line that a frame is at."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_asserted(frame: FrameType) -> bool:
    """Whether the truth that a frame asks for now only decides between going on and an AssertionError."""
    steps = list(dis.get_instructions(frame.f_code))
    here = next((i for i, step in enumerate(steps) if step.offset == frame.f_lasti), None)
    if here is None:
        return False
    while steps[here].opname in ("TO_BOOL", "CACHE") and here + 1 < len(steps):
        here += 1
    jump = steps[here]
    if not jump.opname.startswith("POP_JUMP") or "NONE" in jump.opname or here + 1 == len(steps):
        return False
    if "IF_TRUE" in jump.opname:
        return _raises(steps, here + 1)
    target = next((i for i, step in enumerate(steps) if step.offset == jump.argval), None)
    return target is not None and _raises(steps, target)


def _raises(steps: list[dis.Instruction], index: int) -> bool:
    while steps[index].opname in ("NOT_TAKEN", "CACHE"):
        index += 1
    step = steps[index]
    return step.opname == "LOAD_ASSERTION_ERROR" or (
        step.opname == "LOAD_COMMON_CONSTANT" and step.argval is AssertionError
    )
