"""Frozen networks in files of safetensors: the tensors by their names, all else as JSON in the file's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from hgfast import _checks as checks
from hgfast._extras import require
from hgfast.files import atomic_write
from hgfast.frozen.file import FORMAT, content_of, graph_of, mapped_graph
from hgfast.frozen.graph import Graph
from hgfast.frozen.tensors import unique_names

SUFFIX = ".safetensors"


def save_safe(graph: Graph, path: Path) -> None:
    """Write a graph, whole or not at all.

    Raises:
        ImportError: safetensors is not installed.
        ValueError: torch runs some of the calls: their code has no place in the file.
        OSError: the file cannot be written; what was there before is still there.
    """
    library = require("safetensors.torch", f"{path}", "hub")
    content, tensors = content_of(graph), dict[str, Tensor]()
    named = zip(unique_names(graph), content.pop("calls"), strict=True)
    calls = [{key: _plain(value, f"{name}.{key}", tensors) for key, value in call.items()} for name, call in named]
    data = library.save(tensors, metadata={FORMAT: json.dumps({**content, "calls": calls})})
    with atomic_write(path) as file:
        file.write(data)


def load_safe(path: Path) -> Graph:
    """Read a graph, every number of which has been checked.

    Raises:
        ImportError: safetensors is not installed.
        FileNotFoundError: no such file.
        ValueError: not a frozen network in safetensors, or a broken one.
    """
    library = require("safetensors", f"{path}", "hub")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such frozen network")
    return mapped_graph(path, lambda: _read(library, path))


def _read(library: Any, path: Path) -> Graph:
    try:
        with library.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (library.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable file of safetensors ({error})") from error
    if FORMAT not in metadata:
        raise ValueError(f"load: {path} is not a frozen network of hgfast")
    try:
        content = _restored(json.loads(metadata[FORMAT]), tensors)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"load: {path} is damaged: {error}") from error
    return graph_of(content, path)


def _plain(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return the same with {"tensor": name} in place of tensors, which are added to those named."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {key: _plain(item, f"{name}.{key}", tensors) for key, item in value.items()}
    return value


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_restored(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("tensor")
    if len(value) == 1 and isinstance(name, str):
        checks.choice("load", "tensor", name, sorted(tensors))
        return tensors[name]
    return {key: _restored(item, tensors) for key, item in value.items()}
