"""What predicted classes are worth: the usual numbers, beside those of guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from featx.arrays import plain
from featx.errors import FeatxError
from featx.findings import Findings, with_overrides
from featx.metrics.explanations import (
    about_errors,
    about_guessing,
    about_the_data,
    about_trust,
    not_enough_data,
)
from featx.metrics.intervals import interval, mean_draws, rate_draws
from featx.metrics.predictions import Predictions, read_predictions
from featx.metrics.ratings import THRESHOLDS, rate_all, verdict
from featx.metrics.reports import Report
from featx.metrics.thresholds import ThresholdChoice, check_choice, check_costs

__all__ = ["evaluate"]


def evaluate(
    y_true: Any,
    y_pred: Any = None,
    y_score: Any = None,
    *,
    labels: Sequence | None = None,
    positive: Any = None,
    y_train: Any = None,
    score_type: str = "probability",
    threshold: float | ThresholdChoice | None = None,
    cost_fp: float | None = None,
    cost_fn: float | None = None,
    train_accuracy: float | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Report:
    """Compute the usual numbers with scikit-learn, and say what they mean.

    Parameters
    ----------
    y_true, y_pred
        True and predicted labels ``(N,)``: numbers, names or booleans. Without `y_pred` the class with the
        highest score is predicted.
    y_score
        Scores ``(N, C)`` in the order of `labels`; for two classes also ``(N,)``, those of `positive` (of
        the second class when `positive` is not given).
    labels
        All classes, also those that are missing here. By default those that occur, sorted.
    positive
        The class that matters (fraud, disease). The verdict then looks at its precision and recall,
        else at the means over the classes.
    y_train
        Labels of the training set; the majority baseline comes from them. By default from `y_true`.
    score_type
        What `y_score` is: ``"probability"``; ``"logit"``, which softmax (one column: the logistic function)
        turns into probabilities; or ``"margin"``, as from a `decision_function`: it ranks, and no log loss
        or calibration can be computed from it.
    threshold
        In place of `y_pred`, for two classes: `positive` is predicted from this score on. A choice of
        `featx.choose_threshold` remembers its rows, and a finding says if it was made on this test set.
    cost_fp, cost_fn
        What a false positive (a false alarm) and a false negative (a miss) of `positive` cost, both or
        none: the report gives the mean cost, and the findings say whether the costlier error is the
        frequent one.
    train_accuracy
        Accuracy on the rows trained on, to see overfitting.
    thresholds
        Overrides for `featx.metrics.THRESHOLDS`.

    Returns
    -------
    Report
        Numbers, intervals, verdict, findings. ``report.plot()`` draws it, ``report.save("report.html")``
        writes a page.

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
    >>> report.verdict, report.findings.codes
    ('mixed', ['not_enough_data'])
    """
    limits = with_overrides(thresholds, THRESHOLDS)
    choice = threshold if isinstance(threshold, ThresholdChoice) else None
    if choice is not None:
        check_choice(choice, positive, score_type)
        positive = choice.positive
        labels = choice.classes if labels is None else labels
    read = read_predictions(
        y_true,
        y_pred,
        y_score,
        labels=labels,
        positive=positive,
        y_train=y_train,
        score_type=score_type,
        threshold=_threshold(threshold, y_pred, y_score),
    )
    base = read.y_true if read.y_train is None else read.y_train
    costs = None if cost_fp is None and cost_fn is None else check_costs(cost_fp, cost_fn)
    if costs is not None and positive is None:
        raise FeatxError(
            "Expected positive to name the class whose misses and false alarms cost something, got None. "
            f"Name one of {read.classes}."
        )
    if train_accuracy is not None and not 0 <= train_accuracy <= 1:
        raise FeatxError(
            f"Expected train_accuracy from 0 to 1, got {train_accuracy!r}. Divide per cent by 100."
        )

    numbers, spans = _rates(read, base)
    losses, loss_spans = _losses(read, base)
    spans |= loss_spans
    rated = ("accuracy", "precision", "recall", "log_loss")
    numbers |= {
        **_areas(read),
        **losses,
        **_cost(numbers, costs),
        "intervals": {name: tuple(sorted(spans[name][1:])) for name in rated if name in spans},
    }
    # as measured, at its worst, at its best; of one class alone nothing had to be told apart
    ends = [{name: span[i] for name, span in spans.items()} for i in range(3)]
    one_class = len(np.unique(read.y_true)) == 1
    ratings = [rate_all({} if one_class else end, limits) for end in ends]
    found = [
        *about_the_data(read, base, numbers, choice, labels is not None, limits),
        *about_guessing(numbers, limits),
        *about_trust(read, numbers, train_accuracy, limits),
        *about_errors(numbers, costs, limits),
        *not_enough_data(numbers["intervals"], ratings, sum(numbers["support"])),
    ]
    return Report(
        **numbers,
        threshold=None if threshold is None else float(threshold),
        ratings=dict(ratings[0]),
        verdict=verdict(ratings[0]),
        findings=Findings(found),
        _rows=read,
        _choice=choice,
    )


def _threshold(threshold: Any, y_pred: Any, y_score: Any) -> float | None:
    if threshold is None:
        return None
    if y_pred is not None or y_score is None:
        raise FeatxError(
            "Expected scores and no predictions beside a threshold, for it makes the predictions, got "
            f"{'both' if y_score is not None else 'no scores'}. Write "
            "evaluate(y_true, y_score=…, threshold=…)."
        )
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = float("nan")
    if value != value:
        raise FeatxError(f"Expected threshold to be a number, got {threshold!r}.")
    return value


# --- numbers --------------------------------------------------------------------------------------

# What was measured, and the worst and the best that other test sets of this size may give.
_Spans = dict[str, tuple[float, float, float]]


def _span(value: float, draws: np.ndarray) -> tuple[float, float, float]:
    return (float(value), *interval(draws, float(value)))


def _rates(read: Predictions, base: np.ndarray) -> tuple[dict[str, Any], _Spans]:
    """Count right and wrong answers; return what the report holds, and the spans of what is rated."""
    true, said, classes, at = read.y_true, read.y_pred, read.classes, read.positive
    codes = range(len(classes))
    zero: Any = 0  # for a class that is never predicted; the type stubs know only names
    columns = sk.precision_recall_fscore_support(true, said, labels=codes, zero_division=zero)
    precision, recall, f1, support = map(np.asarray, columns)
    confusion = sk.confusion_matrix(true, said, labels=codes)
    there = support > 0
    accuracy = float(sk.accuracy_score(true, said))
    majority = int(np.bincount(base, minlength=len(classes)).argmax())
    hits = np.diag(confusion)
    of_each = {"precision": (precision, confusion.sum(0)), "recall": (recall, support)}
    spans = {
        "accuracy": _span(accuracy, rate_draws([np.trace(confusion)], [len(true)])[:, 0]),
        "skill": _skill_span(true == said, true == majority, int(there.sum())),
    }
    means = {
        name: _span(
            values[there].mean(),
            rate_draws(hits[there], rows[there], added=0.5 / there.sum()).mean(1),
        )
        for name, (values, rows) in of_each.items()
    }
    if there.sum() > 1:
        odds = 1 / there.sum()
        low, middle, high = ((end - odds) / (1 - odds) for end in sorted(means["recall"]))
        spans["balanced_skill"] = (middle, low, high)
    each = {name: rate_draws(hits, rows) for name, (_, rows) in of_each.items()}
    if at is None:
        spans |= means
    elif there[at]:  # else there is nothing that could be found
        spans |= {
            name: _span(values[at], each[name][:, at]) for name, (values, _) in of_each.items()
        }
    numbers = {
        "labels": classes,
        "support": support.tolist(),
        "accuracy": accuracy,
        "majority_accuracy": float(np.mean(true == majority)),
        "majority_label": classes[majority],
        "balanced_accuracy": float(recall[there].mean()),
        # not defined where all rows are of one class and are all taken for it
        "mcc": float(sk.matthews_corrcoef(true, said)) if confusion.max() < len(true) else 0.0,
        "skill": spans["skill"][0],
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "macro_precision": float(precision[there].mean()),
        "macro_f1": float(f1[there].mean()),
        "positive": None if at is None else classes[at],
        "confusion": confusion,
        "class_intervals": {
            name: [interval(d, v) for d, v in zip(each[name].T, values, strict=True)]
            for name, (values, _) in of_each.items()
        },
    }
    return numbers, spans


def _skill_span(
    right: np.ndarray, majority: np.ndarray, num_classes: int
) -> tuple[float, float, float]:
    """Return the share of guessing's errors that is avoided: both are measured on the same rows."""
    if num_classes == 1:
        return 0.0, 0.0, 0.0
    guessed, outcomes = majority.astype(float), np.array([-1.0, 0.0, 1.0])
    equal_odds = 1 / num_classes
    if majority.mean() < equal_odds:  # possible where the majority is that of the training set
        guessed, outcomes = np.full(len(right), equal_odds), np.array([0, 1]) - equal_odds
    gained, to_gain = right - guessed, 1 - guessed.mean()
    return _span(gained.mean() / to_gain, mean_draws(gained, outcomes) / to_gain)


def _areas(read: Predictions) -> dict[str, float | None]:
    """Compute the areas: of the positive class, else the mean of each class against the rest."""
    if read.score is None or (read.y_true == read.y_true[0]).all():
        return {"roc_auc": None, "average_precision": None}
    yes, score = read.is_positive, read.binary_score
    if score is None:
        there = np.unique(read.y_true)
        yes, score = read.y_true[:, None] == there, read.score[:, there]
    if not yes.any():
        return {"roc_auc": None, "average_precision": None}
    return {
        "roc_auc": float(sk.roc_auc_score(yes, score)),
        "average_precision": float(sk.average_precision_score(yes, score)),
    }


def _losses(read: Predictions, base: np.ndarray) -> tuple[dict[str, Any], _Spans]:
    """Compute what the probabilities are worth, beside always giving the shares of the classes."""
    names = ("log_loss", "guessing_log_loss", "confidence")
    if read.probability is None:
        return dict.fromkeys(names), {}
    true, count = read.y_true, len(read.classes)
    shares = np.bincount(base, minlength=count).astype(float)
    shares += not shares[np.unique(true)].all()  # what was never trained on may still come
    constant = np.broadcast_to(shares / shares.sum(), read.probability.shape)
    row_losses = np.stack([_row_losses(each, true) for each in (read.probability, constant)], 1)
    guessing = float(row_losses[:, 1].mean())
    log_loss = float(sk.log_loss(true, read.probability, labels=range(count)))
    draws = mean_draws(row_losses)
    value, low, high = _span(log_loss, draws[:, 0])
    skill = (0.0, 0.0, 0.0)
    if guessing:
        skill = _span(1 - log_loss / guessing, 1 - draws[:, 0] / draws[:, 1])
    numbers = dict(zip(names, (log_loss, guessing, read.probability.max(1).mean()), strict=True))
    # the worst loss is the highest
    return plain(numbers), {"log_loss": (value, high, low), "loss_skill": skill}


def _row_losses(probability: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Cross-entropy of each row; its mean is scikit-learn's `log_loss`."""
    own = probability[np.arange(len(true)), true]
    return -np.log(own.clip(np.finfo(probability.dtype).eps, 1))


def _cost(numbers: Mapping[str, Any], costs: tuple[float, float] | None) -> dict[str, float | None]:
    """Compute the mean cost a row, and that of the cheaper constant answer."""
    if costs is None:
        return {"cost": None, "guessing_cost": None}
    confusion, at = numbers["confusion"], numbers["labels"].index(numbers["positive"])
    rows, positives, right = confusion.sum(), confusion[at].sum(), confusion[at, at]
    alarms, missed = confusion[:, at].sum() - right, positives - right
    never, always = costs[1] * positives, costs[0] * (rows - positives)
    return {
        "cost": float(costs[0] * alarms + costs[1] * missed) / float(rows),
        "guessing_cost": float(min(never, always)) / float(rows),
    }
