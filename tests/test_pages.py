"""Memory in large pages: parts do not overlap, begin where kernels need them to, and live as long as they are held."""

from __future__ import annotations

import mmap

import pytest
import torch

from hgfast.frozen.pages import ALIGNMENT, CHUNK, HUGE_PAGE, Pages, allocate

CPU = torch.device("cpu")


def test_parts_do_not_overlap() -> None:
    pages, sizes = Pages(CPU), (1, 100, HUGE_PAGE, 0, CHUNK + 1, 64)
    parts = [pages.take(size).fill_(i) for i, size in enumerate(sizes)]
    for i, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        assert part.dtype == torch.uint8 and part.shape == (size,) and (part == i).all()
        assert size == 0 or part.data_ptr() % ALIGNMENT == 0


def test_parts_outlive_their_pages() -> None:
    part = Pages(CPU).take(1000).fill_(7)
    Pages(CPU).take(CHUNK).fill_(1)
    assert (part == 7).all()


def test_without_large_pages_memory_is_given_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert allocate(HUGE_PAGE, CPU).fill_(3).shape == (HUGE_PAGE,)


def test_a_system_that_refuses_large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 12345, raising=False)
    assert allocate(HUGE_PAGE, CPU).fill_(3).shape == (HUGE_PAGE,)
