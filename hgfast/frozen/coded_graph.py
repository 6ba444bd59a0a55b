"""A graph with its quantisation turned into calls on codes and on numbers, for a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hgfast.frozen.codes import Codes, Quantisation
from hgfast.frozen.graph import Call, ConvCall, Graph, PoolCall, Second, Value


@dataclass
class Coded:
    """A value as a call reads or writes it; codes: None where it is numbers."""

    value: Value
    codes: Codes | None


@dataclass
class Written:
    """A result: as numbers, as codes (of_codes), or as both."""

    numbers: Value | None = None
    codes: Value | None = None
    of_codes: Codes = field(default_factory=Codes)

    def values(self) -> Iterator[Value]:
        """Yield those that there are."""
        yield from (value for value in (self.numbers, self.codes) if value is not None)


@dataclass
class CodedConvCall:
    """A convolution in int8: conv with its inputs and outputs in the places of what it reads and makes.

    second_output: that of conv.second.
    """

    name: str
    conv: ConvCall
    x: Value
    x_codes: Codes
    extra: Coded | None
    residual: Coded | None
    upsample_to: Coded | None
    written: Written
    second_output: Written | None
    second: None = field(default=None, init=False)

    @property
    def output(self) -> Value:
        """One of the values that it makes."""
        return next(self.written.values())

    def inputs(self) -> Iterator[Value]:
        """Yield all values that the call reads."""
        yield self.x
        for read in (self.residual, self.upsample_to, self.extra):
            if read is not None:
                yield read.value

    def made(self) -> list[Value]:
        """Return all values that the call makes."""
        return [*self.written.values(), *(self.second_output.values() if self.second_output else ())]


@dataclass
class QuantiseCall:
    """output = codes of the numbers x."""

    name: str
    output: Value
    x: Value
    codes: Codes
    second: None = field(default=None, init=False)

    def inputs(self) -> Iterator[Value]:
        """Yield all values that the call reads."""
        yield self.x


@dataclass
class CodedPoolCall:
    """output = max_pool2d(x, 2), of codes."""

    name: str
    output: Value
    x: Value
    second: None = field(default=None, init=False)

    def inputs(self) -> Iterator[Value]:
        """Yield all values that the call reads."""
        yield self.x


CodedCall = CodedConvCall | QuantiseCall | CodedPoolCall


def made_by(call: Any) -> list[Value]:
    """Return the values that a call of a graph or of a plan makes."""
    if isinstance(call, CodedConvCall):
        return call.made()
    return [call.output, *([call.second.value] if call.second is not None else [])]


class _Maker:
    """Goes through the calls once to see what is read how, and once to make those on codes."""

    def __init__(self, graph: Graph, quantisation: Quantisation) -> None:
        self.graph, self.q = graph, quantisation
        self.result = replace(graph, calls=[], quantisation=None)
        self.as_numbers, self.as_codes = set(graph.outputs), set[Value]()
        for call in graph.calls:
            self._note_reads(call)
        self._move_pools()
        self.codes_of: dict[Value, Value] = {value: self.result.new_value() for value in sorted(self.as_codes)}

    def _note_reads(self, call: Call) -> None:
        if not self._in_int8(call):
            self.as_numbers |= set(call.inputs())
            return
        assert isinstance(call, ConvCall)
        self.as_codes |= {call.x} | ({call.extra.value} if call.extra else set())
        for value in (call.residual, call.upsample_to):
            if value is not None:
                (self.as_codes if value in self.q.trunk else self.as_numbers).add(value)

    def _move_pools(self) -> None:
        """Poolings of which only codes are wanted read codes; the last first, as pools may follow each other."""
        self.pools = set[Value]()
        readers: dict[Value, int] = {}
        for call in self.graph.calls:
            for value in call.inputs():
                readers[value] = readers.get(value, 0) + 1
        for call in reversed(self.graph.calls):
            if not isinstance(call, PoolCall) or call.second is not None or call.output in self.as_numbers:
                continue
            same = self.q.codes.get(call.x) == self.q.codes.get(call.output)
            if call.output in self.as_codes and call.x in self.q.codes and same:
                self.pools.add(call.output)
                self.as_codes.add(call.x)
                others = [c for c in self.graph.calls if call.x in c.inputs() and not self._reads_codes(c, call.x)]
                if not others and call.x not in self.graph.outputs:
                    self.as_numbers.discard(call.x)

    def _reads_codes(self, call: Call, value: Value) -> bool:
        """Whether all that a call reads of a value are codes."""
        if isinstance(call, PoolCall):
            return call.output in self.pools
        if not isinstance(call, ConvCall) or not self._in_int8(call):
            return False
        return value in self.q.trunk or value not in (call.residual, call.upsample_to)

    def _in_int8(self, call: Call) -> bool:
        return isinstance(call, ConvCall) and call.output in self.q.convs

    def make(self) -> Graph:
        for call in self.graph.calls:
            if isinstance(call, ConvCall) and self._in_int8(call):
                self.result.calls.append(self._conv(call))
            elif call.output in self.pools:
                assert isinstance(call, PoolCall)
                self._add(CodedPoolCall(call.name, self.codes_of[call.output], self.codes_of[call.x]))
            else:
                self._add(call)
                for value in (call.output, *([call.second.value] if call.second is not None else [])):
                    if value in self.codes_of:
                        codes = self.q.codes[value]
                        self._add(QuantiseCall(call.name, self.codes_of[value], value, codes))
        return self.result

    def _add(self, call: Any) -> None:
        self.result.calls.append(call)

    def _read(self, value: Value | None, as_codes: bool) -> Coded | None:
        if value is None:
            return None
        return Coded(self.codes_of[value], self.q.codes[value]) if as_codes else Coded(value, None)

    def _written(self, value: Value) -> Written:
        codes = self.codes_of.get(value)
        numbers = value if value in self.as_numbers or codes is None else None
        return Written(numbers, codes, self.q.codes.get(value, Codes()))

    def _conv(self, call: ConvCall) -> Any:
        second: Second | None = call.second
        return CodedConvCall(
            call.name,
            call,
            self.codes_of[call.x],
            self.q.codes[call.x],
            self._read(call.extra.value if call.extra else None, True),
            self._read(call.residual, call.residual in self.q.trunk),
            self._read(call.upsample_to, call.upsample_to in self.q.trunk),
            self._written(call.output),
            None if second is None else self._written(second.value),
        )


def coded_graph(graph: Graph) -> tuple[Graph, dict[Value, Value]]:
    """Return the calls of a graph with a quantisation, and the value that each value of codes is the codes of."""
    assert graph.quantisation is not None
    maker = _Maker(graph, graph.quantisation)
    return maker.make(), {codes: value for value, codes in maker.codes_of.items()}
