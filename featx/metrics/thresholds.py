"""From which score on to say yes: chosen by what each kind of error costs, or by a floor that must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn import metrics as sk

from featx.arrays import as_numpy, plain
from featx.errors import FeatxError
from featx.findings import Finding, Findings, with_overrides
from featx.metrics.intervals import interval, rate_draws
from featx.metrics.predictions import Predictions, read_predictions, read_scores
from featx.metrics.ratings import THRESHOLDS
from featx.tables import Sheet, Shown, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "ThresholdChoice",
    "about_order",
    "check_choice",
    "check_costs",
    "choose_threshold",
    "reused_rows",
]


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdChoice(Shown):
    """The threshold that `choose_threshold` chose, and what it gives on the rows it was chosen on.

    Attributes
    ----------
    threshold : float
        The positive class is predicted from this score on.
    score_type : str
        What the scores were: a threshold on margins says nothing of probabilities.
    rule : str
        What it was chosen by.
    classes : list
        The two classes.
    positive
        The class that matters.
    rows : int
        Rows it was chosen on.
    precision, recall, false_positive_rate : float
        On these rows. Precision is 0 where nothing is predicted positive.
    false_negatives, false_positives : int
        Misses and false alarms.
    cost : float or None
        Mean cost a row, where it was chosen by cost.
    costs : tuple of float or None
        ``(cost_fp, cost_fn)``.
    floor : tuple or None
        ``("recall", 0.9)``: what had to hold.
    usual : dict
        The same numbers at the usual threshold: 0.5 for probabilities, 0 for margins.
    interval : tuple of float or None
        Where the number with the floor may lie on other rows (95 %).
    sweep : dict of str to numpy.ndarray
        ``(T,)`` each, by ascending threshold: ``"threshold"``, ``"precision"``, ``"recall"``,
        ``"false_negatives"``, ``"false_positives"``; by cost also ``"cost_fn"``, ``"cost_fp"`` and
        ``"cost"``, means a row.
    findings : Findings
        What stands out.
    """

    threshold: float
    score_type: str
    rule: str
    classes: list
    positive: Any
    rows: int
    precision: float
    recall: float
    false_positive_rate: float
    false_negatives: int
    false_positives: int
    cost: float | None
    costs: tuple[float, float] | None
    floor: tuple[str, float] | None
    usual: dict[str, float]
    interval: tuple[float, float] | None
    sweep: dict[str, np.ndarray]
    findings: Findings
    _seen: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def __float__(self) -> float:
        return self.threshold

    def predict(self, y_score: Any) -> np.ndarray:
        """Predict labels ``(N,)`` from scores as they were chosen on, ``(N,)`` or ``(N, 2)``.

        Raises
        ------
        FeatxError
            When they are not.
        """
        positive = self.classes.index(self.positive)
        if not as_numpy(y_score).ndim:
            raise FeatxError(
                "Expected scores (N,) or (N, 2), got one number. Write predict([score]) for one row."
            )
        rows = len(as_numpy(y_score))
        probability, score = read_scores(y_score, rows, self.classes, positive, self.score_type)
        cut = score if probability is None else probability
        places = np.where(cut[:, positive] >= self.threshold, positive, 1 - positive)
        return np.array(self.classes)[places]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what each threshold would give, the chosen one marked."""
        from featx.plots import plot_threshold_sweep

        return plot_threshold_sweep(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the sweep, ready for JSON."""
        left_out = ("sweep", "findings", "_seen")
        kept = {key: value for key, value in vars(self).items() if key not in left_out}
        return {**plain(kept), "findings": self.findings.to_dict()}

    def sheet(self) -> Sheet:
        """Return everything that is shown, as text."""
        here = {name: getattr(self, name) for name in _SHOWN}
        rows = [
            (words, _cell(here[name]), _cell(self.usual[name]))
            for name, words in _SHOWN.items()
            if here[name] is not None
        ]
        usual = f"usual: {self.usual['threshold']:g}"
        table = Table(f"On the {self.rows} rows it was chosen on", ("", "chosen", usual), rows)
        headline = f"Threshold {self.threshold:.4g} for {self.positive!r}: {self.rule}"
        return Sheet(headline, [table], self.findings)


_SHOWN = {
    "threshold": "threshold",
    "precision": "precision",
    "recall": "recall",
    "false_negatives": "missed",
    "false_positives": "false alarms",
    "cost": "mean cost a row",
}


def _cell(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def choose_threshold(
    y_true: Any,
    y_score: Any,
    *,
    cost_fp: float | None = None,
    cost_fn: float | None = None,
    min_recall: float | None = None,
    min_precision: float | None = None,
    positive: Any = None,
    score_type: str = "probability",
    thresholds: Mapping[str, float] | None = None,
) -> ThresholdChoice:
    """Choose the score from which on the positive class is predicted, on **validation** data.

    What to choose by depends on who pays for which error. A test for a disease: a missed disease is
    worse than a false alarm, so give a floor on recall, or a high `cost_fn`. A spam filter (spam is the
    positive class): a good mail thrown away is worse than a spam that came through, so give a floor
    on precision, or a high `cost_fp`.

    Parameters
    ----------
    y_true
        Labels ``(N,)`` of two classes.
    y_score
        Scores ``(N,)`` of the positive class, or ``(N, 2)``, as in `featx.evaluate`.
    cost_fp, cost_fn
        What a false positive (a false alarm) and a false negative (a miss) cost, in any unit. The threshold
        with the lowest cost is chosen; of equal ones the one that misses fewer.
    min_recall
        A floor on recall: of the thresholds that keep it, the one with the highest precision.
    min_precision
        A floor on precision: of the thresholds that keep it, the one with the highest recall.
    positive
        The class that matters; by default the second.
    score_type
        ``"probability"``, ``"logit"`` (the threshold is then one on probabilities) or ``"margin"``.
    thresholds
        Overrides for `featx.metrics.THRESHOLDS`.

    Returns
    -------
    ThresholdChoice
        Hand it to ``featx.evaluate(..., threshold=choice)``, with the **test** set. That the rows are the
        same ones is noticed there.

    Raises
    ------
    FeatxError
        When it is not said what to choose by, a floor cannot be reached, or labels and scores are not what
        they should be.

    Notes
    -----
    It lies in the middle between two scores, so that rounding does no harm. Where the scores are calibrated
    probabilities, the lowest cost is at ``cost_fp / (cost_fp + cost_fn)``: C. Elkan, "The Foundations of
    Cost-Sensitive Learning" (IJCAI 2001), equation 2. A finding says when that costs much more here.

    Examples
    --------
    A disease, where a miss costs as much as 20 false alarms:

    >>> rng = np.random.default_rng(0)
    >>> sick = np.arange(400) % 4 == 0
    >>> score = 1 / (1 + np.exp(-rng.normal(np.where(sick, 1, -2), 1)))
    >>> by_cost = choose_threshold(sick, score, positive=True, cost_fn=20, cost_fp=1)
    >>> by_cost.threshold < 0.5, by_cost.recall > by_cost.usual["recall"]
    (True, True)

    Spam, where at most one of 50 mails that are thrown away may be a good one:

    >>> by_floor = choose_threshold(sick, score, positive=True, min_precision=0.98)
    >>> by_floor.threshold > 0.5, by_floor.precision >= 0.98
    (True, True)
    """
    costs, floor = _rule(cost_fp, cost_fn, min_recall, min_precision)
    limits = with_overrides(thresholds, THRESHOLDS)
    read = read_predictions(y_true, y_score=y_score, positive=positive, score_type=score_type)
    if len(read.classes) != 2:
        raise FeatxError(
            f"Expected labels of two classes, got {len(read.classes)}: {read.classes}. Ask about one class: "
            "y_true == that class."
        )
    score, yes = cast(np.ndarray, read.cut_score), read.is_positive
    if yes.all() or not yes.any():
        raise FeatxError(
            f"Expected rows of both classes, got {len(yes)} of {read.classes[int(read.y_true[0])]!r} only. "
            "Choose the threshold on rows of both."
        )
    sweep = _sweep(score, yes, costs)
    at = _best(sweep, floor)
    usual = 0.0 if score_type == "margin" else 0.5
    measure = partial(_measure, score, yes, costs)
    threshold = _between(sweep["threshold"], at)
    chosen, findings = measure(threshold), []
    spread = None
    if floor is not None:
        spread, short = _floor_interval(floor, chosen, int(yes.sum()))
        findings += short
    elif costs is not None and score_type != "margin":
        findings += _against_theory(chosen, measure(_theory(costs)), limits)
    positive = read.classes[1 if read.positive is None else read.positive]
    findings += [
        *about_order(float(sk.roc_auc_score(yes, cast(Any, read.binary_score))), read, limits),
        *_about_one_answer(chosen, int(yes.sum()), len(yes)),
    ]
    return ThresholdChoice(
        score_type=score_type,
        rule=_words(costs, floor, positive),
        classes=read.classes,
        positive=positive,
        rows=len(yes),
        costs=costs,
        floor=floor,
        usual=measure(usual),
        interval=spread,
        sweep=sweep,
        findings=Findings(findings),
        _seen=_seen_rows(read),
        **cast(Any, chosen),
    )


def check_costs(cost_fp: Any, cost_fn: Any) -> tuple[float, float]:
    """Return the costs of a false positive and of a false negative, or say what is wrong with them."""
    for name, cost in (("cost_fp", cost_fp), ("cost_fn", cost_fn)):
        if not _is_number(cost) or not 0 <= cost < np.inf:
            raise FeatxError(
                f"Expected both costs as numbers from 0, got {name}={cost!r}. Only their ratio matters: "
                "cost_fp=1, cost_fn=10 says that a miss costs as much as 10 false alarms."
            )
    if cost_fp == cost_fn == 0:
        raise FeatxError("Expected an error that costs something, got 0 for both. Give one a cost.")
    return float(cost_fp), float(cost_fn)


def _rule(
    cost_fp: Any, cost_fn: Any, min_recall: Any, min_precision: Any
) -> tuple[tuple[float, float] | None, tuple[str, float] | None]:
    """Return the costs or the floor: exactly one of them."""
    ways = [cost_fp is not None or cost_fn is not None, min_recall is not None]
    if sum([*ways, min_precision is not None]) != 1:
        raise FeatxError(
            "Expected one thing to choose by: both costs (cost_fp=…, cost_fn=…), or min_recall=…, or "
            "min_precision=…, got "
            + ("none of them." if not any([*ways, min_precision is not None]) else "several.")
            + " Ask which error is worse, a miss or a false alarm."
        )
    if ways[0]:
        return check_costs(cost_fp, cost_fn), None
    name, floor = ("recall", min_recall) if ways[1] else ("precision", min_precision)
    if not _is_number(floor) or not 0 < floor <= 1:
        raise FeatxError(
            f"Expected min_{name} above 0 and up to 1, got {floor!r}. Divide per cent by 100."
        )
    return None, (name, float(floor))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _sweep(
    score: np.ndarray, yes: np.ndarray, costs: tuple[float, float] | None
) -> dict[str, np.ndarray]:
    """Return what each threshold gives; the last one lies above all scores."""
    precision, recall, at = sk.precision_recall_curve(yes, score)
    # the same thresholds from above, with one more at infinity, where nothing is predicted positive
    false_positive_rate, true_positive_rate, _ = sk.roc_curve(yes, score, drop_intermediate=False)
    precision[-1] = 0.0  # of no prediction none is right
    sweep = {
        "threshold": np.append(at, np.nextafter(at[-1], np.inf)),
        "precision": precision,
        "recall": recall,
        "false_negatives": np.rint((1 - true_positive_rate[::-1]) * yes.sum()).astype(int),
        "false_positives": np.rint(false_positive_rate[::-1] * (~yes).sum()).astype(int),
    }
    if costs is not None:
        sweep["cost_fp"] = costs[0] * sweep["false_positives"] / len(yes)
        sweep["cost_fn"] = costs[1] * sweep["false_negatives"] / len(yes)
        sweep["cost"] = sweep["cost_fp"] + sweep["cost_fn"]
    return sweep


def _best(sweep: dict[str, np.ndarray], floor: tuple[str, float] | None) -> int:
    if floor is None:
        lowest = np.flatnonzero(sweep["cost"] == sweep["cost"].min())
        misses = sweep["false_negatives"][lowest]
        return int(lowest[misses == misses.min()][-1])  # and then the fewest false alarms
    name, least = floor
    other = "precision" if name == "recall" else "recall"
    reached = sweep[name] >= least
    if not reached.any():
        best = int(sweep[name].argmax())
        raise FeatxError(
            f"Expected a {name} of at least {least:g}, but these scores reach {sweep[name][best]:.3f} at "
            f"most (there {other} is {sweep[other][best]:.3f}). Lower the floor, or get better features."
        )
    highest = sweep[other][reached].max()
    # of those that reach it, the one that keeps the floor with most to spare
    return int(np.where(reached & (sweep[other] == highest), sweep[name], -1.0).argmax())


def _between(at: np.ndarray, index: int) -> float:
    """Return a threshold that parts score number `index` from the next lower one."""
    if index == 0:
        return float(at[0])
    middle = at[index - 1] + (at[index] - at[index - 1]) / 2
    return float(middle if middle > at[index - 1] else at[index])  # neighbours have no middle


def _measure(
    score: np.ndarray, yes: np.ndarray, costs: tuple[float, float] | None, threshold: float
) -> dict[str, Any]:
    said = score >= threshold
    tn, fp, fn, _ = map(int, sk.confusion_matrix(yes, said, labels=[False, True]).ravel())
    zero: Any = 0
    return {
        "threshold": float(threshold),
        "precision": float(sk.precision_score(yes, said, zero_division=zero)),
        "recall": float(sk.recall_score(yes, said)),
        "false_positive_rate": fp / (fp + tn),
        "false_negatives": fn,
        "false_positives": fp,
        "cost": None if costs is None else (costs[0] * fp + costs[1] * fn) / len(yes),
    }


def _theory(costs: tuple[float, float]) -> float:
    return costs[0] / sum(costs)


def _words(
    costs: tuple[float, float] | None, floor: tuple[str, float] | None, positive: Any
) -> str:
    if costs is not None:
        return f"lowest cost, where a missed {positive!r} costs {costs[1]:g} and a false alarm {costs[0]:g}"
    assert floor is not None
    name, least = floor
    other = "precision" if name == "recall" else "recall"
    return f"highest {other} with a {name} of at least {least:g}"


def _floor_interval(
    floor: tuple[str, float], chosen: dict[str, Any], positives: int
) -> tuple[tuple[float, float], list[Finding]]:
    """Say how far the number with the floor can be trusted on other rows."""
    name, least = floor
    hits = positives - chosen["false_negatives"]
    rows = positives if name == "recall" else hits + chosen["false_positives"]
    low, high = interval(rate_draws([hits], [rows])[:, 0], chosen[name])
    if low >= least:
        return (low, high), []
    counted = f"{rows} rows that are positive" if name == "recall" else f"{rows} positive answers"
    finding = Finding(
        "floor_not_certain",
        f"The {name} of {chosen[name]:.3f} comes from {counted}: on other rows it may be {low:.2f} to "
        f"{high:.2f}, below the floor of {least:g}.",
        "Choose it on more rows, or with a higher floor.",
        {"low": low, "high": high, "floor": least, "rows": rows},
    )
    return (low, high), [finding]


def _against_theory(
    chosen: dict[str, Any], theory: dict[str, Any], limits: Mapping[str, float]
) -> list[Finding]:
    if theory["cost"] <= limits["cost_of_theory"] * chosen["cost"]:
        return []
    return [
        Finding(
            "scores_not_calibrated",
            f"Were the scores calibrated probabilities, {theory['threshold']:.3g} would be the threshold; "
            f"here it costs {theory['cost']:.3g} a row, and {chosen['threshold']:.3g} costs "
            f"{chosen['cost']:.3g}.",
            "Do not read these scores as probabilities; look at the reliability picture.",
            {"theory": theory["threshold"], "cost_there": theory["cost"], "cost": chosen["cost"]},
        )
    ]


def _about_one_answer(chosen: dict[str, Any], positives: int, rows: int) -> list[Finding]:
    """Say when the threshold makes all answers the same."""
    always = chosen["false_positives"] == rows - positives and not chosen["false_negatives"]
    never = chosen["false_negatives"] == positives and not chosen["false_positives"]
    if not (always or never):
        return []
    return [
        Finding(
            "one_answer",
            f"With this threshold {'every' if always else 'no'} row is called positive: the scores are not "
            "worth looking at by what was asked for.",
            "Check the costs or the floor, and whether the features tell anything.",
            {"positive_answers": rows if always else 0},
        )
    ]


def about_order(roc_auc: float, read: Predictions, limits: Mapping[str, float]) -> list[Finding]:
    """Say when scores of two classes rank them the wrong way round."""
    if roc_auc >= limits["reversed_auc"]:
        return []
    side = 1 if read.positive is None else read.positive
    this, other = read.classes[side], read.classes[1 - side]
    return [
        Finding(
            "scores_reversed",
            f"Rows of {this!r} have the lower scores (ROC-AUC {roc_auc:.2f}): these look like the scores of "
            f"{other!r}.",
            f"Pass positive={other!r}, or the other column.",
            {"roc_auc": roc_auc},
        )
    ]


def check_choice(choice: ThresholdChoice, positive: Any, score_type: str) -> None:
    """Say when a threshold is used for something else than it was chosen for."""
    if positive is not None and plain(positive) != choice.positive:
        raise FeatxError(
            f"Expected positive={choice.positive!r}, for which the threshold was chosen, got {positive!r}. "
            "Choose one for that class."
        )
    if (score_type == "margin") != (choice.score_type == "margin"):
        raise FeatxError(
            f"Expected scores of the type {choice.score_type!r}, on which the threshold was chosen, got "
            f"{score_type!r}. Choose and test on the same scores."
        )


def _seen_rows(read: Predictions) -> np.ndarray:
    """Return a row of label and score for each row, sorted, to know them again."""
    pairs = np.stack([read.is_positive.astype(float), cast(np.ndarray, read.cut_score)], 1)
    return pairs[np.lexsort(pairs.T)]


def reused_rows(choice: ThresholdChoice, read: Predictions) -> int:
    """Count the test rows that a threshold was chosen on, by their label and score.

    Parameters
    ----------
    choice
        From `choose_threshold`.
    read
        The test rows.

    Returns
    -------
    int
        All, where label and score of all rows are the same; else those found again, where hardly any two
        rows have the same score, so that finding one again is no chance.
    """
    if read.binary_score is None:
        return 0
    seen, now = choice._seen, _seen_rows(read)
    if seen.shape == now.shape and np.array_equal(seen, now):
        return len(now)
    distinct = [np.unique(each, axis=0) for each in (seen, now)]
    if any(len(d) < 0.9 * len(each) for d, each in zip(distinct, (seen, now), strict=True)):
        return 0
    known = set(map(tuple, distinct[0].tolist()))
    return sum(tuple(row) in known for row in now.tolist())
