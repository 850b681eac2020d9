"""Find rows of one set that are copies of rows of another: by their features, and by small looks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, normalize

from featx.errors import FeatxError
from featx.images import read_image, to_rgb_tensor
from featx.neighbours import most_alike
from featx.threads import side_by_side, threads_for

__all__ = ["FeatureSearch", "LookSearch", "Near", "find_near", "image_of", "looks_of", "same_rows"]

# A row's neighbours, nearest first: the 10th says what "near" means around the row, and from there to the
# 50th one sees how fast distances grow.
_NEIGHBOURS, _LOCAL = 50, 10

#: Fewer training rows than this say nothing of what a usual distance is.
FEWEST_ROWS = 30

_ROWS_AT_ONCE = 2048  # of the training set; of the queries fewer where a row is wide
_CELLS_AT_ONCE = 1 << 23

# A look is a grey image of 32 x 32; half of it, 16 x 16, gives the candidates, and the inner three
# quarters are compared, so that a shift by an eighth of the image finds its place.
_LOOK, _COARSE, _INNER = 32, 16, 0.75
_CANDIDATES = 5
_AXES = 4
_STEPS = 6  # of the alignment

_MOST_THREADS = 8  # each takes some 50 MB


@dataclass(frozen=True)
class Near:
    """What `find_near` found.

    Attributes
    ----------
    rows : numpy.ndarray
        ``(K, 2)``: training row and test row of each near duplicate.
    scores : numpy.ndarray
        ``(K,)``: the distance of each, as a part of the distance that is usual there.
    threshold : float
        The score below which a test row counts as a near duplicate.
    train_share : float
        The part of the training rows that have a near duplicate inside the training set.
    """

    rows: np.ndarray
    scores: np.ndarray
    threshold: float
    train_share: float


@dataclass
class _Measured:
    closest: (
        torch.Tensor
    )  # (n,) distance to the closest training row, as fine as it can be measured
    row: torch.Tensor  # (n,) that row
    distances: torch.Tensor  # (n, K) to the nearest rows, as the search measures them
    finer: torch.Tensor  # (n,) how much smaller the finer measure is, for rows that are no copies


class FeatureSearch:
    """Nearest training rows by the cosine between features, centred at the training set's mean.

    Parameters
    ----------
    train
        ``(N, D)`` array, memory map or tensor; read in blocks.
    """

    def __init__(self, train: Any) -> None:
        self.train = train
        total, largest = np.zeros(train.shape[1]), 0.0
        for _, block in _blocks(train):
            total += block.sum(0).numpy()
            largest = max(largest, float(block.abs().max()))
        self.mean = torch.from_numpy(total / len(train))
        self.scale = largest or 1.0  # squares of very large or small numbers leave the range

    def directions(self, block: torch.Tensor) -> torch.Tensor:
        """Return unit rows, float32."""
        return normalize(((block - self.mean) / self.scale).float())

    def measure(self, data: Any, rows: np.ndarray, skip: bool = False) -> _Measured:
        """Measure the distances of some rows of `data`; with `skip` not those to themselves."""
        x = self.directions(_taken(data, rows))
        trained = ((at, self.directions(block)) for at, block in _blocks(self.train))
        distances, near = nearest(x[None], trained, torch.from_numpy(rows) if skip else None)
        return _Measured(distances[:, 0], near[:, 0], distances, torch.ones(len(x)))


class LookSearch:
    """Nearest training rows by small grey looks: mirrored, shifted, scaled, brighter, blurred or not.

    A cheap search gives each image a few candidates: the normalised cross-correlation of 16 x 16 looks, the
    best over mirror images, shifts and scales. Each candidate is then aligned at 32 x 32 by the inverse
    compositional algorithm (Baker and Matthews, "Lucas-Kanade 20 Years On", IJCV 2004), and the distance is
    what brightness, contrast and a blur cannot explain.

    Parameters
    ----------
    train
        Looks ``(N, 32, 32)``, from `looks_of`.
    """

    def __init__(self, train: torch.Tensor) -> None:
        self.train = train
        shifts = [2 * step / _COARSE for step in (-2, -1, 0, 1, 2)]
        self.moves = torch.tensor(
            [
                (flip, scale, scale, down, right)
                for flip in (1.0, -1.0)
                for scale in (7 / 8, 1.0, 8 / 7)
                for down in shifts
                for right in shifts
            ]
        )

    def measure(self, data: torch.Tensor, rows: np.ndarray, skip: bool = False) -> _Measured:
        """Measure the distances of some rows of `data`; with `skip` not those to themselves."""
        looks = data[torch.from_numpy(rows)].float()[:, None]
        small = avg_pool2d(looks, 2)
        versions = torch.stack([_inner(small, move.expand(len(small), -1)) for move in self.moves])
        trained = (
            (at, _inner(avg_pool2d(self.train[at : at + _ROWS_AT_ONCE].float()[:, None], 2)))
            for at in range(0, len(self.train), _ROWS_AT_ONCE)
        )
        distances, near = nearest(versions, trained, torch.from_numpy(rows) if skip else None)
        return self._aligned(looks, versions, distances, near)

    def _aligned(
        self,
        looks: torch.Tensor,
        versions: torch.Tensor,
        distances: torch.Tensor,
        near: torch.Tensor,
    ) -> _Measured:
        fine = []
        for place in range(min(_CANDIDATES, near.shape[1])):
            other = self.train[near[:, place]].float()[:, None]
            similar = torch.einsum("vnd,nd->vn", versions, _inner(avg_pool2d(other, 2)))
            fine.append(_misfit(looks, other, self.moves[similar.argmax(0)]))
        misfit = torch.stack(fine, 1)
        best, place = misfit.min(1)
        # The cheap distance has its say: what it finds alike, too, is hardly alike by chance.
        finer = (misfit[:, -1] / distances[:, misfit.shape[1] - 1].clamp(min=1e-9)) ** 0.75
        closest = distances[:, 0].clamp(min=0) ** 0.25 * best.clamp(min=0) ** 0.75
        return _Measured(closest, near.gather(1, place[:, None])[:, 0], distances, finer)


def find_near(
    search: FeatureSearch | LookSearch,
    test: Any,
    *,
    false_alarms: float,
    calibration_rows: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Near:
    """Find test rows that are closer to a training row than chance explains.

    A row's score is its distance to the closest training row, divided by its distance to the 10th: where
    images are alike by nature, as handwritten ones are, all distances are small. What score is too low is
    read from the training set itself, row by row against the other rows:

    * the score that only a part of `false_alarms` of them stay below. Where the training set holds near
      duplicates of its own this is far too low, and so it is held against
    * the score that a row without duplicates stays below with that probability, if the number of rows
      within a distance grows as a power of it (as in Levina and Bickel, "Maximum Likelihood Estimation of
      Intrinsic Dimension", NIPS 2004), with the power read from the 10th and the 50th neighbours, which a
      few duplicates do not reach. The first score counts unless it is below half of this one.

    Parameters
    ----------
    search
        Holds the training rows, at least `FEWEST_ROWS`.
    test
        What its `measure` takes.
    false_alarms
        The part of the test rows without a copy that may be found all the same.
    calibration_rows
        At most so many training rows are looked at for the threshold.
    advance
        Called with the number of rows that are done.

    Returns
    -------
    Near
        For each test row found, its closest training row.
    """
    count = len(search.train)
    sample = np.arange(count)
    if count > calibration_rows:
        sample = np.sort(np.random.default_rng(0).choice(count, calibration_rows, replace=False))
    known = _in_blocks(search, search.train, sample, True, advance)
    local = min(_LOCAL, known.distances.shape[1] // 2)
    # A clump of copies must not make small distances usual.
    least = max(float(known.distances[:, local - 1].median()) / 10, 1e-9)

    def scores(measured: _Measured) -> torch.Tensor:
        return measured.closest / measured.distances[:, local - 1].clamp(min=least)

    threshold = _threshold(scores(known), known, local, false_alarms)
    asked = _in_blocks(search, test, np.arange(len(test)), False, advance)
    score = scores(asked)
    found = (score < threshold).nonzero()[:, 0]
    rows = torch.stack([asked.row[found], found], 1)
    share = float((scores(known) < threshold).float().mean())
    return Near(rows.numpy(), score[found].numpy(), threshold, share)


def _threshold(score: torch.Tensor, known: _Measured, local: int, false_alarms: float) -> float:
    counted = float(score.quantile(false_alarms))
    distances = known.distances.clamp(min=1e-9)
    farthest = distances.shape[1]
    growth = float((distances[:, -1] / distances[:, local - 1]).log().mean())
    # P(distance < r) grows as r ** power; of `local` - 1 rows below the local distance, none is
    # closer than r with probability (1 - r ** power) ** (local - 1).
    power = math.log(farthest / local) / max(growth, 1e-9)
    by_chance = (1 - (1 - false_alarms) ** (1 / max(local - 1, 1))) ** (1 / power)
    by_chance *= float(known.finer.median())
    return counted if counted > by_chance / 2 else by_chance


def _in_blocks(
    search: Any, data: Any, rows: np.ndarray, skip: bool, advance: Callable[[int], None]
) -> _Measured:
    wide = 256 if isinstance(search, LookSearch) else _CELLS_AT_ONCE // max(data.shape[1], 1)
    step = max(1, min(_ROWS_AT_ONCE, wide))
    parts = []
    # torch's own threads wait for one another after every small product: on a busy machine that took 18
    # times as long
    with threads_for(len(rows) * math.prod(search.train.shape), _MOST_THREADS):
        for part in side_by_side(
            lambda at: search.measure(data, rows[at : at + step], skip), range(0, len(rows), step)
        ):
            parts.append(part)
            advance(len(part.row))
    fields = ("closest", "row", "distances", "finer")
    return _Measured(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def nearest(
    versions: torch.Tensor,
    trained: Iterator[tuple[int, torch.Tensor]],
    skip: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the nearest rows of blocks: ``1 - cosine`` and number, each ``(n, K)``, nearest first.

    Parameters
    ----------
    versions
        ``(V, n, d)``: unit rows, of which the best of V counts.
    trained
        Blocks ``(m, d)`` of unit rows, each with the number of its first row.
    skip
        ``(n,)``: one row for each query that does not count, itself.
    """

    def cosines() -> Iterator[tuple[int, torch.Tensor]]:
        for start, block in trained:
            best = versions[0] @ block.T
            for version in versions[1:]:
                torch.maximum(best, version @ block.T, out=best)
            if skip is not None:
                own = ((skip >= start) & (skip < start + len(block))).nonzero()[:, 0]
                best[own, skip[own] - start] = -torch.inf
            yield start, best

    cosine, number = most_alike(cosines(), _NEIGHBOURS)
    if skip is not None and torch.isinf(cosine[:, -1]).any():  # fewer rows than neighbours
        cosine, number = cosine[:, :-1], number[:, :-1]
    return (1 - cosine).clamp(min=0), number


def same_rows(
    train: Any, test: Any, tolerance: float, advance: Callable[[int], None] = lambda n: None
) -> np.ndarray:
    """Find test rows whose features agree with a training row's but for rounding.

    Rows that are no farther apart than some length are no farther apart on any axis. So the rows are laid
    out along a few random axes; only those close on all of them are compared, and none is missed.

    Parameters
    ----------
    train, test
        ``(N, D)`` and ``(M, D)``.
    tolerance
        The length of the difference, at most, as a part of the longer row's.
    advance
        Called with the number of test rows that are done.

    Returns
    -------
    numpy.ndarray
        ``(K, 2)``: training row and test row; of a test row with more than 50 copies, 50 of them.

    Examples
    --------
    >>> rows = np.eye(3)
    >>> same_rows(rows, rows[1:] * 1.000001, 1e-5).tolist()
    [[1, 0], [2, 1]]
    """
    axes = torch.from_numpy(np.random.default_rng(0).normal(size=(train.shape[1], _AXES)))
    axes = normalize(axes, dim=0)
    places = torch.cat([block @ axes for _, block in _blocks(train)]).numpy()
    order = np.argsort(places[:, 0], kind="stable")
    line = places[order, 0]
    pairs = [np.empty((0, 2), np.int64)]
    for start, block in _blocks(test):
        at = (block @ axes).numpy()
        # the longer of two rows that agree is hardly longer than this one
        reach = tolerance * block.norm(dim=1).numpy() * 1.01
        first = np.searchsorted(line, at[:, 0] - reach, "left")
        last = np.searchsorted(line, at[:, 0] + reach, "right")
        for row in np.flatnonzero(last > first):
            near = order[first[row] : last[row]]
            near = near[(np.abs(places[near] - at[row]) <= reach[row]).all(1)]
            near = np.sort(near)[:_NEIGHBOURS]
            if not len(near):
                continue
            others = _taken(train, near)
            longest = others.norm(dim=1).clamp(min=float(block[row].norm()))
            near = near[((others - block[row]).norm(dim=1) <= tolerance * longest).numpy()]
            pairs.append(np.stack([near, np.full(len(near), start + row)], 1))
        advance(len(block))
    return np.concatenate(pairs)


def looks_of(images: Any, advance: Callable[[int], None]) -> torch.Tensor:
    """Make a look of each image: grey, 32 x 32, its mean taken off, of length one a pixel.

    Parameters
    ----------
    images
        ``(N, C, H, W)`` or ``(N, H, W)``, or a sequence of images ``(C, H, W)``, ``(H, W)``, of Pillow's
        or of paths.
    advance
        Called with the number of images that are done.

    Returns
    -------
    torch.Tensor
        float16 ``(N, 32, 32)``: 2 kB an image. An image without any contrast is all zero.
    """
    looks = torch.empty(len(images), _LOOK, _LOOK, dtype=torch.float16)
    one_size = hasattr(images, "ndim")
    step = 256 if one_size else 1
    for start in range(0, len(images), step):
        part = images[start : start + step] if one_size else image_of(images[start])[None]
        x = torch.from_numpy(np.array(part)) if isinstance(part, np.ndarray) else part
        x = x.detach().cpu().float()
        x = x.mean(1, keepdim=True) if x.ndim == 4 else x[:, None]
        if not bool(torch.isfinite(x).all()):
            raise FeatxError(
                f"Expected images of finite pixels, got a NaN or an infinity in rows {start} to "
                f"{start + len(x) - 1}. Leave these images out."
            )
        # Bicubic: a picture that was made smaller or larger by others then looks the same
        x = interpolate(x, (_LOOK, _LOOK), mode="bicubic", antialias=True)
        largest = x.abs().amax((1, 2, 3), keepdim=True)
        x = x - x.mean((1, 2, 3), keepdim=True)
        spread = x.std((1, 2, 3), keepdim=True)
        flat = spread <= 1e-4 * largest
        looks[start : start + len(x)] = torch.where(flat, 0, x / spread.clamp(min=1e-30))[:, 0]
        advance(len(x))
    return looks


def image_of(item: Any) -> torch.Tensor:
    """Return the pixels of one image: of an array, of Pillow's, of a file, or first of an (image, label).

    Raises
    ------
    FeatxError
        When it is none of these, or a file that cannot be read.
    """
    if isinstance(item, tuple):  # of a labelled data set
        item = item[0]
    if isinstance(item, torch.Tensor):
        return item
    if isinstance(item, np.ndarray):
        return torch.from_numpy(item)
    if isinstance(item, Image.Image):
        return to_rgb_tensor(item)
    if not isinstance(item, (str, os.PathLike)):
        raise FeatxError(
            f"Expected an image or its path, got {type(item).__name__}. Pass arrays (C, H, W), Pillow "
            "images or paths."
        )
    return read_image(item)


def _grid(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places (y, x) of a look's inner pixels, where the whole look spans -1 to 1."""
    count = round(size * _INNER)
    places = ((torch.arange(count) + 0.5) / count * 2 - 1) * _INNER
    y, x = torch.meshgrid(places, places, indexing="ij")
    return y, x


def _window(looks: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """Read the inner pixels ``(n, d)`` of looks, each moved by (flip, scale y, scale x, down, right)."""
    y, x = _grid(looks.shape[-1])
    flip, tall, wide, down, right = (part[:, None, None] for part in move.unbind(1))
    at = torch.stack([flip * (wide * x + right), tall * y + down], -1)
    return grid_sample(looks, at, padding_mode="border", align_corners=False).flatten(1)


def _centred(rows: torch.Tensor) -> torch.Tensor:
    return rows - rows.mean(1, keepdim=True)


def _inner(looks: torch.Tensor, move: torch.Tensor | None = None) -> torch.Tensor:
    """Return the inner pixels as unit rows."""
    still = torch.tensor([[1.0, 1, 1, 0, 0]]).expand(len(looks), -1)
    return normalize(_centred(_window(looks, still if move is None else move)))


def _misfit(looks: torch.Tensor, others: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """Align each look with its other, from `move` on; return the part that stays unexplained, 0 to 1."""
    pixel = 2 / _LOOK
    y, x = (part.flatten() for part in _grid(_LOOK))
    still = torch.tensor([1.0, 1, 1, 0, 0])

    def moved(down: float, right: float) -> torch.Tensor:
        by = still + torch.tensor([0, 0, 0, down, right])
        return _window(others, by.expand(len(others), -1))

    here = moved(0, 0)
    half = pixel / 2
    slope_y = (moved(half, 0) - moved(-half, 0)) / pixel
    slope_x = (moved(0, half) - moved(0, -half)) / pixel
    around = [moved(pixel, 0), moved(-pixel, 0), moved(0, pixel), moved(0, -pixel)]
    blur = _centred(sum(around, -4 * here))  # to first order, what a blur adds
    target = _centred(here)
    first = normalize(target)
    second = normalize(blur - (blur * first).sum(1, keepdim=True) * first)

    effects = [slope_y * y, slope_x * x, slope_y, slope_x, torch.ones_like(here), target, blur]
    jacobian = torch.stack(effects, 1)
    hessian = jacobian @ jacobian.transpose(1, 2)
    ridge = 1e-3 * hessian.diagonal(dim1=1, dim2=2).clamp(min=1e-6)
    solve = torch.linalg.inv(hessian + torch.diag_embed(ridge)) @ jacobian

    least = torch.ones(len(looks))
    for step in range(_STEPS + 1):
        pixels = _centred(_window(looks, move))
        unit = normalize(pixels)
        like, like_blur = (unit * first).sum(1), (unit * second).sum(1)
        explained = (like.clamp(min=0) ** 2 + like_blur**2).sqrt()
        least = torch.minimum(least, torch.where(like > 0, 1 - explained, 1.0))
        if step == _STEPS:
            break
        gain = (pixels * target).sum(1) / (target * target).sum(1).clamp(min=1e-6)
        rest = pixels / gain.clamp(min=0.1)[:, None] - target
        change = (solve @ rest[:, :, None])[:, :4, 0].clamp(-0.1, 0.1)
        scale = move[:, 1:3] / (1 + change[:, :2])
        shift = move[:, 3:] - scale * change[:, 2:]
        move = torch.cat([move[:, :1], scale.clamp(0.75, 1.34), shift.clamp(-0.4, 0.4)], 1)
    return least.clamp(min=0)


def _blocks(X: Any) -> Iterator[tuple[int, torch.Tensor]]:
    step = max(1, min(_ROWS_AT_ONCE, _CELLS_AT_ONCE // X.shape[1]))
    for start in range(0, len(X), step):
        yield start, _taken(X, np.arange(start, min(start + step, len(X))))


def _taken(X: Any, rows: np.ndarray) -> torch.Tensor:
    """Return some rows as float64 on the CPU."""
    if isinstance(X, torch.Tensor):
        return X[torch.as_tensor(rows, device=X.device)].detach().cpu().double()
    return torch.from_numpy(X[rows].astype(np.float64))
