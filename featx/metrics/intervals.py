"""How far a number of a small test set can be trusted: what other test sets of its size could have given.

One mechanism for all of them, the Bayesian bootstrap: each draw gives the rows other weights, and the
mean is taken again (D. B. Rubin, "The Bayesian Bootstrap", Annals of Statistics 9, 1981). The plain
bootstrap draws rows again, and so from ten right answers out of ten it draws nothing but ten right answers:
an interval from 1 to 1, however small the test. Where the outcomes that a row can have are known (right or
wrong), half a row of each is added here. For one rate this is Jeffreys' interval, which holds its level
with few rows, too (L. D. Brown, T. T. Cai and A. DasGupta, "Interval Estimation for a Binomial Proportion",
Statistical Science 16, 2001). With fewer than a hundred rows of very unequal losses intervals of means are a
little too narrow, as all bootstraps are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["interval", "mean_draws", "rate_draws"]

DRAWS = 2000
MOST_GROUPS = 500  # of more rows several share one weight: the time does not grow with the rows


def rate_draws(hits: Any, rows: Any, seed: int = 0, added: float = 0.5) -> np.ndarray:
    """Draw the shares that other test sets could have given.

    Parameters
    ----------
    hits, rows
        ``(K,)``: how many of how many rows had it, for each of K groups of rows.
    seed
        The same seed draws the same.
    added
        Rows of each outcome that are added to each group: half a row for one group alone. Where the mean
        over K groups is what counts, ``0.5 / K``, or as many halves would draw it to the middle.

    Returns
    -------
    numpy.ndarray
        ``(DRAWS, K)``; 0 for a group without rows.

    Examples
    --------
    >>> low, high = interval(rate_draws([10], [10])[:, 0], 1.0)
    >>> round(low, 2), round(high, 2)
    (0.79, 1.0)
    """
    hits, rows = np.asarray(hits), np.asarray(rows)
    rng = np.random.default_rng(seed)
    draws = rng.beta(hits + added, rows - hits + added, size=(DRAWS, len(rows)))
    return np.where(rows > 0, draws, 0.0)


def mean_draws(values: Any, outcomes: Any = None, seed: int = 0) -> np.ndarray:
    """Draw the means that other test sets could have given.

    Parameters
    ----------
    values
        ``(N,)``: one number a row, such as its loss; or ``(N, K)`` for several that go together.
    outcomes
        All values that a row of ``(N,)`` can have, where there are few: half a row of each is added.
    seed
        The same seed draws the same.

    Returns
    -------
    numpy.ndarray
        ``(DRAWS,)`` or ``(DRAWS, K)``.

    Examples
    --------
    >>> loss = np.random.default_rng(0).uniform(size=100)
    >>> low, high = interval(mean_draws(loss), loss.mean())
    >>> bool(low < loss.mean() < high), round(high - low, 1)
    (True, 0.1)
    """
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    if outcomes is not None:
        groups = np.unique(outcomes)
        weights = 0.5 + np.array([np.sum(values == outcome) for outcome in groups])
    else:
        # In any order: rows that stand together may be of one class.
        parts = np.array_split(rng.permutation(values), min(len(values), MOST_GROUPS))
        groups, weights = np.array([part.mean(0) for part in parts]), np.ones(len(parts))
    return rng.dirichlet(weights, DRAWS) @ groups


def interval(draws: np.ndarray, value: float, level: float = 0.95) -> tuple[float, float]:
    """Return the range that holds the middle `level` of the draws, and the value itself.

    Parameters
    ----------
    draws
        ``(DRAWS,)``.
    value
        What was measured. It may lie outside of the draws where it is the best or the worst that there is:
        then the range ends there, as Brown, Cai and DasGupta have it.
    level
        0.95: what lies outside is left out with 2.5 % on either side.
    """
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(min(low, value)), float(max(high, value))
