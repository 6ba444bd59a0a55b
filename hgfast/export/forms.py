"""The forms that networks are exported in: how each is written, and run again to be checked."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgfast._extras import require
from hgfast.export.compare import Run
from hgfast.export.deployed import Deployed

ABOUT = "hgfast.json"  # what a file says of itself beside the network; see hgfast.export.about


@dataclass(frozen=True)
class Form:
    """A form.

    Attributes:
        title: for people.
        suffixes: of its files, the one with the network's name first.
        packages: that it needs.
        extra: of hgfast's, that has them.
        write: the network, example images (N, 3, H, W) of any N, the file, and text about it.
        run: the network of a file.
    """

    title: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    write: Callable[[Deployed, Tensor, Path, str], None]
    run: Callable[[Path], Run]

    def check_packages(self) -> None:
        """Raise ImportError for a package that is missing, with the command that installs it."""
        for package in self.packages:
            require(package, f"{self.title}: the export", self.extra)


def _as_list(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [torch.as_tensor(part) for part in result]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on what they do inside."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _traced(module: Deployed, images: Tensor) -> torch.jit.ScriptModule:
    with _quiet(), torch.no_grad():
        return torch.jit.trace(module, images)


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch", min=1, max=1 << 15)},)


def _write_torchscript(module: Deployed, images: Tensor, path: Path, about: str) -> None:
    torch.jit.save(_traced(module, images), str(path), _extra_files={ABOUT: about})


def _run_torchscript(path: Path) -> Run:
    with _quiet():
        network = torch.jit.load(str(path))
    return lambda images: _as_list(network(images))


def _write_exported(module: Deployed, images: Tensor, path: Path, about: str) -> None:
    with _quiet(), torch.no_grad():
        program = torch.export.export(module, (images,), dynamic_shapes=_any_batch())
        torch.export.save(program, path, extra_files={ABOUT: about})


def _run_exported(path: Path) -> Run:
    network = torch.export.load(path).module()
    return lambda images: _as_list(network(images))


def _write_onnx(module: Deployed, images: Tensor, path: Path, about: str) -> None:
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (images,),
            input_names=["images"],
            output_names=module.outputs,
            dynamic_shapes=_any_batch(),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props[ABOUT] = about
    program.save(path, external_data=False)


def _run_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: _as_list(session.run(None, {"images": images.numpy()}))


def _write_openvino(module: Deployed, images: Tensor, path: Path, about: str) -> None:
    import openvino

    shape = openvino.PartialShape([-1, *images.shape[1:]])
    with _quiet():
        network = openvino.convert_model(_traced(module, images), input=[shape], example_input=images)
    for end, name in zip((*network.inputs, *network.outputs), ("images", *module.outputs), strict=True):
        end.get_tensor().set_names({name})
    network.set_rt_info(about, ABOUT)
    openvino.save_model(network, path, compress_to_fp16=False)


def _run_openvino(path: Path) -> Run:
    """Run in float32: by itself OpenVINO takes bfloat16 where the processor has it."""
    import openvino

    network = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: Tensor) -> list[Tensor]:
        result = network(images.numpy())
        return _as_list([result[place] for place in range(len(network.outputs))])

    return run


FORMS = {
    "onnx": Form("ONNX", (".onnx",), ("onnx", "onnxscript", "onnxruntime"), "onnx", _write_onnx, _run_onnx),
    "torchscript": Form("TorchScript", (".torchscript",), (), "", _write_torchscript, _run_torchscript),
    "torch.export": Form("torch.export", (".pt2",), (), "", _write_exported, _run_exported),
    "openvino": Form("OpenVINO", (".xml", ".bin"), ("openvino",), "openvino", _write_openvino, _run_openvino),
}
