"""Exercise: the accuracy over a whole data set, from batches of unequal size."""

from __future__ import annotations

from typing import Any

import torch
from sklearn import metrics
from torch.utils.data import DataLoader, TensorDataset

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number, shown
from featx.study.exercises._scores import near
from featx.study.verdicts import Check, Verdict, weigh

NUM_CLASSES = 4
BATCH_SIZE = 32


def dataset_accuracy(loader: torch.utils.data.DataLoader) -> float:
    """Return the accuracy over all rows of a loader, a number from 0 to 1.

    Each batch is a pair: logits (B, num_classes) and labels (B,).
    """
    ### BEGIN SOLUTION
    correct = 0
    total = 0
    for logits, labels in loader:
        correct += (logits.argmax(dim=1) == labels).sum().item()
        total += len(labels)
    return correct / total
    ### END SOLUTION


def averages_batch_accuracies(loader: torch.utils.data.DataLoader) -> float:
    total = 0.0
    for logits, labels in loader:
        total += (logits.argmax(dim=1) == labels).float().mean().item()
    return total / len(loader)


def assumes_full_batches(loader: torch.utils.data.DataLoader) -> float:
    correct = 0
    for logits, labels in loader:
        correct += (logits.argmax(dim=1) == labels).sum().item()
    return correct / (len(loader) * (loader.batch_size or 1))


def only_last_batch(loader: torch.utils.data.DataLoader) -> float:
    correct = total = 0
    for logits, labels in loader:
        correct = (logits.argmax(dim=1) == labels).sum().item()
        total = len(labels)
    return correct / total


def counts_per_batch(loader: torch.utils.data.DataLoader) -> float:
    correct = 0
    for logits, labels in loader:
        correct += (logits.argmax(dim=1) == labels).sum().item()
    return correct / len(loader)


def percent_for_share(loader: torch.utils.data.DataLoader) -> float:
    correct = total = 0
    for logits, labels in loader:
        correct += (logits.argmax(dim=1) == labels).sum().item()
        total += len(labels)
    return 100 * correct / total


def values_for_classes(loader: torch.utils.data.DataLoader) -> float:
    correct = total = 0
    for logits, labels in loader:
        predicted, _ = logits.max(dim=1)
        correct += (predicted == labels).sum().item()
        total += len(labels)
    return correct / total


def observe(function: Any, seed: int) -> dict[str, Any]:
    # First the unequal batches: what is shown is what was returned for them.
    returned = [function(_loader(seed, equal)) for equal in (False, True)]
    return {
        "shown": shown(returned[0]),
        "unequal": number(returned[0]),
        "equal": number(returned[1]),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    got = seen["unequal"]
    batches = list(_loader(seed, equal=False))
    hits = [(logits.argmax(1) == labels).float() for logits, labels in batches]
    expected = _accuracy(batches)
    right = _near(got, expected)
    right_equal = _near(seen["equal"], _accuracy(list(_loader(seed, equal=True))))
    averaged = sum(h.mean().item() for h in hits) / len(hits)
    full = float(sum(h.sum() for h in hits)) / (len(hits) * BATCH_SIZE)
    per_batch = float(sum(h.sum() for h in hits)) / len(hits)
    sizes = f"The batches hold {', '.join(str(len(h)) for h in hits)} rows"
    return weigh(
        [
            Check(
                got is not None,
                0,
                "not-a-number",
                f"You returned {seen['shown']}. Expected one number from 0 to 1: the share of all rows "
                "whose largest logit belongs to the right class.",
            ),
            Check(
                not _near(got, averaged),
                0,
                "averages-batch-accuracies",
                f"You returned {seen['shown']}, the mean of the accuracies of the batches; right is "
                f"`{expected:.4g}`. {sizes}, so a row of the small batch counted more than the others. "
                "Add up what is correct and what there is, and divide once, after the loop.",
            ),
            Check(
                not _near(got, full),
                0,
                "assumes-full-batches",
                f"You returned {seen['shown']}: too low, because you divided by full batches. {sizes}; "
                "the last one is smaller. Count the labels of each batch with `len(labels)`.",
            ),
            Check(
                not _near(got, hits[-1].mean().item()),
                0,
                "only-last-batch",
                f"You returned {seen['shown']}, the accuracy of the last batch alone. {sizes}. Begin the "
                "sums before the loop and add to them with `+=`.",
            ),
            Check(
                not _near(got, 100 * expected),
                0,
                "percent-for-share",
                f"You returned {seen['shown']}, which is a percentage. Expected a share from 0 to 1, as "
                "scikit-learn gives it, so that numbers can be compared.",
            ),
            Check(
                not _near(got, per_batch),
                0,
                "divides-by-number-of-batches",
                f"You returned {seen['shown']}: the correct rows for each batch, since you divided by "
                f"the number of batches. {sizes}. Divide by the number of rows.",
            ),
            Check(
                got != 0,
                0,
                "values-for-classes",
                "You returned `0`: no prediction was equal to its label. Perhaps you compared the "
                "logits themselves with the labels. The predicted class is the *place* of the largest "
                "logit, `argmax(dim=1)`; `max` gives its value.",
            ),
            Check(
                right,
                3,
                "wrong-accuracy",
                f"You returned {seen['shown']}, right is `{expected:.4g}`. Count the rows where "
                "`logits.argmax(dim=1)` is the label, and divide by the number of all rows.",
            ),
            Check(
                right_equal,
                1,
                "wrong-accuracy",
                "With batches of one size the accuracy is wrong. Do not count on a small last batch.",
                right="with batches of the same size the number is right",
            ),
        ],
        praise=f"Count first, divide once: `{expected:.4g}`. The mean of the batches' accuracies would "
        f"have said `{averaged:.4g}` for the same predictions, because the last batch is small.",
    )


def _near(value: float | None, expected: float) -> bool:
    return near(value, expected, within=1e-3)  # three decimals will do


def _accuracy(batches: list[Any]) -> float:
    predicted = torch.cat([logits.argmax(1) for logits, _ in batches])
    return float(metrics.accuracy_score(torch.cat([labels for _, labels in batches]), predicted))


def _loader(seed: int, equal: bool) -> DataLoader:
    """Make batches: the last one is small and hard, or all are of one size."""
    draw = torch.Generator().manual_seed(seed)
    full, last = 2 + seed % 2, BATCH_SIZE if equal else 9 + seed % 3
    size = full * BATCH_SIZE + last
    labels = torch.randint(NUM_CLASSES, (size,), generator=draw)
    predicted = labels.clone()
    wrong = torch.cat([torch.arange(3 + seed % 4), torch.arange(size - last, size - 3)])
    predicted[wrong] = (labels[wrong] + 1) % NUM_CLASSES
    logits = torch.randn(size, NUM_CLASSES, generator=draw)
    logits[torch.arange(size), predicted] = logits.amax(1) + 0.5
    return DataLoader(TensorDataset(logits, labels), batch_size=BATCH_SIZE)


EXERCISE = Exercise(
    id="dataset-accuracy",
    lesson=6,
    title="Accuracy over all batches",
    points=4,
    prompt="""
Write `dataset_accuracy(loader)`. A `DataLoader` gives batches of two tensors: the logits of a head,
`(B, num_classes)`, and the labels, `(B,)`. Return the accuracy over **all** rows: the share, from 0 to 1,
whose largest logit belongs to the right class.

The number of rows is seldom a multiple of the batch size, so the last batch may be smaller than the others.
The accuracy must not depend on how the rows are cut into batches.
""".strip(),
    hints=(
        "Which class does a row of logits predict? Which method gives the *place* of the largest number?",
        "A mean of means treats all batches alike. Should 9 rows count as much as 32?",
        "Keep two sums over the loop, the correct rows and all rows. Divide after the loop.",
    ),
    reference=dataset_accuracy,
    mutants={
        "averages-batch-accuracies": averages_batch_accuracies,
        "assumes-full-batches": assumes_full_batches,
        "only-last-batch": only_last_batch,
        "divides-by-number-of-batches": counts_per_batch,
        "percent-for-share": percent_for_share,
        "values-for-classes": values_for_classes,
    },
    visible_test="""
logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5], [0.2, 0.1]])
labels = torch.tensor([0, 1, 0, 1])
data = torch.utils.data.TensorDataset(logits, labels)
accuracy = dataset_accuracy(torch.utils.data.DataLoader(data, batch_size=4))
assert accuracy is not None, "dataset_accuracy returned nothing yet"
assert abs(accuracy - 0.75) < 1e-6, f"3 of 4 rows are right: expected 0.75, got {accuracy}"
""".strip(),
    observer=observe,
    judger=judge,
)
