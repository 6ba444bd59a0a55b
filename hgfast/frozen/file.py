"""Frozen networks in files: torch.save of dicts, lists, numbers and tensors, readable with weights_only=True."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgfast.frozen.graph import Call, ConvCall, Extra, Graph, PoolCall, Second

FORMAT, VERSION = "hgfast.frozen", 1
KINDS: dict[str, type[ConvCall] | type[PoolCall]] = {"conv": ConvCall, "max_pool": PoolCall}


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph."""
    calls = [{"kind": kind, **asdict(call)} for call in graph.calls for kind in KINDS if type(call) is KINDS[kind]]
    numbers = {name: getattr(graph, name) for name in ("unit", "slack", "in_channels", "outputs", "values")}
    torch.save({"format": FORMAT, "version": VERSION, **numbers, "calls": calls}, path)


def load_graph(path: str | Path) -> Graph:
    """Read a graph.

    Raises:
        ValueError: not a file of this format, or of a version this code does not know, or a broken one.
    """
    data = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"load: {path} is not a frozen network of hgfast")
    if data["version"] != VERSION:
        raise ValueError(f"load: {path} has format version {data['version']}, this hgfast reads version {VERSION}")
    try:
        numbers = {name: data[name] for name in ("unit", "slack", "in_channels", "outputs", "values")}
        graph = Graph(calls=[_call(dict(entry)) for entry in data["calls"]], **numbers)
    except (KeyError, TypeError) as error:
        raise ValueError(f"load: {path} is damaged: {error}") from error
    _check(graph, path)
    return graph


def _call(entry: dict[str, Any]) -> Call:
    kind = KINDS[entry.pop("kind")]
    for name, part in (("extra", Extra), ("second", Second)):
        if entry.get(name) is not None:
            entry[name] = part(**entry[name])
    return kind(**entry)


def _check(graph: Graph, path: str | Path) -> None:
    """Kernels trust a graph: values are made before they are used, and weights have the shapes that belong together."""
    channels = {0: graph.in_channels}
    for call in graph.calls:
        known = all(value in channels for value in call.inputs()) and call.output not in channels
        if not known or not (_conv_fits(call, channels) if isinstance(call, ConvCall) else True):
            raise ValueError(f"load: {path} is damaged at call {call.name!r}")
        channels[call.output] = len(call.weight) if isinstance(call, ConvCall) else channels[call.x]
        if call.second is not None:
            if any(t.shape != (channels[call.output],) for t in (call.second.scale, call.second.shift)):
                raise ValueError(f"load: {path} is damaged at call {call.name!r}")
            channels[call.second.value] = channels[call.output]
    if any(value not in channels for value in graph.outputs):
        raise ValueError(f"load: {path} is damaged: an output that no call makes")


def _conv_fits(call: ConvCall, channels: dict[int, int]) -> bool:
    tensors = [getattr(call, f.name) for f in fields(call) if isinstance(getattr(call, f.name), Tensor)]
    if any(t.dtype != torch.float32 for t in tensors) or call.weight.dim() != 4 or call.stride < 1:
        return False
    k, c, height, width = call.weight.shape
    shape = c == channels[call.x] and height == width and height % 2 == 1 and call.bias.shape == (k,)
    same = all(channels[value] == k for value in (call.residual, call.upsample_to) if value is not None)
    extra = call.extra is None or call.extra.weight.shape == (k, channels[call.extra.value])
    return shape and same and extra
