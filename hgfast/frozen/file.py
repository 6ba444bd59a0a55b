"""Frozen networks in files: torch.save of dicts, lists, numbers and tensors, readable with weights_only=True."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hgfast import _checks as checks
from hgfast.checkpoint.archive import read_archive
from hgfast.files import atomic_write
from hgfast.frozen.check import check_graph
from hgfast.frozen.graph import Call, ConvCall, Extra, Graph, PoolCall, Second

FORMAT, VERSION = "hgfast.frozen", 1
KINDS: dict[str, type[ConvCall] | type[PoolCall]] = {"conv": ConvCall, "max_pool": PoolCall}


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph, whole or not at all.

    Raises:
        TypeError, ValueError: path is none.
        OSError: the file cannot be written; what was there before is still there.
    """
    path = checks.path("save", "path", path)
    calls = [{"kind": kind, **asdict(call)} for call in graph.calls for kind in KINDS if type(call) is KINDS[kind]]
    numbers = {name: getattr(graph, name) for name in ("unit", "slack", "in_channels", "outputs", "values")}
    with atomic_write(path) as file:
        torch.save({"format": FORMAT, "version": VERSION, **numbers, "calls": calls}, file)


def load_graph(path: str | Path) -> Graph:
    """Read a graph, every number of which has been checked.

    Raises:
        TypeError: path is none.
        FileNotFoundError: no such file.
        ValueError: not a file of this format, or of a version this code does not know, or a broken one.
    """
    path = checks.path("load", "path", path)
    data = read_archive(path, "frozen network")
    if not isinstance(data, dict) or not isinstance(data.get("format"), str) or data["format"] != FORMAT:
        raise ValueError(f"load: {path} is not a frozen network of hgfast")
    version = data.get("version")
    if type(version) is not int or version != VERSION:
        found = version if type(version) is int else checks.describe(version)
        raise ValueError(f"load: {path} has format version {found}, this hgfast reads version {VERSION}")
    try:
        numbers = {name: data[name] for name in ("unit", "slack", "in_channels", "outputs", "values")}
        graph = Graph(calls=[_call(dict(entry)) for entry in data["calls"]], **numbers)
        check_graph(graph)
    except KeyError as error:
        raise ValueError(f"load: {path} is damaged: there is no {error}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"load: {path} is damaged: {error}") from error
    return graph


def _call(entry: dict[str, Any]) -> Call:
    kind = KINDS[entry.pop("kind")]
    for name, part in (("extra", Extra), ("second", Second)):
        if entry.get(name) is not None:
            entry[name] = part(**entry[name])
    return kind(**entry)
