"""Test rows that the training set holds already: the same ones, nearly the same, of the same group."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featx.arrays import as_numpy
from featx.datasets import ImageFiles, LabelledImages
from featx.errors import FeatxError
from featx.features import Features, named_labels
from featx.files import sha256
from featx.findings import Finding, Findings, with_overrides
from featx.images import printable
from featx.pitfalls.duplicates import (
    FEWEST_ROWS,
    FeatureSearch,
    LookSearch,
    Near,
    find_near,
    image_of,
    looks_of,
    same_rows,
)
from featx.pitfalls.limits import THRESHOLDS
from featx.progress import progress_bar
from featx.wording import first_line

__all__ = ["check_split", "read_features"]


def check_split(
    train: Any,
    test: Any,
    *,
    images: Any = None,
    groups: Any = None,
    thresholds: Mapping[str, float] | None = None,
    progress: bool = False,
) -> Findings:
    """Look for test images that the training set holds already.

    Parameters
    ----------
    train, test : Features, or array ``(N, D)`` and ``(M, D)``
        Features of the two sides; arrays, memory maps (never read whole) or tensors.
    images : pair, ``"paths"`` or None
        The images of both sides, ``(train_images, test_images)``: each an array or tensor ``(N, C, H, W)``
        or ``(N, H, W)``, a `LabelledImages`, an `ImageFiles` or a list of paths or of Pillow images.
        ``"paths"`` reads the files that the `Features` came from. Much more is found with them: see below.
    groups : pair, callable or None
        Who or what each row shows (a patient, a scene, a video): ``(train_groups, test_groups)``, or a
        function of a path, where `Features` have paths.
    thresholds : dict, optional
        Other values for `featx.pitfalls.THRESHOLDS`.
    progress
        Show how far it is, on stderr.

    Returns
    -------
    Findings
        ``exact_duplicates``: features that agree to rounding, the same pixels, or files of the same
        content. ``near_duplicates``: a test row closer to a training row than chance explains.
        ``shared_groups``. ``too_few_rows``: with fewer than 30 training rows near duplicates cannot be
        told. Each but the last has ``numbers["pairs"]``, int ``(K, 2)``: training row and test row (for
        ``shared_groups`` the first training row of the group); and ``"share"`` of the test rows.
        Duplicates have, where both sides have labels, ``"conflicts"``: pairs whose two labels differ.

    Raises
    ------
    FeatxError
        When the two sides do not fit each other, or are not finite features.

    Notes
    -----
    A near duplicate is the same picture once more: saved as JPEG again, brighter, darker, mirrored,
    shifted, cut a little. What counts as close is read from the training set, see
    `featx.pitfalls.duplicates.find_near`. Two pictures that were made apart and look the same (one letter
    in two cuts of a font) are near duplicates, too: a test row that tells nothing new. So are a "b" and a "d"
    that are mirror images: where left and right make the class, look at the pairs whose labels differ.

    Features alone find few of them, because pooled features of a small backbone change with the picture;
    with `images`, small grey looks of the pixels are compared as well, over mirror images, shifts and
    scales. ``python bench/duplicates.py`` measures, on made-up copies with known answers, the part that is
    found with GlyphNet's features, by features alone and with images (means of three seeds):

    =========================  ========  ======  ========  ======  ========  ======
    part that is found         digits            letters           crops
    copy of a training image   features  images  features  images  features  images
    =========================  ========  ======  ========  ======  ========  ======
    the same image             1.00      1.00    1.00      1.00    1.00      1.00
    JPEG, quality 75           0.00      1.00    0.99      1.00    0.97      0.98
    JPEG, quality 50           0.00      0.83    0.95      1.00    0.79      0.81
    darker, x 0.75             0.97      1.00    1.00      1.00    0.00      0.98
    brighter, x 1.25           0.40      0.98    0.98      1.00    0.05      0.96
    mirrored                   0.00      1.00    0.00      1.00    0.00      1.00
    shifted by 1/16 (digits:   0.00      0.94    0.01      1.00    0.00      1.00
    1/8, which is one pixel)
    cut by as much             0.00      0.84    0.26      0.98    0.03      0.93
    cut and resized            0.00      0.39    0.25      0.98    0.03      0.94
    crop taken 2-6 px further                                      0.05      0.98
    all near copies            0.17      0.87    0.55      0.99    0.19      0.96
    false alarms               0.002     0.007   0.001     0.006   0.000     0.001
    =========================  ========  ======  ========  ======  ========  ======

    So without images the answer is "no exact copies", not "no copies". What is missed with them: 8 x 8 digits
    cut, cut and resized or coarse JPEG, and crops of plain sky after JPEG. A turned picture is not looked
    for.

    Time and memory: 1000 test against 5000 training images take seconds, 5000 against 50 000 some minutes.
    Features are read in blocks; with images 2 kB for each image stay in memory.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> train, test = rng.normal(size=(200, 16)), rng.normal(size=(50, 16))
    >>> check_split(train, test)
    Nothing stands out.
    >>> test[7] = train[3]
    >>> found = check_split(train, test)
    >>> found.codes, found["exact_duplicates"].numbers["pairs"].tolist()
    (['exact_duplicates'], [[3, 7]])
    """
    limit = with_overrides(thresholds, THRESHOLDS)
    X, Z = read_features(train, "training"), read_features(test, "test")
    if X.shape[1] != Z.shape[1]:
        raise FeatxError(
            f"Expected features of one size, got (N, {X.shape[1]}) to train and (N, {Z.shape[1]}) to test. "
            "Extract both with the same backbone and layer."
        )
    pictures = _pictures(train, test, images, (len(X), len(Z)))

    searches = 1 + (len(X) >= FEWEST_ROWS)
    steps = searches * len(Z) + _sample(X, limit)
    with progress_bar("compare features", steps, show=progress) as advance:
        same = [same_rows(X, Z, limit["same_features"], advance), _same_files(train, test)]
        near = []
        if len(X) >= FEWEST_ROWS:
            near.append(
                find_near(
                    FeatureSearch(X),
                    Z,
                    false_alarms=limit["false_alarms_features"],
                    calibration_rows=int(limit["calibration_rows"]),
                    advance=advance,
                )
            )
    if pictures:
        same.append(_same_pixels(*pictures))
        if len(X) >= FEWEST_ROWS:
            near.append(_near_looks(pictures, limit, progress))

    exact = np.unique(np.concatenate(same), axis=0)
    found = [_exact(exact, (train, test), len(Z))] if len(exact) else []
    found += _near(near, exact, (train, test), (len(X), len(Z)), limit)
    found += _shared_groups(train, test, groups, (len(X), len(Z)))
    if len(X) < FEWEST_ROWS:
        found.append(
            Finding(
                "too_few_rows",
                f"The training set has {len(X)} rows, and near duplicates were not looked for: with fewer "
                f"than {FEWEST_ROWS} nobody knows which distance is usual.",
                "Compare the two sides by eye.",
                {"rows": len(X), "least": FEWEST_ROWS},
            )
        )
    return Findings(found)


def read_features(data: Any, side: str) -> Any:
    """Return the features ``(N, D)`` of `Features` or an array; raise a sentence on the `side` for others."""
    X = data.X if isinstance(data, Features) else data
    if not (hasattr(X, "ndim") and hasattr(X, "dtype")):
        try:
            X = np.asarray(X, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise FeatxError(
                f"Expected {side} features (N, D), got {type(X).__name__}: {first_line(error)}. Pass what "
                "featx.extract returns, or an array."
            ) from error
    numbers = not X.is_complex() if isinstance(X, torch.Tensor) else X.dtype.kind in "fiub"
    if X.ndim != 2 or 0 in X.shape or not numbers:
        raise FeatxError(
            f"Expected {side} features (N, D) of numbers with N and D from 1, got the shape "
            f"{tuple(X.shape)} of {X.dtype}. Pool feature maps first; featx.extract does."
        )
    step = max(1, (1 << 22) // X.shape[1])
    for start in range(0, len(X), step):  # a memory map is not read whole
        part = X[start : start + step]
        finite = part.isfinite() if isinstance(part, torch.Tensor) else np.isfinite(part)
        if not bool(finite.all()):
            row = start + int(np.flatnonzero(~as_numpy(finite).all(1))[0])
            raise FeatxError(
                f"Expected finite {side} features, got a NaN or an infinity in row {row}. Leave the row out, "
                "or extract with precision='float32'."
            )
    return X


def _labels_of(data: Any) -> np.ndarray | None:
    # Numbers may stand for different classes on the two sides; their names do not.
    return named_labels(data) if isinstance(data, Features) else None


def _sample(X: Any, limit: dict[str, float]) -> int:
    return min(len(X), int(limit["calibration_rows"])) if len(X) >= FEWEST_ROWS else 0


def _pictures(train: Any, test: Any, images: Any, rows: tuple[int, int]) -> tuple[Any, Any] | None:
    """Return the images of both sides, each of a kind that has a length and gives items or blocks."""
    if images is None:
        return None
    if isinstance(images, str):
        paths = [side.paths if isinstance(side, Features) else None for side in (train, test)]
        if images != "paths" or None in paths:
            raise FeatxError(
                "Expected images=(train_images, test_images), or 'paths' for Features that have some, got "
                f"{images!r}. Pass the images."
            )
        images = paths
    if not isinstance(images, (tuple, list)) or len(images) != 2:
        raise FeatxError(
            f"Expected a pair (train_images, test_images), got {type(images).__name__}. Pass the images of "
            "both sides."
        )
    sides = [_one_side(side) for side in images]
    for name, side, count in zip(("training", "test"), sides, rows, strict=True):
        if len(side) != count:
            raise FeatxError(
                f"Expected one {name} image for each of the {count} rows, got {len(side)}. Pass them in the "
                "order of the features."
            )
    return sides[0], sides[1]


def _one_side(side: Any) -> Any:
    if isinstance(side, LabelledImages):
        return side.images
    if isinstance(side, ImageFiles):
        return side.paths
    if hasattr(side, "ndim"):
        if side.ndim not in (3, 4):
            raise FeatxError(
                f"Expected images (N, C, H, W) or (N, H, W), got the shape {tuple(side.shape)}. Pass the "
                "images, not their features."
            )
        return side
    if not hasattr(side, "__len__") or not hasattr(side, "__getitem__"):
        raise FeatxError(
            f"Expected images that can be counted and taken by number, got {type(side).__name__}. Pass an "
            "array (N, C, H, W) or a list of paths or Pillow images."
        )
    return side


def _near_looks(pictures: tuple[Any, Any], limit: dict[str, float], progress: bool) -> Near:
    train, test = pictures
    with progress_bar("read images", len(train) + len(test), show=progress) as advance:
        looks = looks_of(train, advance), looks_of(test, advance)
    with progress_bar("compare", len(test) + _sample(train, limit), show=progress) as advance:
        return find_near(
            LookSearch(looks[0]),
            looks[1],
            false_alarms=limit["false_alarms"],
            calibration_rows=int(limit["calibration_rows"]),
            advance=advance,
        )


def _pairs_of_equal(train: list[Any], test: list[Any]) -> np.ndarray:
    """Return (training row, test row) where the keys are equal; None equals nothing."""
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(train):
        if key is not None:
            rows.setdefault(key, []).append(row)
    pairs = [(row, other) for other, key in enumerate(test) for row in rows.get(key, ())]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _same_files(train: Any, test: Any) -> np.ndarray:
    paths = [side.paths if isinstance(side, Features) else None for side in (train, test)]
    if not paths[0] or not paths[1]:
        return np.empty((0, 2), np.int64)
    sizes = [[_file_size(path) for path in side] for side in paths if side]
    both = set(sizes[0]) & set(sizes[1]) - {None}  # only files of these sizes can be equal
    keys = [
        [_file_key(path) if size in both else None for path, size in zip(side, of, strict=True)]
        for side, of in zip((paths[0], paths[1]), sizes, strict=True)
    ]
    return _pairs_of_equal(*keys)


def _file_size(path: str) -> int | None:
    try:
        return os.stat(path).st_size or None  # noqa: PTH116 - a path may hold bytes that no Path prints
    except OSError:
        return None  # moved since: the features still tell


def _file_key(path: str) -> bytes | None:
    try:
        return sha256(Path(path))
    except OSError:
        return None


def _same_pixels(train: Any, test: Any) -> np.ndarray:
    if not all(hasattr(side, "ndim") or isinstance(side, (list, tuple)) for side in (train, test)):
        return np.empty((0, 2), np.int64)  # a data set is read once, for its looks
    return _pairs_of_equal(*([_pixel_key(image) for image in side] for side in (train, test)))


def _pixel_key(image: Any) -> tuple[str, tuple[int, ...], bytes] | None:
    if isinstance(image, (str, os.PathLike)):
        return None  # files are compared as such
    pixels = np.ascontiguousarray(as_numpy(image_of(image)))
    return str(pixels.dtype), pixels.shape, hashlib.sha256(pixels.tobytes()).digest()


def _conflicts(pairs: np.ndarray, y: tuple[Any, Any]) -> np.ndarray | None:
    if y[0] is None or y[1] is None:
        return None
    return pairs[y[0][pairs[:, 0]] != y[1][pairs[:, 1]]]


def _duplicates(
    code: str, what: str, pairs: np.ndarray, sides: tuple[Any, Any], count: int, more: dict
) -> Finding:
    rows = len(np.unique(pairs[:, 1]))
    numbers = {"pairs": pairs, "share": rows / count, "rows": rows, **more}
    message = (
        f"{rows} of {count} test rows ({rows / count:.1%}) {what} ({_names_of(sides, pairs[0])}, for "
        "one)."
    )
    advice = (
        "Take them out of the test set, or split again by what they show; until then the score is partly "
        "memory."
    )
    y = _labels_of(sides[0]), _labels_of(sides[1])
    conflicts = _conflicts(pairs, y)
    if conflicts is not None:
        numbers["conflicts"] = conflicts
        if len(conflicts):
            said = [
                side[row] for side, row in zip(y, conflicts[0], strict=True) if side is not None
            ]
            message += (
                f" In {len(conflicts)} of the {len(pairs)} pairs the two labels differ: "
                f"{_names_of(sides, conflicts[0])} are {said[1]} and {said[0]}."
            )
            advice += " Look at the pairs with two labels: one of them is wrong."
    return Finding(code, message, advice, numbers)


def _names_of(sides: tuple[Any, Any], pair: np.ndarray) -> str:
    """Name the two rows of a pair, the test row first: by their files where they have some."""
    names = [
        side.paths[row] if isinstance(side, Features) and side.paths else f"{what} row {row}"
        for side, what, row in zip(sides, ("training", "test"), pair, strict=True)
    ]
    return f"{printable(names[1])} and {printable(names[0])}"


def _exact(pairs: np.ndarray, sides: tuple[Any, Any], count: int) -> Finding:
    what = "are in the training set, too"
    return _duplicates("exact_duplicates", what, pairs, sides, count, {})


def _near(
    near: list[Near],
    exact: np.ndarray,
    sides: tuple[Any, Any],
    counts: tuple[int, int],
    limit: dict,
) -> list[Finding]:
    """Say what was found beyond the exact copies: by looks where there are some, else by features."""
    best: dict[int, tuple[float, int, int]] = {}
    for by, found in enumerate(near):
        for (train_row, test_row), score in zip(found.rows.tolist(), found.scores, strict=True):
            part = float(score) / found.threshold
            best[test_row] = min(best.get(test_row, (2.0, 0, 0)), (part, train_row, by))
    for test_row in exact[:, 1].tolist():
        best.pop(test_row, None)
    if not best:
        return []
    pairs = np.array([(train_row, row) for row, (_, train_row, _) in sorted(best.items())])
    names = ("features", "images")[: len(near)]
    by = np.array([names[best[row][2]] for row in pairs[:, 1].tolist()])
    more = {
        "found_by": by,
        "thresholds": {name: found.threshold for name, found in zip(names, near, strict=True)},
        "train_share": {name: found.train_share for name, found in zip(names, near, strict=True)},
        "false_alarms": limit["false_alarms_features"] + limit["false_alarms"] * (len(near) - 1),
    }
    what = "are near duplicates of a training row, closer to it than chance explains"
    finding = _duplicates("near_duplicates", what, pairs, sides, counts[1], more)
    # a threshold read from so many rows knows no smaller share than one of them, for each search
    looked_at = min(counts[0], int(limit["calibration_rows"]))
    chance = max(more["false_alarms"], 1.5 * len(near) / looked_at) * counts[1]
    if len(pairs) <= 2 * chance + 2:
        few = f" About {chance:.1f} are flagged by chance where there is none: look at the pairs first."
        finding = Finding(finding.code, finding.message + few, finding.advice, finding.numbers)
    inside = max(found.train_share for found in near)
    if inside > 5 * max(limit["false_alarms"], limit["false_alarms_features"]):
        inside_too = f" Within the training set {inside:.0%} of the rows have one, too."
        finding = Finding(
            finding.code, finding.message + inside_too, finding.advice, finding.numbers
        )
    return [finding]


def _numbers_first(group: Any) -> tuple[bool, float, str]:
    is_number = isinstance(group, (int, float))
    return not is_number, group if is_number else 0, str(group)


def _shared_groups(train: Any, test: Any, groups: Any, rows: tuple[int, int]) -> list[Finding]:
    if groups is None:
        return []
    if callable(groups):
        paths = [side.paths if isinstance(side, Features) else None for side in (train, test)]
        if paths[0] is None or paths[1] is None:
            raise FeatxError(
                "Expected Features with paths for groups that are a function of a path, got some without. "
                "Pass (train_groups, test_groups)."
            )
        groups = [[groups(path) for path in side] for side in paths if side is not None]
    if not isinstance(groups, (tuple, list)) or len(groups) != 2:
        raise FeatxError(
            "Expected groups=(train_groups, test_groups) or a function of a path, got "
            f"{type(groups).__name__}. Give one group for each row of both sides."
        )
    sides = []
    for name, side, count in zip(("training", "test"), groups, rows, strict=True):
        column = as_numpy(side)
        if column.ndim != 1 and column.shape[1:] != (1,):
            raise FeatxError(
                f"Expected {name} groups (N,), got the shape {column.shape}. Give one group for each row; "
                "several columns can be joined into one string."
            )
        if len(column) != count:
            raise FeatxError(
                f"Expected one group for each of the {count} {name} rows, got {len(column)}. Give them in "
                "the order of the features."
            )
        sides.append(column.ravel().tolist())
    # where nobody knows the group, nobody knows that it is shared
    known = {g for g in sides[0] if g is not None and g == g}
    on_both = known & set(sides[1])
    if not on_both:
        return []
    shared = sorted(on_both, key=_numbers_first)
    first: dict[Any, int] = {}
    for row, group in enumerate(sides[0]):
        first.setdefault(group, row)
    pairs = np.array([(first[g], row) for row, g in enumerate(sides[1]) if g in on_both])
    share = len(pairs) / rows[1]
    named = ", ".join(str(group) for group in shared[:5]) + (", …" if len(shared) > 5 else "")
    return [
        Finding(
            "shared_groups",
            f"{len(shared)} groups are on both sides ({named}); {len(pairs)} of {rows[1]} test rows "
            f"({share:.1%}) are of a group that was trained on.",
            "Split by group (scikit-learn's GroupKFold or GroupShuffleSplit), so that the score is of "
            "groups never seen.",
            {"pairs": pairs, "share": share, "groups": shared},
        )
    ]
