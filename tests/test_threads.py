"""Threads while features are fitted: whose they are, in which order, and that they are given back."""

import threading

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - it brings its library along, as the next one does
import sklearn.linear_model  # noqa: F401
import torch
from threadpoolctl import threadpool_info

import featx
from featx.threads import all_threads, side_by_side, threads_for

MUCH = 1_000_000_000


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def libraries():
    return {each["filepath"]: each["num_threads"] for each in threadpool_info()}


def test_fits_at_the_same_time_leave_the_threads_as_they_were():
    """The first to begin ends first: then the other must put back what it found."""
    X = np.arange(60.0)[:, None]
    before = torch.get_num_threads(), libraries()
    first, second = threads_for(10), threads_for(20)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    featx.LinearProbe().fit(X, X[:, 0] > 30)
    assert (torch.get_num_threads(), libraries()) == before


@pytest.mark.parametrize(("products", "most"), [(10, 100), (MUCH, 1), (MUCH, 100)])
def test_blocks_come_in_their_order(two_threads, products, most):
    met = threading.Barrier(2, timeout=30)

    def work(number):
        if products == MUCH and most == 100 and number < 2:
            met.wait()  # two are at work at once
        return number, torch.get_num_threads(), threading.current_thread().name

    with threads_for(products, most):
        made = list(side_by_side(work, range(9)))
    assert [number for number, *_ in made] == list(range(9))
    alone = most == 1 or products < MUCH
    assert {threads for _, threads, _ in made} == ({2} if (products, most) == (MUCH, 1) else {1})
    assert ("MainThread" in {name for *_, name in made}) is alone
    assert torch.get_num_threads() == 2


def test_one_large_product_between_the_blocks_has_all_threads(two_threads):
    with threads_for(MUCH, 100):
        assert torch.get_num_threads() == 1
        with all_threads(MUCH):
            assert torch.get_num_threads() == 2
        with all_threads(10):
            assert torch.get_num_threads() == 1
    with threads_for(10), all_threads(MUCH):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_only_a_few_blocks_are_in_memory(two_threads):
    waiting, most = 0, 0

    def blocks():
        nonlocal waiting, most
        for number in range(200):
            waiting += 1
            most = max(most, waiting)
            yield number

    with threads_for(MUCH, 200):
        for _ in side_by_side(lambda number: number, blocks()):
            waiting -= 1
    assert most <= 4


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_a_block_is_told_and_gives_the_threads_back(two_threads, error):
    def work(number):
        if number == 5:
            raise error
        return number

    before = libraries()
    with pytest.raises(error), threads_for(MUCH, 100):
        list(side_by_side(work, range(50)))
    assert (torch.get_num_threads(), libraries()) == (2, before)
    with threads_for(MUCH, 1):
        assert list(side_by_side(work, range(3))) == [0, 1, 2]


def test_a_probe_is_the_same_with_one_thread_and_with_two(two_threads):
    """Of 33 000 rows each thread takes its blocks, and a memory map's as well."""
    rng = np.random.default_rng(0)
    y = np.arange(33_000) % 10
    X = (rng.normal(size=(10, 64))[y] + 3 * rng.normal(size=(len(y), 64))).astype(np.float32)
    several = featx.LinearProbe(C=0.1).fit(X, y)
    torch.set_num_threads(1)
    one = featx.LinearProbe(C=0.1).fit(X, y)
    np.testing.assert_allclose(several.coef_, one.coef_, rtol=0, atol=1e-6)
    assert several.score(X, y) == one.score(X, y) > 0.5
