"""L-BFGS down a convex loss over rows of features, on the device where they are, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from scipy.optimize import minimize

from featx.machine import free_memory

__all__ = [
    "Descent",
    "Rows",
    "all_logits",
    "blocks",
    "cross_entropy",
    "device_of",
    "linear",
    "scaled_rows",
    "squared_error",
    "widest_float",
]

CELLS_AT_ONCE = 2**22  # numbers in one block of rows: 16 MB of float32
EXACT_CELLS = 2**24  # up to here features are held as float64: 128 MB
BASIS_SIZE = 2048  # the largest eigenvalue problem that pays: seconds on two cores
ROUND = 30  # L-BFGS steps between two looks at the curvature


class Rows:
    """Rows of features, centred and scaled, block by block: a memory map is never read whole."""

    def __init__(
        self, X: Any, mean: torch.Tensor, scale: float, index: np.ndarray | None = None
    ) -> None:
        self.X, self.scale = X, scale
        self.index = np.arange(len(X)) if index is None else index
        self.count, self.width = len(self.index), X.shape[1]
        self.device = device_of(X)
        self.wide = widest_float(self.device)
        cells = self.count * self.width
        self.small = cells <= EXACT_CELLS
        self.dtype = self.wide if self.small else torch.float32
        # held where that is a small part of what is free: to scale them anew for each step takes longer
        # than the step
        self.held = self.small or 4 * cells <= free_memory(self.device) / 8
        self.mean = mean.to(self.device, self.wide)
        self._kept: list[tuple[slice, torch.Tensor]] = []

    def __iter__(self) -> Iterator[tuple[slice, torch.Tensor]]:
        if self._kept:
            yield from self._kept
            return
        for at, x in blocks(self.X, self.index, self.wide):
            block = at, ((x - self.mean) / self.scale).to(self.dtype)
            if self.held:
                self._kept.append(block)
            yield block


def scaled_rows(X: Any, weight: np.ndarray, index: np.ndarray | None = None) -> Rows:
    """Centre rows and divide them by one number: their mean square length becomes 64."""
    index = np.arange(len(X)) if index is None else index
    device = device_of(X)
    share = torch.as_tensor(weight / weight.sum()).to(device, widest_float(device))
    mean = sum(share[at] @ x for at, x in blocks(X, index, share.dtype))
    square = sum(
        float(share[at] @ (x - mean).square().sum(1)) for at, x in blocks(X, index, share.dtype)
    )
    return Rows(X, cast(torch.Tensor, mean), square**0.5 / 8 or 1.0, index)


def blocks(
    X: Any, index: np.ndarray, dtype: torch.dtype, most: int = CELLS_AT_ONCE
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield the rows of `index` as tensors on their own device, and where in `index` they are."""
    step = max(1, min(most, CELLS_AT_ONCE // X.shape[1]))
    for start in range(0, len(index), step):
        at = slice(start, start + step)
        if isinstance(X, torch.Tensor):
            rows = X[torch.as_tensor(index[at], device=X.device)]
        else:
            rows = torch.from_numpy(X[index[at]])  # a copy: torch warns of read-only memory
        yield at, rows.to(dtype)


def linear(rows: Rows, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Compute ``x @ W + b`` of all rows: ``(n, K)``."""
    W, b = W.to(rows.device, rows.dtype), b.to(rows.device, rows.dtype)
    return torch.cat([x @ W + b for _, x in rows])


class Descent:
    """L-BFGS down ``sum_i s_i loss_i + |W|^2 / (2 C)``, both parts divided by ``sum_i s_i``.

    The features stay where they are; scipy's L-BFGS-B, which is scikit-learn's solver too, sees only the
    coefficients. It works in coordinates in which the Hessian is close to the identity: the axes are the
    eigenvectors of the features' covariance, weighted by the curvature of each row's loss, and looked at
    again after every `ROUND` steps. So features of very different spread, or a very large `C`, take tens of
    steps and not thousands.
    """

    def __init__(
        self, rows: Rows, target: np.ndarray, loss: Callable, weight: np.ndarray, width: int
    ) -> None:
        self.rows, self.loss = rows, loss
        share = torch.as_tensor(weight / weight.sum())
        self.total = float(weight.sum())
        self.share = share.to(rows.device, rows.dtype)
        self.target = torch.as_tensor(target).to(rows.device)  # codes, or numbers (n, K)
        if self.target.is_floating_point():
            self.target = self.target.to(rows.dtype)
        self.W = torch.zeros(rows.width, width, dtype=rows.wide, device=rows.device)
        self.b = torch.zeros(width, dtype=rows.wide, device=rows.device)
        self.curvature = torch.empty(rows.count, dtype=rows.dtype, device=rows.device)
        self.basis: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self.n_iter, self.converged = 0, False
        self.eps = torch.finfo(rows.dtype).eps

    def to(self, C: float, tol: float, max_iter: int) -> None:
        """Go on from where it is to the solution for `C`."""
        ridge = 1 / (C * self.total)
        self.n_iter = 0
        loss = self._look(self.W, self.b, ridge, tol)[0]
        while not self.converged and self.n_iter < max_iter:
            if self.basis is None or self.n_iter:
                self.basis = self._basis()
            steps, lower = self._round(ridge, tol, min(ROUND, max_iter - self.n_iter))
            self.n_iter += steps
            # A whole round for what rounding alone could be: the arithmetic gives no more.
            self.converged |= loss - lower <= (steps + 1) * self.eps * loss
            loss = lower

    def _round(self, ridge: float, tol: float, max_iter: int) -> tuple[int, float]:
        """Take up to `max_iter` steps; return how many, and the loss there."""
        spread, axes = cast(tuple, self.basis)
        stretch = 1 / (spread + ridge).sqrt()
        change = stretch[:, None] if axes is None else axes * stretch
        bias = self.curvature.sum().clamp(min=1e-8).item() ** -0.5
        W, b = self.W, self.b  # the origin of this round
        shape = (change.shape[0 if axes is None else 1] + 1, b.shape[0])

        def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            u = torch.from_numpy(flat).to(W).reshape(shape)
            step = change * u[:-1] if axes is None else change @ u[:-1]
            loss, gW, gb = self._look(W + step, b + bias * u[-1], ridge, tol)
            gW = change * gW if axes is None else change.T @ gW
            gradient = torch.cat([gW, bias * gb[None]]).flatten().cpu().double().numpy()
            # In these coordinates the Hessian is about 1, so what is left to gain is half the
            # gradient's square: too little to be seen in the loss is the end, whatever `tol` says.
            self.converged |= bool(gradient @ gradient / 2 <= 4 * self.eps * loss)
            return loss, gradient

        def stop(_: np.ndarray) -> None:
            if self.converged:
                raise StopIteration

        found = minimize(
            loss_and_gradient,
            np.zeros(shape).ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop,
            # stopped by `stop`, not by scipy's own rules: those know nothing of the penalty
            options={"maxiter": max_iter, "ftol": 0, "gtol": 0},
        )
        u = found.x if found.nit else np.zeros(shape)
        # once more, as the last point looked at need not be the one chosen
        return int(found.nit), loss_and_gradient(np.ravel(u))[0]

    def _look(
        self, W: torch.Tensor, b: torch.Tensor, ridge: float, tol: float
    ) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Go to ``(W, b)``: compute loss and gradient, and whether this is the solution."""
        rows = self.rows
        loss = 0.0
        gW, gb = torch.zeros_like(W), torch.zeros_like(b)
        W_here, b_here = W.to(rows.dtype), b.to(rows.dtype)
        for at, x in rows:
            share = self.share[at]
            row_loss, g, curvature = self.loss(x @ W_here + b_here, self.target[at])
            g = g * share[:, None]
            loss += float((share * row_loss).sum(dtype=rows.wide))
            self.curvature[at] = share * curvature
            gW += (g.T @ x).T  # quicker than x.T @ g, which is as large
            gb += g.sum(0, dtype=rows.wide)
        gW += ridge * W
        length = float(W.norm())
        self.converged = float(gW.norm()) <= tol * ridge * length and (
            float(gb.norm()) <= tol * float(self.curvature.sum())
        )
        self.W, self.b = W, b
        return loss + ridge * length**2 / 2, gW, gb

    def _basis(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute variances (R,) and axes (D, R) of the features, each row weighted by its curvature.

        Without axes, where they would cost more than they save: then the features' own.
        """
        n, d = self.rows.count, self.rows.width
        wide = self.rows.wide
        root = self.curvature.to(wide).sqrt()[:, None]
        weighted = ((root[at] * x.to(wide)) for at, x in self.rows)
        if n < d and n <= BASIS_SIZE and self.rows.small:
            x = torch.cat(list(weighted))
            spread, u = torch.linalg.eigh(x @ x.T)
            kept = spread > spread[-1] * 1e-12  # the rest is rounding
            return spread[kept], x.T @ (u[:, kept] / spread[kept].sqrt())
        if d <= BASIS_SIZE:
            spread, axes = torch.linalg.eigh(cast(torch.Tensor, sum(x.T @ x for x in weighted)))
            return spread.clamp(min=0), axes
        return cast(torch.Tensor, sum(x.square().sum(0) for x in weighted)), None


def cross_entropy(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute loss (n,), gradient (n, K) and mean curvature (n,) of logits (n, K)."""
    log_p = all_logits(z).log_softmax(1)
    p = log_p.exp()
    at = codes[:, None]
    curvature = (p * (1 - p)).sum(1) / max(2, p.shape[1] - 1)
    gradient = p.scatter_add(1, at, torch.full_like(log_p[:, :1], -1).expand(len(z), 1))
    return -log_p.gather(1, at)[:, 0], gradient[:, -z.shape[1] :], curvature


def all_logits(z: torch.Tensor) -> torch.Tensor:
    """Two classes have one column, the second one's; the first one's logit is 0."""
    return torch.nn.functional.pad(z, (1, 0)) if z.shape[1] == 1 else z


def squared_error(z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute loss (n,), gradient (n, K) and curvature (n,) of outputs (n, K)."""
    gap = z - y
    return gap.square().sum(1) / 2, gap, torch.ones_like(z[:, 0])


def device_of(X: Any) -> torch.device:
    """Return where features are; arrays are on the CPU."""
    return X.device if isinstance(X, torch.Tensor) else torch.device("cpu")


def widest_float(device: torch.device) -> torch.dtype:
    """Return the widest floats that the device has: Apple's GPUs know no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
