"""What the features are worth: a linear probe, a kNN probe, and accuracy over the number of labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from featx.arrays import as_numpy
from featx.backbones import Backbone, load_backbone
from featx.descent import (
    CELLS_AT_ONCE,
    Descent,
    Rows,
    all_logits,
    block_threads,
    blocks,
    cross_entropy,
    device_of,
    linear,
    scaled_rows,
    scales,
    squared_error,
)
from featx.errors import FeatxError, whole_number
from featx.extraction import extract
from featx.neighbours import most_alike
from featx.progress import progress_bar
from featx.threads import threads_for

__all__ = [
    "FeatureExtractor",
    "FewLabelAccuracy",
    "KNNProbe",
    "LinearProbe",
    "draw_rows",
    "few_label_accuracy",
]

#: The Cs that ``LinearProbe(C="path")`` tries: half decades, from strong to weak regularisation.
PATH = np.logspace(-4, 4, 17)

#: What is left to gain on the path may be this part of the loss. Near the best, held-out losses are then a
#: few parts in a hundred from the exact ones (scikit-learn's path, as it comes, is no closer). Far from it,
#: at large C and where classes can be told apart, they may be much too low, and are high still.
GAIN = 3e-4

#: What to do about what scikit-learn finds wrong.
WAYS_OUT = {
    "inconsistent numbers": "Give one label for each row.",
    "Found array with dim": "Pool feature maps first, as featx.extract does.",
    "is expecting": "Give features of the backbone and layer that it was fitted on.",
    "NaN": "Leave such rows out: X[np.isfinite(X).all(1)].",
    "0 sample(s)": "Give it rows to learn from.",
}

MANY_ROWS = 5000  # from here on one held-out fifth says as much as five


class LinearProbe(BaseEstimator):
    """Logistic regression, or ridge regression, on frozen features: the usual measure of their worth.

    The features are centred and divided by one number, so that their mean square length is 64,
    whatever the backbone. (With a handful of labels a spread estimated for each feature apart is mostly
    noise: on GlyphNet's features of the digits, standardising them costs a point or two with one label a
    class.)

    What is minimised is what scikit-learn's `LogisticRegression` (softmax over the classes; the logistic
    loss for two) and its ``Ridge(alpha=1 / C)`` minimise, on the features scaled so, and `C` means the
    same. The computing is torch's, on the device where the features are, and in blocks of rows: a memory map
    is never read whole.

    Parameters
    ----------
    C : float or "path"
        Inverse of the regularisation strength. ``"path"`` tries 17 values from 1e-4 to 1e4, each
        started from the last one's solution, takes the one with the lowest loss on rows held out of
        **what fit was given**, and fits again on all of these. Held out are five folds in turn, stratified
        (from 5000 rows on only the first of them); fewer when all classes are small. A class with one row
        is always trained on. Where nothing can be held out (one row in every class, or fewer than 4 rows to
        regress on), `C` is 1.
    class_weight : dict, "balanced" or None
        As in scikit-learn's `LogisticRegression`. For classes only.
    max_iter : int
        Most steps of the L-BFGS solver.
    task : "classification" or "regression"
        In a regression `y` is ``(N,)`` or ``(N, K)``, and `score` is R².
    cv : int, splitter, iterable of (train, test) or None
        Other folds for the path, as scikit-learn's `check_cv` takes them.
    tol : float
        The solver stops when the gradient says that the coefficients are at most this far from the exact
        solution, as a part of their length. (With the penalty the loss is strongly convex, so that the
        gradient bounds the distance: Boyd and Vandenberghe, "Convex Optimization", 9.1.2.) Or where the
        arithmetic has no more to give: at a large `C` with very rare classes that may be farther off.
    random_state : int, RandomState or None
        Draws the folds of the path. The same number draws the same ones.
    progress : bool
        Show how far the path is, on stderr.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The labels, sorted. For classes only.
    coef_ : numpy.ndarray
        ``(num_classes, D)``, or ``(1, D)`` for two classes, on the scaled features; in a regression
        ``(D,)`` or ``(K, D)``.
    intercept_ : numpy.ndarray or float
        One for each row of `coef_`.
    mean_, scale_ : numpy.ndarray, float
        ``(D,)`` and one number: scaled features are ``(X - mean_) / scale_``.
    C_ : float
        The `C` of the fit: the one picked where it was ``"path"``.
    path_ : dict of str to numpy.ndarray, or None
        ``"C"``, ``"val_score"``, ``"train_score"`` and ``"val_loss"``, each ``(17,)``: means over the
        folds of accuracy (or R²) and of log loss (or half the squared error, in units of the spread of y).
    n_iter_ : int
        Steps of the last fit.

    Notes
    -----
    `X` may be a NumPy array, a memory map, or a torch tensor on any device. Predictions are NumPy arrays
    in any case: they are small, and labels may be names. Up to 16 million numbers the arithmetic is float64,
    above it is float32, as it is on the path, and blocks are added up in float64.

    Examples
    --------
    >>> import featx
    >>> digits = featx.datasets.load_digits()
    >>> features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    >>> probe = featx.LinearProbe().fit(features.X[:500], features.y[:500])
    >>> probe.score(features.X[500:], features.y[500:]) > 0.95
    True

    A regression, with `C` picked on the rows that fit gets: is it round?

    >>> loops = (features.y == 0) + 2.0 * (features.y == 8)
    >>> ridge = featx.LinearProbe("path", task="regression").fit(features.X[:500], loops[:500])
    >>> ridge.score(features.X[500:], loops[500:]) > 0.8
    True
    """

    def __init__(
        self,
        C: float | str = 1.0,
        class_weight: dict | str | None = None,
        max_iter: int = 1000,
        *,
        task: str = "classification",
        cv: Any = None,
        tol: float = 1e-3,
        random_state: Any = None,
        progress: bool = False,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.task = task
        self.cv = cv
        self.tol = tol
        self.random_state = random_state
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        # The mixins give one kind to the whole class; here it follows the parameter.
        from sklearn.utils import ClassifierTags, RegressorTags

        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.task == "regression":
            tags.estimator_type = "regressor"
            tags.regressor_tags = RegressorTags()
            tags.target_tags.multi_output = True
        else:
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags()
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearProbe:
        """Fit on features ``(N, D)`` and labels ``(N,)``, or numbers ``(N,)`` or ``(N, K)``.

        Parameters
        ----------
        X
            Features ``(N, D)``.
        y
            Labels ``(N,)``; for a regression numbers ``(N,)`` or ``(N, K)``.
        sample_weight
            ``(N,)``: a row of weight 2 counts like two rows.

        Returns
        -------
        LinearProbe
            Itself.

        Raises
        ------
        FeatxError
            When features, labels or parameters are not what they should be.
        """
        self._check_parameters()
        regression = self.task == "regression"
        X, y = _validated(self, X, y, multi_output=regression, y_numeric=regression)
        with _as_featx_error():
            weight = _check_sample_weight(
                _on_cpu(sample_weight), _stand_in(X), dtype=np.float64, ensure_non_negative=True
            )
        if regression:
            target, balance, loss = self._numbers(y, weight), weight, squared_error
            width = target.shape[1]
        else:
            target = self._codes(y)
            balance = weight * self._class_weights(target, weight)[target]
            loss = cross_entropy
            width = 1 if len(self.classes_) == 2 else len(self.classes_)

        if balance.min() < 0 or not balance.any():
            raise FeatxError(
                "Expected class_weight and sample_weight to be 0 or more, and above 0 for some row, got "
                f"{balance.min():g} to {balance.max():g} for a row. Give other weights."
            )
        products = X.shape[0] * X.shape[1] * width
        with threads_for(products, block_threads(X)):
            rows = scaled_rows(X, weight)
        job = _Job(X, target, loss, weight, balance, width, rows)
        self.C_, self.path_, start = self._picked(job)
        with threads_for(products, block_threads(X)):
            fit = Descent(job.rows, target, loss, balance[None], width, start)
            fit.to(self.C_, self.tol, self.max_iter)
        if not fit.converged:
            warnings.warn(
                f"LinearProbe took {fit.n_iter} steps and is not at the solution to within tol={self.tol}. "
                "Raise max_iter, or lower C.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.n_iter_ = max(fit.n_iter, 1)
        self.mean_, self.scale_ = fit.rows.mean.cpu().numpy(), fit.rows.scale
        self.coef_, self.intercept_ = (part[0].cpu().double().numpy() for part in (fit.W, fit.b))
        if regression:
            self.coef_ *= self._y_scale
            self.intercept_ = self.intercept_ * self._y_scale + self._y_mean
            if y.ndim == 1:
                self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        return self

    def _check_parameters(self) -> None:
        number = isinstance(self.C, Real) and not isinstance(self.C, bool)
        if self.C != "path" and not (number and 0 < cast(float, self.C) < np.inf):
            raise FeatxError(f'Expected C to be a number above 0 or "path", got {self.C!r}.')
        if self.task not in ("classification", "regression"):
            raise FeatxError(
                f'Expected task to be "classification" or "regression", got {self.task!r}.'
            )
        whole_number(self.max_iter, "max_iter")
        if not (isinstance(self.tol, Real) and self.tol > 0):
            raise FeatxError(f"Expected tol to be a number above 0, got {self.tol!r}.")
        if not (
            self.class_weight is None
            or isinstance(self.class_weight, dict)
            or self.class_weight == "balanced"
        ):
            raise FeatxError(
                'Expected class_weight to be a dict of label to weight, "balanced" or None, got '
                f"{self.class_weight!r}."
            )
        if self.task == "regression" and self.class_weight is not None:
            raise FeatxError(
                "Expected no class_weight for a regression, which has no classes. Give fit a sample_weight."
            )

    def _codes(self, y: np.ndarray) -> np.ndarray:
        """Give each class a number."""
        _check_labels(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise FeatxError(
                f"Expected labels of at least two classes, got one class only: {y[0]}. A probe "
                "learns to tell classes apart."
            )
        return codes

    def _class_weights(self, codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """One weight for each class, with the sense of scikit-learn's `compute_class_weight`."""
        if self.class_weight == "balanced":
            count = np.bincount(codes, weight)
            return weight.sum() / (len(count) * np.maximum(count, np.finfo(float).tiny))
        with _as_featx_error():
            return compute_class_weight(
                cast(Any, self.class_weight), classes=self.classes_, y=self.classes_
            )

    def _numbers(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Centre the numbers and divide them by their spread, so that `tol` means the same for all."""
        y = y.astype(np.float64).reshape(len(y), -1)
        self._y_mean = np.average(y, axis=0, weights=weight)
        spread = np.average((y - self._y_mean) ** 2, axis=0, weights=weight).mean() ** 0.5
        self._y_scale = float(spread) or 1.0  # a constant has no spread
        return (y - self._y_mean) / self._y_scale

    def _picked(self, job: _Job) -> tuple[float, dict[str, np.ndarray] | None, _Start | None]:
        """Walk the path on the folds; return the best `C`, what was measured, and where to begin."""
        if self.C != "path":
            return float(self.C), None, None
        folds = list(self._folds(job.target, job.balance > 0))
        if not folds:
            return 1.0, None, None
        # a class with one row is left to whoever made the folds
        several = (
            np.flatnonzero(np.bincount(job.target[job.balance > 0]) > 1)
            if job.target.ndim == 1
            else []
        )
        for number, fold in enumerate(folds):
            for rows, purpose in zip(fold, ("train on", "hold out"), strict=True):
                if not job.balance[rows].any():
                    raise FeatxError(
                        f"Expected rows to {purpose} in each fold, got none that counts in fold {number}. "
                        "Give another cv, or other weights."
                    )
            trained = job.target[fold[0]][job.balance[fold[0]] > 0]
            for absent in np.setdiff1d(several, trained)[:1]:
                raise FeatxError(
                    "Expected rows of every class to train on in each fold, got none of class "
                    f"{self.classes_[absent]} in fold {number}. Give another cv: scikit-learn's "
                    "StratifiedKFold shares the rows of each class out."
                )
        together = max(1, CELLS_AT_ONCE // (len(job.target) * job.width))
        products = job.X.shape[0] * job.X.shape[1] * job.width * min(len(folds), together)
        first, *others = (folds[i : i + together] for i in range(0, len(folds), together))
        steps = len(PATH) * (1 + len(others))
        with (
            threads_for(products, block_threads(job.X)),
            progress_bar("path", steps, show=self.progress, unit="values of C") as advance,
        ):
            walk, starts = self._walk(job, first, advance)
            walks = [walk, *(self._walk(job, group, advance)[0] for group in others)]
        val_score, train_score, val_loss = np.concatenate(walks, axis=2).mean(2).T
        path = {
            "C": PATH.copy(),
            "val_score": val_score,
            "train_score": train_score,
            "val_loss": val_loss,
        }
        best = int(val_loss.argmin())
        return float(PATH[best]), path, starts[best]

    def _walk(
        self,
        job: _Job,
        folds: list[tuple[np.ndarray, np.ndarray]],
        advance: Callable[[int], None],
    ) -> tuple[np.ndarray, list[_Start]]:
        """Go down `F` folds side by side, for each C.

        Returns held-out score, score, and held-out loss, ``(17, 3, F)``, and the mean of the folds'
        solutions, for the rows of `job`: there the last fit begins, near its end.
        """
        every = np.arange(len(job.target))
        # how often each fold has each row: (F, N)
        train, test = (
            np.stack([np.bincount(every[fold[part]], minlength=len(every)) for fold in folds])
            for part in range(2)
        )
        trained = np.flatnonzero(train.any(0))
        rest = np.flatnonzero(test.any(0) & ~train.any(0))
        rows = scaled_rows(job.X, (job.weight * train).mean(0)[trained], trained, exact=False)
        held_out = Rows(job.X, rows.mean, rows.scale, rest, exact=False)
        weight = (job.balance * train)[:, trained]
        fit = Descent(rows, job.target[trained], job.loss, weight, job.width, keep=True)
        # each fold is measured in its own scale, as a fit on its rows alone would be
        scale = scales(rows, (job.weight * train)[:, trained])

        order = np.concatenate([trained, rest])
        target = job.target[order]
        train, test = (job.balance[order] * part[:, order] for part in (train, test))
        tested = np.flatnonzero(test.any(0))
        tested_target = torch.from_numpy(target[tested].T)
        if target.ndim > 1:
            tested_target = tested_target.to(rows.dtype)
        measured, starts = [], []
        for C in PATH:
            fit.to(C / scale**2, self.tol, self.max_iter, GAIN)
            W, b = fit.W.mean(0) * (job.rows.scale / rows.scale), fit.b.mean(0)
            starts.append((W, b + W @ ((job.rows.mean - rows.mean) / job.rows.scale).to(W)))
            unseen = linear(held_out, fit.W.flatten(0, 1), fit.b.flatten())
            z = torch.cat([*fit.outputs, unseen.view(len(folds), job.width, -1)], 2).cpu()
            row_loss = job.loss(z[..., tested], tested_target)[0].numpy()
            measured.append(
                [
                    *self._scores(z, target, (test, train)),
                    _averages(row_loss, test[:, tested]),
                ]
            )
            advance(1)
        return np.array(measured), starts

    def _folds(
        self, target: np.ndarray, counts: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the row numbers ``(train, test)`` of each fold; by default of the rows that count."""
        if self.cv is not None:
            with _as_featx_error():
                splitter: Any = check_cv(self.cv, target, classifier=self.task == "classification")
                yield from splitter.split(np.zeros((len(target), 1)), target)
            return
        rng = check_random_state(self.random_state)
        rows = np.flatnonzero(counts)
        classes = target[rows] if target.ndim == 1 else np.zeros(len(rows), int)
        count = np.bincount(classes)
        # of a regression's rows two must be held out: R² of one row is not defined
        num_folds = min(5, int(count.max()) if target.ndim == 1 else len(rows) // 2)
        if num_folds < 2:
            return
        order = rng.permutation(len(classes))
        order = order[np.argsort(classes[order], kind="stable")]  # class by class, shuffled
        fold = np.empty(len(classes), int)
        fold[order] = np.arange(len(classes)) % num_folds
        fold[count[classes] == 1] = num_folds  # held out by none
        for i in range(1 if len(classes) >= MANY_ROWS else num_folds):
            yield rows[fold != i], rows[fold == i]

    def _scores(
        self, z: torch.Tensor, target: np.ndarray, weights: Iterable[np.ndarray]
    ) -> list[np.ndarray]:
        """Score outputs ``(K, n)`` of each fold, ``(F, K, n)``, once for each weighting ``(F, n)``."""
        if self.task == "regression":
            outputs = z.mT.numpy()
            return [
                np.array(
                    [
                        r2_score(target, out, sample_weight=w)
                        for out, w in zip(outputs, weight, strict=True)
                    ]
                )
                for weight in weights
            ]
        right = _winners(z) == target
        return [_averages(right, weight) for weight in weights]

    @available_if(lambda self: self.task != "regression")
    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the logits ``(N, num_classes)``, or ``(N,)`` for two classes."""
        z = self._outputs(X).T.numpy()
        return z[:, 0] if z.shape[1] == 1 else z

    @available_if(lambda self: self.task != "regression")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities ``(N, num_classes)``, in the order of `classes_`."""
        return all_logits(self._outputs(X)).softmax(0).T.numpy()

    @available_if(lambda self: self.task != "regression")
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of `predict_proba`, exact also where it rounds to 0."""
        return all_logits(self._outputs(X)).log_softmax(0).T.numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels ``(N,)``, or numbers ``(N,)`` or ``(N, K)``."""
        z = self._outputs(X)
        if self.task == "regression":
            return z[0].numpy() if self.coef_.ndim == 1 else z.T.numpy()
        return self.classes_[_winners(z[None])[0]]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute accuracy, or R² for a regression, as scikit-learn's estimators do."""
        measure = r2_score if self.task == "regression" else accuracy_score
        with _as_featx_error():
            return float(measure(_on_cpu(y), self.predict(X), sample_weight=_on_cpu(sample_weight)))

    def _outputs(self, X: Any) -> torch.Tensor:
        """Compute what each row gets: ``(K, N)``, on the CPU."""
        check_is_fitted(self)
        X = _validated(self, X)
        rows = Rows(X, torch.tensor(self.mean_), self.scale_)
        rows.held = False  # they are read once
        W, b = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        with threads_for(X.shape[0] * X.shape[1] * len(b), block_threads(X)):
            return linear(rows, torch.tensor(W), torch.tensor(b)).cpu()


#: `W` and `b` to begin at.
_Start = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class _Job:
    """What is fitted: features, target, loss, weights without and with those of classes, outputs.

    And the same features as the last fit reads them, centred and scaled.
    """

    X: Any
    target: np.ndarray
    loss: Callable
    weight: np.ndarray
    balance: np.ndarray
    width: int
    rows: Rows


def _winners(z: torch.Tensor) -> np.ndarray:
    """Return the code of the class that wins in each row ``(F, n)``, of logits ``(F, K, n)``."""
    return all_logits(z, 1).max(1)[1].numpy()  # argmax takes three times as long


def _averages(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average rows ``(F, n)``, each by its own weights."""
    return (values * weight).sum(1) / weight.sum(1)


class KNNProbe(ClassifierMixin, BaseEstimator):
    """Ask the nearest training rows: a second opinion that has nothing to train.

    Nearness is the cosine of the angle between two rows of features. Each of the `n_neighbors` nearest rows
    votes for its class with the weight ``exp(cosine / temperature)``, as in Wu et al., "Unsupervised
    Feature Learning via Non-Parametric Instance Discrimination" (CVPR 2018, https://arxiv.org/abs/1805.01978,
    section 3.4), and since then in Caron et al., "Emerging Properties in Self-Supervised Vision
    Transformers" (ICCV 2021, https://arxiv.org/abs/2104.14294), where 20 neighbours did best.

    Parameters
    ----------
    n_neighbors : int
        Rows that vote. With fewer training rows all of them vote, and `fit` warns.
    temperature : float
        The lower, the more the very nearest rows decide; with ``inf`` all votes are equal.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The labels, sorted.
    n_neighbors_ : int
        Rows that do vote.

    Notes
    -----
    `X` may be a NumPy array, a memory map, or a torch tensor on any device; predictions are NumPy arrays and
    are computed where the `X` to predict is. The training rows are kept as they are, not copied. Cosines are
    computed in blocks, so that memory does not grow with the number of rows. A row of zeros has no
    direction: its cosine to all others is 0.

    Examples
    --------
    >>> import featx
    >>> digits = featx.datasets.load_digits()
    >>> features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    >>> probe = featx.KNNProbe().fit(features.X[:500], features.y[:500])
    >>> probe.score(features.X[500:], features.y[500:]) > 0.9
    True
    """

    def __init__(self, n_neighbors: int = 20, *, temperature: float = 0.07) -> None:
        self.n_neighbors = n_neighbors
        self.temperature = temperature

    def fit(self, X: Any, y: Any) -> KNNProbe:
        """Remember features ``(N, D)`` and labels ``(N,)``.

        Raises
        ------
        FeatxError
            When features, labels or parameters are not what they should be.
        """
        whole_number(self.n_neighbors, "n_neighbors")
        if not (isinstance(self.temperature, Real) and self.temperature > 0):
            raise FeatxError(f"Expected temperature to be above 0, got {self.temperature!r}.")
        self._X, y = _validated(self, X, y)
        _check_labels(y)
        self.classes_, self._codes = np.unique(y, return_inverse=True)
        self.n_neighbors_ = min(int(self.n_neighbors), len(y))
        if self.n_neighbors_ < self.n_neighbors:
            warnings.warn(
                f"KNNProbe has {len(y)} training rows and asks for n_neighbors={self.n_neighbors}: all rows "
                "vote.",
                UserWarning,
                stacklevel=2,
            )
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict each class's part of the votes ``(N, num_classes)``, in the order of `classes_`."""
        check_is_fitted(self)
        X = _validated(self, X)
        with threads_for(X.shape[0] * self._X.shape[0]):
            parts = [self._votes(x) for _, x in _directions(X, device_of(X))]
        return torch.cat(parts).cpu().numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels ``(N,)``: the class with the most votes."""
        winners = self.predict_proba(X).argmax(1)
        return self.classes_[winners]

    def _votes(self, x: torch.Tensor) -> torch.Tensor:
        others = _directions(self._X, x.device)
        cosines = ((at.start, x @ other.to(x.dtype).T) for at, other in others)
        cosine, rows = most_alike(cosines, self.n_neighbors_)
        codes = torch.from_numpy(self._codes).to(x.device)[rows]
        votes = (cosine / self.temperature).softmax(1)
        return x.new_zeros(len(x), len(self.classes_)).scatter_add(1, codes, votes)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(cast(dict, super().__getstate__()))
        if isinstance(state.get("_X"), torch.Tensor):
            state["_X"] = state["_X"].cpu()  # to be read on a machine without that device, too
        return state


def _directions(X: Any, device: torch.device) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield blocks of rows divided by their length; a row of zeros stays so."""
    # blocks of both sides are bounded, and so is the table of cosines between them
    dtype = torch.float64 if str(X.dtype).endswith("float64") else torch.float32
    for at, x in blocks(X, np.arange(len(X)), dtype, most=2048):
        x = x.to(device)
        # first by the largest entry: squares of very small or large numbers leave the range
        x = x / x.abs().amax(1, keepdim=True).clamp(min=torch.finfo(dtype).tiny)
        yield at, torch.nn.functional.normalize(x)


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """A frozen backbone as a scikit-learn transformer: images in, features out.

    Parameters
    ----------
    backbone : str or Backbone
        A name for `featx.load_backbone`, or what it returned.
    weights
        As in `featx.load_backbone`; only for a name.
    layers, pooling, batch_size, device, precision, cache_dir, progress
        As in `featx.extract`. A file that is no readable image is an error: each has its row.

    Attributes
    ----------
    backbone_ : Backbone
        What was loaded.

    Examples
    --------
    >>> import featx
    >>> from sklearn.pipeline import make_pipeline
    >>> digits = featx.datasets.load_digits()
    >>> images, y = digits.images.numpy(), digits.labels.numpy()
    >>> pipeline = make_pipeline(featx.FeatureExtractor("glyphnet"), featx.LinearProbe())
    >>> pipeline.fit(images[:100], y[:100]).score(images[100:300], y[100:300]) > 0.9
    True
    """

    def __init__(
        self,
        backbone: str | Backbone = "glyphnet",
        *,
        weights: Any = "default",
        layers: Any = None,
        pooling: str | None = None,
        batch_size: int | str = "auto",
        device: Any = "auto",
        precision: str = "auto",
        cache_dir: Any = None,
        progress: bool = False,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.layers = layers
        self.pooling = pooling
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.cache_dir = cache_dir
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Load the backbone. Nothing is learned from `X`, which is whatever `featx.extract` takes.

        Raises
        ------
        FeatxError
            When there is no image, or the backbone or its weights are unknown; with `layers` or `pooling`,
            when the first image cannot be read.
        """
        if hasattr(X, "__len__") and not isinstance(X, str) and len(X) == 0:
            raise FeatxError("Expected at least one image, got none.")
        if isinstance(self.backbone, Backbone):
            self.backbone_ = self.backbone
        else:
            self.backbone_ = load_backbone(self.backbone, self.weights)
        self._n_features_out = self.backbone_.num_features
        if self.layers is not None or self.pooling is not None:
            # how many features come out of them is seen with one image; a folder's may be black
            one = np.zeros((1, self.backbone_.in_channels, 64, 64), np.uint8)
            if isinstance(X, (np.ndarray, torch.Tensor, list, tuple)):
                one = X[:1]
            self._n_features_out = self._extract(one, cache_dir=None, progress=False).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features, float32 ``(N, D)``, of whatever `featx.extract` takes.

        Raises
        ------
        FeatxError
            As `featx.extract` does; also for a file that is no readable image.
        """
        check_is_fitted(self)
        return self._extract(X, cache_dir=self.cache_dir, progress=self.progress)

    def _extract(self, X: Any, **options: Any) -> np.ndarray:
        names = ("layers", "pooling", "batch_size", "device", "precision")
        options |= {name: getattr(self, name) for name in names}
        return np.asarray(extract(self.backbone_, X, on_error="raise", **options).X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features by the backbone: ``glyphnet0`` is the first.

        Parameters
        ----------
        input_features
            Not used: pixels have no names.
        """
        check_is_fitted(self)
        return np.array(
            [f"{self.backbone_.name}{i}" for i in range(self._n_features_out)], dtype=object
        )


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
        When a class has no more rows than the largest of `shots`: none would be left to test on. And when
        there is not one label for each row, or no shot.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 50)
    >>> result = few_label_accuracy(rng.normal(size=(100, 4)) + 9 * y[:, None], y, shots=(1, 5))
    >>> result.mean.round(2).tolist()
    [1.0, 1.0]
    """
    X, y, shots, seeds = as_numpy(X), as_numpy(y), tuple(shots), tuple(seeds)
    fewest = np.unique(y, return_counts=True)[1].min(initial=len(y))
    if len(X) != len(y) or not shots or max(shots) >= fewest or min(shots) < 1:
        raise FeatxError(
            f"Expected one label a row and shots from 1 to {fewest - 1} (the rarest class has {fewest} "
            f"rows), got {len(X)} rows, {len(y)} labels and shots {shots}."
        )
    model = LinearProbe() if probe is None else probe

    def measure(rows: np.ndarray) -> float:
        fresh = cast(Any, clone(model))
        return fresh.fit(X[rows], y[rows]).score(np.delete(X, rows, 0), np.delete(y, rows))

    accuracy = [[measure(draw_rows(y, shot, seed)) for seed in seeds] for shot in shots]
    return FewLabelAccuracy(shots, np.array(accuracy))


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


def _validated(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """Check features, and with `y` the labels too, as scikit-learn does; a tensor stays where it is."""
    with _as_featx_error():
        y = tuple(_on_cpu(labels) for labels in y)
        if not isinstance(X, torch.Tensor):
            return validate_data(
                estimator, X, *y, dtype=(np.float64, np.float32), reset=bool(y), **options
            )
        X = X.detach()
        if X.is_complex():
            raise ValueError("Complex data not supported.")
        X = X if X.dtype in (torch.float32, torch.float64) else X.float()
        shape = _stand_in(X)
        checked = validate_data(
            estimator, shape, *y, ensure_all_finite=False, reset=bool(y), **options
        )
        if not X.isfinite().all():
            raise ValueError("Input X contains NaN or infinity.")
        return (X, checked[1]) if y else X


def _check_labels(y: np.ndarray) -> None:
    with _as_featx_error(), warnings.catch_warnings():
        # with one or two labels a class there are many classes for the rows, and that is meant so
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        check_classification_targets(y)


def _stand_in(X: Any) -> Any:
    """Something of the shape of `X` that takes no memory, for checks that look at no number."""
    return np.broadcast_to(np.float32(0), X.shape)


@contextmanager
def _as_featx_error() -> Iterator[None]:
    """Turn scikit-learn's `ValueError` into ours: the first line, and the way out."""
    try:
        yield
    except FeatxError:
        raise
    except ValueError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        way_out = [line for line in lines[1:] if line.startswith("Reshape")]
        way_out += [advice for told, advice in WAYS_OUT.items() if told in lines[0]]
        raise FeatxError(
            "Expected features (N, D) of finite numbers that fit each other and their labels, got "
            f"something else: {' '.join([lines[0].rstrip('.:') + '.', *way_out])}"
        ) from error


def _on_cpu(values: Any) -> Any:
    return as_numpy(values) if isinstance(values, torch.Tensor) else values
