"""Work that is done ahead of the tests that wait for it."""

from __future__ import annotations

import importlib.util
import inspect
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest

from tests.ahead import MANY, Ahead, begin, order


def config_of(collect_only: bool = False, **more: object) -> SimpleNamespace:
    """What pytest has been asked for."""
    return SimpleNamespace(option=SimpleNamespace(collectonly=collect_only), **more)


def items_of(*modules: object) -> list[SimpleNamespace]:
    """Items of tests, of each module in turn, enough of them for a long run."""
    return [SimpleNamespace(module=modules[i % len(modules)], number=i) for i in range(MANY)]


def another_ahead() -> ModuleType:
    """The module anew, without the work that this very run of tests has begun and may still be at."""
    spec = importlib.util.spec_from_file_location("another_ahead", inspect.getfile(Ahead))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_those_that_wait_come_last_and_their_work_first() -> None:
    threads = []
    alone = another_ahead()
    waits = [SimpleNamespace(AHEAD=alone.Ahead(lambda: threads.append(threading.current_thread()))) for _ in range(2)]
    items = items_of(waits[0], SimpleNamespace(), waits[1], SimpleNamespace())
    alone.order(items)
    assert [item.number for item in items] == [*range(1, MANY, 2), *range(0, MANY, 2)]
    alone.begin(config_of(), items)
    deadline = time.monotonic() + 10
    while len(threads) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(threads) == 2 and threads[0] is threads[1] is not threading.main_thread()
    assert [module.AHEAD.result() for module in waits] == [None, None] and len(threads) == 2


def test_of_few_tests_the_work_is_done_where_it_is_asked_for() -> None:
    asked = []
    ahead = Ahead(lambda: asked.append(threading.current_thread()))
    items = [SimpleNamespace(module=SimpleNamespace(AHEAD=ahead)), SimpleNamespace(module=SimpleNamespace())]
    order(items)
    begin(config_of(), items)
    assert items[0].module.AHEAD is ahead and not asked
    assert ahead.result() is None and ahead.result() is None and asked == [threading.main_thread()]


@pytest.mark.parametrize("config", [config_of(collect_only=True), config_of(workerinput={})], ids=["listing", "worker"])
def test_nothing_is_begun_that_nobody_may_ask_for(config: SimpleNamespace) -> None:
    asked = []
    ahead = Ahead(lambda: asked.append(threading.current_thread()))
    begin(config, items_of(SimpleNamespace(AHEAD=ahead)))
    assert ahead.result() is None and asked == [threading.main_thread()]


def test_errors_reach_each_who_asks() -> None:
    ahead = Ahead(lambda: pytest.fail("no compiler"))
    for _ in range(2):
        with pytest.raises(pytest.fail.Exception, match="no compiler"):
            ahead.result()
