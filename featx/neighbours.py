"""The nearest rows, found block by block: no table of all distances is ever in memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch

__all__ = ["most_alike"]


def most_alike(
    likeness: Iterable[tuple[int, torch.Tensor]], most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the rows that are most alike.

    Parameters
    ----------
    likeness
        Blocks ``(n, m)``: how much each of n queries is like m rows; each with the number of its first row.
    most
        Rows to find for each query.

    Returns
    -------
    tuple of torch.Tensor
        Likeness and row numbers, each ``(n, k)``, the most alike first; `k` is `most`, or all rows.

    Examples
    --------
    >>> most_alike([(0, torch.tensor([[1.0, 5.0]])), (2, torch.tensor([[3.0]]))], 2)
    (tensor([[5., 3.]]), tensor([[1, 2]]))
    """
    best = number = None
    for start, block in likeness:
        rows = torch.arange(start, start + block.shape[1], device=block.device).expand(
            len(block), -1
        )
        if best is not None and number is not None:
            block, rows = torch.cat([best, block], 1), torch.cat([number, rows], 1)
        best, chosen = block.topk(min(most, block.shape[1]), dim=1)
        number = rows.gather(1, chosen)
    if best is None or number is None:
        raise ValueError("no block")
    return best, number
