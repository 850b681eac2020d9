"""L-BFGS down a convex loss over rows of features, on the device where they are, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import numpy as np
import torch

from featx.errors import FeatxError
from featx.machine import free_memory
from featx.threads import all_threads, side_by_side

__all__ = [
    "CELLS_AT_ONCE",
    "Descent",
    "Rows",
    "all_logits",
    "block_threads",
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
ROUND = 20  # steps before it is asked whether they led anywhere, and before the axes are old
MEMORY = 10  # steps that are remembered: scipy's number
_Made = TypeVar("_Made")

TINY = 1e-15  # what is left of a loss, or of its curvature, where all is right


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

    def each(self, work: Callable[[slice, torch.Tensor], _Made]) -> Iterator[_Made]:
        """Yield what `work` makes of each block and of where it is, in their order."""

        def scaled(block: tuple[slice, torch.Tensor]) -> tuple[tuple[slice, torch.Tensor], _Made]:
            at, x = block
            x = ((x - self.mean) / self.scale).to(self.dtype)
            return (at, x), work(at, x)

        if self._kept:
            yield from side_by_side(lambda block: work(*block), self._kept)
            return
        kept = []
        for block, made in side_by_side(scaled, blocks(self.X, self.index, self.wide)):
            if self.held:
                kept.append(block)
            yield made
        self._kept = kept


def scaled_rows(
    X: Any, weight: np.ndarray, index: np.ndarray | None = None, exact: bool = True
) -> Rows:
    """Centre rows and divide them by one number: their mean square length becomes 64."""
    index = np.arange(len(X)) if index is None else index
    device = device_of(X)
    share = torch.as_tensor(weight / weight.sum()).to(device, widest_float(device))
    # one look at the rows; from one of them, lest a large mean swallow a small spread
    # … that counts most: one left out by its weight may be of any size
    origin = torch.as_tensor(X[index[[weight.argmax()]]]).to(share)
    mean, square = torch.zeros_like(origin[0]), 0.0

    def moments(block: tuple[slice, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        at, x = block
        x = x - origin
        return share[at] @ x, share[at] @ x.square().sum(1)

    for mean_part, square_part in side_by_side(moments, blocks(X, index, share.dtype)):
        mean += mean_part
        square += float(square_part)
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
    mean = cast(torch.Tensor, sum(rows.each(lambda at, x: share[:, at] @ x)))
    square = cast(torch.Tensor, sum(rows.each(lambda at, x: share[:, at] @ x.square().sum(1))))
    scale = (square - mean.square().sum(1)).clamp(min=0).sqrt().to(rows.wide) / 8
    return torch.where(scale > 0, scale, 1.0)


def blocks(
    X: Any, index: np.ndarray, dtype: torch.dtype, most: int = CELLS_AT_ONCE
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield the rows of `index` as tensors on their own device, and where in `index` they are."""
    step = min(most, _rows_at_once(X))
    for start in range(0, len(index), step):
        at = slice(start, start + step)
        if isinstance(X, torch.Tensor):
            rows = X[torch.as_tensor(index[at], device=X.device)]
        else:
            rows = torch.from_numpy(X[index[at]])  # a copy: torch warns of read-only memory
        yield at, rows.to(dtype)


def block_threads(X: Any) -> int:
    """Say how many threads may take a block of the rows each: all where there are blocks enough, else one."""
    threads = torch.get_num_threads()
    enough = device_of(X).type == "cpu" and len(X) > (2 * threads - 1) * _rows_at_once(X)
    return threads if enough else 1


def _rows_at_once(X: Any) -> int:
    step = CELLS_AT_ONCE // X.shape[1]
    if device_of(X).type == "cpu":
        # a quarter stays in a core's cache; but what a block adds up should be little beside it
        step = min(step, max(step // 4, 1024))
    return max(1, step)


def linear(rows: Rows, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Compute ``W x + b`` of all rows: ``(K, n)``."""
    W, b = W.to(rows.device, rows.dtype), b.to(rows.device, rows.dtype)
    parts = rows.each(lambda _, x: torch.addmm(b[:, None], W, x.T))
    return torch.cat([W.new_empty(len(W), 0), *parts], 1)


class Descent:
    """L-BFGS down ``sum_i s_i loss_i + |W|^2 / (2 C)``, both parts divided by ``sum_i s_i``.

    Several weightings `s` of the same rows, the folds of a cross-validation, go down side by side: they share
    each reading of the rows and each matrix product, and each has its own memory of steps.

    The features stay where they are. As a first guess at the Hessian, its axes are the eigenvectors of the
    features' covariance, weighted by the curvature of each row's loss. So features of very different spread,
    or a very large `C`, take tens of steps and not thousands. What the steps told of the loss's curvature
    stays true for another `C`, as the penalty's part is known: along a path of them each takes a few steps.

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
    start : pair of torch.Tensor or None
        `W` ``(K, D)`` and `b` ``(K,)``, for `rows`, at which all folds begin; without them at 0.
    keep : bool
        Whether to keep the `outputs`.

    Attributes
    ----------
    at : torch.Tensor
        Where it is, ``(F, P)``: all weights of a fold, then its biases; see `W` and `b`.
    outputs : tuple of torch.Tensor
        Where it is, ``(F, K, rows)`` for each block of rows.
    n_iter, converged : int, bool
        Steps of the last descent, and whether it has arrived.

    Notes
    -----
    scipy's L-BFGS-B would do, but for two things that the path needs: it forgets all steps from one `C` to
    the next, and knows one problem at a time. Beside it a path takes half as many looks at the rows.

    The update is in the compact form of Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices
    and their use in limited memory methods", 1994, theorem 2.2, with the two-loop recursion's sums written as
    two triangular systems.
    """

    def __init__(
        self,
        rows: Rows,
        target: np.ndarray,
        loss: Callable,
        weight: np.ndarray,
        width: int,
        start: tuple[torch.Tensor, torch.Tensor] | None = None,
        keep: bool = False,
    ) -> None:
        self.rows, self.loss_of, self.keep = rows, loss, keep
        total = weight.sum(1, keepdims=True)
        self.share = torch.tensor(weight / total).to(rows.device, rows.dtype)
        self.total = torch.tensor(total).to(rows.device, rows.wide)
        self.target = torch.as_tensor(target.T)  # codes (n,), or numbers (K, n)
        if self.target.is_floating_point():
            self.target = self.target.to(rows.dtype)
        self.target = self.target.to(rows.device)
        self.eps = torch.finfo(rows.dtype).eps
        self.n_iter, self.converged = 0, False
        self.weights = width * rows.width  # so many are weights; the biases come after them
        self.at = self.share.new_zeros(len(weight), self.weights + width)
        if start is not None:
            self.at += torch.cat([part.flatten() for part in start]).to(self.at)
        # steps, and how the loss's gradient changed along each: without the penalty, whose part is known
        self.steps = self.bends = self.at[:, None][:, :0]  # (F, up to MEMORY, P)
        self.seen = self._look(self.at)
        self._turn()
        # axes are old when the steps since then have cost as much as new ones would
        n, d, folds = rows.count, rows.width, len(weight)
        rank = min(n, d)
        self.stale = max(ROUND, rank * (1 + 5 * rank**2 / (n * d)) / (2 * width * folds))

    @property
    def W(self) -> torch.Tensor:
        """Weights ``(F, K, D)``."""
        return self._parts(self.at)[0]

    @property
    def b(self) -> torch.Tensor:
        """Biases ``(F, K)``."""
        return self._parts(self.at)[1]

    @property
    def outputs(self) -> tuple[torch.Tensor, ...]:
        """Outputs ``(F, K, rows)`` of each block, where they are kept."""
        return self.seen[3:]

    def to(self, C: float | torch.Tensor, tol: float, max_iter: int, gain: float = 0.0) -> None:
        """Go on from where it is to the solution for `C`, or for one `C` of each fold ``(F,)``.

        It stops where the gradient says that `W` is at most `tol` from the solution, as a part of its
        length; or where, by the curvature that was seen, at most `gain` is left to gain, as a part of the
        loss. That is an estimate, no bound: with very rare classes and a large `C` much more may be left. And
        it stops where a round of steps has gained no more than rounding alone could.
        """
        ridge = 1 / (C * self.total[:, 0])
        self.pull = ridge.to(self.at)[:, None].repeat(1, self.at.shape[1])
        self.pull[:, self.weights :] = 0
        # Gradients know more than losses, which round: what is left to gain may be far below a loss's last
        # digit. In float32 much less than this is noise.
        gain = max(gain, TINY, self.eps / 64)
        misses = torch.zeros_like(self.at[:, :1])  # steps in a row that led up
        before = np.inf
        self.n_iter = 0
        while True:
            loss, gradient = self._penalised(self.at, self.seen)
            if self.age >= self.stale:
                self._turn()
            self.curvature = self.seen[2].sum(1, keepdim=True).clamp(min=TINY)
            step = self._newton(gradient)
            of_W, of_b = self._parts(gradient)
            arrived = (of_W.norm(dim=(1, 2)) <= tol * (self.pull * self.at).norm(dim=1)) & (
                of_b.norm(dim=1) <= tol * self.curvature[:, 0]
            )
            arrived |= (gradient * step).sum(1) / 2 <= gain * loss + TINY
            if self.n_iter % ROUND == 0:
                # a whole round for what rounding alone could be: the arithmetic gives no more
                arrived |= before - loss <= ROUND * self.eps * loss
                before = loss
            self.converged = bool(arrived.all())
            if self.converged or self.n_iter >= max_iter:
                return
            self.n_iter += 1
            self.age += 1
            there = self.at - step * 0.5**misses
            seen = self._look(there)
            self._learn(there - self.at, seen[1] - self.seen[1])
            lower = self._penalised(there, seen)[0] <= loss * (1 + 4 * self.eps)
            misses = torch.where(lower[:, None], 0, misses + 1)
            if lower.all():
                self.at, self.seen = there, seen
            else:
                self.at = _where(lower, there, self.at)
                pairs = zip(seen, self.seen, strict=True)
                self.seen = tuple(_where(lower, new, old) for new, old in pairs)

    def _parts(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split ``(..., P)`` into weights ``(..., K, D)`` and biases ``(..., K)``."""
        W, b = vector[..., : self.weights], vector[..., self.weights :]
        return W.unflatten(-1, (-1, self.rows.width)), b

    def _look(self, at: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Add up what the rows say of loss (F,) and gradient (F, P), and the curvature of each (F, n).

        Where they are to be kept, the outputs come after that, block by block.
        """
        W, b = self._parts(at)
        W, b, shape = W.flatten(0, 1), b.flatten()[:, None], (*b.shape, -1)
        loss = self.total.new_zeros(len(at))
        gradient = torch.zeros_like(at, dtype=self.rows.wide)
        of_W, of_b = self._parts(gradient)
        curvature, outputs = torch.empty_like(self.share), []

        def look(part: slice, x: torch.Tensor) -> tuple[Any, ...]:
            share = self.share[:, part]
            z = torch.addmm(b, W, x.T).view(shape)
            of_row, g, bend = self.loss_of(z, self.target[..., part])
            added = (share * of_row).sum(1, dtype=loss.dtype)
            g *= share[:, None]
            return part, z, added, g.flatten(0, 1) @ x, g.sum(2, dtype=loss.dtype), share * bend

        for part, z, added, for_W, for_b, bend in self.rows.each(look):
            if self.keep:
                outputs.append(z)
            loss += added
            of_W += for_W.view_as(of_W)
            of_b += for_b
            curvature[:, part] = bend
        return loss, gradient.to(at), curvature, *outputs

    def _penalised(
        self, at: torch.Tensor, seen: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the penalty to loss and gradient."""
        pulled = self.pull * at
        return seen[0] + (pulled * at).sum(1) / 2, seen[1] + pulled

    def _learn(self, step: torch.Tensor, bend: torch.Tensor) -> None:
        """Remember a step and how the loss's gradient changed along it, but for mere rounding."""
        sound = (step * bend).sum(1) > 10 * self.eps * step.norm(dim=1) * bend.norm(dim=1)
        step, bend = (torch.where(sound[:, None], each, 0)[:, None] for each in (step, bend))
        self.steps = torch.cat([self.steps, step], 1)[:, -MEMORY:]
        self.bends = torch.cat([self.bends, bend], 1)[:, -MEMORY:]

    def _newton(self, gradient: torch.Tensor) -> torch.Tensor:
        """Estimate the Hessian's inverse times the gradient."""
        if not self.steps.shape[1]:
            return self._guess(gradient)
        S = self.steps
        Y = torch.addcmul(self.bends, S, self.pull[:, None])
        R = (S @ Y.mT).triu()
        bent = R.diagonal(dim1=1, dim2=2)[..., None].clone()
        R += torch.diag_embed((bent[..., 0] == 0).to(R))  # what was not remembered says nothing
        alpha = torch.linalg.solve_triangular(R, (gradient[:, None] @ S.mT).mT, upper=True)
        last = Y[:, -1]
        rest, other = self._guess(torch.stack([gradient - (alpha.mT @ Y)[:, 0], last]))
        # the guess, scaled as the last step says
        scale = bent[:, -1] / (last * other).sum(1, keepdim=True)
        rest = rest * torch.where(bent[:, -1] > 0, scale, 1.0)
        beta = bent * alpha - (rest[:, None] @ Y.mT).mT
        return rest + (torch.linalg.solve_triangular(R.mT, beta, upper=False).mT @ S)[:, 0]

    def _guess(self, vector: torch.Tensor) -> torch.Tensor:
        """Guess the Hessian's inverse times ``(..., F, P)``, from the axes alone."""
        spread, axes = self.basis
        W, b = self._parts(vector)
        spread = spread * (self.curvature / self.basis_curvature) + self.pull[:, :1]
        if axes is None:
            W = W / spread[:, None]
        else:
            with all_threads(W.numel() * axes.shape[1]):
                along = W @ axes
                # what few rows do not span, or only by rounding, is at least as flat as the flattest axis
                rest = W - along @ axes.T if axes.shape[1] < len(axes) else 0
                W = (along / spread[:, None]) @ axes.T + rest / spread[:, None, :1]
        return torch.cat([W.flatten(-2), b / self.curvature], -1)

    def _turn(self) -> None:
        """Turn to the axes of where it is."""
        self.basis, self.age = self._basis(), 0
        self.basis_curvature = self.seen[2].sum(1, keepdim=True).clamp(min=TINY)

    def _basis(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute variances (R,) and axes (D, R) of the features, each row weighted by its curvature.

        Without axes, where they would cost more than they save: then the features' own.
        """
        n, d = self.rows.count, self.rows.width
        root = self.seen[2].mean(0).sqrt()[:, None]

        def weighted(at: slice, x: torch.Tensor) -> torch.Tensor:
            return root[at] * x

        def products(at: slice, x: torch.Tensor) -> torch.Tensor:
            x = weighted(at, x)
            return x.T @ x

        if n < d and n <= BASIS_SIZE and self.rows.held:
            x = torch.cat(list(self.rows.each(weighted))).to(self.rows.wide)
            spread, u = _eigh(x @ x.T)
            kept = spread >= spread[-1] * 1e-10  # the rest is rounding
            length = spread[kept].sqrt().clamp(min=TINY)  # 0 where all rows are the same
            axes = x.T @ (u[:, kept] / length)
            return spread[kept].to(root.dtype), axes.to(root.dtype)
        if d <= BASIS_SIZE:
            spread, axes = _eigh(cast(torch.Tensor, sum(self.rows.each(products))))
            return spread.clamp(min=self.eps * float(spread[-1])), axes
        squares = self.rows.each(lambda at, x: weighted(at, x).square().sum(0))
        return cast(torch.Tensor, sum(squares)), None


def _eigh(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute eigenvalues, rising, and eigenvectors of a symmetric matrix."""
    with all_threads(len(matrix) ** 3):
        return torch.linalg.eigh(matrix)


def _where(which: torch.Tensor, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """Take the new of those ``(F,)``, and else the old."""
    return torch.where(which.view(-1, *[1] * (new.ndim - 1)), new, old)


def cross_entropy(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute loss (F, n), gradient (F, K, n) and mean curvature (F, n) of logits (F, K, n)."""
    width = z.shape[1]
    z = all_logits(z, 1)
    at = codes.expand(len(z), 1, -1)
    highest = z.amax(1, keepdim=True)
    gap = highest - z.gather(1, at)
    # The others are added up apart from the label's own: nothing of the loss cancels where it is right (own
    # is 1), and where it is not, the others are at least 1.
    p = (z - highest).exp_().scatter_(1, at, 0.0)
    own, rest = (-gap).exp_(), p.sum(1, keepdim=True)
    loss = gap + (rest + (own - 1)).log1p()
    both = own + rest
    p /= both
    own, rest = own / both, rest / both
    curvature = (rest * (1 + own))[:, 0] - p.square().sum(1)
    gradient = p.scatter_(1, at, -rest)[:, z.shape[1] - width :]
    return loss[:, 0], gradient, curvature.clamp_(min=0) / max(2, z.shape[1] - 1)


def all_logits(z: torch.Tensor, dim: int = 0) -> torch.Tensor:
    """Two classes have one output, the second one's; the first one's logit is 0."""
    return torch.cat([torch.zeros_like(z), z], dim) if z.shape[dim] == 1 else z


def squared_error(z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute loss (F, n), gradient (F, K, n) and curvature (F, n) of outputs (F, K, n)."""
    gap = z - y
    return gap.square().sum(1) / 2, gap, torch.ones_like(z[:, 0])


def device_of(X: Any) -> torch.device:
    """Return where features are; arrays are on the CPU."""
    return X.device if isinstance(X, torch.Tensor) else torch.device("cpu")


def widest_float(device: torch.device) -> torch.dtype:
    """Return the widest floats that the device has: Apple's GPUs know no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
