"""Exercise: balanced accuracy, the mean recall of the classes that are there."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from sklearn import metrics

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number, shown
from featx.study.exercises._scores import near
from featx.study.verdicts import Check, Verdict, weigh


def balanced_accuracy(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    """Return the mean recall of the classes that are in `labels`, 0 to 1.

    Both are 1-D tensors of classes (whole numbers), one for each row.
    """
    ### BEGIN SOLUTION
    recalls = [(predictions[labels == c] == c).float().mean() for c in labels.unique()]
    return torch.stack(recalls).mean().item()
    ### END SOLUTION


def weights_by_rows(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    total = 0.0
    for c in labels.unique():
        recall = (predictions[labels == c] == c).float().mean().item()
        total += recall * (labels == c).float().mean().item()
    return total


def mean_precision(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    precisions = []
    for c in labels.unique():
        called = predictions == c
        hits = (called & (labels == c)).sum().item()
        precisions.append(hits / max(called.sum().item(), 1))
    return sum(precisions) / len(precisions)


def macro_recall(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    from sklearn.metrics import recall_score

    return float(recall_score(labels, predictions, average="macro", zero_division=0))  # pyright: ignore


def only_predicted_classes(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    recalls = []
    for c in predictions.unique():
        real = labels == c
        if real.any():
            recalls.append((predictions[real] == c).float().mean().item())
    return sum(recalls) / max(len(recalls), 1)


def every_class_number(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    recalls = []
    for c in range(int(labels.max()) + 1):
        recalls.append((predictions[labels == c] == c).float().mean())
    return torch.stack(recalls).mean().item()


def recall_of_the_rare(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    classes, counts = labels.unique(return_counts=True)
    rare = classes[counts.argmin()]
    return (predictions[labels == rare] == rare).float().mean().item()


def observe(function: Any, seed: int) -> dict[str, Any]:
    returned = [
        function(labels.clone(), predictions.clone())
        for labels, predictions in (_many(seed), _two(seed))
    ]
    return {
        "shown": [shown(value) for value in returned],
        "many": number(returned[0]),
        "two": number(returned[1]),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    labels, predictions = _many(seed)
    got = seen["many"]
    expected, expected_two = _expected(labels, predictions), _expected(*_two(seed))
    right, right_two = near(got, expected), near(seen["two"], expected_two)
    said = f"You returned {seen['shown'][0]}"
    counts = ", ".join(str(n) for n in labels.unique(return_counts=True)[1].tolist())
    recalls = _recalls(labels, predictions)
    total, there = sum(recalls.values()), len(recalls)
    called = predictions.unique().tolist()
    both = sorted({*labels.tolist(), *called})
    never = [c for c in recalls if c not in called]
    strange = [c for c in called if c not in recalls]
    accuracy = float((labels == predictions).double().mean())
    precisions = {
        c: float((labels[predictions == c] == c).double().mean()) if c in called else 0.0
        for c in both
    }
    rare = min(recalls, key=lambda c: int((labels == c).sum()))

    def is_not(*values: float) -> bool:
        return right or not any(near(got, value) for value in values)

    return weigh(
        [
            Check(
                seen["shown"][0] != "`nan`",
                0,
                "undefined-is-nan",
                f"{said}: a class without a single row in `labels` has the recall 0/0, and one `nan` "
                "makes the whole mean `nan`. Go through the classes that are in `labels`.",
            ),
            Check(
                got is not None,
                0,
                "not-a-number",
                f"{said}. Expected one number from 0 to 1: the mean of the recalls of the classes.",
            ),
            Check(
                is_not(100 * expected),
                0,
                "percent-for-share",
                f"{said}, which is in per cent. Expected a share from 0 to 1: `{expected:.3g}`.",
            ),
            Check(
                is_not(accuracy),
                0,
                "balanced-is-accuracy",
                f"{said}: the plain accuracy. Recalls weighted by the numbers of rows ({counts}) give "
                "it back exactly. Here each class counts the same, however rare it is: "
                f"`{expected:.3g}`.",
            ),
            Check(
                is_not(
                    sum(precisions.values()) / len(both),
                    sum(precisions[c] for c in recalls) / there,
                    sum(precisions[c] for c in called) / len(called),
                    sum(precisions[c] for c in recalls if c in called) / (there - len(never)),
                ),
                0,
                "averages-precisions",
                f"{said}, a mean of *precisions*: you divided by the rows that were called a class. "
                "Recall divides by the rows that truly are of the class, so select with `labels == c`.",
            ),
            Check(
                is_not(recalls[rare]),
                0,
                "balanced-is-recall-of-the-rare",
                f"{said}: the recall of the rarest class alone. Each class counts once, the frequent "
                f"ones as well. The mean of all {there} recalls is `{expected:.3g}`.",
            ),
            Check(
                is_not(
                    total / len(both),
                    total / (max(recalls) + 1),
                    total / (max(both) + 1),
                    total / len(called),
                ),
                0,
                "absent-class-is-zero",
                f"{said}, too little: you counted a recall of 0 for classes that no row in `labels` has "
                f"({len(strange)} of them were predicted). No row could be found, so there is no "
                f"recall to average. Divide by the {there} classes in `labels`.",
            ),
            Check(
                is_not(total / (there - len(never))),
                0,
                "skips-classes-never-predicted",
                f"{said}, too much: a class that was never predicted is left out. Its recall is 0, and "
                "hiding that is what balanced accuracy is there to prevent. Take the classes from "
                "`labels`.",
            ),
            Check(
                right,
                3,
                "wrong-balanced-accuracy",
                f"{said}, right is `{expected:.3g}`: for each class in `labels` the share of its rows "
                "that were predicted right, then the plain mean of these shares.",
            ),
            Check(
                right_two,
                1,
                "wrong-balanced-accuracy",
                f"With two classes, one of them rare, you returned {seen['shown'][1]}; right is "
                f"`{expected_two:.3g}`.",
                right="with two classes the number is right",
            ),
        ],
        praise=f"Balanced accuracy is `{expected:.3g}`, where the plain accuracy says `{accuracy:.3g}`. "
        "One constant answer reaches only 1 divided by the number of classes, however unequal they are.",
    )


def _expected(labels: torch.Tensor, predictions: torch.Tensor) -> float:
    with warnings.catch_warnings(action="ignore"):  # about predicted classes that are not there
        return float(metrics.balanced_accuracy_score(labels.numpy(), predictions.numpy()))


def _recalls(labels: torch.Tensor, predictions: torch.Tensor) -> dict[int, float]:
    return {
        c: float((predictions[labels == c] == c).double().mean()) for c in labels.unique().tolist()
    }


def _many(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four classes, the last never predicted; the predictions 1 and 7 are no class of the labels."""
    a, b = seed % 4, seed % 3
    rows = {  # class -> how often each class is predicted for its rows
        0: {0: 61 + a, 2: 3, 3: 2, 7: 1},
        2: {2: 11 + b, 0: 9, 1: 2},
        3: {3: 2, 0: 2, 2: 1},
        5: {0: 5 + a, 3: 3 + b},
    }
    pairs = [(c, p) for c, said in rows.items() for p, n in said.items() for _ in range(n)]
    return _mixed(pairs, seed)


def _two(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = [(0, 0)] * (88 + seed % 5) + [(0, 1)] * 4 + [(1, 1)] * 3 + [(1, 0)] * (5 + seed % 3)
    return _mixed(pairs, seed)


def _mixed(pairs: list[tuple[int, int]], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.tensor(pairs)[torch.randperm(len(pairs), generator=draw)]
    return mixed[:, 0].contiguous(), mixed[:, 1].contiguous()


EXERCISE = Exercise(
    id="balanced-accuracy",
    lesson=7,
    title="An accuracy in which each class counts the same",
    points=4,
    prompt="""
A probe that never finds the rare class can still have 98 % accuracy. Write
`balanced_accuracy(labels, predictions)`. Both are 1-D tensors of classes, whole numbers, one for each row.

Return the mean of the recalls of the classes, a number from 0 to 1. The recall of a class is the share of
its rows that were predicted right. Average over the classes that are in `labels`, each with the same
weight: a class may have few rows, it may never be predicted, and a prediction may be a class that is not in
`labels`.
""".strip(),
    hints=(
        "`labels.unique()` names the classes. Work out one recall for each of them, then their mean.",
        "`predictions[labels == c]` are the predictions for the rows that truly are of class `c`.",
        "The recall of `c` is `(predictions[labels == c] == c).float().mean()`.",
    ),
    reference=balanced_accuracy,
    mutants={
        "balanced-is-accuracy": weights_by_rows,
        "averages-precisions": mean_precision,
        "absent-class-is-zero": macro_recall,
        "skips-classes-never-predicted": only_predicted_classes,
        "undefined-is-nan": every_class_number,
        "balanced-is-recall-of-the-rare": recall_of_the_rare,
    },
    visible_test="""
labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 3, 3])
predictions = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 0, 3])
value = balanced_accuracy(labels, predictions)
assert value is not None, "balanced_accuracy returned nothing yet"
assert abs(value - 0.75) < 1e-5, f"the recalls are 1.0 and 0.5: expected 0.75, got {value}"
""".strip(),
    observer=observe,
    judger=judge,
)
