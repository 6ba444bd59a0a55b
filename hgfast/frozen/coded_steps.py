"""The calls of hgfast.frozen.coded_graph made ready: steps of a plan, beside those of hgfast.frozen.steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hgfast import _native
from hgfast.frozen.choices import Needs
from hgfast.frozen.coded_graph import Coded, CodedConvCall, CodedPoolCall, QuantiseCall, Written
from hgfast.frozen.codes import Codes
from hgfast.frozen.steps import Step, StepMaker, conv_sizes
from hgfast.frozen.torch_call_step import TorchCallStep

if TYPE_CHECKING:
    from hgfast._library import Library

NOTHING = Codes()


@dataclass
class CodedStepMaker(StepMaker):
    """Makes steps of calls on codes as well."""

    def make(self, call: Any, needs: Needs | None) -> Step | TorchCallStep:
        """Return the step of a call; needs: None for one of torch's, or on codes and no convolution."""
        if isinstance(call, CodedConvCall):
            assert needs is not None
            return self._coded_conv(call, needs)
        if isinstance(call, CodedPoolCall):
            return self._coded_pool(call)
        return self._quantise(call) if isinstance(call, QuantiseCall) else super().make(call, needs)

    def _coded_conv(self, call: CodedConvCall, needs: Needs) -> Step:
        memory, conv, second = self.memory, call.conv, call.second_output or Written()
        sizes = conv_sizes(conv, memory.shapes, memory.batch, memory.dtype, self.weights.exact)
        weights = self.weights.coded(self.lib, conv, sizes, call.x_codes, call.extra.codes if call.extra else None)
        step = Step(call, self.lib.conv_int8, [sizes.native(self.lib), _codes(self.lib, call)], kernel=needs.kernel)
        step.weight_bytes = weights.packed.numel()
        self.add(step, "ptr", call.x, call.extra.value if call.extra else None)
        step.arguments += [_native.ptr(tensor) for tensor in (weights.packed, weights.scale, weights.bias)]
        self.add(step, "ptr", *(None if read is None else read.value for read in (call.residual, call.upsample_to)))
        self.add(step, "out", call.written.numbers, call.written.codes)
        vectors = (None, None) if conv.second is None else (conv.second.scale, conv.second.shift)
        step.arguments += [_native.ptr(self.weights.vector(vector)) for vector in vectors]
        self.add(step, "out", second.numbers, second.codes)
        step.arguments.append(int(conv.relu))
        self.add_workspace(step)
        return step

    def _quantise(self, call: QuantiseCall) -> Step:
        step = Step(call, self.lib.quantise, [], kernel="quantise")
        self.add(step, "ptr", call.x)
        self.add(step, "out", call.output)
        c, h, w = self.memory.shapes[call.x]
        step.arguments += [*call.codes.native(), _native.DTYPE_CODES[self.memory.dtype], self.memory.batch * c * h * w]
        return step

    def _coded_pool(self, call: CodedPoolCall) -> Step:
        step = Step(call, self.lib.max_pool_codes, [], kernel="max_pool of codes")
        self.add(step, "ptr", call.x)
        self.add(step, "out", call.output)
        c, h, w = self.memory.shapes[call.x]
        step.arguments += [self.memory.batch, h, w, c]
        return step


def _codes(lib: Library, call: CodedConvCall) -> Any:
    """Return the library's ConvCodes."""

    def read(coded: Coded | None) -> tuple[int, tuple[float, int]]:
        codes = None if coded is None else coded.codes
        return int(codes is not None), (codes or NOTHING).native()

    second = call.second_output or Written()
    outputs = call.written.of_codes.native(), second.of_codes.native()
    return lib.ConvCodes(call.x_codes.zero, *read(call.residual), *read(call.upsample_to), *outputs)
