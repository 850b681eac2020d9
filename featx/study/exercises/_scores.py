"""Measures that the exercises about baselines, thresholds and honest splits share."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["best_cuts", "near", "scored_rows", "total_cost"]


def near(value: float | None, expected: float, within: float = 1e-4) -> bool:
    """Tell whether a number is the expected one, but for rounding."""
    return value is not None and abs(value - expected) < within * max(1.0, abs(expected))


def scored_rows(seed: int, size: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    """Make scores from 0 to 1, no two alike, and labels 0 and 1 with few positives among them."""
    draw = np.random.default_rng(seed)
    labels = (np.arange(size) % 4 == 0).astype(np.int64)
    labels[:2] = [1, 0]
    raw = 1.9 * labels - 1.3 + draw.normal(size=size)
    scores = np.round(1 / (1 + np.exp(-raw)), 4) + np.arange(size) * 1e-6
    order = draw.permutation(size)
    return torch.tensor(scores[order], dtype=torch.float64), torch.tensor(labels[order])


def best_cuts(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> tuple[float, list[float]]:
    """Return the least total cost of `scores >= threshold`, and the scores that reach it."""
    cuts = [*scores.tolist(), float(scores.max()) + 1]
    costs = [total_cost(scores, labels, cut, cost_fp, cost_fn) for cut in cuts]
    least = min(costs)
    return least, [cut for cut, cost in zip(cuts, costs, strict=True) if cost <= least + 1e-9]


def total_cost(
    scores: torch.Tensor, labels: torch.Tensor, cut: float, cost_fp: float, cost_fn: float
) -> float:
    """Return what the errors of `scores >= cut` cost together."""
    said = scores >= cut
    return cost_fp * int((said & (labels == 0)).sum()) + cost_fn * int(
        (~said & (labels == 1)).sum()
    )
