"""Exercise: precision and recall of one class, also where they are undefined."""

from __future__ import annotations

from typing import Any

import torch
from sklearn import metrics

from featx.study.exercises import Exercise
from featx.study.exercises._plain import as_array, numbers, shown
from featx.study.exercises._scores import near
from featx.study.verdicts import Check, Verdict, weigh


def precision_and_recall(
    labels: torch.Tensor, predictions: torch.Tensor, positive: int
) -> tuple[float, float]:
    """Return the precision and the recall of the class `positive`.

    Labels and predictions are classes, (N,). Where a number is undefined, it is 0.0.
    """
    ### BEGIN SOLUTION
    called = predictions == positive
    real = labels == positive
    hits = (called & real).sum().item()
    precision = hits / called.sum().item() if called.any() else 0.0
    recall = hits / real.sum().item() if real.any() else 0.0
    return precision, recall
    ### END SOLUTION


def swaps_them(labels: torch.Tensor, predictions: torch.Tensor, positive: int) -> tuple:
    hits = ((predictions == positive) & (labels == positive)).sum().item()
    precision = hits / max((labels == positive).sum().item(), 1)
    recall = hits / max((predictions == positive).sum().item(), 1)
    return precision, recall


def accuracy_for_precision(labels: torch.Tensor, predictions: torch.Tensor, positive: int) -> tuple:
    hits = ((predictions == positive) & (labels == positive)).sum().item()
    precision = (predictions == labels).float().mean().item()
    recall = hits / max((labels == positive).sum().item(), 1)
    return precision, recall


def undefined_is_nan(labels: torch.Tensor, predictions: torch.Tensor, positive: int) -> tuple:
    hits = ((predictions == positive) & (labels == positive)).sum()
    precision = hits / (predictions == positive).sum()
    recall = hits / (labels == positive).sum()
    return precision.item(), recall.item()


def positive_is_fixed(labels: torch.Tensor, predictions: torch.Tensor, positive: int) -> tuple:
    hits = ((predictions == 1) & (labels == 1)).sum().item()
    precision = hits / max((predictions == 1).sum().item(), 1)
    recall = hits / max((labels == 1).sum().item(), 1)
    return precision, recall


def averages_classes(labels: torch.Tensor, predictions: torch.Tensor, positive: int) -> tuple:
    precisions, recalls = [], []
    for name in labels.unique():
        hits = ((predictions == name) & (labels == name)).sum().item()
        precisions.append(hits / max((predictions == name).sum().item(), 1))
        recalls.append(hits / max((labels == name).sum().item(), 1))
    return sum(precisions) / len(precisions), sum(recalls) / len(recalls)


def divides_by_all(labels: torch.Tensor, predictions: torch.Tensor, positive: int) -> tuple:
    hits = ((predictions == positive) & (labels == positive)).sum().item()
    return hits / len(predictions), hits / len(labels)


def observe(function: Any, seed: int) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, (labels, predictions, positive) in _inputs(seed).items():
        try:
            returned = function(labels.clone(), predictions.clone(), positive)
        except ZeroDivisionError:
            if name == "usual":
                raise
            seen[name] = {"shown": "the error `ZeroDivisionError`", "pair": None}
            continue
        array = as_array(returned)
        pair = numbers(returned) if array is not None and array.shape == (2,) else None
        undefined = array is not None and array.shape == (2,) and pair is None
        seen[name] = {
            "shown": _pair([str(x) for x in array])
            if undefined and array is not None
            else shown(returned),
            "pair": pair,
        }
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    cases = _inputs(seed)
    labels, predictions, positive = cases["usual"]
    expected = {name: _expected(*case) for name, case in cases.items()}
    precision, recall = expected["usual"]
    pair = seen["usual"]["pair"]
    got = _pair([f"{x:.3g}" for x in pair]) if pair else seen["usual"]["shown"]
    right = [pair is not None and near(pair[i], expected["usual"][i]) for i in (0, 1)]
    accuracy = float(metrics.accuracy_score(labels, predictions))
    hits = int(((labels == positive) & (predictions == positive)).sum())
    share = hits / len(labels)
    undefined = [
        name
        for name in ("never-called", "never-there", "neither")
        if not _same(seen[name]["pair"], expected[name])
    ]
    shown_undefined = seen[(undefined or ["neither"])[0]]
    said = (
        _pair(shown_undefined["pair"] or [])
        if shown_undefined["pair"]
        else shown_undefined["shown"]
    )
    macro = [
        metrics.precision_score(labels, predictions, average="macro", zero_division=0),  # pyright: ignore
        metrics.recall_score(labels, predictions, average="macro", zero_division=0),  # pyright: ignore
    ]
    class_one = _expected(labels, predictions, 1)
    return weigh(
        [
            Check(
                pair is not None,
                0,
                "not-a-pair",
                f"You returned {got}. Expected two numbers: first the precision, then the recall.",
            ),
            Check(
                not _same(pair, [recall, precision]),
                0,
                "swaps-precision-and-recall",
                f"You returned {got}: the right two numbers the wrong way round. Precision divides by "
                "all rows *called* positive (the predictions), recall by all that *are* positive (the "
                "labels).",
            ),
            Check(
                not _same(pair, class_one),
                0,
                "positive-is-fixed",
                f"You returned {got}: precision and recall of class 1, whatever was asked for. The "
                "positive class is the argument `positive`; compare with it.",
            ),
            Check(
                not _same(pair, macro),
                0,
                "averages-classes",
                f"You returned {got}: the mean over all classes. Asked for was the one class "
                "`positive`; a mean can hide that this class is missed.",
            ),
            Check(
                not _same(pair, [share, share]),
                0,
                "divides-by-all",
                f"You returned {got}: the hits divided by all {len(labels)} rows. Precision divides by "
                "the rows that were called positive, recall by those that are positive.",
            ),
            Check(
                pair is None or not near(pair[0], accuracy),
                0,
                "precision-is-accuracy",
                f"Your precision, `{(pair or [0])[0]:.3g}`, is the accuracy: the share of all rows that are "
                "right. Precision looks only at the rows that were *called* positive.",
            ),
            Check(
                right[0],
                2,
                "wrong-precision",
                f"You returned {got}; right is `({precision:.3g}, {recall:.3g})`. Precision: of the rows "
                "that were called positive, the share that is positive.",
                right="the precision",
            ),
            Check(
                right[1],
                2,
                "wrong-recall",
                f"You returned {got}; right is `({precision:.3g}, {recall:.3g})`. Recall: of the rows "
                "that are positive, the share that was called so.",
                right="the recall",
            ),
            Check(
                any(right) and not undefined,
                1,
                "undefined-is-nan",
                f"Where the class is never predicted, or never there, you gave {said}: a division by "
                "zero. Expected `0.0` for what is undefined, so that tables and means still work. Look "
                "at the number below the line before you divide.",
            ),
        ],
        praise=f"Precision `{precision:.3g}`, recall `{recall:.3g}`, and `0.0` where there is nothing to "
        "divide by. scikit-learn does the same, and warns: its `zero_division` decides.",
    )


def _pair(values: list[Any]) -> str:
    return f"`({', '.join(str(value) for value in values)})`"


def _same(pair: list[float] | None, expected: list[Any]) -> bool:
    return pair is not None and all(map(near, pair, expected))


def _expected(labels: torch.Tensor, predictions: torch.Tensor, positive: int) -> list[float]:
    real, called = labels == positive, predictions == positive
    return [
        float(metrics.precision_score(real, called, zero_division=0)),  # pyright: ignore
        float(metrics.recall_score(real, called, zero_division=0)),  # pyright: ignore
    ]


def _inputs(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor, int]]:
    """Make cases with fixed counts, so that no two of the numbers are alike by chance."""
    draw = torch.Generator().manual_seed(seed)
    positive, other = (2, 3) if seed % 2 else (3, 2)
    # (label, prediction) -> how often
    counts = {
        (positive, positive): 12 + seed % 5,
        (positive, 1): 10,
        (other, positive): 3,
        (1, 1): 14,
        (1, 0): 9,
        (0, 0): 25 + seed % 3,
        (other, other): 8,
    }
    rows = torch.tensor([pair for pair, count in counts.items() for _ in range(count)])
    labels, predictions = rows[torch.randperm(len(rows), generator=draw)].unbind(1)

    def without(classes: torch.Tensor) -> torch.Tensor:
        return torch.where(classes == positive, 0, classes)

    return {
        "usual": (labels, predictions, positive),
        "never-called": (labels, without(predictions), positive),
        "never-there": (without(labels), predictions, positive),
        "neither": (without(labels), without(predictions), positive),
    }


EXERCISE = Exercise(
    id="precision-and-recall",
    lesson=6,
    title="Precision and recall of one class",
    points=5,
    prompt="""
Write `precision_and_recall(labels, predictions, positive)`. Both tensors hold classes, `(N,)`, and there may
be more than two. Return two numbers, the precision and the recall of the class `positive`; all other classes
together are the negative class.

A class may never be predicted, or never be there. Then one of the numbers is undefined: return `0.0` for it.
""".strip(),
    hints=(
        "Make two masks: which rows are *called* positive, which *are* positive? Where both hold is a hit.",
        "Both divide the hits: by all that are *called* positive, or by all that *are* positive.",
        "What does your division do if the number below the line is 0? Ask before you divide.",
    ),
    reference=precision_and_recall,
    mutants={
        "swaps-precision-and-recall": swaps_them,
        "precision-is-accuracy": accuracy_for_precision,
        "undefined-is-nan": undefined_is_nan,
        "positive-is-fixed": positive_is_fixed,
        "averages-classes": averages_classes,
        "divides-by-all": divides_by_all,
    },
    visible_test="""
# 1 is "cat": TP 50, FN 10, FP 5, TN 35
labels = torch.tensor([1] * 60 + [0] * 40)
predictions = torch.tensor([1] * 50 + [0] * 10 + [1] * 5 + [0] * 35)
result = precision_and_recall(labels, predictions, positive=1)
assert result is not None, "precision_and_recall returned nothing yet"
precision, recall = result
assert abs(precision - 50 / 55) < 1e-4, f"expected a precision of 0.909, got {precision}"
assert abs(recall - 50 / 60) < 1e-4, f"expected a recall of 0.833, got {recall}"
""".strip(),
    observer=observe,
    judger=judge,
)
