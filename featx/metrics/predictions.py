"""Labels, predictions and scores, as users have them, read once and checked: what all metrics start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logsumexp, softmax

from featx.arrays import as_numpy, plain
from featx.errors import FeatxError

__all__ = ["SCORE_TYPES", "Predictions", "read_labels", "read_predictions", "read_scores"]

#: What `y_score` may be: probabilities; logits, which become probabilities; margins, which only rank.
SCORE_TYPES = ("probability", "logit", "margin")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was to be said, what was said, and how sure it was.

    Attributes
    ----------
    classes : list
        The C classes, as Python values.
    y_true, y_pred : numpy.ndarray
        ``(N,)``: places in `classes`.
    probability : numpy.ndarray or None
        ``(N, C)``, rows of the sum 1.
    score : numpy.ndarray or None
        ``(N, C)``: the higher, the more likely the class. Of logits the log-odds: they rank where
        probabilities are rounded to 1 already.
    positive : int or None
        The place of the class that matters.
    y_train : numpy.ndarray or None
        ``(M,)``: places of the training labels.
    """

    classes: list
    y_true: np.ndarray
    y_pred: np.ndarray
    probability: np.ndarray | None
    score: np.ndarray | None
    positive: int | None
    y_train: np.ndarray | None = None

    @property
    def binary_score(self) -> np.ndarray | None:
        """The score ``(N,)`` of the positive class: of the second of two where none is named."""
        if self.score is None or (self.positive is None and len(self.classes) != 2):
            return None
        return self.score[:, 1 if self.positive is None else self.positive]

    @property
    def cut_score(self) -> np.ndarray | None:
        """What a threshold is compared with ``(N,)``: the probability where there is one."""
        if self.binary_score is None or self.probability is None:
            return self.binary_score
        return self.probability[:, 1 if self.positive is None else self.positive]

    @property
    def is_positive(self) -> np.ndarray:
        """Whether each row is of the positive class ``(N,)``, as in `binary_score`."""
        return self.y_true == (1 if self.positive is None else self.positive)


def read_labels(values: Any, name: str) -> np.ndarray:
    """Read one label a row.

    Parameters
    ----------
    values
        Numbers, strings or booleans ``(N,)``.
    name
        What to call them in a message.

    Returns
    -------
    numpy.ndarray
        ``(N,)``, of whole numbers, booleans or strings.

    Raises
    ------
    FeatxError
        When there is none, one is missing, or they are no labels.

    Examples
    --------
    >>> read_labels([1.0, 0.0], "y_true")
    array([1, 0])
    """
    column = as_numpy(values)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise FeatxError(
            f"Expected {name} to be one label a row, got the shape {column.shape}. "
            "For scores take scores.argmax(1), or hand them in as y_score."
        )
    if len(column) == 0:
        raise FeatxError(
            f"Expected {name} to hold labels, got none. Check how the rows were chosen."
        )
    if column.dtype.kind == "O":
        column = _of_one_kind(column, name)
    if column.dtype.kind == "f":
        missing = np.flatnonzero(~np.isfinite(column))
        if len(missing):
            raise _missing(name, missing)
        broken = column[column != np.rint(column)]
        if len(broken):
            raise FeatxError(
                f"Expected {name} to be labels, got numbers such as {broken[0]:g}. "
                "For numbers use featx.evaluate_regression; for scores pass y_score."
            )
        column = column.astype(np.int64)
    if column.dtype.kind not in "biuUS":
        raise FeatxError(
            f"Expected {name} to be numbers or names, got {column.dtype}. Turn them into names with str."
        )
    return column


def _of_one_kind(column: np.ndarray, name: str) -> np.ndarray:
    """Turn an array of Python objects, as pandas has them, into one of names or of numbers."""
    missing = [row for row, label in enumerate(column) if _is_missing(label)]
    if missing:
        raise _missing(name, missing)
    if all(isinstance(label, str) for label in column):
        return column.astype(str)
    if any(isinstance(label, str) for label in column):
        raise FeatxError(
            f"Expected {name} to be labels of one kind, got names and numbers mixed. Turn all into names "
            "with str."
        )
    return np.array(column.tolist())


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except (TypeError, ValueError):  # pandas' NA is not even unequal to itself
        return True


def _missing(name: str, rows: Any) -> FeatxError:
    return FeatxError(
        f"Expected a label in every row of {name}, got {len(rows)} without, the first in row {rows[0]}. "
        "Leave these rows out."
    )


def read_predictions(
    y_true: Any,
    y_pred: Any = None,
    y_score: Any = None,
    *,
    labels: Sequence | None = None,
    positive: Any = None,
    y_train: Any = None,
    score_type: str = "probability",
    threshold: float | None = None,
) -> Predictions:
    """Read labels, predictions and scores, and bring them into one form.

    Parameters
    ----------
    y_true, y_pred, y_score, labels, positive, y_train, score_type
        As in `featx.evaluate`. Without `y_pred` the class with the highest score is predicted.
    threshold
        For two classes: the positive one is predicted from this score on.

    Returns
    -------
    Predictions
        Checked.

    Raises
    ------
    FeatxError
        When lengths differ, nothing is there, or a label or a score is not what it should be.

    Examples
    --------
    >>> read = read_predictions(["cat", "dog"], y_score=[[2.0, 0.0], [0.0, 0.0]], score_type="logit")
    >>> read.classes, read.y_pred, read.probability.round(2).tolist()
    (['cat', 'dog'], array([0, 0]), [[0.88, 0.12], [0.5, 0.5]])
    """
    if score_type not in SCORE_TYPES:
        raise FeatxError(f"Expected score_type to be one of {SCORE_TYPES}, got {score_type!r}.")
    if y_pred is None and y_score is None:
        raise FeatxError("Expected predictions or scores, got neither. Pass y_pred or y_score.")
    columns = {"y_true": read_labels(y_true, "y_true")}
    if y_pred is not None:
        columns["y_pred"] = read_labels(y_pred, "y_pred")
        if len(columns["y_pred"]) != len(columns["y_true"]):
            raise FeatxError(
                f"Expected one prediction for each true label, got {len(columns['y_true'])} labels and "
                f"{len(columns['y_pred'])} predictions. Check that both are of the same rows."
            )
    if y_train is not None:
        columns["y_train"] = read_labels(y_train, "y_train")
    classes = _classes(columns, labels)
    if positive is not None and plain(positive) not in classes:
        raise FeatxError(
            f"Expected positive to be one of {_shown(classes)}, got {positive!r}, which no row has. Spell it "
            "as the labels do, or name all classes with labels=[…]."
        )
    if len(classes) < 2:
        raise FeatxError(
            f"Expected at least two classes, got only {classes[0]!r}. Name all classes with labels=[…]."
        )
    at = None if positive is None else classes.index(plain(positive))
    true = _places(columns["y_true"], classes)
    probability = score = None
    if y_score is not None:
        probability, score = read_scores(y_score, len(true), classes, at, score_type)
    if y_pred is not None:
        predicted = _places(columns["y_pred"], classes)
    elif threshold is None:
        assert score is not None
        predicted = score.argmax(1)
    else:
        if len(classes) != 2:
            raise FeatxError(
                f"Expected two classes for a threshold, got {len(classes)}: {classes}. Ask about one class: "
                "y_true == that class."
            )
        assert score is not None
        side = 1 if at is None else at
        cut = score if probability is None else probability
        predicted = np.where(cut[:, side] >= threshold, side, 1 - side)
    trained = _places(columns["y_train"], classes) if y_train is not None else None
    return Predictions(classes, true, predicted, probability, score, at, trained)


def _classes(columns: dict[str, np.ndarray], labels: Sequence | None) -> list:
    """Return all classes in order: those that are named, else those that occur, sorted."""
    kinds = {name: "names" if c.dtype.kind in "US" else "numbers" for name, c in columns.items()}
    if labels is not None:
        classes = plain(as_numpy(labels).tolist())
        if len(set(classes)) < len(classes) or not classes:
            raise FeatxError(
                f"Expected labels to name each class once, got {classes}. Leave out what is there twice."
            )
        kinds["labels"] = "names" if isinstance(classes[0], str) else "numbers"
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} of {kind}" for name, kind in kinds.items())
        raise FeatxError(
            f"Expected true and predicted labels of one kind, got {told}. Turn all into names or all into "
            "numbers."
        )
    seen = {label for column in columns.values() for label in np.unique(column).tolist()}
    if labels is None:
        return sorted(seen)
    unknown = sorted(seen - set(classes))
    if unknown:
        where = next(name for name, column in columns.items() if np.isin(column, unknown).any())
        raise FeatxError(
            f"Expected labels among {classes}, got {unknown} in {where}. Name all classes with labels=[…]."
        )
    return classes


def _places(column: np.ndarray, classes: list) -> np.ndarray:
    """Return the place of each label in `classes`."""
    values, inverse = np.unique(column, return_inverse=True)
    place = {label: i for i, label in enumerate(classes)}
    return np.array([place[value] for value in values.tolist()])[inverse]


def read_scores(
    y_score: Any, rows: int, classes: list, positive: int | None, score_type: str
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return probabilities where there are some, and scores that rank; both ``(N, C)``."""
    score = as_numpy(y_score)
    coarse = "16" in str(getattr(y_score, "dtype", ""))  # bfloat16 and half: two or three digits
    try:
        score = score.astype(float)
    except (TypeError, ValueError) as error:
        raise FeatxError(
            f"Expected y_score to be numbers, got {score.dtype}. Labels belong into y_pred."
        ) from error
    if score.ndim == 2 and score.shape[1] == 1:
        score = score[:, 0]
    one_column = score.ndim == 1 and len(classes) == 2
    if score.shape != ((rows,) if one_column else (rows, len(classes))):
        alone = f", or {(rows,)} for the positive class alone" if len(classes) == 2 else ""
        raise FeatxError(
            f"Expected y_score of the shape {(rows, len(classes))}, one column a class{alone}, got "
            f"{score.shape}. The classes are {_shown(classes)}; name all of them with labels=[…]."
        )
    strange = np.flatnonzero(~np.isfinite(score).reshape(rows, -1).all(1))
    if len(strange):
        raise FeatxError(
            f"Expected y_score to be finite, got NaN or infinity in {len(strange)} rows, the first of them "
            f"{strange[0]}. Look at what the model gives there: a learning rate that is too high ends so."
        )
    side = 1 if positive is None else positive

    def both(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.stack([other, own] if side else [own, other], 1)

    if score_type == "margin":
        return None, both(score, -score) if one_column else score
    if score_type == "logit":
        if one_column:
            return both(expit(score), expit(-score)), both(score, -score)
        others = (np.delete(score, c, 1) for c in range(score.shape[1]))
        rest = [np.asarray(logsumexp(each, axis=1)) for each in others]
        return softmax(score, axis=1), score - np.stack(rest, 1)
    _check_probabilities(score, 1e-2 if coarse else 1e-3)
    # of several columns a sum of exactly one, where float32 was only close
    score = both(score, 1 - score) if one_column else score / score.sum(1, keepdims=True)
    return score, score


def _check_probabilities(score: np.ndarray, tolerance: float) -> None:
    way_out = (
        "For logits say score_type='logit'; for a margin (decision_function) score_type='margin'."
    )
    if score.min() < 0 or score.max() > 1:
        raise FeatxError(
            f"Expected y_score to hold probabilities from 0 to 1, got values from {score.min():.3g} to "
            f"{score.max():.3g}. {way_out}"
        )
    if score.ndim == 2:
        sums = score.sum(1)
        off = np.flatnonzero(np.abs(sums - 1) > tolerance)
        if len(off):
            raise FeatxError(
                f"Expected y_score to hold probabilities, each row with the sum 1, got {len(off)} rows with "
                f"another sum, the first {sums[off[0]]:.3g} in row {off[0]}. {way_out}"
            )


def _shown(classes: list) -> str:
    return str(classes) if len(classes) <= 12 else f"{str(classes[:12])[:-1]}, … ({len(classes)})"
