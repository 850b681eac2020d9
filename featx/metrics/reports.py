"""What `featx.evaluate` and `featx.evaluate_regression` give: numbers that show themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from featx.arrays import plain
from featx.errors import FeatxError
from featx.findings import Findings
from featx.metrics.predictions import Predictions
from featx.tables import Sheet, Shown, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from featx.metrics.thresholds import ThresholdChoice

__all__ = ["RegressionReport", "Report"]

_SIGNS = {"good": "✓", "mixed": "◐", "bad": "✗"}  # no verdict is told by colour


class _Report(Shown):
    """What all reports have: a headline, JSON, a page."""

    verdict: str
    findings: Findings

    def _pictures(self) -> dict[str, tuple[tuple[float, float], Callable[[Axes], Any]]]:
        """Return heading -> (size in inches, what draws it)."""
        raise NotImplementedError

    @property
    def settled(self) -> bool:
        """Whether the test rows are enough to tell: no interval lies across a threshold that matters."""
        return "not_enough_data" not in self.findings

    @property
    def headline(self) -> str:
        """The verdict as a sign and words."""
        doubt = "" if self.settled else ", but not enough data to tell"
        return f"{_SIGNS[self.verdict]} Verdict: {self.verdict}{doubt}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, strings and lists, ready for JSON."""
        names = [each.name for each in fields(cast(Any, self)) if not each.name.startswith("_")]
        kept = {name: getattr(self, name) for name in names if name != "findings"}
        return {**plain(kept), "settled": self.settled, "findings": self.findings.to_dict()}

    def save(self, path: str | Path, title: str = "Report") -> Path:
        """Write the report as a page that stands alone, its pictures inside, or as JSON.

        Parameters
        ----------
        path
            A file that ends in ``.html`` or in ``.json``.
        title
            The heading of the page.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        FeatxError
            When the name ends in something else, or the file cannot be written.
        """
        from featx.pages import page, report_kind, write_report

        path = Path(path).expanduser()
        if report_kind(path) == "json":
            return write_report(path, json.dumps(self.to_dict(), indent=1) + "\n")
        return write_report(path, page(title, self._repr_html_() + self.pictures_html()))

    def pictures_html(self) -> str:
        """Draw all pictures that there are numbers for, as HTML with a heading and words for each."""
        from featx.pages import figure_axes, picture
        from featx.plots import alt_text

        html = ""
        for heading, (size, draw) in self._pictures().items():
            ax = figure_axes(*size)
            draw(ax)
            html += picture(heading, ax, alt_text(ax))
        return html


@dataclass(frozen=True, eq=False, repr=False)
class Report(_Report):
    """What `featx.evaluate` returns. In a notebook it shows as tables.

    Attributes
    ----------
    labels : list
        The C classes, in the order of the confusion matrix.
    support : list of int
        Test rows of each class.
    accuracy, majority_accuracy, balanced_accuracy, mcc : float
        `majority_accuracy` is what always answering `majority_label` scores.
    majority_label
        The most frequent class, of `y_train` where it is given.
    skill : float
        Share of the errors of guessing that are avoided: 0 guesses, 1 is perfect.
    precision, recall, f1 : list of float
        One value a class, 0 where a class was never predicted.
    macro_precision, macro_f1 : float
        Means over the classes that are there. (The mean of recall is the balanced accuracy.)
    positive
        The class that matters, or None.
    log_loss, guessing_log_loss : float or None
        Where probabilities were given; and of always giving the shares of the classes.
    confidence : float or None
        Mean probability of the answers. Above the accuracy: overconfident.
    roc_auc, average_precision : float or None
        Where scores were given. For more than two classes the mean of one class against the rest; where
        a class is `positive`, of that one.
    cost, guessing_cost : float or None
        Mean cost a row, where costs were given; and of the cheaper of the two constant answers.
    threshold : float or None
        From which score on the positive class was predicted, where that was said.
    confusion : numpy.ndarray
        ``(C, C)``: rows are true classes, columns predicted ones.
    intervals : dict of str to (float, float)
        Where ``"accuracy"``, ``"precision"``, ``"recall"`` and ``"log_loss"`` may lie on other test sets of
        this size (95 %, Bayesian bootstrap). Precision and recall are those of `positive`, else the means.
    class_intervals : dict of str to list
        The same for ``"precision"`` and ``"recall"`` of each class.
    ratings : dict of str to str
        The same names -> ``"good"``, ``"fair"`` or ``"bad"``, by `featx.metrics.THRESHOLDS`.
    verdict : str
        ``"good"`` where all are good, ``"bad"`` where some are bad and none is good, else ``"mixed"``.
        Precision and recall count as one, the weaker of the two.
    findings : Findings
        What stands out.
    """

    labels: list
    support: list[int]
    accuracy: float
    majority_accuracy: float
    majority_label: Any
    balanced_accuracy: float
    mcc: float
    skill: float
    precision: list[float]
    recall: list[float]
    f1: list[float]
    macro_precision: float
    macro_f1: float
    positive: Any
    log_loss: float | None
    guessing_log_loss: float | None
    confidence: float | None
    roc_auc: float | None
    average_precision: float | None
    cost: float | None
    guessing_cost: float | None
    threshold: float | None
    confusion: np.ndarray
    intervals: dict[str, tuple[float, float]]
    class_intervals: dict[str, list[tuple[float, float]]]
    ratings: dict[str, str]
    verdict: str
    findings: Findings
    _rows: Predictions
    _choice: ThresholdChoice | None = field(default=None)

    def summary(self) -> list[tuple[str, str, str, str]]:
        """Return ``(name, value, interval, rating)`` of the overall numbers, as text."""
        of = "" if self.positive is None else f" of {self.positive!r}"
        mean = "mean " if self.positive is None else ""
        at = None if self.positive is None else self.labels.index(self.positive)
        precision = self.macro_precision if at is None else self.precision[at]
        recall = self.balanced_accuracy if at is None else self.recall[at]
        rows = [
            ("accuracy", self.accuracy, "accuracy"),
            (f"always answering {self.majority_label!r}", self.majority_accuracy, ""),
            (f"{mean}precision{of}", precision, "precision"),
            (f"{mean}recall{of}", recall, "recall"),
            ("balanced accuracy", self.balanced_accuracy, ""),
            ("Matthews correlation", self.mcc, ""),
            ("log loss", self.log_loss, "log_loss"),
            ("always giving the shares of the classes", self.guessing_log_loss, ""),
            ("ROC-AUC", self.roc_auc, ""),
            ("average precision", self.average_precision, ""),
            ("mean cost a row", self.cost, ""),
            ("always giving the cheaper answer", self.guessing_cost, ""),
            ("threshold", self.threshold, ""),
        ]
        return [
            (
                name,
                f"{value:.3f}",
                _range(self.intervals.get(key), ".3f"),
                self.ratings.get(key, ""),
            )
            for name, value, key in rows
            if value is not None
        ]

    def per_class(self) -> list[tuple[str, str, str, str, str]]:
        """Return ``(class, precision, recall, F1, rows)`` for each class, as text."""
        numbers = zip(self.labels, self.precision, self.recall, self.f1, self.support, strict=True)
        return [(str(c), f"{p:.2f}", f"{r:.2f}", f"{f:.2f}", str(n)) for c, p, r, f, n in numbers]

    def sheet(self) -> Sheet:
        """Return everything that is shown, as text."""
        overall = Table(
            f"On {sum(self.support)} test rows", ("", "value", "95 % interval", "rating"), []
        )
        overall.rows.extend(self.summary())
        header = ("class", "precision", "recall", "F1", "rows")
        rows, caption = list(self.per_class()), "Class by class"
        if len(rows) > MOST_CLASSES:
            weakest = np.argsort(np.where(self.support, self.f1, np.inf), kind="stable")
            rows = [rows[c] for c in weakest[:MOST_CLASSES]]
            caption = f"The {len(rows)} weakest of {len(self.labels)} classes"
        classes = Table(caption, header, rows)
        return Sheet(self.headline, [overall, classes], self.findings)

    def plot(self, kind: str | None = None, ax: Axes | None = None) -> Any:
        """Draw the report.

        Parameters
        ----------
        kind
            ``"confusion"``, ``"precision_recall"``, ``"roc"`` or ``"calibration"``. By default the confusion
            matrix where `ax` is given, else all that there are numbers for but ``"roc"``, side by side.
        ax
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes or numpy.ndarray of Axes
            One, or one for each picture; `featx.plots.alt_text` says each in words.

        Raises
        ------
        FeatxError
            When there is no such picture, or the report has no scores to draw it from.
        """
        drawn = self._drawn()
        if kind is None and ax is not None:
            kind = "confusion"
        if kind is None:
            import matplotlib.pyplot as plt

            kinds = [name for name in drawn if name != "roc"]
            _, axes = plt.subplots(
                1, len(kinds), figsize=(5.2 * len(kinds), 4.8), layout="constrained", squeeze=False
            )
            return np.array([drawn[name](each) for name, each in zip(kinds, axes[0], strict=True)])
        if kind not in ("confusion", "precision_recall", "roc", "calibration"):
            raise FeatxError(
                'Expected kind to be "confusion", "precision_recall", "roc" or "calibration", got '
                f"{kind!r}. Leave it out to see all."
            )
        if kind not in drawn:
            raise FeatxError(
                f"Expected a report with what the picture {kind!r} shows, got one of {len(self.labels)} "
                f"classes {'without' if self._rows.score is None else 'with'} scores. Pass y_score to "
                "featx.evaluate, with positive=… where there are more than two classes."
            )
        return drawn[kind](ax)

    def _drawn(self) -> dict[str, Callable[[Axes | None], Axes]]:
        """Return kind -> what draws it, for all that there are numbers for."""
        from featx import plots  # matplotlib loads only for who wants a picture

        rows, score = self._rows, self._rows.binary_score
        drawn = {"confusion": lambda ax: plots.plot_confusion(self.confusion, self.labels, ax)}
        yes = rows.is_positive
        if score is not None and yes.any() and not yes.all():

            def precision_recall(ax: Axes | None) -> Axes:
                precision, recall, _ = sk.precision_recall_curve(yes, score)
                return plots.plot_precision_recall(
                    precision,
                    recall,
                    ax,
                    average_precision=self.average_precision,
                    prevalence=float(yes.mean()),
                    choice=self._choice,
                )

            def roc(ax: Axes | None) -> Axes:
                fpr, tpr, _ = sk.roc_curve(yes, score)
                return plots.plot_roc(fpr, tpr, ax, roc_auc=self.roc_auc, choice=self._choice)

            drawn |= {"precision_recall": precision_recall, "roc": roc}
        if rows.probability is not None:

            def calibration(ax: Axes | None) -> Axes:
                said = rows.cut_score  # not binary_score: the log-odds of logits are no probability
                if said is None:  # many classes: is the answer as often right as it says?
                    said = rows.probability.max(1)  # pyright: ignore[reportOptionalMemberAccess]
                    true = rows.probability.argmax(1) == rows.y_true  # pyright: ignore[reportOptionalMemberAccess]
                else:
                    true = yes
                observed, predicted = calibration_curve(true, said, n_bins=BINS)
                counts = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], said))
                return plots.plot_reliability(predicted, observed, ax, counts=counts[counts > 0])

            drawn["calibration"] = calibration
        return drawn

    def _pictures(self) -> dict[str, tuple[tuple[float, float], Callable[[Axes], Any]]]:
        drawn, side = self._drawn(), min(4 + 0.35 * len(self.labels), 16)
        return {
            heading: ((side, side) if kind == "confusion" else (6.0, 5.0), drawn[kind])
            for kind, heading in _HEADINGS.items()
            if kind in drawn
        }


BINS = 10  # of the reliability picture
MOST_CLASSES = 30  # shown: of more the weakest

_HEADINGS = {
    "confusion": "What is taken for what",
    "precision_recall": "Precision against recall",
    "roc": "Found against false alarms",
    "calibration": "Is it as often right as it says?",
}


@dataclass(frozen=True, eq=False, repr=False)
class RegressionReport(_Report):
    """What `featx.evaluate_regression` returns. In a notebook it shows as a table.

    Attributes
    ----------
    rows : int
        Test rows.
    mse, rmse, mae : float
        Mean squared error, its root, mean absolute error. Of several numbers a row, the means.
    r2 : float or None
        R², None where all true numbers are the same.
    mean_mse, mean_mae : float
        What always answering the mean scores, of `y_train` where it is given.
    skill : float or None
        Share of the mean's squared error that is avoided. This is R² where there is no `y_train`.
    bias : float
        Mean of prediction minus truth.
    intervals : dict of str to (float, float)
        Where ``"mse"``, ``"mae"``, ``"skill"`` and ``"bias"`` may lie on other test sets of this size (95 %,
        Bayesian bootstrap).
    ratings : dict of str to str
        ``"r2"`` -> ``"good"``, ``"fair"`` or ``"bad"``.
    verdict : str
        ``"good"``, ``"mixed"`` or ``"bad"``.
    findings : Findings
        What stands out.
    """

    rows: int
    mse: float
    rmse: float
    mae: float
    r2: float | None
    mean_mse: float
    mean_mae: float
    skill: float | None
    bias: float
    intervals: dict[str, tuple[float, float]]
    ratings: dict[str, str]
    verdict: str
    findings: Findings
    _y_true: np.ndarray
    _y_pred: np.ndarray

    def sheet(self) -> Sheet:
        """Return everything that is shown, as text."""
        rating = self.ratings.get("r2", "")
        rows = [
            ("R²", self.r2, "", rating),
            ("share of the mean's error avoided", self.skill, "skill", rating),
            ("mean squared error", self.mse, "mse", ""),
            ("always answering the mean", self.mean_mse, "", ""),
            ("its root", self.rmse, "", ""),
            ("mean absolute error", self.mae, "mae", ""),
            ("always answering the mean", self.mean_mae, "", ""),
            ("bias", self.bias, "bias", ""),
        ]
        cells = [
            (name, f"{value:.4g}", _range(self.intervals.get(key), ".3g"), rated)
            for name, value, key, rated in rows
            if value is not None
        ]
        table = Table(f"On {self.rows} test rows", ("", "value", "95 % interval", "rating"), cells)
        return Sheet(self.headline, [table], self.findings)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what was predicted over what was true."""
        from featx.plots import plot_predictions

        return plot_predictions(self._y_true.ravel(), self._y_pred.ravel(), ax)

    def _pictures(self) -> dict[str, tuple[tuple[float, float], Callable[[Axes], Any]]]:
        return {"Predicted over true": ((6.0, 5.0), self.plot)}


def _range(limits: tuple[float, float] | None, form: str) -> str:
    return "" if limits is None else f"{limits[0]:{form}} to {limits[1]:{form}}"
