"""The fake CUDA devices: what they let pass, and what they report."""

from __future__ import annotations

import threading

import pytest
import torch

from tests.fake_cuda.machine import Fault, Machine


def told(machine: Machine, *parts: str) -> None:
    """The one fault is this one; it is settled by that."""
    (fault,) = machine.faults
    assert all(part in fault for part in parts), fault
    machine.faults.clear()


def test_tensors_say_where_they_are(gpu: Machine) -> None:
    x = torch.arange(6.0, device="cuda:1").view(2, 3)
    assert x.is_cuda and not x.is_cpu and x.get_device() == 1 and (x * 2).device == x.T.device == torch.device("cuda:1")
    host = x.cpu()
    assert host.device == torch.device("cpu") and not host.is_cuda and host.tolist() == x.tolist()
    assert torch.tensor([1.0], device="cuda").device == torch.ones(1).cuda().device == torch.device("cuda:0")
    assert x.to(torch.float16).device == x.device and x.to(x.device) is x and torch.equal(x.to("cuda:0").cpu(), host)
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        x + host
    assert torch.cuda.memory_allocated(1) >= x.untyped_storage().nbytes()


def test_what_was_allocated_holds_nothing(gpu: Machine) -> None:
    assert torch.empty(3, device="cuda").isnan().all()


def test_a_module_trains_on_a_device(gpu: Machine) -> None:
    net = torch.nn.Linear(3, 2).to("cuda")
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    net(torch.ones(4, 3, device="cuda")).sum().backward()
    assert net.weight.grad is not None and net.weight.grad.is_cuda
    torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
    before = net.weight.tolist()
    optimizer.step()
    assert net.weight.tolist() != before
    with torch.autocast("cuda", torch.bfloat16):
        assert net(torch.ones(4, 3, device="cuda")).dtype == torch.bfloat16


def test_a_stream_that_does_not_wait_is_reported(gpu: Machine) -> None:
    x, side = torch.ones(3, device="cuda"), torch.cuda.Stream()
    with torch.cuda.stream(side), pytest.raises(Fault):
        x + 1
    torch.cuda.synchronize()
    told(gpu, "race for block 1 (cuda:0, ones)", "add on cuda:0 stream 3 reads it", "ones on cuda:0 default stream")


@pytest.mark.parametrize(
    "how", ["wait_stream", "wait_event", "Event.wait", "synchronize", "Event.synchronize", "Stream.synchronize"]
)
def test_ways_to_wait(gpu: Machine, how: str) -> None:
    x, side, main = torch.ones(3, device="cuda"), torch.cuda.Stream(), torch.cuda.current_stream()
    event = main.record_event()
    with torch.cuda.stream(side):
        {
            "wait_stream": lambda: side.wait_stream(main),
            "wait_event": lambda: side.wait_event(event),
            "Event.wait": event.wait,
            "synchronize": torch.cuda.synchronize,
            "Event.synchronize": event.synchronize,
            "Stream.synchronize": main.synchronize,
        }[how]()
        assert (x + 1).device == x.device
    torch.cuda.synchronize()


def test_two_may_read_but_not_write(gpu: Machine) -> None:
    x, streams = torch.ones(3, device="cuda"), [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    for stream in streams:
        with torch.cuda.stream(stream):
            x + 1
    with torch.cuda.stream(streams[0]), pytest.raises(Fault):
        x[:2].add_(1)
    torch.cuda.synchronize()
    told(gpu, "add_ on cuda:0 stream 3 writes it", "add on cuda:0 stream 4 reads it")


def test_parts_of_a_block_are_told_apart(gpu: Machine) -> None:
    x, streams = torch.ones(4, device="cuda"), [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    for stream, part in zip(streams, x.chunk(2), strict=True):
        with torch.cuda.stream(stream):
            part.add_(1)
    torch.cuda.synchronize()


def test_memory_that_is_freed_too_early(gpu: Machine) -> None:
    for recorded in (True, False):
        x, side = torch.ones(3, device="cuda"), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            x + 1
        if recorded:
            x.record_stream(side)
        del x
    told(gpu, "is freed while add on cuda:0 stream 4 may still use it")


def test_memory_of_one_stream_used_on_another(gpu: Machine) -> None:
    """Work on the first stream that came before may still be using it."""
    torch.ones(3, device="cuda") + 1
    x, side = torch.empty(3, device="cuda"), torch.cuda.Stream()
    with torch.cuda.stream(side), pytest.raises(Fault):
        x.fill_(1)
    torch.cuda.synchronize()
    told(gpu, "allocation")


def test_pinned_memory(gpu: Machine) -> None:
    host = torch.ones(3).pin_memory()
    assert host.is_pinned() and not torch.ones(3).is_pinned()
    host.to("cuda", non_blocking=True)
    with pytest.raises(Fault):
        host.fill_(2)
    told(gpu, "fill_ by the host writes it", "copy from the host on cuda:0 default stream reads it")
    host.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    host.fill_(2)
    down = torch.ones(3, device="cuda").to("cpu", non_blocking=True)
    with pytest.raises(Fault):
        down.numpy()
    told(gpu, "numpy by the host reads it", "copy to the host on cuda:0 default stream writes it")
    pageable = torch.ones(3)
    pageable.to("cuda", non_blocking=True)
    pageable.fill_(2)


def test_copies_between_devices_wait_on_both(gpu: Machine) -> None:
    x = torch.ones(3, device="cuda:0")
    y = x.to("cuda:1")
    assert (y + 1).tolist() == [2, 2, 2]
    y.copy_(x * 3)
    assert y.tolist() == [3, 3, 3]


def captured(function, **options) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, **options):
        function()
    return graph


def test_a_graph_does_its_work_when_it_is_replayed(gpu: Machine) -> None:
    x, y = torch.ones(3, device="cuda"), []

    def work() -> None:
        y.append(x * 2)
        x.add_(1)

    graph = captured(work)
    assert x.tolist() == [1, 1, 1] and y[0].isnan().all()
    for turn in (1, 2):
        graph.replay()
        assert x.tolist() == [turn + 1] * 3 and y[0].tolist() == [2 * turn] * 3


def test_a_graph_does_not_keep_what_it_did_not_allocate(gpu: Machine) -> None:
    held = [torch.ones(3, device="cuda")]
    graph = captured(lambda: (held[0] + 1) * 2)
    graph.replay()
    held.clear()
    with pytest.raises(Fault):
        graph.replay()
    told(gpu, "which is freed")


def test_streams_in_a_graph(gpu: Machine) -> None:
    x, y = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")

    def fork(join: bool = True, wait: bool = True) -> None:
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()
        x.add_(1)
        side.wait_stream(main)
        with torch.cuda.stream(side):
            y.copy_(x)
        if wait:
            main.wait_stream(side)
        y.add_(1) if join else None
        main.wait_stream(side) if join else None

    captured(fork).replay()
    assert y.tolist() == [3, 3, 3]
    with pytest.raises(RuntimeError, match="unjoined work"):
        captured(lambda: fork(join=False, wait=False))
    torch.cuda.set_stream(torch.cuda.default_stream())
    with pytest.raises(RuntimeError, match="unjoined work"):
        captured(lambda: fork(wait=False))
    told(gpu, "in a graph")


REFUSED = {
    "item": lambda x: x.sum().item(),
    "synchronize": lambda x: torch.cuda.synchronize(),
    "pageable": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "foreign event": lambda x: torch.cuda.current_stream().wait_stream(torch.cuda.default_stream()),
    "pin": lambda x: torch.ones(3).pin_memory(),
    "replay": lambda x: torch.cuda.current_stream().synchronize(),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_allowed_in_a_capture(gpu: Machine, what: str) -> None:
    x = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="failed due to a previous error during capture") as error:
        captured(lambda: REFUSED[what](x))
    assert "operation not permitted when stream is capturing" in str(error.value.__context__)


def test_the_default_stream_is_not_captured(gpu: Machine) -> None:
    with pytest.raises(RuntimeError, match="non-default stream"):
        torch.cuda.CUDAGraph().capture_begin()


@pytest.mark.parametrize("mode", ["global", "thread_local"])
def test_other_threads_during_a_capture(gpu: Machine, mode: str) -> None:
    errors = []

    def other() -> None:
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            errors.append(error)

    def work() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    if mode == "global":
        with pytest.raises(RuntimeError, match="previous error"):
            captured(work)
    else:
        captured(work, capture_error_mode=mode)
    assert len(errors) == (mode == "global")


def test_a_graph_belongs_to_its_device(gpu: Machine) -> None:
    x = torch.ones(3, device="cuda:0")
    graph = captured(lambda: x + 1)
    with torch.cuda.device(1), pytest.raises(Fault):
        graph.replay()
    told(gpu, "a graph of cuda:0 is replayed on cuda:1")


def test_events_have_times(gpu: Machine) -> None:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    torch.ones(3, device="cuda") + 1
    end.record()
    with pytest.raises(RuntimeError, match="not ready"):
        start.elapsed_time(end)
    end.synchronize()
    assert start.elapsed_time(end) == pytest.approx(0.02)


def test_everything_is_as_before_afterwards(gpu: Machine) -> None:
    torch.ones(1, device="cuda")


def test_nothing_is_left(gpu: Machine) -> None:
    assert gpu.log == [] and torch.cuda.current_device() == 0
