"""How many threads a fit uses, and what each of them does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["all_threads", "side_by_side", "threads_for"]

_T = TypeVar("_T")
_Made = TypeVar("_Made")

LITTLE = 10_000_000  # products of numbers: more threads than one would wait for each other


@contextmanager
def threads_for(products: int, most: int = 1) -> Iterator[None]:
    """Use as many threads as pay for so many products of numbers.

    One for little work: on a busy machine many are slower by far. Else all of torch's; or where `most` is
    above 1, torch has one, and `side_by_side` takes a block in each of at most so many threads: nothing waits
    for the slowest of them after each small product.

    And one for numpy's and scipy's linear algebra: on few cores its threads and torch's hold each other
    up, which has cost three quarters of the time. Where several fit at once, the first sets, and the last
    puts back.

    A thread that is begun meanwhile and uses torch at once keeps to one thread: torch tells new threads how
    many to use by what was set last, wherever that was.
    """
    with _lock:
        if not _fitting:
            _before.extend([torch.get_num_threads(), _linear_algebra().limit(limits=1)])
        _fitting.append(products)
        threads = _before[0]
    workers = min(threads, most) if products >= LITTLE else 1
    before = _workers.set(workers)
    torch.set_num_threads(1 if products < LITTLE or workers > 1 else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _workers.reset(before)
        with _lock:
            _fitting.remove(products)
            if not _fitting:
                _before.pop().restore_original_limits()
                _before.clear()


@contextmanager
def all_threads(products: int) -> Iterator[None]:
    """Give torch all threads inside `threads_for`, for one product that is no little work."""
    before = torch.get_num_threads()
    if products >= LITTLE:
        torch.set_num_threads(max(before, _workers.get()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Callable[[_T], _Made], blocks: Iterable[_T]) -> Iterator[_Made]:
    """Yield what `work` makes of each block, in their order; inside `threads_for` in several threads."""
    workers = _workers.get()
    if workers == 1:
        yield from map(work, blocks)
        return
    with ThreadPoolExecutor(workers, initializer=partial(torch.set_num_threads, 1)) as pool:
        at_work = deque[Future[_Made]]()
        for block in blocks:
            at_work.append(pool.submit(work, block))
            if len(at_work) > workers:  # so many blocks are in memory, however many there are
                yield at_work.popleft().result()
        while at_work:
            yield at_work.popleft().result()


_lock, _fitting, _before = threading.Lock(), list[int](), list[Any]()
_workers = ContextVar("workers", default=1)


@cache
def _linear_algebra() -> ThreadpoolController:
    """Find what numpy and scipy brought along: torch's own products need their threads."""
    controller = ThreadpoolController()
    ours = [
        each.filepath
        for each in controller.lib_controllers
        if each.user_api == "blas"
        and Path(each.filepath).parent.name in ("numpy.libs", "scipy.libs")
    ]
    return controller.select(filepath=ours)
