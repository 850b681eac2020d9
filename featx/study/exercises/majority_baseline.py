"""Exercise: the accuracy of always answering the most frequent class of the training labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.dummy import DummyClassifier

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number, shown
from featx.study.exercises._scores import near
from featx.study.verdicts import Check, Verdict, weigh


def majority_accuracy(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    """Return the accuracy, 0 to 1, on the test labels of one answer for all rows.

    The answer is the most frequent class of the training labels. Both are 1-D tensors of classes.
    """
    ### BEGIN SOLUTION
    majority = torch.mode(train_labels).values
    return (test_labels == majority).float().mean().item()
    ### END SOLUTION


def chooses_on_test(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    majority = torch.mode(test_labels).values
    return (test_labels == majority).float().mean().item()


def measures_on_training(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    majority = torch.mode(train_labels).values
    return (train_labels == majority).float().mean().item()


def guesses_evenly(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    return 1 / len(train_labels.unique())


def guesses_by_shares(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    return sum(
        (train_labels == c).float().mean().item() * (test_labels == c).float().mean().item()
        for c in train_labels.unique()
    )


def largest_label(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    majority = train_labels.max()
    return (test_labels == majority).float().mean().item()


def count_for_class(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    majority = torch.bincount(train_labels).max()
    return (test_labels == majority).float().mean().item()


def observe(function: Any, seed: int) -> dict[str, Any]:
    returned = [
        function(train.clone(), test.clone()) for train, test in (_shifted(seed), _rare(seed))
    ]
    return {
        "shown": shown(returned[0]),
        "shifted": number(returned[0]),
        "rare": number(returned[1]),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    train, test = _shifted(seed)
    got = seen["shifted"]
    expected = _expected(train, test)
    right = near(got, expected)
    right_rare = near(seen["rare"], _expected(*_rare(seed)))
    majority = int(train.mode().values)
    said = f"You returned {seen['shown']}"

    def is_not(value: float) -> bool:
        return right or not near(got, value)

    return weigh(
        [
            Check(
                got is not None,
                0,
                "not-a-number",
                f"{said}. Expected one number from 0 to 1: the share of the test labels that are the "
                "most frequent training label.",
            ),
            Check(
                is_not(chooses_on_test(train, test)),
                0,
                "chooses-on-test",
                f"{said}: the accuracy of the most frequent *test* label. A baseline learns like every "
                f"model, from the training labels only; here it answers `{majority}` and gets "
                f"`{expected:.3g}`.",
            ),
            Check(
                is_not(measures_on_training(train, test)),
                0,
                "training-score-is-proof",
                f"{said}: the share of the majority in the training labels. Choose the answer there, but "
                f"count the hits in the test labels: `{expected:.3g}`.",
            ),
            Check(
                is_not(guesses_evenly(train, test)),
                0,
                "guessing-is-half",
                f"{said}, which is one divided by the number of classes. That is guessing at random. "
                "The majority baseline always gives the same answer, and with unequal classes it gets more.",
            ),
            Check(
                is_not(guesses_by_shares(train, test)),
                0,
                "guesses-by-shares",
                f"{said}: the accuracy of guessing each class as often as it occurs. The baseline does "
                f"not guess: it answers `{majority}` for every row.",
            ),
            Check(
                is_not(largest_label(train, test)),
                0,
                "max-for-most-frequent",
                f"{said}: the share of the *largest* label. Labels are names. `max()` of them is not the "
                "most frequent one; `torch.mode` or the counts of `unique` say which it is.",
            ),
            Check(
                got != 0,
                0,
                "count-for-class",
                "You returned `0`: no test label was your answer. Perhaps you compared with *how often* "
                "the majority occurs. With `torch.bincount`, the class is the place of the largest count, "
                "`argmax()`.",
            ),
            Check(
                right,
                3,
                "wrong-baseline",
                f"{said}, right is `{expected:.3g}`: the share of the test labels that are `{majority}`, "
                "the most frequent training label.",
            ),
            Check(
                right_rare,
                1,
                "wrong-baseline",
                "With two classes, one of them rare, the accuracy is not right.",
                right="with one rare class the number is right",
            ),
        ],
        praise=f"The baseline is `{expected:.3g}` here. On the labels with a rare class it is "
        f"`{_expected(*_rare(seed)):.3g}`, and it finds not one of the rare rows: a probe must beat this "
        "number, not 0.",
    )


def _expected(train: torch.Tensor, test: torch.Tensor) -> float:
    dummy = DummyClassifier(strategy="most_frequent")
    dummy.fit(np.zeros((len(train), 1)), train.numpy())
    return float(dummy.score(np.zeros((len(test), 1)), test.numpy()))


def _shifted(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels whose majority is another one in the test rows; no class is as large as a label."""
    classes = torch.tensor([3, 1, 4, 7])
    train = classes.repeat_interleave(torch.tensor([41 + seed % 5, 23, 17, 9]))
    test = classes.repeat_interleave(torch.tensor([11 + seed % 3, 17, 8, 5]))
    draw = torch.Generator().manual_seed(seed)
    shuffled = [labels[torch.randperm(len(labels), generator=draw)] for labels in (train, test)]
    return shuffled[0], shuffled[1]


def _rare(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(100 + seed)
    labels = (torch.arange(150) < 5 + seed % 3).long()
    test = (torch.arange(60) < 3).long()
    return labels[torch.randperm(150, generator=draw)], test[torch.randperm(60, generator=draw)]


EXERCISE = Exercise(
    id="majority-baseline",
    lesson=7,
    title="The accuracy of one answer for all",
    points=3,
    prompt="""
An accuracy says little until you know what no skill at all would reach. Write
`majority_accuracy(train_labels, test_labels)`. Both are 1-D tensors of class labels, whole numbers from 0.

The majority baseline looks at the **training** labels, takes the most frequent class, and gives this
answer for every test row. Return its accuracy on the test labels, a number from 0 to 1.
""".strip(),
    hints=(
        "Two steps: which class is the most frequent in training? How often is it right in the test?",
        "`torch.mode(train_labels).values` is the most frequent label.",
        "`(test_labels == majority)` is true where the answer is right. The mean of that is a share.",
    ),
    reference=majority_accuracy,
    mutants={
        "chooses-on-test": chooses_on_test,
        "training-score-is-proof": measures_on_training,
        "guessing-is-half": guesses_evenly,
        "guesses-by-shares": guesses_by_shares,
        "max-for-most-frequent": largest_label,
        "count-for-class": count_for_class,
    },
    visible_test="""
accuracy = majority_accuracy(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 0, 0, 1]))
assert accuracy is not None, "majority_accuracy returned nothing yet"
assert abs(accuracy - 0.6) < 1e-6, f"3 of 5 test labels are 0: expected 0.6, got {accuracy}"
""".strip(),
    observer=observe,
    judger=judge,
)
