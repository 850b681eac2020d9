"""What the numbers of a classification show, beyond the verdict: each finding by a rule of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from featx.findings import Finding
from featx.metrics.intervals import interval, rate_draws
from featx.metrics.predictions import Predictions
from featx.metrics.ratings import Rating, verdict
from featx.metrics.thresholds import ThresholdChoice, about_order, reused_rows

__all__ = ["about_errors", "about_guessing", "about_the_data", "about_trust", "not_enough_data"]


def about_the_data(
    read: Predictions,
    base: np.ndarray,
    numbers: dict[str, Any],
    choice: ThresholdChoice | None,
    labels_named: bool,
    limits: Mapping[str, float],
) -> Iterator[Finding]:
    """Ask whether this is a fair test at all."""
    rows, support = len(read.y_true), np.array(numbers["support"])
    if (support > 0).sum() == 1:
        yield Finding(
            "one_class_only",
            f"All {rows} test rows are of one class, so nothing had to be told apart.",
            "Test on rows of all classes.",
            {"rows": rows},
        )
    if read.positive is not None and not support[read.positive]:
        yield Finding(
            "positive_missing",
            f"No test row is of {read.classes[read.positive]!r}, the class that matters, so nothing is known "
            "about how well it is found.",
            "Test on rows of it.",
            {"class": read.classes[read.positive]},
        )
    new = [read.classes[c] for c in np.flatnonzero(support) if not (base == c).any()]
    if new:
        yield Finding(
            "class_not_trained",
            f"In the test rows, but not in y_train: {', '.join(map(str, new))}.",
            "Nobody learns a class that was not shown: split so that all classes are in both.",
            {"classes": new},
        )
    said = [read.classes[c] for c in np.unique(read.y_pred) if not support[c] and c not in base]
    if said and not labels_named:
        yield Finding(
            "class_only_predicted",
            f"Predicted, but no true label here or in y_train: {', '.join(map(repr, said))}.",
            "Check the spelling of the labels, or name all classes with labels=[…].",
            {"classes": said},
        )
    reused = 0 if choice is None else reused_rows(choice, read)
    if reused > limits["same_rows"] * rows:
        yield Finding(
            "threshold_chosen_on_test",
            f"The threshold was chosen on {reused} of these {rows} test rows, so the numbers here are better "
            "than they will be.",
            "Choose it on validation rows, and test it once on others.",
            {"reused": reused, "rows": rows},
        )
    if len(read.classes) == 2 and numbers["roc_auc"] is not None:
        yield from about_order(numbers["roc_auc"], read, limits)
    strange = _not_from_scores(read)
    if strange:
        yield Finding(
            "predictions_not_from_scores",
            f"{strange} of {rows} predictions are not what the scores say, whatever the threshold.",
            "Check the order of the columns: they must stand as labels does.",
            {"rows": strange},
        )


def _not_from_scores(read: Predictions) -> int:
    """Count predictions that the scores speak against: by any threshold, or as the highest score."""
    if read.score is None:
        return 0
    if len(read.classes) == 2:
        said = read.score[read.y_pred == 1, 1], read.score[read.y_pred == 0, 1]
        if not len(said[0]) or not len(said[1]) or said[0].min() >= said[1].max():
            return 0
    own = read.score[np.arange(len(read.y_pred)), read.y_pred]
    return int(np.sum(own < read.score.max(1) - 1e-6))


def about_guessing(numbers: dict[str, Any], limits: Mapping[str, float]) -> Iterator[Finding]:
    """Ask whether it beats who always gives the same answer, and whether accuracy hides that."""
    accuracy, majority = numbers["accuracy"], numbers["majority_accuracy"]
    answer = f"always answering {numbers['majority_label']!r}"
    behind = {"accuracy": accuracy, "majority_accuracy": majority}
    missed = _missed_class(numbers, limits)
    one_class = sum(n > 0 for n in numbers["support"]) == 1
    if accuracy > limits["accuracy_good"] and missed is not None and not one_class:
        name, recall = missed
        paradox = majority >= limits["paradox_majority"]
        hidden = f", and {answer} scores {majority:.2f} already" if paradox else ""
        yield Finding(
            "accuracy_paradox" if paradox else "class_missed",
            f"Accuracy is {accuracy:.2f}, yet recall of {name!r} is {recall:.2f}: most of it is missed"
            f"{hidden}.",
            "Judge by recall, precision and balanced accuracy.",
            {**behind, "class": name, "recall": recall},
        )
    elif not one_class and accuracy <= majority:
        # rare classes may well be found, and accuracy does not show it
        finds = numbers["balanced_accuracy"] - 1 / sum(n > 0 for n in numbers["support"])
        yield Finding(
            "no_better_than_majority",
            f"Accuracy is {accuracy:.2f}; {answer} scores {majority:.2f}.",
            "Accuracy does not show what it finds: judge by recall, precision and cost."
            if finds > limits["guessing_margin"]
            else "Check labels and preprocessing before anything else.",
            {**behind, "balanced_accuracy": numbers["balanced_accuracy"]},
        )
    columns = zip(numbers["labels"], numbers["support"], numbers["confusion"].T, strict=True)
    never = [label for label, n, column in columns if n and not column.any()]
    if never:
        yield Finding(
            "class_never_predicted",
            f"Never predicted: {', '.join(map(str, never))}.",
            "Look at the class counts, and weight the classes (class_weight='balanced').",
            {"classes": never},
        )


def _missed_class(numbers: dict[str, Any], limits: Mapping[str, float]) -> tuple[Any, float] | None:
    """Return the class that matters if most of it is missed; where none is named, the worst one.

    Of those that nobody named some class is always the worst, so there the whole interval must be low.
    """
    bad = limits["precision_recall_bad"]
    if numbers["positive"] is not None:
        at = numbers["labels"].index(numbers["positive"])
        recall = numbers["recall"][at]
        return (numbers["positive"], recall) if numbers["support"][at] and recall < bad else None
    spans = numbers["class_intervals"]["recall"]
    low = [
        (recall, label)
        for label, n, recall, (_, high) in zip(
            numbers["labels"], numbers["support"], numbers["recall"], spans, strict=True
        )
        if n and high < bad
    ]
    return min(low, key=lambda pair: pair[0])[::-1] if low else None


def about_trust(
    read: Predictions,
    numbers: dict[str, Any],
    train_accuracy: float | None,
    limits: Mapping[str, float],
) -> Iterator[Finding]:
    """Ask whether it is too good to be true, better on the rows it knows, or too sure of itself."""
    accuracy, rows = numbers["accuracy"], sum(numbers["support"])
    advice = (
        "Look for the same images in training and test: featx.pitfalls.check_split(train, test)."
    )
    gap = limits["overfitting_gap"]
    low, high = numbers["intervals"]["accuracy"]
    if train_accuracy is not None and accuracy - train_accuracy > gap and low > train_accuracy:
        yield Finding(
            "leakage_suspicion",
            f"Accuracy is {accuracy:.3f} on test rows and {train_accuracy:.3f} on the rows trained on: a "
            "test is not easier than what was practised.",
            advice,
            {"accuracy": accuracy, "train_accuracy": train_accuracy},
        )
    elif (
        numbers["balanced_accuracy"] >= limits["too_good"]
        and rows >= limits["too_good_rows"]
        and sum(n > 0 for n in numbers["support"]) > 1
    ):
        yield Finding(
            "leakage_suspicion",
            f"Balanced accuracy is {numbers['balanced_accuracy']:.3f} on {rows} test rows, which is rare in "
            "honest tests.",
            advice,
            {"balanced_accuracy": numbers["balanced_accuracy"], "rows": rows},
        )
    if train_accuracy is not None and train_accuracy - accuracy > gap and high < train_accuracy:
        yield Finding(
            "overfitting",
            f"Accuracy is {train_accuracy:.3f} on the rows trained on and {accuracy:.3f} on others: it has "
            "learned its training rows by heart.",
            "Regularise more (a smaller C), train on more rows, or unfreeze less.",
            {"train_accuracy": train_accuracy, "accuracy": accuracy},
        )
    confidence = numbers["confidence"]
    if confidence is not None and read.probability is not None:
        hits = int(np.sum(read.probability.argmax(1) == read.y_true))
        too_sure = confidence - hits / rows > limits["overconfidence"]
        if too_sure and confidence > interval(rate_draws([hits], [rows])[:, 0], hits / rows)[1]:
            yield Finding(
                "overconfident",
                f"Its answers are {confidence:.2f} probable on average, and {hits / rows:.2f} of them are "
                "right.",
                "Do not read its probabilities as chances; see report.plot('calibration').",
                {"confidence": confidence, "accuracy": hits / rows},
            )


def about_errors(
    numbers: dict[str, Any], costs: tuple[float, float] | None, limits: Mapping[str, float]
) -> Iterator[Finding]:
    """Ask which of the two errors is frequent, and whether it is the one that costs more."""
    positive = numbers["positive"]
    if positive is None:
        return
    # who makes no error that costs cannot do better, even where guessing costs nothing either
    if costs is not None and 0 < numbers["cost"] >= numbers["guessing_cost"]:
        yield Finding(
            "costlier_than_guessing",
            f"A row costs {numbers['cost']:.3g} on average; always giving the cheaper answer costs "
            f"{numbers['guessing_cost']:.3g}.",
            "Choose the threshold by cost on validation rows: featx.choose_threshold.",
            {"cost": numbers["cost"], "guessing_cost": numbers["guessing_cost"]},
        )
    at = numbers["labels"].index(positive)
    precision, recall = numbers["precision"][at], numbers["recall"][at]
    if not numbers["support"][at] or abs(precision - recall) <= limits["precision_recall_gap"]:
        return
    behind = {"precision": precision, "recall": recall}
    said = f"Recall of {positive!r} is {recall:.2f} and precision {precision:.2f}"
    misses = recall < precision
    more = (
        "misses are more frequent than false alarms"
        if misses
        else "false alarms are more frequent than misses"
    )
    if costs is None or costs[0] == costs[1]:
        if (
            misses
            and numbers["accuracy"] > limits["accuracy_good"]
            and _missed_class(numbers, limits)
        ):
            return  # the accuracy paradox says so already
        yield Finding(
            "precision_recall_imbalance",
            f"{said}: {more}.",
            "Ask which of the two costs more, and choose the threshold by it: featx.choose_threshold.",
            behind,
        )
    elif misses == (costs[1] > costs[0]):
        times = max(costs) / min(costs) if min(costs) else float("inf")
        what = "a miss costs" if misses else "a false alarm costs"
        than = "a false alarm" if misses else "a miss"
        much = (
            f"{times:.3g} times as much as {than}"
            if np.isfinite(times)
            else f"something and {than} nothing"
        )
        rule = "min_recall" if misses else "min_precision"
        yield Finding(
            "costly_misses" if misses else "costly_false_alarms",
            f"{said}: {more}, and {what} {much}.",
            f"{'Lower' if misses else 'Raise'} the threshold on validation rows: featx.choose_threshold with "
            f"cost_fp and cost_fn, or with {rule}.",
            {**behind, "cost_fp": costs[0], "cost_fn": costs[1]},
        )


def not_enough_data(
    intervals: Mapping[str, tuple[float, float]], ratings: list[dict[str, Rating]], rows: int
) -> Iterator[Finding]:
    """Ask whether the verdict would be another one at the other end of the intervals."""
    point, worst, best = ratings
    if not point or verdict(worst) == verdict(best):
        return
    spans = {name: intervals[name] for name in point if worst[name] != best[name]}
    told = ", ".join(
        f"{name.replace('_', ' ')} {low:.2f} to {high:.2f}" for name, (low, high) in spans.items()
    )
    yield Finding(
        "not_enough_data",
        f"With {rows} test rows this is not enough data to tell: the numbers may be {told}, and so the "
        f"verdict may be {verdict(worst)!r} as well as {verdict(best)!r}.",
        "Test on more rows: four times as many halve an interval.",
        {"rows": rows, "worst": verdict(worst), "best": verdict(best), "intervals": spans},
    )
