"""Numbers with a verdict: what scikit-learn computes, and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np
from sklearn import metrics as sk

from featx.errors import FeatxError

__all__ = ["THRESHOLDS", "Finding", "Report", "evaluate"]

#: What counts as good and as bad. Override with ``evaluate(..., thresholds={...})``.
THRESHOLDS = {
    "accuracy_good": 0.85,  # above this, on data not trained on
    "accuracy_margin": 0.10,  # no more than this above guessing is bad
    "recall_good": 0.80,  # precision and recall both above
    "recall_bad": 0.50,  # either below
    "loss_good": 0.50,  # cross-entropy below, in nats
}


@dataclass(frozen=True)
class Finding:
    """One thing that the numbers show.

    Attributes
    ----------
    code : str
        Its name, for programs: ``"accuracy_paradox"``.
    message : str
        A sentence with the numbers behind it.
    advice : str
        What to do next.
    """

    code: str
    message: str
    advice: str


@dataclass(frozen=True, eq=False)
class Report:
    """What `evaluate` returns. In a notebook it shows as a table.

    Attributes
    ----------
    labels : list
        The classes, in the order of the confusion matrix.
    support : list of int
        Test rows of each class.
    accuracy, majority_accuracy, balanced_accuracy, mcc : float
        `majority_accuracy` is what always answering the most frequent class scores.
    majority_label
        That most frequent class (of `y_train` where it is given).
    precision, recall, f1 : list of float
        One value a class, 0 where a class was never predicted.
    positive
        The class that matters, or None.
    log_loss, roc_auc, average_precision : float or None
        Where scores were given; the last two for two classes.
    confusion : numpy.ndarray
        ``(num_classes, num_classes)``: rows are true classes, columns predicted ones.
    verdict : str
        ``"good"``, ``"mixed"`` or ``"bad"``, by `THRESHOLDS`.
    findings : list of Finding
        What stands out.
    """

    labels: list
    support: list[int]
    accuracy: float
    majority_accuracy: float
    majority_label: Any
    balanced_accuracy: float
    mcc: float
    precision: list[float]
    recall: list[float]
    f1: list[float]
    positive: Any
    log_loss: float | None
    roc_auc: float | None
    average_precision: float | None
    confusion: np.ndarray
    verdict: str
    findings: list[Finding]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, strings and lists, ready for JSON."""
        return _plain(asdict(self))

    def summary(self) -> list[tuple[str, str]]:
        """Return the overall numbers as ``(name, value)`` pairs of text."""
        rows = [
            ("verdict", self.verdict),
            ("accuracy", f"{self.accuracy:.3f}"),
            (f"always answering {self.majority_label!r}", f"{self.majority_accuracy:.3f}"),
            ("balanced accuracy", f"{self.balanced_accuracy:.3f}"),
            ("Matthews correlation", f"{self.mcc:.3f}"),
        ]
        optional = {
            "log loss": self.log_loss,
            "ROC-AUC": self.roc_auc,
            "average precision": self.average_precision,
        }
        return rows + [(k, f"{v:.3f}") for k, v in optional.items() if v is not None]

    def per_class(self) -> list[tuple[str, str, str, str, str]]:
        """Return ``(class, precision, recall, F1, rows)`` for each class, as text."""
        numbers = zip(self.labels, self.precision, self.recall, self.f1, self.support, strict=True)
        return [(str(c), f"{p:.2f}", f"{r:.2f}", f"{f:.2f}", str(n)) for c, p, r, f, n in numbers]

    def plot(self, ax: Any = None) -> Any:
        """Draw the confusion matrix and return its Axes."""
        display = sk.ConfusionMatrixDisplay(self.confusion, display_labels=self.labels)
        display.plot(ax=ax, cmap="Blues", colorbar=False)
        display.ax_.set(xlabel="predicted class", ylabel="true class")
        return display.ax_

    def __str__(self) -> str:
        lines = [f"{name:<28}{value}" for name, value in self.summary()]
        lines += ["", f"{'class':<16}precision  recall  F1    rows"]
        lines += [f"{c:<16}{p:<11}{r:<8}{f:<6}{n}" for c, p, r, f, n in self.per_class()]
        lines += [""] * bool(self.findings)
        lines += [f"{finding.message} {finding.advice}" for finding in self.findings]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        summary = "".join(
            f"<tr><th scope='row' style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.summary()
        )
        head = "".join(
            f"<th scope='col'>{name}</th>"
            for name in ("class", "precision", "recall", "F1", "rows")
        )
        classes = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.per_class()
        )
        findings = "".join(
            f"<li>{escape(finding.message)} <em>{escape(finding.advice)}</em></li>"
            for finding in self.findings
        )
        return (
            f"<table><caption>Report: {self.verdict}</caption><tbody>{summary}</tbody></table>"
            f"<table><caption>Class by class</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{classes}</tbody></table>" + (f"<ul>{findings}</ul>" if findings else "")
        )


def evaluate(
    y_true: Any,
    y_pred: Any,
    y_score: Any = None,
    *,
    labels: Sequence | None = None,
    positive: Any = None,
    y_train: Any = None,
    thresholds: dict[str, float] | None = None,
) -> Report:
    """Compute the usual numbers with scikit-learn, and say what they mean.

    Parameters
    ----------
    y_true, y_pred
        True and predicted labels ``(N,)``: numbers or strings.
    y_score
        Probabilities ``(N, num_classes)`` in the order of `labels`; for two classes also ``(N,)``, the
        probability of `positive` (of the second class when `positive` is not given).
    labels
        All classes, also those that are missing here. By default those that occur, sorted.
    positive
        The class that matters (fraud, disease). The verdict then looks at its precision and recall,
        else at the mean over the classes.
    y_train
        Labels of the training set; the majority baseline comes from them. By default from `y_true`.
    thresholds
        Overrides for `THRESHOLDS`.

    Returns
    -------
    Report
        Numbers, verdict, findings; ``report.plot()`` draws the confusion matrix.

    Raises
    ------
    FeatxError
        When lengths differ, nothing is there, or a label, score or threshold is not what it should be.

    Examples
    --------
    Cats against dogs, 50 + 10 + 5 + 35 pictures:

    >>> y_true = ["cat"] * 60 + ["dog"] * 40
    >>> y_pred = ["cat"] * 50 + ["dog"] * 10 + ["cat"] * 5 + ["dog"] * 35
    >>> report = evaluate(y_true, y_pred, positive="cat")
    >>> round(report.precision[0], 2), round(report.recall[0], 2), report.accuracy
    (0.91, 0.83, 0.85)
    """
    y_true, y_pred = _column(y_true, "y_true"), _column(y_pred, "y_pred")
    if len(y_true) != len(y_pred) or len(y_true) == 0:
        raise FeatxError(
            f"Expected one prediction for each true label, got {len(y_true)} labels and "
            f"{len(y_pred)} predictions."
        )
    if (y_true.dtype.kind in "OUS") != (y_pred.dtype.kind in "OUS"):
        raise FeatxError(
            f"Expected true and predicted labels of one kind, got {y_true.dtype} and {y_pred.dtype}. "
            "Turn both into names or both into numbers."
        )
    seen = np.unique(np.concatenate([y_true, y_pred]))
    classes = list(seen) if labels is None else list(labels)
    unknown = sorted(set(seen.tolist()) - set(np.asarray(classes).tolist()), key=str)
    if unknown or (positive is not None and positive not in classes):
        raise FeatxError(
            f"Expected labels among {[_plain(c) for c in classes]}, got "
            f"{unknown or [positive]}. Name all classes with labels=[…]."
        )
    if len(classes) < 2:
        raise FeatxError(
            f"Expected at least two classes, got only {_plain(classes[0])!r}. Name all classes with "
            "labels=[…]."
        )
    limits = {**THRESHOLDS, **(thresholds or {})}
    if len(limits) > len(THRESHOLDS):
        wrong = sorted(set(limits) - set(THRESHOLDS))
        raise FeatxError(f"Expected thresholds among {list(THRESHOLDS)}, got {wrong}.")

    base = y_true if y_train is None else _column(y_train, "y_train")
    if len(base) == 0:
        raise FeatxError("Expected y_train to hold the training labels, got none. Leave it out.")
    values, counts = np.unique(base, return_counts=True)
    majority = values[counts.argmax()]
    zero: Any = 0  # for a class that is never predicted; the type stubs know only names
    columns = sk.precision_recall_fscore_support(y_true, y_pred, labels=classes, zero_division=zero)
    precision, recall, f1, support = map(np.asarray, columns)
    present = support > 0
    numbers = {
        "labels": [_plain(c) for c in classes],
        "support": support.tolist(),
        "accuracy": float(sk.accuracy_score(y_true, y_pred)),
        "majority_accuracy": float(np.mean(y_true == majority)),
        "majority_label": _plain(majority),
        "balanced_accuracy": float(recall[present].mean()),
        "mcc": float(sk.matthews_corrcoef(y_true, y_pred)) if len(seen) > 1 else 0.0,
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "positive": _plain(positive),
        "confusion": sk.confusion_matrix(y_true, y_pred, labels=classes),
        **_score_metrics(y_true, y_score, classes, positive),
    }
    if positive is None:
        p, r = float(precision[present].mean()), float(recall[present].mean())
    else:
        at = classes.index(positive)
        p, r = float(precision[at]), float(recall[at])
    verdict = _verdict(numbers, p, r, int(present.sum()), limits)
    return Report(**numbers, verdict=verdict, findings=_findings(numbers, p, r, limits))


def _verdict(numbers: dict, p: float, r: float, num_classes: int, limits: dict) -> str:
    """Apply the table of good and bad values: all good, none good, or in between."""
    guessing = max(numbers["majority_accuracy"], 1 / num_classes)
    loss = numbers["log_loss"]
    good = [
        numbers["accuracy"] > limits["accuracy_good"],
        p > limits["recall_good"] and r > limits["recall_good"],
    ]
    bad = [
        numbers["accuracy"] <= guessing + limits["accuracy_margin"] * (1 - guessing),
        p < limits["recall_bad"] or r < limits["recall_bad"],
    ]
    if loss is not None:
        good.append(loss < limits["loss_good"])
        bad.append(loss >= np.log(num_classes))  # no better than equal odds for all
    if num_classes == 1:
        return "mixed"  # whatever the numbers: nothing was there to be told apart
    # Beating nobody, or failing the class that matters, is bad however good another number looks.
    if bad[0] or (bad[1] and numbers["positive"] is not None):
        return "bad"
    if all(good):
        return "good"
    return "bad" if any(bad) and not any(good) else "mixed"


def _findings(numbers: dict, p: float, r: float, limits: dict) -> list[Finding]:
    findings = []
    accuracy, majority = numbers["accuracy"], numbers["majority_accuracy"]
    if accuracy > limits["accuracy_good"] and r < limits["recall_bad"]:
        what = "the classes" if numbers["positive"] is None else repr(numbers["positive"])
        findings.append(
            Finding(
                "accuracy_paradox",
                f"Accuracy is {accuracy:.2f}, yet recall of {what} is {r:.2f}: most of it is missed, "
                f"and always answering {numbers['majority_label']!r} scores {majority:.2f} already.",
                "Judge by recall, precision and balanced accuracy.",
            )
        )
    elif sum(n > 0 for n in numbers["support"]) == 1:
        findings.append(
            Finding(
                "one_class_only",
                f"All {sum(numbers['support'])} test rows are of one class, so nothing had to be told apart.",
                "Test on rows of all classes.",
            )
        )
    elif accuracy <= majority:
        findings.append(
            Finding(
                "no_better_than_majority",
                f"Accuracy is {accuracy:.2f}; always answering {numbers['majority_label']!r} scores "
                f"{majority:.2f}.",
                "Check labels and preprocessing before anything else.",
            )
        )
    never = [
        c
        for c, n, column in zip(
            numbers["labels"], numbers["support"], numbers["confusion"].T, strict=True
        )
        if n and not column.any()
    ]
    if never:
        findings.append(
            Finding(
                "class_never_predicted",
                f"Never predicted: {', '.join(map(str, never))}.",
                "Look at the class counts, and weight the classes (class_weight='balanced').",
            )
        )
    return findings


def _score_metrics(y_true: np.ndarray, y_score: Any, classes: list, positive: Any) -> dict:
    if y_score is None:
        return {"log_loss": None, "roc_auc": None, "average_precision": None}
    score = np.asarray(y_score, dtype=float)
    if score.ndim == 1 and len(classes) == 2:
        at = 1 if positive is None else classes.index(positive)
        score = np.stack([1 - score, score] if at else [score, 1 - score], 1)
    if score.shape != (len(y_true), len(classes)):
        raise FeatxError(
            f"Expected y_score of the shape {(len(y_true), len(classes))}, one column a class, got "
            f"{np.shape(y_score)}."
        )
    if (
        not np.isfinite(score).all()
        or score.min() < 0
        or not np.allclose(score.sum(1), 1, atol=1e-3)
    ):
        raise FeatxError(
            "Expected y_score to hold probabilities: finite, from 0 to 1, each row with the sum 1. "
            "Apply softmax to logits first."
        )
    score = score / score.sum(1, keepdims=True)  # exactly one, where float32 was only close
    index = {c: i for i, c in enumerate(classes)}
    codes = np.array([index[c] for c in y_true.tolist()])
    result: dict[str, float | None] = {
        "log_loss": float(sk.log_loss(codes, score, labels=range(len(classes)))),
        "roc_auc": None,
        "average_precision": None,
    }
    at = 1 if positive is None else index[positive]
    if len(classes) == 2 and len(np.unique(codes)) == 2:
        result["roc_auc"] = float(sk.roc_auc_score(codes == at, score[:, at]))
        result["average_precision"] = float(sk.average_precision_score(codes == at, score[:, at]))
    return result


def _column(values: Any, name: str) -> np.ndarray:
    column = np.asarray(values)
    if column.ndim != 1:
        raise FeatxError(
            f"Expected {name} to be one label a row, got the shape {column.shape}. "
            "For scores take scores.argmax(1)."
        )
    return column


def _plain(value: Any) -> Any:
    """Turn NumPy's values into Python's, through dicts and lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
