"""Exercise: the highest threshold that still finds enough of the positives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number, shown
from featx.study.exercises._scores import near, scored_rows
from featx.study.verdicts import Check, Verdict, weigh


def threshold_for_recall(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    """Return the highest threshold whose recall is at least `recall`.

    `scores` and `labels` (1 is positive, 0 negative) are 1-D tensors of the validation rows.
    `scores >= threshold` are called positive.
    """
    ### BEGIN SOLUTION
    positives = labels == 1
    good = []
    for threshold in scores.tolist():
        found = (scores >= threshold) & positives
        if found.sum().item() / positives.sum().item() >= recall:
            good.append(threshold)
    return max(good)
    ### END SOLUTION


def by_precision(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    good = []
    for threshold in scores.tolist():
        called = scores >= threshold
        if (labels[called] == 1).float().mean().item() >= recall:
            good.append(threshold)
    return min(good)


def boundary_left_out(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    positives = labels == 1
    good = []
    for threshold in scores.tolist():
        found = (scores > threshold) & positives
        if found.sum().item() / positives.sum().item() >= recall:
            good.append(threshold)
    return max(good)


def lowest_threshold(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    positives = labels == 1
    for threshold in scores.sort().values.tolist():
        found = (scores >= threshold) & positives
        if found.sum().item() / positives.sum().item() >= recall:
            return threshold
    return 0.0


def share_of_all_rows(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    return torch.quantile(scores, 1 - recall).item()


def rounds_down(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    positives = scores[labels == 1].sort(descending=True).values
    needed = int(recall * len(positives))
    return positives[needed - 1].item()


def quantile_between_rows(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    return torch.quantile(scores[labels == 1], 1 - recall).item()


def observe(function: Any, seed: int) -> dict[str, Any]:
    scores, labels, wanted = _inputs(seed)
    returned = [function(scores.clone(), labels.clone(), recall) for recall in wanted]
    return {
        "shown": [shown(value) for value in returned],
        "cuts": [number(value) for value in returned],
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    scores, labels, wanted = _inputs(seed)
    cuts, recall = seen["cuts"], wanted[0]
    answers = [_highest(scores, labels, each) for each in wanted]
    right = [near(cut, answer) for cut, answer in zip(cuts, answers, strict=True)]
    wrong = _wrong_cuts(scores, labels, recall)
    got = cuts[0]
    reached = [None if cut is None else _recall(scores, labels, cut) for cut in cuts]
    said = f"For the recall {recall:g} you returned {seen['shown'][0]}"
    if reached[0] is not None:
        said += f", which finds {reached[0]:.3f} of the positives"
    said += "."
    called = None if got is None else int((scores >= got).sum())
    fewest = int((scores >= answers[0]).sum())
    positives = int((labels == 1).sum())

    def is_not(name: str) -> bool:
        return right[0] or not any(near(got, value) for value in wrong[name])

    others = [f"for {wanted[i]:g} you returned {seen['shown'][i]}" for i in (1, 2) if not right[i]]
    return weigh(
        [
            Check(
                got is not None,
                0,
                "not-a-number",
                f"{said} Expected one number, a threshold for the scores.",
            ),
            Check(
                is_not("precision"),
                0,
                "swaps-precision-and-recall",
                f"{said} You asked for the *precision*, the share of the called rows that are "
                "positive. Recall is the share of the positive rows that are called: divide by the "
                "number of positives.",
            ),
            Check(
                is_not("lowest"),
                0,
                "lowest-for-highest",
                f"{said} The lowest threshold calls every row positive, {called} of {len(scores)}, so "
                f"it always reaches the recall, and with the most false alarms. The highest that "
                f"reaches it calls {fewest}.",
            ),
            Check(
                is_not("all"),
                0,
                "share-of-all-rows",
                f"{said} You called the share {recall:g} of *all* rows positive. Recall counts only "
                f"the rows with label 1, here {positives} of {len(scores)}: look at their scores.",
            ),
            Check(
                is_not("strict"),
                0,
                "boundary-left-out",
                f"{said} It can go one row higher. `scores >= threshold` is positive here, so the row "
                "*at* the threshold is found too. Perhaps you left it out with `>`.",
            ),
            Check(
                is_not("down"),
                0,
                "rounds-down",
                f"{said} That is one positive too few: {recall:g} of {positives} is "
                f"{recall * positives:.1f}, and you rounded down. *At least* means round up: "
                f"{math.ceil(recall * positives)} must be found.",
            ),
            Check(
                is_not("between"),
                0,
                "quantile-between-rows",
                f"{said} `torch.quantile` puts a number *between* two scores, and the lower one is "
                "then missed. Recall moves in steps, one positive at a time: take the score of a row.",
            ),
            Check(
                is_not("recall"),
                0,
                "recall-for-threshold",
                f"{said} That number is a recall. Return the *threshold* with which it is reached.",
            ),
            Check(
                right[0],
                2,
                "not-the-highest-threshold",
                f"{said} Expected is the highest threshold that finds at least {recall:g}; it calls "
                f"{fewest} rows positive, yours {called}.",
                right=f"for the recall {recall:g} the threshold is right",
            ),
            Check(
                right[1] and right[2],
                2,
                "not-the-highest-threshold",
                f"{'; '.join(others).capitalize()}. A recall that is reached *exactly* is enough, and "
                "for 1 no positive may be missed.",
                right="where the recall is reached exactly, the threshold is right",
            ),
        ],
        praise=f"To find {recall:g} of the positives the threshold may be `{answers[0]:.3f}`; to miss "
        f"none it must fall to `{answers[2]:.3f}`, and {int((scores >= answers[2]).sum())} rows are "
        f"called positive in place of {fewest}. Now measure on the test rows: the recall there will "
        "differ a little.",
    )


def _highest(scores: torch.Tensor, labels: torch.Tensor, recall: float) -> float:
    """Return the score of the last positive that must be found."""
    positives = scores[labels == 1].sort(descending=True).values
    return float(positives[math.ceil(recall * len(positives) - 1e-9) - 1])


def _recall(scores: torch.Tensor, labels: torch.Tensor, cut: float) -> float:
    return float((scores[labels == 1] >= cut).double().mean())


def _wrong_cuts(
    scores: torch.Tensor, labels: torch.Tensor, recall: float
) -> dict[str, list[float]]:
    """Compute what the common mistakes return."""
    ordered = scores.sort(descending=True).values.numpy()
    positives = scores[labels == 1].sort(descending=True).values.numpy()
    answer = _highest(scores, labels, recall)
    precise = [
        float(cut)
        for cut in ordered
        if float((labels[scores >= float(cut)] == 1).double().mean()) >= recall
    ]
    size = recall * len(ordered)
    methods = ("linear", "lower", "higher", "nearest")
    return {
        "precision": [min(precise), max(precise)],
        "lowest": [float(ordered[-1]), 0.0],
        "all": [
            *(float(np.quantile(ordered, 1 - recall, method=each)) for each in methods),
            *(float(ordered[k]) for k in (math.floor(size) - 1, math.ceil(size) - 1)),
        ],
        "strict": [float(ordered[ordered < answer][0])],
        "down": [float(positives[math.floor(recall * len(positives)) - 1])],
        "between": [float(np.quantile(positives, 1 - recall))],
        "recall": [_recall(scores, labels, answer), recall],
    }


def _inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float, float]]:
    """Draw scores for which every common mistake gives a threshold of its own; 24 are positive."""
    # 0.8 and 0.85 of 24 are no whole numbers; 0.75 and 0.625 of 24 are, without rounding errors.
    wanted = (0.8, 0.75, 1.0) if seed % 2 else (0.85, 0.625, 1.0)
    scores, labels = scored_rows(seed, 96)
    for attempt in range(300):
        scores, labels = scored_rows(1000 * seed + attempt, 96)
        top = int(labels[scores.argmax()]) == 1
        precise = [
            cut
            for cut in scores.tolist()
            if float((labels[scores >= cut] == 1).double().mean()) >= wanted[0]
        ]
        if not top or not precise:
            continue
        wrong = list(_wrong_cuts(scores, labels, wanted[0]).values())
        values = [{round(v, 4) for v in each} for each in wrong]
        apart = sum(len(each) for each in values) == len(set().union(*values))
        answer = _highest(scores, labels, wanted[0])
        if apart and not any(near(v, answer) for each in wrong for v in each):
            break
    return scores, labels, wanted


EXERCISE = Exercise(
    id="threshold-for-recall",
    lesson=8,
    title="The threshold that still finds enough",
    points=4,
    prompt="""
A clinic says: "Find at least 80 % of the ill." The threshold decides that. Write
`threshold_for_recall(scores, labels, recall)`. `scores` and `labels` are 1-D tensors of the validation rows;
label 1 is positive, 0 is negative. `recall` is the share that must be found, above 0 and at most 1.

A row is called positive when `score >= threshold`. Return the **highest** threshold whose recall on these
rows is at least `recall`. A higher threshold gives fewer false alarms, so do not go lower than you must.
""".strip(),
    hints=(
        "Recall changes only at a score of one of the rows, so it is enough to try each score.",
        "For one threshold: of the rows with `labels == 1`, which share has `scores >= threshold`?",
        "Keep each threshold whose recall is `>= recall`, and return the largest of them.",
    ),
    reference=threshold_for_recall,
    mutants={
        "swaps-precision-and-recall": by_precision,
        "boundary-left-out": boundary_left_out,
        "lowest-for-highest": lowest_threshold,
        "share-of-all-rows": share_of_all_rows,
        "rounds-down": rounds_down,
        "quantile-between-rows": quantile_between_rows,
    },
    visible_test="""
scores = torch.tensor([0.9, 0.8, 0.7, 0.4, 0.3, 0.1])
labels = torch.tensor([1, 0, 1, 1, 0, 1])
threshold = threshold_for_recall(scores, labels, 0.7)
assert threshold is not None, "threshold_for_recall returned nothing yet"
assert abs(threshold - 0.4) < 1e-4, f"3 of 4 positives must be found: expected 0.4, got {threshold}"
""".strip(),
    observer=observe,
    judger=judge,
)
