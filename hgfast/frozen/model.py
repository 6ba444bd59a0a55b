"""The frozen network as a module: plans by input size, CUDA graphs, description, saving."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgfast import _checks as checks
from hgfast import _native
from hgfast.frozen.arguments import only
from hgfast.frozen.captured import CapturedPlans
from hgfast.frozen.check import check_graph
from hgfast.frozen.describe import describe_plan
from hgfast.frozen.file import load_graph, save_graph
from hgfast.frozen.graph import Graph, Others
from hgfast.frozen.make import make_plan
from hgfast.frozen.options import as_device, as_frozen_dtype, check_cuda_graph, with_index
from hgfast.frozen.plan import Plan
from hgfast.frozen.precision import as_results, numbers_beside, tell_if_slow
from hgfast.frozen.safe_file import SUFFIX, load_safe, save_safe
from hgfast.frozen.state import GraphState
from hgfast.frozen.torch_plan import TorchPlan
from hgfast.frozen.turns import Turns
from hgfast.frozen.weights import Weights
from hgfast.graph.captured import replaced
from hgfast.models.common import check_images
from hgfast.ops._conv_native import ConvShape, NoKernel, query

log = logging.getLogger("hgfast")
LARGEST_SIDE = 1 << 20
MAX_PLANS = 8  # a plan holds its workspace: 18 MB for one 256x256 image of hourglass52


class FrozenModel(GraphState):
    """A network for inference only, as :func:`hgfast.freeze` makes it or :meth:`load` reads it.

    For each batch and image size a plan is made at the first call and kept (the last MAX_PLANS of them). Calls from
    several threads, or on several CUDA streams, run one after the other; one from a signal handler inside another call,
    and one inside a CUDA graph that the caller captures, has a plan of its own. Before the latter the network must have
    been called once outside of a capture: its weights are packed then, and the graph goes on using them, so that it
    must not outlive the network. Forked processes may go on with it (on the CPU). The module has no parameters;
    its state dict are the folded weights, which `load_state_dict` takes back into a network frozen from the same one.
    It can be copied and pickled, and stays on the device it was made for. It can be neither traced nor exported: its
    kernels are called by plans for one size, which torch does not see. Where there are no kernels
    for the device, or for a layer, the whole network runs by PyTorch: a warning of the log "hgfast" and
    :meth:`describe` say why. On CUDA a plan's kernels are held against PyTorch before their first use on a card; one
    that is wrong is told and replaced (docs/gpu.md).

    On the CPU the number of threads decides which algorithm each convolution takes, as it decides which is the fastest:
    with another number (`torch.set_num_threads`) results differ by rounding, some 1e-6 of their size; with the same
    number they are the same bits.
    """

    def __init__(
        self,
        graph: Graph,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        cuda_graph: bool = False,
        batch_sizes: Sequence[int] | None = None,
        tf32: bool | None = None,
    ) -> None:
        """Prepare.

        Args:
            graph: as freeze builds and load reads it; it is checked, and not to be changed afterwards.
            dtype: see :func:`hgfast.freeze`.
            device: where it runs; "cuda" is the current device.
            cuda_graph: see :func:`hgfast.freeze`.
            batch_sizes: see :func:`hgfast.freeze`.
            tf32: whether float32 on CUDA is computed in tf32, which is three times as fast and has 10 bits instead of
                23; by default as `torch.backends.cudnn.allow_tf32` says now.

        Raises:
            TypeError, ValueError: an argument that is no graph, dtype, device and so on, or options that do not fit
                the device.
        """
        super().__init__()
        where = "FrozenModel"
        try:
            check_graph(graph)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: graph: {error}") from error
        self.graph, self.device = graph, as_device(where, device)
        self.dtype = as_frozen_dtype(where, dtype, self.device, graph.quantisation is not None)
        self.batch_sizes = check_cuda_graph(where, cuda_graph, batch_sizes, self.device)
        self.cuda_graph = bool(cuda_graph)
        self.tf32 = torch.backends.cudnn.allow_tf32 if tf32 is None else checks.flag(where, "tf32", tf32)
        self._prepare()

    def _prepare(self) -> None:
        """Make of the rest what is neither copied nor pickled."""
        self.numbers = numbers_beside(self.dtype)  # what activations are stored in that are not in int8
        with torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext():
            self._lib = _native.library(self.device.type)
            self._no_kernels = "" if self._lib is not None else _native.cuda_missing_reason()
            try:
                if self._lib is not None:
                    query(self._lib, ConvShape(1, 1, 1, 1, 1, 1, 1, dtype=self.numbers), threads=1)
            except ValueError as why:
                raise ValueError(f"FrozenModel: dtype must be one that {self.device} has kernels for ({why})") from None
        if self._no_kernels:
            log.warning("frozen networks run by PyTorch on %s: %s", self.device, self._no_kernels)
        tell_if_slow(self.dtype, self.device, self._lib)
        self._weights = Weights(self.graph, self.numbers, self.device, not self.tf32, self.dtype == torch.int8)
        self._plans: OrderedDict[tuple[Any, ...], Plan | TorchPlan] = OrderedDict()
        self._graphs = CapturedPlans(self.cuda_graph, self.batch_sizes)
        self._turns = Turns()

    def __getstate__(self) -> dict[str, Any]:
        made = ("numbers", "_lib", "_no_kernels", "_weights", "_plans", "_graphs", "_turns")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Predict.

        Args:
            *args: images (N, C, H, W), floating point, normalised as the model was trained, on this module's device;
                any layout, any batch, the sizes that the unfrozen model takes. A network that was frozen with an
                example of other arguments takes such ones, as the unfrozen model does: tensors in the same containers,
                with as many dimensions and, if they are maps, channels; and the same values of everything else.
            **kwargs: the rest of them.

        Returns:
            What the unfrozen model gives, in this module's dtype (float32 where that is int8), without gradient: for a
            stacked hourglass one tensor (N, K, h, w) per stack, channels_last.

        Raises:
            TypeError: an argument is missing, of another kind, or no tensor of the right dtype.
            ValueError: its shape, its device or its value does not fit.
            RuntimeError: it is the first call, inside the capture of a CUDA graph; a trace or an export of torch; or
                weights are wanted of its file, which was written to.
        """
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            raise RuntimeError(
                "a frozen network can be neither traced nor exported, for its kernels are called by plans that torch "
                "does not see; export the network it was made from (hgfast.export), or save it (FrozenModel.save)"
            )
        images, *others = self.inputs(*args, **kwargs)
        return self._given(self.outputs(images, others))

    def inputs(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """Return the graph's inputs for a call, the images first, checked and as kernels read them."""
        if self.graph.arguments is None:
            return [self.as_read(self._images(only(args, kwargs)).to(self.numbers))]
        images, *others = self.graph.arguments.tensors(args, kwargs, self.device)
        check_images(images, self.graph.unit, self.graph.slack, channels=self.graph.in_channels)
        wanted = self.graph.arguments.inputs[1:]
        others = [x.to(self.numbers) if kind.dtype is None else x for x, kind in zip(others, wanted, strict=True)]
        return [self.as_read(images.to(self.numbers)), *(self.as_read(tensor) for tensor in others)]

    def _images(self, images: Tensor) -> Tensor:
        """Return the argument of a network that takes images alone, checked."""
        check_images(images, self.graph.unit, self.graph.slack, channels=self.graph.in_channels)
        if with_index(images.device) != self.device:
            raise ValueError(f"images must be on {self.device}, where the model was frozen, got {images.device}")
        return images

    @torch.no_grad()
    def outputs(self, images: Tensor, others: Sequence[Tensor] = ()) -> list[Any]:
        """Compute the graph's outputs in their order, for inputs as :meth:`inputs` gives them."""
        size = _size(images, others)
        with self._turns.turn(self.device) as alone:
            if not alone or self._in_a_capture():
                return self._new_plan(*size).run(images, others)
            plan = self._plan(*size)
            if self._graphs.on:
                return self._graphs.run(plan, images, others)
            return plan.run(images, others)

    def plan_for(self, images: Tensor, others: Sequence[Tensor]) -> Plan | TorchPlan:
        """Return the plan for inputs as :meth:`inputs` gives them, made if there is none."""
        with self._turns.turn(self.device):
            return self._plan(*_size(images, others))

    def as_read(self, tensor: Tensor) -> Tensor:
        """Return an input as kernels read it, if they may."""
        is_map = tensor.dim() == 4 and tensor.dtype == self.numbers
        return tensor.contiguous(memory_format=torch.channels_last) if is_map else tensor

    def _given(self, outputs: list[Any]) -> Any:
        """Return what the network gives, from its graph's outputs."""
        result = self.graph.result
        outputs = as_results(outputs, self.dtype)
        return outputs if result is None else replaced(result, lambda ref: outputs[ref.value])

    def plan(self, batch: int, height: int, width: int) -> Plan | TorchPlan:
        """Return the plan for an input size, made if there is none.

        Raises:
            TypeError: a size is not an int.
            ValueError: it is less than 1, or one that the network does not take; or the network has other inputs
                beside the images, and was not called with images of this size lately.
        """
        size = ("batch", batch), ("height", height), ("width", width)
        batch, height, width = (checks.integer("plan", name, value, 1, LARGEST_SIDE) for name, value in size)
        images = torch.empty(batch, self.graph.in_channels, height, width, device="meta")
        check_images(images, self.graph.unit, self.graph.slack, channels=self.graph.in_channels)
        if self.graph.others:
            return self._last_plan(batch, height, width)
        with self._turns.turn(self.device) as alone:
            shared = alone and not self._in_a_capture()
            return self._plan(batch, height, width) if shared else self._new_plan(batch, height, width)

    def describe(self, batch: int = 1, height: int = 256, width: int = 256) -> str:
        """Show the calls for an input size (see :meth:`plan`): what each fuses, shapes, GFLOP, MB, kernel."""
        plan = self.plan(batch, height, width)
        return plan.describe() if isinstance(plan, TorchPlan) else describe_plan(plan)

    def save(self, path: str | Path) -> None:
        """Write the network to a file that :meth:`load` reads: folded weights as plain tensors, no code.

        A name that ends in ".safetensors" gets a file of that form (needs safetensors), any other one of torch.save.
        The file is there whole or as it was before.

        Raises:
            TypeError, ValueError: path is none, or torch runs some of the calls.
            ImportError: safetensors is not installed.
            OSError: it cannot be written.
        """
        path = checks.path("save", "path", path)
        (save_safe if path.suffix == SUFFIX else save_graph)(self.graph, path)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> FrozenModel:
        """Read a network that :meth:`save` wrote; weights are packed again for this machine.

        The file stays mapped, to be read again where a size wants another packing: replace it, never write into it.

        Args:
            path: the file.
            **options: dtype, device, cuda_graph, batch_sizes, tf32 as the constructor takes them.

        Raises:
            TypeError: path is none, or an option is of the wrong type.
            FileNotFoundError: there is no such file.
            ImportError: it ends in ".safetensors", which is not installed.
            ValueError: the file is no frozen network, damaged, or of a newer version; or an option does not fit.
        """
        path = checks.path("load", "path", path)
        return cls((load_safe if path.suffix == SUFFIX else load_graph)(path), **options)

    def extra_repr(self) -> str:
        """Say what is in it."""
        return f"{len(self.graph.calls)} calls, {self.dtype}, {self.device}, cuda_graph={self.cuda_graph}"

    def _plan(self, batch: int, height: int, width: int, others: Others = ()) -> Plan | TorchPlan:
        key = (batch, height, width, others, torch.get_num_threads() if self.device.type == "cpu" else 0)
        if key not in self._plans:
            self._plans[key] = self._new_plan(batch, height, width, others)
            while len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _last_plan(self, *size: int) -> Plan | TorchPlan:
        """Return the plan for images of a size that was used last, whatever the other inputs."""
        with self._turns.turn(self.device):
            found = [plan for key, plan in self._plans.items() if key[:3] == size]
        if not found:
            batch, height, width = size
            raise ValueError(
                f"plan: the network takes {1 + len(self.graph.others)} tensors, whose sizes are not known from those "
                f"of the images; call it first with {batch} images of height {height}, width {width}"
            )
        return found[-1]

    def _new_plan(self, batch: int, height: int, width: int, others: Others = ()) -> Plan | TorchPlan:
        size = self.graph, self._weights, batch, height, width
        if self._lib is None:
            return TorchPlan(*size, self._no_kernels, others)
        try:
            return make_plan(self._lib, *size, others, launched=not self._graphs.will_capture(batch))
        except NoKernel as error:
            log.warning("a frozen network runs by PyTorch: %s", error)
            return TorchPlan(*size, str(error), others)

    def _in_a_capture(self) -> bool:
        """Whether the caller captures a CUDA graph. A plan of its own then lives and runs as long as that graph, which
        nobody could keep apart from other calls, nor from the end of a plan that they share."""
        return self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _size(images: Tensor, others: Sequence[Tensor]) -> tuple[int, int, int, Others]:
    """Return what a plan for these inputs is made for."""
    batch, _, height, width = images.shape
    return batch, height, width, tuple((tuple(tensor.shape), tensor.dtype) for tensor in others)
