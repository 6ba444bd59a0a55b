"""Frozen networks in files: torch.save of dicts, lists, numbers and tensors, readable with weights_only=True."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hgfast import _checks as checks
from hgfast.checkpoint.archive import read_archive
from hgfast.files import atomic_write
from hgfast.frozen.arguments import Arguments, Input
from hgfast.frozen.check import check_graph
from hgfast.frozen.file_codes import codes_of, plain_codes
from hgfast.frozen.graph import Call, ConvCall, Extra, Graph, PointwiseCall, PoolCall, Second
from hgfast.frozen.mapped import MappedFile
from hgfast.frozen.tensors import named_tensors
from hgfast.frozen.torch_call import TorchCall
from hgfast.graph.captured import Ref

FORMAT, VERSIONS = "hgfast.frozen", (1, 2, 3, 4)
# 2: with any_size and result; 3: with arguments, 4: and with a quantisation, each only where needed
NUMBERS = ("unit", "slack", "in_channels", "outputs", "values")
KINDS: dict[str, Any] = {"conv": ConvCall, "max_pool": PoolCall, "pointwise": PointwiseCall}


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph, whole or not at all.

    Raises:
        TypeError, ValueError: path is none, or torch runs some of the calls: their code has no place in the file.
        OSError: the file cannot be written; what was there before is still there.
    """
    path = checks.path("save", "path", path)
    content = content_of(graph)
    with atomic_write(path) as file:
        torch.save(content, file)


def content_of(graph: Graph) -> dict[str, Any]:
    """Return a graph as dicts, lists, numbers and tensors.

    Raises:
        ValueError: torch runs some of the calls.
        RuntimeError: the file that the graph was read from was written to since.
    """
    graph.check_file()
    by_torch = [call for call in graph.calls if isinstance(call, TorchCall)]
    if by_torch:
        raise ValueError(
            f"save: {len(by_torch)} of {len(graph.calls)} calls are torch's, and files of frozen networks hold none "
            f"({by_torch[0].name}: {by_torch[0].what}); save the model's state dict, and freeze it again"
        )
    calls = [{"kind": kind, **asdict(call)} for call in graph.calls for kind in KINDS if type(call) is KINDS[kind]]
    numbers = {name: getattr(graph, name) for name in (*NUMBERS, "any_size")}
    more: dict[str, Any] = {}
    if graph.arguments is not None:
        more = {"others": graph.others, "arguments": _plain_arguments(graph.arguments)}
    version = 3 if more else 2
    if graph.quantisation is not None:
        codes = plain_codes(graph.quantisation)
        version, more = 4, {"others": graph.others, "arguments": None, **more, "quantisation": codes}
    result = _plain(graph.result, "output")
    return {"format": FORMAT, "version": version, "result": result, **numbers, **more, "calls": calls}


def load_graph(path: str | Path) -> Graph:
    """Read a graph, every number of which has been checked; its tensors are pages of the file.

    Raises:
        TypeError: path is none.
        FileNotFoundError: no such file.
        ValueError: not a file of this format, or of a version this code does not know, or a broken one.
    """
    path = checks.path("load", "path", path)
    return mapped_graph(path, lambda: graph_of(read_archive(path, "frozen network", mapped=True), path))


def mapped_graph(path: Path, read: Callable[[], Graph]) -> Graph:
    """Return what `read` makes of a file that it maps, with watch kept over the file.

    Raises:
        ValueError: the file was written to meanwhile; and what `read` raises.
    """
    file = MappedFile(path) if path.is_file() else None
    graph = read()
    if file is None:
        raise ValueError(f"load: {path} is not a file")
    try:
        file.check()
    except RuntimeError as error:
        raise ValueError(f"load: {path} was written to while it was read") from error
    file.release(*named_tensors(graph).values())
    graph.file = file
    return graph


def graph_of(data: Any, path: Path) -> Graph:
    """Return the graph of what :func:`content_of` made, checked; raises ValueError as :func:`load_graph`."""
    if not isinstance(data, dict) or not isinstance(data.get("format"), str) or data["format"] != FORMAT:
        raise ValueError(f"load: {path} is not a frozen network of hgfast")
    version = data.get("version")
    if type(version) is not int or version not in VERSIONS:
        found = version if type(version) is int else checks.describe(version)
        raise ValueError(f"load: {path} has format version {found}, this hgfast reads versions 1 to {VERSIONS[-1]}")
    try:
        numbers = {name: data[name] for name in NUMBERS} | {"any_size": data.get("any_size", False)}
        result = _structure(data.get("result"), "result", "output")
        graph = Graph(calls=[_call(dict(entry)) for entry in data["calls"]], result=result, **numbers)
        if version > 2:
            graph.others, plain = data["others"], data["arguments"]
            graph.arguments = None if plain is None and version > 3 else _arguments(plain)
        if version > 3:
            graph.quantisation = codes_of(data["quantisation"])
        check_graph(graph)
    except KeyError as error:
        raise ValueError(f"load: {path} is damaged: there is no {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"load: {path} is damaged: {error}") from error
    return graph


def _call(entry: dict[str, Any]) -> Call:
    kind = KINDS[entry.pop("kind")]
    if kind is PointwiseCall:
        entry.pop("second", None)
    for name, part in (("extra", Extra), ("second", Second)):
        if entry.get(name) is not None:
            entry[name] = part(**entry[name])
    return kind(**entry)


def _plain_arguments(arguments: Arguments) -> dict[str, Any]:
    """Return names, kinds and structures of arguments, and what their tensors must be; a dtype as its name."""
    names = [
        {"name": name, "kind": arguments.kinds[name], "structure": _plain(part, "input")}
        for name, part in arguments.structure.items()
    ]
    inputs = [
        {**asdict(entry), "dtype": entry.dtype and str(entry.dtype).partition(".")[2]} for entry in arguments.inputs
    ]
    return {"names": names, "inputs": inputs}


def _arguments(plain: Any) -> Arguments:
    """Read what `_plain_arguments` made; it is checked with the graph.

    Raises:
        TypeError, ValueError, KeyError: it is nothing of the kind.
    """
    checks.instance("", "arguments", plain, dict)
    for name in ("names", "inputs"):
        checks.instance("", f"arguments.{name}", plain[name], list)
        for i, entry in enumerate(plain[name]):
            checks.instance("", f"arguments.{name}[{i}]", entry, dict)
    found = Arguments()
    for i, entry in enumerate(plain["names"]):
        name = entry["name"]
        checks.instance("", f"arguments.names[{i}].name", name, str)
        found.structure[name] = _structure(entry["structure"], "arguments", "input")
        found.kinds[name] = entry["kind"]
    for i, entry in enumerate(plain["inputs"]):
        dtype = entry["dtype"]
        if dtype is not None:
            dtype = getattr(torch, str(dtype), None)
            checks.instance("", f"arguments.inputs[{i}].dtype", dtype, torch.dtype)
        found.inputs.append(Input(entry["name"], tuple(tuple(pair) for pair in entry["sizes"]), dtype))
    return found


def _plain(structure: Any, kind: str) -> Any:
    """Return a structure with {kind: place} in the places of outputs or inputs; tuples of names become plain ones."""
    if isinstance(structure, Ref):
        return {kind: structure.value}
    if isinstance(structure, dict):
        return {"dict": {str(key): _plain(item, kind) for key, item in structure.items()}}
    if isinstance(structure, (tuple, list)):
        return {"tuple" if isinstance(structure, tuple) else "list": [_plain(item, kind) for item in structure]}
    return {"constant": structure if isinstance(structure, (int, float, str, bool)) else None}


def _structure(plain: Any, where: str, kind: str) -> Any:
    """Read the structure of what `_plain` made.

    Raises:
        ValueError: it is nothing of the kind.
    """
    if plain is None:
        return None
    if not isinstance(plain, dict) or len(plain) != 1:
        raise ValueError(f"{where} must be a dict of one entry")
    ((found, content),) = plain.items()
    if found == kind and type(content) is int:
        return Ref(content)
    if found == "constant":
        return content
    if found == "dict" and isinstance(content, dict):
        return {key: _structure(item, where, kind) for key, item in content.items()}
    if found in ("tuple", "list") and isinstance(content, list):
        items = [_structure(item, where, kind) for item in content]
        return tuple(items) if found == "tuple" else items
    raise ValueError(f"{where} must be made of {kind}s and containers, got {checks.describe(plain)}")
