"""Copies between the host and the devices, and from device to device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.fake_cuda.machine import Machine, index_of
from tests.fake_cuda.memory import Use
from tests.fake_cuda.recorded import replay_of
from tests.fake_cuda.streams import Stream

COPIES = {"_to_copy", "copy_"}
CPU = torch.device("cpu")


def ends(machine: Machine, args: Any, kwargs: Any) -> tuple[torch.device, torch.device]:
    """From where to where an operator of COPIES copies."""
    if len(args) > 1:  # copy_(to, from)
        return args[1].device, args[0].device
    wanted = kwargs.get("device")
    if wanted is None or (wanted == CPU and not machine.moves):
        return args[0].device, args[0].device
    return args[0].device, torch.device("cuda", index_of(wanted, machine)) if wanted.type == "cuda" else wanted


def transfer(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    """A copy from one device to another."""
    begin, end = ends(machine, args, kwargs)
    asynchronous = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    stream = machine.current((begin if begin.type == "cuda" else end).index)
    plain = {**kwargs, "non_blocking": False}
    if "device" in kwargs:
        plain |= {"device": CPU, "pin_memory": False}
    if len(args) > 1:
        source, target = args[1], args[0]
        if stream.capture is None:
            func(*args[:2], **plain)
    else:
        source, target = args[0], func(*args, **plain)
        _place(machine, target, begin, end, asynchronous)
    if CPU not in (begin, end):
        _between_devices(machine, stream, machine.current(end.index), source, target)
    else:
        _with_host(machine, stream, source, target, asynchronous, (func, args, plain))
    return target


def _place(machine: Machine, target: Tensor, begin: torch.device, end: torch.device, asynchronous: bool) -> None:
    if end.type == "cuda":
        machine.memory.place(target, end, machine.current(end.index), "copy")
    elif asynchronous:  # PyTorch pins what it copies from a device without waiting
        machine.memory.place(target, None, None, "copy")


def _between_devices(machine: Machine, stream: Stream, other: Stream, source: Tensor, target: Tensor) -> None:
    """On the stream of the device that it is copied from; that of the other one waits before and after."""
    stream.wait_stream(other)
    machine.launch(stream, "copy to another device", [*_use(machine, source, False), *_use(machine, target, True)])
    other.wait_stream(stream)


def _with_host(
    machine: Machine, stream: Stream, source: Tensor, target: Tensor, asynchronous: bool, call: tuple[Any, Any, Any]
) -> None:
    """The host's memory is read and written at once unless it is pinned and nobody waits."""
    down = machine.memory.find(target) is None or machine.memory.find(target).device is None  # type: ignore[union-attr]
    what, host = ("copy to the host", target) if down else ("copy from the host", source)
    uses = {"source": _use(machine, source, False), "target": _use(machine, target, True)}
    alone = asynchronous and machine.memory.find(host) is not None  # the device's own work, which nobody waits for
    if stream.capture is not None:
        if not alone:
            stream.capture.lose(f"{what}, which is not pinned")
        stream.capture.add(stream, what, uses["source"] + uses["target"], replay_of(machine, *call, target))
    elif alone:
        machine.launch(stream, what, uses["source"] + uses["target"])
    elif down:
        machine.launch(stream, what, uses["source"])
        machine.wait(stream.clock, what)
        machine.touch(what, uses["target"])
    else:
        machine.touch(what, uses["source"])
        machine.launch(stream, what, uses["target"])
        if not asynchronous:
            machine.wait(stream.clock, what)


def _use(machine: Machine, tensor: Tensor, write: bool) -> list[Use]:
    return machine.memory.use(tensor, write)
