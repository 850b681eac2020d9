"""L-BFGS down a convex loss over rows of features, on the device where they are, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from scipy.optimize import minimize

from featx.errors import FeatxError
from featx.machine import free_memory

__all__ = [
    "CELLS_AT_ONCE",
    "Descent",
    "Rows",
    "all_logits",
    "blocks",
    "cross_entropy",
    "device_of",
    "linear",
    "scaled_rows",
    "scales",
    "squared_error",
    "widest_float",
]

CELLS_AT_ONCE = 2**21  # numbers in one block of rows: 8 MB of float32
EXACT_CELLS = 2**24  # up to here features are held as float64: 128 MB
BASIS_SIZE = 2048  # the largest eigenvalue problem that pays: seconds on two cores
ROUND = 20  # L-BFGS steps before the curvature is looked at again …
STALE = 5  # … or this many, where a new C is set out for
LEAST = (
    3  # steps before a small gradient is believed: it is small, too, where the loss has become flat
)


class Rows:
    """Rows of features, centred and scaled, block by block: a memory map is never read whole.

    In float64 where `exact` and there are few, else in float32.
    """

    def __init__(
        self,
        X: Any,
        mean: torch.Tensor,
        scale: float,
        index: np.ndarray | None = None,
        exact: bool = True,
    ) -> None:
        self.X, self.scale = X, scale
        self.index = np.arange(len(X)) if index is None else index
        self.count, self.width = len(self.index), X.shape[1]
        self.device = device_of(X)
        self.wide = widest_float(self.device)
        cells = self.count * self.width
        small = cells <= EXACT_CELLS
        self.dtype = self.wide if exact and small else torch.float32
        # held where that is a small part of what is free: to scale them anew for each step takes longer
        # than the step
        self.held = small or 4 * cells <= free_memory(self.device) / 8
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


def scaled_rows(
    X: Any, weight: np.ndarray, index: np.ndarray | None = None, exact: bool = True
) -> Rows:
    """Centre rows and divide them by one number: their mean square length becomes 64."""
    index = np.arange(len(X)) if index is None else index
    device = device_of(X)
    share = torch.as_tensor(weight / weight.sum()).to(device, widest_float(device))
    # one look at the rows; from one of them, lest a large mean swallow a small spread
    origin = torch.as_tensor(X[index[:1]]).to(share)
    mean, square = torch.zeros_like(origin[0]), 0.0
    for at, x in blocks(X, index, share.dtype):
        x = x - origin
        mean += share[at] @ x
        square += float(share[at] @ x.square().sum(1))
    if not np.isfinite(square):
        raise FeatxError(
            "Expected features whose squares can be added up, got larger ones. Divide them by their "
            "largest."
        )
    scale = max(0.0, square - float(mean.square().sum())) ** 0.5 / 8
    return Rows(X, mean + origin[0], scale or 1.0, index, exact)


def scales(rows: Rows, weight: np.ndarray) -> torch.Tensor:
    """Compute by which number each weighting ``(F, n)`` would divide the rows once more: ``(F,)``."""
    share = torch.as_tensor(weight / weight.sum(1, keepdims=True)).to(rows.device, rows.dtype)
    mean = cast(torch.Tensor, sum(share[:, at] @ x for at, x in rows))
    square = cast(torch.Tensor, sum(share[:, at] @ x.square().sum(1) for at, x in rows))
    scale = (square - mean.square().sum(1)).clamp(min=0).sqrt().to(rows.wide) / 8
    return torch.where(scale > 0, scale, 1.0)


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
    """Compute ``W x + b`` of all rows: ``(K, n)``."""
    W, b = W.to(rows.device, rows.dtype), b.to(rows.device, rows.dtype)
    parts = (torch.addmm(b[:, None], W, x.T) for _, x in rows)
    return torch.cat([W.new_empty(len(W), 0), *parts], 1)


class Descent:
    """L-BFGS down ``sum_i s_i loss_i + |W|^2 / (2 C)``, both parts divided by ``sum_i s_i``.

    Several weightings `s` of the same rows, the folds of a cross-validation, go down side by side: they share
    each reading of the rows and each matrix product.

    The features stay where they are; scipy's L-BFGS-B, which is scikit-learn's solver too, sees only the
    coefficients. It works in coordinates in which the Hessian is close to the identity: the axes are the
    eigenvectors of the features' covariance, weighted by the curvature of each row's loss, and looked at
    again after some steps. So features of very different spread, or a very large `C`, take tens of
    steps and not thousands.

    Parameters
    ----------
    rows : Rows
        The features of ``n`` rows.
    target : numpy.ndarray
        Codes of classes ``(n,)``, or numbers ``(n, K)``.
    loss : callable
        `cross_entropy` or `squared_error`.
    weight : numpy.ndarray
        ``(F, n)``: `s`, once for each fold.
    width : int
        Outputs ``K`` of a row.
    keep : bool
        Whether `outputs` is asked for; they take ``n K F`` numbers.

    Attributes
    ----------
    W, b : torch.Tensor
        Where it is: ``(K, F, D)`` and ``(K, F)``, kept as ``(K F, D)`` and ``(K F,)``.
    n_iter, converged : int, bool
        Steps of the last descent, and whether it has arrived.
    """

    def __init__(
        self,
        rows: Rows,
        target: np.ndarray,
        loss: Callable,
        weight: np.ndarray,
        width: int,
        keep: bool = False,
    ) -> None:
        self.rows, self.loss, self.keep = rows, loss, keep
        self.folds, self.width = len(weight), width
        total = torch.as_tensor(weight.sum(1, keepdims=True))
        self.share = (torch.tensor(weight) / total).to(rows.device, rows.dtype)
        self.total = total[:, 0].to(rows.device, rows.wide)
        self.target = torch.as_tensor(target.T).to(rows.device)  # codes (n,), or numbers (K, n)
        if self.target.is_floating_point():
            self.target = self.target.to(rows.dtype)
        self.curvature = torch.empty_like(self.share)
        self.basis: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self.basis_age = 0
        self.n_iter, self.converged = 0, False
        self.eps = torch.finfo(rows.dtype).eps
        b = torch.zeros(width * self.folds, dtype=rows.wide, device=rows.device)
        self._go(b.new_zeros(len(b), rows.width), b)

    def _go(self, W: torch.Tensor, b: torch.Tensor) -> None:
        """Go to ``(W, b)``, and add up what the rows say of loss, gradient and curvature there."""
        rows = self.rows
        self.W, self.b = W.to(rows.device, rows.wide), b.to(rows.device, rows.wide)
        W, b = self.W.to(rows.dtype), self.b.to(rows.dtype)[:, None]
        loss, gW, gb = 0.0, torch.zeros_like(self.W), torch.zeros_like(self.b)
        self.kept: list[torch.Tensor] = []
        for at, x in rows:
            z = torch.addmm(b, W, x.T).view(self.width, self.folds, len(x))
            self.kept += [z] if self.keep else []
            row_loss, g, curvature = self.loss(z, self.target[..., at])
            share = self.share[:, at]
            loss += float((share * row_loss).sum(dtype=rows.wide))
            self.curvature[:, at] = share * curvature
            g = (share * g).flatten(0, 1)
            gW += g @ x
            gb += g.sum(1, dtype=rows.wide)
        self.seen = loss, gW, gb

    def to(self, C: float | torch.Tensor, tol: float, max_iter: int, gain: float = 0.0) -> None:
        """Go on from where it is to the solution for `C`, or for one `C` of each fold ``(F,)``.

        It stops where the gradient says that `W` is at most `tol` from the solution, as a part of its
        length; or where, by the curvature that was seen, at most `gain` is left to gain, as a part of the
        loss. That is an estimate, no bound: where classes can be told apart, the loss is flatter than that.
        """
        self.ridge = (1 / (C * self.total)).repeat(self.width)[:, None]
        self.tol, self.gain = tol, max(gain, 4 * self.eps)
        self.n_iter = 0
        loss = self._look(self.W, self.b)[0]
        while not self.converged and self.n_iter < max_iter:
            if self.basis is None or self.n_iter or self.basis_age >= STALE:
                self.basis, self.basis_age = self._basis(), 0
                self.basis_curvature = self.curvature.sum(1).clamp(min=self.eps)
            before = self.n_iter
            lower = self._round(min(ROUND, max_iter - before))
            steps = self.n_iter - before
            self.basis_age += steps
            # A whole round for what rounding alone could be: the arithmetic gives no more.
            self.converged |= loss - lower <= (steps + 1) * self.eps * loss
            loss = lower

    def outputs(self) -> torch.Tensor:
        """Return what the rows get where it is: ``(K, F, n)``."""
        return torch.cat(self.kept, 2)

    def _round(self, max_iter: int) -> float:
        """Take up to `max_iter` steps; return the loss there."""
        spread, axes = cast(tuple, self.basis)
        stretch = (spread + self.ridge).rsqrt().to(spread.dtype)
        bias = self.curvature.sum(1).clamp(min=1e-8).rsqrt().to(self.b).repeat(self.width)
        W, b = self.W, self.b  # the origin of this round
        shape = (len(b), stretch.shape[1] + 1)
        unit = 1.0

        def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            u = (unit * torch.from_numpy(flat)).to(stretch).reshape(shape)
            step = stretch * u[:, :-1]
            step = step if axes is None else step @ axes.T
            loss, gW, gb = self._look(W + step, b + bias * u[:, -1])
            gW = gW.to(stretch)
            gW = stretch * (gW if axes is None else gW @ axes)
            gradient = torch.cat([gW, (bias * gb)[:, None]], 1).flatten().cpu().double().numpy()
            # In these coordinates the Hessian is about 1, or less where the curvature has fallen since, so
            # what is left to gain is about half the gradient's square.
            flatter = float((self.curvature.sum(1) / self.basis_curvature).clamp(max=1).min())
            little = gradient @ gradient / 2 <= flatter * self.gain * loss
            self.converged |= bool(little and self.n_iter >= LEAST)
            return loss, unit * gradient

        def stop(_: np.ndarray) -> None:
            self.n_iter += 1
            if self.converged:
                raise StopIteration

        origin = np.zeros(shape).ravel()
        loss, gradient = loss_and_gradient(origin)
        if self.converged:
            return loss
        # scipy's first step has length 1: in this unit it is Newton's
        unit = float(np.linalg.norm(gradient))
        found = minimize(
            loss_and_gradient,
            origin,
            jac=True,
            method="L-BFGS-B",
            callback=stop,
            # stopped by `stop`, not by scipy's own rules: those know nothing of the penalty
            options={"maxiter": max_iter, "ftol": 0, "gtol": 0},
        )
        # once more, as the last point looked at need not be the one chosen
        return loss_and_gradient(found.x if found.nit else origin)[0]

    def _look(self, W: torch.Tensor, b: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Compute loss and gradient at ``(W, b)``, and whether this is the solution."""
        if not (torch.equal(W, self.W) and torch.equal(b, self.b)):
            self._go(W, b)
        loss, gW, gb = self.seen
        pull = self.ridge * W
        gW = gW + pull
        self.converged = float(gW.norm()) <= self.tol * float(pull.norm()) and (
            float(gb.norm()) <= self.tol * float(self.curvature.sum(1).min())
        )
        return loss + float((pull * W).sum()) / 2, gW, gb

    def _basis(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute variances (R,) and axes (D, R) of the features, each row weighted by its curvature.

        Without axes, where they would cost more than they save: then the features' own.
        """
        n, d = self.rows.count, self.rows.width
        root = self.curvature.mean(0).sqrt()[:, None]
        weighted = (root[at] * x for at, x in self.rows)
        if n < d and n <= BASIS_SIZE and self.rows.held:
            x = torch.cat(list(weighted)).to(self.rows.wide)
            spread, u = torch.linalg.eigh(x @ x.T)
            kept = spread > spread[-1] * 1e-12  # the rest is rounding
            axes = x.T @ (u[:, kept] / spread[kept].sqrt())
            return spread[kept].to(root.dtype), axes.to(root.dtype)
        if d <= BASIS_SIZE:
            spread, axes = torch.linalg.eigh(cast(torch.Tensor, sum(x.T @ x for x in weighted)))
            return spread.clamp(min=self.eps * float(spread[-1])), axes
        return cast(torch.Tensor, sum(x.square().sum(0) for x in weighted)), None


def cross_entropy(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute loss (F, n), gradient (K, F, n) and mean curvature (F, n) of logits (K, F, n)."""
    log_p = all_logits(z).log_softmax(0)
    at = codes.expand(1, *z.shape[1:])
    loss = -log_p.gather(0, at)[0]
    p = log_p.exp_()
    curvature = (p * (1 - p)).sum(0) / max(2, len(p) - 1)
    gradient = p.scatter_add_(0, at, p.new_full((1, 1, 1), -1).expand_as(at))
    return loss, gradient[-len(z) :], curvature


def all_logits(z: torch.Tensor) -> torch.Tensor:
    """Two classes have one output, the second one's; the first one's logit is 0."""
    return torch.cat([torch.zeros_like(z), z]) if len(z) == 1 else z


def squared_error(z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute loss (F, n), gradient (K, F, n) and curvature (F, n) of outputs (K, F, n)."""
    gap = z - y[:, None]
    return gap.square().sum(0) / 2, gap, torch.ones_like(z[0])


def device_of(X: Any) -> torch.device:
    """Return where features are; arrays are on the CPU."""
    return X.device if isinstance(X, torch.Tensor) else torch.device("cpu")


def widest_float(device: torch.device) -> torch.dtype:
    """Return the widest floats that the device has: Apple's GPUs know no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
