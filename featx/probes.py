"""What the features are worth: a linear probe, and its accuracy over the number of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from featx.errors import FeatxError

__all__ = ["FewLabelAccuracy", "LinearProbe", "few_label_accuracy"]


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression on frozen features: the usual measure of their worth.

    The features are centred and divided by one number, so that their mean square length is 64,
    whatever the backbone. (With a handful of labels a spread estimated for each feature apart is mostly
    noise: on GlyphNet's features of the digits, standardising them costs a point or two with one label a
    class.)

    Parameters
    ----------
    C : float
        Inverse of the regularisation strength, as in scikit-learn's `LogisticRegression`.
    class_weight : dict, "balanced" or None
        As in scikit-learn's `LogisticRegression`.
    max_iter : int
        Most steps of the L-BFGS solver.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The labels, sorted.
    coef_ : numpy.ndarray
        ``(num_classes, D)``, or ``(1, D)`` for two classes, on the scaled features.

    Examples
    --------
    >>> import featx
    >>> digits = featx.datasets.load_digits()
    >>> features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    >>> probe = featx.LinearProbe().fit(features.X[:500], features.y[:500])
    >>> probe.score(features.X[500:], features.y[500:]) > 0.95
    True
    """

    def __init__(
        self, C: float = 1.0, class_weight: dict | str | None = None, max_iter: int = 1000
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any) -> LinearProbe:
        """Fit on features ``(N, D)`` and labels ``(N,)``."""
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        if len(np.unique(y)) < 2:
            raise FeatxError(
                f"Expected labels of at least two classes, got one class only: {y[0]}. A probe "
                "learns to tell classes apart."
            )
        self.mean_ = X.mean(0)
        length = float(np.sqrt(((X - self.mean_) ** 2).sum(1).mean()))
        self.scale_ = length / 8 or 1.0  # identical rows have no length
        self.model_ = LogisticRegression(
            C=self.C, class_weight=self.class_weight, max_iter=self.max_iter
        )
        # A small product is slower on many threads than on one, on a busy machine by far.
        with threadpool_limits(1 if X.size < 1_000_000 else None, user_api="blas"):
            self.model_.fit(self._scaled(X), y)
        self.classes_ = self.model_.classes_
        self.coef_ = self.model_.coef_
        self.intercept_ = self.model_.intercept_
        self.n_iter_ = self.model_.n_iter_
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the logits ``(N, num_classes)``, or ``(N,)`` for two classes."""
        X = self._checked(X)
        return self.model_.decision_function(X)

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels ``(N,)``."""
        X = self._checked(X)
        return np.asarray(self.model_.predict(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities ``(N, num_classes)``, in the order of `classes_`."""
        X = self._checked(X)
        return np.asarray(self.model_.predict_proba(X))

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return self._scaled(np.asarray(X))

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        return (X - self.mean_) / self.scale_


@dataclass(frozen=True, eq=False)
class FewLabelAccuracy:
    """Test accuracy of a linear probe over the number of labels; see `few_label_accuracy`.

    Attributes
    ----------
    shots : tuple of int
        Labels a class, S values.
    accuracy : numpy.ndarray
        ``(S, K)``: one row for each number of labels, one column for each seed.
    """

    shots: tuple[int, ...]
    accuracy: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the seeds, ``(S,)``."""
        return self.accuracy.mean(1)

    @property
    def std(self) -> np.ndarray:
        """Spread over the seeds (standard deviation), ``(S,)``."""
        return self.accuracy.std(1)


def few_label_accuracy(
    X: np.ndarray,
    y: np.ndarray,
    *,
    shots: Sequence[int] = (1, 5, 10),
    seeds: Iterable[int] = range(5),
    probe: Any = None,
) -> FewLabelAccuracy:
    """Measure how well few labels do: train on `shots` rows a class, test on **all** others.

    Parameters
    ----------
    X
        Features ``(N, D)``, or flattened pixels to compare with.
    y
        Labels ``(N,)``.
    shots
        Labels a class, one measurement for each.
    seeds
        One draw of the training rows for each. The same seed draws the same rows whatever `X` is,
        so two kinds of features are compared on the same images.
    probe
        Any scikit-learn classifier; a fresh clone is fitted each time. By default `LinearProbe`.

    Returns
    -------
    FewLabelAccuracy
        Shots and the accuracies ``(len(shots), len(seeds))``.

    Raises
    ------
    FeatxError
        When a class has no more rows than the largest of `shots`: none would be left to test on.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 50)
    >>> result = few_label_accuracy(rng.normal(size=(100, 4)) + 9 * y[:, None], y, shots=(1, 5))
    >>> result.mean.round(2).tolist()
    [1.0, 1.0]
    """
    X, y, seeds = np.asarray(X), np.asarray(y), tuple(seeds)
    _, counts = np.unique(y, return_counts=True)
    if len(X) != len(y) or max(shots) >= counts.min() or min(shots) < 1:
        raise FeatxError(
            f"Expected one label a row and shots from 1 to {counts.min() - 1} (the rarest class has "
            f"{counts.min()} rows), got {len(X)} rows, {len(y)} labels and shots {tuple(shots)}."
        )
    model = LinearProbe() if probe is None else probe

    def measure(rows: np.ndarray) -> float:
        fresh = cast(Any, clone(model))
        return fresh.fit(X[rows], y[rows]).score(np.delete(X, rows, 0), np.delete(y, rows))

    accuracy = [[measure(draw_rows(y, shot, seed)) for seed in seeds] for shot in shots]
    return FewLabelAccuracy(tuple(shots), np.array(accuracy))


def draw_rows(y: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Draw the numbers of `per_class` rows of each class.

    Parameters
    ----------
    y
        Labels ``(N,)``.
    per_class
        Rows to draw of each class.
    seed
        The same seed draws the same rows.

    Returns
    -------
    numpy.ndarray
        ``(num_classes * per_class,)``, class by class.

    Examples
    --------
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> y[draw_rows(y, 2, seed=0)]
    array([0, 0, 1, 1])
    """
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.choice(np.flatnonzero(y == c), per_class, replace=False) for c in np.unique(y)]
    )
