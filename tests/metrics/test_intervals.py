"""Intervals hold what they promise: they cover the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from featx.metrics.intervals import DRAWS, interval, mean_draws, rate_draws


@pytest.mark.parametrize(("rows", "share"), [(10, 0.9), (30, 0.9), (100, 0.5), (400, 0.98)])
def test_intervals_of_rates_cover_the_truth(rows, share):
    rng = np.random.default_rng(0)
    covered = [
        low <= share <= high
        for hits in rng.binomial(rows, share, 400)
        for low, high in [interval(rate_draws([hits], [rows])[:, 0], hits / rows)]
    ]
    assert 0.90 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize("rows", [100, 300, 3000])
def test_intervals_of_means_cover_the_truth(rows):
    """Also where several rows share one weight, and where rows of a class stand together."""
    rng = np.random.default_rng(0)
    covered, widths = [], []
    for _ in range(200):
        classes = np.sort(rng.integers(0, 2, rows))
        values = rng.exponential(1 + classes)
        low, high = interval(mean_draws(values), values.mean())
        covered.append(low <= 1.5 <= high)
        widths.append(high - low)
    assert 0.89 <= np.mean(covered) <= 0.99
    normal = 2 * 1.96 * (2.75 / rows) ** 0.5  # the variance is 0.5 (1 + 1) + 0.5 (4 + 4) - 2.25
    assert np.mean(widths) == pytest.approx(normal, rel=0.1)


@pytest.mark.parametrize(
    ("groups", "rows", "share"), [(100, 5, 0.9), (20, 5, 0.9), (10, 10, 0.95), (1000, 50, 0.8)]
)
def test_intervals_of_means_over_many_classes_cover_the_truth(groups, rows, share):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        hits = rng.binomial(rows, share, groups)
        draws = rate_draws(hits, np.full(groups, rows), added=0.5 / groups).mean(1)
        low, high = interval(draws, (hits / rows).mean())
        covered.append(low <= share <= high)
    assert np.mean(covered) >= 0.85


def test_one_rate_is_jeffreys_interval():
    for hits, rows in ((3, 10), (95, 100)):
        low, high = interval(rate_draws([hits], [rows])[:, 0], hits / rows)
        exact = beta.ppf([0.025, 0.975], hits + 0.5, rows - hits + 0.5)
        assert [low, high] == pytest.approx(exact, abs=0.02)


def test_all_right_is_an_end_and_no_rows_is_nothing():
    low, high = interval(rate_draws([20], [20])[:, 0], 1.0)
    assert low < 0.9 < high == 1
    assert rate_draws([0, 3], [0, 4])[:, 0].max() == 0


def test_known_outcomes_and_columns_that_go_together():
    gains = np.repeat([-1.0, 0, 1], [24, 9952, 24])
    low, high = interval(mean_draws(gains, [-1, 0, 1]), 0.0)
    assert low == pytest.approx(-high, abs=3e-4)
    assert high == pytest.approx(1.96 * 48**0.5 / 10_000, rel=0.1)
    values = np.random.default_rng(0).normal(size=(700, 1)) * [1, -2]
    draws = mean_draws(values)
    assert draws.shape == (DRAWS, 2)
    assert draws[:, 1] == pytest.approx(-2 * draws[:, 0])
    assert np.array_equal(draws, mean_draws(values))
    assert not np.array_equal(draws, mean_draws(values, seed=1))
