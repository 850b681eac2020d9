"""A leak, shown: the same data and folds, with and without a step that has seen the test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.arrays import as_numpy
from featx.errors import FeatxError, whole_number
from featx.findings import Finding, Findings
from featx.metrics.predictions import read_labels
from featx.pitfalls.splits import read_features
from featx.tables import Sheet, Shown, Table

__all__ = ["LeakComparison", "compare_leak"]


@dataclass(frozen=True, eq=False, repr=False)
class LeakComparison(Shown):
    """What `compare_leak` returns: one score for each fold, without and with the leak.

    Attributes
    ----------
    step : str
        ``"scale"`` or ``"select"``.
    honest, leaking : numpy.ndarray
        Accuracy ``(folds,)``: the step fitted on each fold's training rows; on all rows, before.
    findings : Findings
        ``leak_inflates``, or ``leak_within_noise``.
    """

    step: str
    honest: np.ndarray
    leaking: np.ndarray
    findings: Findings

    @property
    def gap(self) -> float:
        """How much the leak adds to the mean accuracy."""
        return float(self.leaking.mean() - self.honest.mean())

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "step": self.step,
            "honest": self.honest.tolist(),
            "leaking": self.leaking.tolist(),
            "gap": self.gap,
            "findings": self.findings.to_dict(),
        }

    def sheet(self) -> Sheet:
        """Return everything that is shown, as text."""
        ways = {
            "honest: fitted inside each fold": self.honest,
            "leaking: on all rows": self.leaking,
        }
        folds = [f"fold {i + 1}" for i in range(len(self.honest))]
        rows = [
            (way, *(f"{score:.3f}" for score in scores), f"{scores.mean():.3f}")
            for way, scores in ways.items()
        ]
        table = Table(
            f"Accuracy, by where {_steps[self.step]} was fitted", ("", *folds, "mean"), rows
        )
        return Sheet(f"The leak adds {self.gap:+.3f}", [table], self.findings)


_steps = {"scale": "the scaler", "select": "the selection of features"}


def compare_leak(
    X: Any,
    y: Any,
    *,
    step: str = "scale",
    num_selected: int = 20,
    classifier: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> LeakComparison:
    """Cross-validate twice on the same folds: a step fitted inside each fold, and on all rows before.

    Parameters
    ----------
    X
        Features ``(N, D)``.
    y
        Labels ``(N,)``.
    step : "scale" or "select"
        scikit-learn's `StandardScaler`, or `SelectKBest` that keeps the features that go best with `y`.
    num_selected
        Features that are kept when selecting.
    classifier
        Any of scikit-learn's; logistic regression by default.
    folds, seed
        Of scikit-learn's `StratifiedKFold`, shuffled.

    Returns
    -------
    LeakComparison
        Scores, means, and in words what happened.

    Raises
    ------
    FeatxError
        When step, features or labels are not what they should be.

    Notes
    -----
    Selecting on all rows has seen the test labels: with many features and few rows it finds some that fit
    even random labels, and the score is far above guessing (Ambroise and McLachlan, "Selection bias in gene
    extraction on the basis of microarray gene-expression data", PNAS 2002; Hastie, Tibshirani and Friedman,
    "The Elements of Statistical Learning", 2nd edition, 7.10.2). Scaling on all rows has seen no label, only
    means and spreads of the test rows. It is wrong all the same, and hardly ever shows: with random folds
    these hardly differ from those of the training rows.

    Examples
    --------
    Labels by the toss of a coin, which nobody can predict:

    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(50, 5000)), np.arange(50) % 2
    >>> coins = compare_leak(X, y, step="select")
    >>> coins.findings.codes, bool(coins.honest.mean() < 0.65), bool(coins.leaking.mean() > 0.9)
    (['leak_inflates'], True, True)
    """
    if step not in _steps:
        raise FeatxError(f"Expected step to be 'scale' or 'select', got {step!r}.")
    X = as_numpy(read_features(X, "the"))
    y = read_labels(y, "y")
    folds = whole_number(folds, "folds", 2)
    num_selected = whole_number(num_selected, "num_selected")
    if y.shape != (len(X),):
        raise FeatxError(
            f"Expected one label for each of the {len(X)} rows, got the shape {y.shape}. Pass labels (N,)."
        )
    _, counts = np.unique(y, return_counts=True)
    if len(counts) < 2 or counts.min() < folds:
        raise FeatxError(
            f"Expected two classes or more with at least {folds} rows each, one for each fold, got classes "
            f"of {counts.tolist()} rows. Use fewer folds or more rows."
        )
    if step == "select" and not 0 < num_selected <= X.shape[1]:
        raise FeatxError(
            f"Expected num_selected from 1 to the {X.shape[1]} features there are, got {num_selected!r}."
        )
    classifier = LogisticRegression(max_iter=2000) if classifier is None else classifier
    fitted: Any = StandardScaler() if step == "scale" else SelectKBest(k=num_selected)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    honest = cross_val_score(make_pipeline(clone(fitted), clone(classifier)), X, y, cv=split)
    seen = fitted.fit_transform(X, y)  # the mistake: the step has seen the test rows
    leaking = cross_val_score(clone(classifier), seen, y, cv=split)
    return LeakComparison(step, honest, leaking, _leak(step, honest, leaking))


def _leak(step: str, honest: np.ndarray, leaking: np.ndarray) -> Findings:
    gap = leaking - honest
    mean, error = float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))
    numbers = {
        "honest": float(honest.mean()),
        "leaking": float(leaking.mean()),
        "gap": mean,
        "standard_error": error,
    }
    what = f"With {_steps[step]} fitted on all rows the accuracy is {leaking.mean():.3f}, inside the folds "
    if mean > max(0.02, 2 * error):
        return Findings(
            [
                Finding(
                    "leak_inflates",
                    f"{what}{honest.mean():.3f}: {mean:.3f} of it is not real, because the step had seen the "
                    "test rows.",
                    "Put every step that is fitted into a scikit-learn Pipeline, and cross-validate that.",
                    numbers,
                )
            ]
        )
    return Findings(
        [
            Finding(
                "leak_within_noise",
                f"{what}{honest.mean():.3f}: a difference of {mean:+.3f} that does not show beyond the noise "
                f"between folds (standard error {error:.3f}).",
                "The leak is wrong all the same, and nobody knows beforehand when it will show. Put the step "
                "into a scikit-learn Pipeline.",
                numbers,
            )
        ]
    )
