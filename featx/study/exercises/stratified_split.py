"""Exercise: train, validation and test, 60/20/20, each with the same share of every class."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from featx.study.exercises import Exercise
from featx.study.exercises._splits import row_numbers
from featx.study.verdicts import Check, Verdict, weigh

PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)


def stratified_split(
    labels: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (train, validation, test): row numbers, 60, 20 and 20 % of the rows of each class.

    `labels` is a 1-D tensor of classes, whole numbers. The seed decides which rows are drawn.
    """
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    train, validation, test = [], [], []
    for c in labels.unique():
        rows = torch.nonzero(labels == c).flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        fifth = len(rows) // 5
        test.append(rows[:fifth])
        validation.append(rows[fifth : 2 * fifth])
        train.append(rows[2 * fifth :])
    return torch.cat(train), torch.cat(validation), torch.cat(test)
    ### END SOLUTION


def fifth_of_the_rest(
    labels: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from sklearn.model_selection import train_test_split

    rows = torch.arange(len(labels)).numpy()
    rest, test = train_test_split(rows, test_size=0.2, stratify=labels, random_state=seed)
    train, validation = train_test_split(
        rest, test_size=0.2, stratify=labels[rest], random_state=seed
    )
    return torch.tensor(train), torch.tensor(validation), torch.tensor(test)


def not_stratified(
    labels: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    fifth = len(labels) // 5
    return order[2 * fifth :], order[fifth : 2 * fifth], order[:fifth]


def first_of_each_class(
    labels: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    train, validation, test = [], [], []
    for c in labels.unique():
        rows = torch.nonzero(labels == c).flatten()
        fifth = len(rows) // 5
        train.append(rows[: 3 * fifth])
        validation.append(rows[3 * fifth : 4 * fifth])
        test.append(rows[4 * fifth :])
    return torch.cat(train), torch.cat(validation), torch.cat(test)


def validates_on_test(
    labels: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    train, validation, test = [], [], []
    for c in labels.unique():
        rows = torch.nonzero(labels == c).flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        train.append(rows[: len(rows) * 3 // 5])
        rest = rows[len(rows) * 3 // 5 :]
        chosen = torch.randperm(len(rest), generator=generator)[: len(rows) // 5]
        validation.append(rest[chosen])
        test.append(rest[: len(rows) // 5])
    return torch.cat(train), torch.cat(validation), torch.cat(test)


def unseeded(labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    train, validation, test = [], [], []
    for c in labels.unique():
        rows = torch.nonzero(labels == c).flatten()
        rows = rows[torch.randperm(len(rows))]
        fifth = len(rows) // 5
        test.append(rows[:fifth])
        validation.append(rows[fifth : 2 * fifth])
        train.append(rows[2 * fifth :])
    return torch.cat(train), torch.cat(validation), torch.cat(test)


def observe(function: Any, seed: int) -> dict[str, Any]:
    labels = _inputs(seed)
    states = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        first = _observe_once(function, labels, 50 + seed, noise=1)
        again = _observe_once(function, labels, 50 + seed, noise=2)
        other = _observe_once(function, labels, 70 + seed, noise=1)
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
    return {"first": first, "again": again["parts"], "other": other["parts"]}


def _observe_once(function: Any, labels: torch.Tensor, seed: int, noise: int) -> dict[str, Any]:
    """Read the rows of the three parts; `noise` sets the global generators, not the learner's."""
    torch.manual_seed(noise)
    np.random.seed(noise)  # noqa: NPY002
    random.seed(noise)
    returned = function(labels.clone(), seed)
    three = isinstance(returned, tuple | list) and len(returned) == len(PARTS)
    return {
        "type": type(returned).__name__,
        "length": len(returned) if isinstance(returned, tuple | list) else None,
        "parts": [row_numbers(part) for part in returned] if three else None,
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    labels = _inputs(seed).tolist()
    size = len(labels)
    parts = seen["first"]["parts"]
    readable = bool(parts) and all(part is not None for part in parts)
    rows: list[list[int]] = list(parts) if readable else [[], [], []]
    inside = readable and all(part and 0 <= min(part) <= max(part) < size for part in rows)
    joined = [row for part in rows for row in part]
    doubled = len(joined) - len(set(joined))
    missing = size - len(set(joined))
    pairs = [(0, 1), (0, 2), (1, 2)]
    both = {(a, b): len(set(rows[a]) & set(rows[b])) for a, b in pairs}
    worst = max(pairs, key=lambda pair: both[pair])
    apart = inside and not doubled
    whole = apart and not missing
    harm = (
        "What was chosen on rows of the test has seen the test."
        if worst == (1, 2)
        else "The probe would be asked what it was told."
    )
    sizes = [len(part) for part in rows]
    fits = apart and sizes == [round(share * size) for share in SHARES]

    classes = sorted(set(labels))
    counts = [[sum(labels[row] == c for row in part) for c in classes] for part in rows if inside]
    wanted = [[round(share * labels.count(c)) for c in classes] for share in SHARES]
    even = whole and counts == wanted
    few_validate = apart and abs(sizes[1] - 0.16 * size) <= len(classes) and sizes[1] < 0.2 * size
    repeats = inside and _sorted(seen["first"]["parts"]) == _sorted(seen["again"])
    varies = inside and _sorted(seen["first"]["parts"]) != _sorted(seen["other"])
    if seen["first"]["length"] not in (None, len(PARTS)):
        returned = f"a {seen['first']['type']} of {seen['first']['length']}"
    elif parts is None:
        returned = f"a {seen['first']['type']}"
    else:
        returned = "three parts, but not each holds row numbers"

    def listed(numbers: list[int]) -> str:
        return "/".join(str(number) for number in numbers)

    shares = "; ".join(
        f"{name} {listed(found)}, expected {listed(right)}"
        for name, found, right in zip(PARTS[1:], counts[1:], wanted[1:], strict=False)
    )
    return weigh(
        [
            Check(
                inside,
                0,
                "not-row-numbers",
                f"You returned {returned}. Expected `(train, validation, test)`, three lists, arrays or "
                f"tensors of row numbers from 0 to {size - 1}, none of them empty.",
            ),
            Check(
                not inside or not any(both.values()),
                0,
                "split-overlaps",
                f"Rows in the {PARTS[worst[0]]} part *and* in the {PARTS[worst[1]]} part: {both[worst]}. "
                f"{harm} Cut one shuffled list into three pieces, so that each row goes to one.",
            ),
            Check(
                not few_validate,
                0,
                "fifth-of-the-rest",
                f"The parts have {listed(sizes)} rows, which is about 64/16/20 %: the second 20 % were "
                f"taken of what the first left over. 20 % of all is a *quarter* of the remaining 80 %.",
            ),
            Check(
                not (inside and repeats and not varies),
                0,
                "always-the-same-rows",
                "Another seed gave the same rows: nothing is shuffled. Rows that stand together in a "
                "file are often alike (one camera, one day), so a part in file order is not a fair "
                "sample. Shuffle the rows of each class with a generator made from `seed`.",
            ),
            Check(
                not inside or repeats,
                0,
                "seed-ignored",
                "The same seed gave another split the second time, so nobody can repeat your result. "
                "Draw with a generator made from `seed`: `torch.Generator().manual_seed(seed)`.",
            ),
            Check(
                not fits or counts == wanted,
                0,
                "not-per-class",
                f"The sizes are right, but the classes are not spread evenly. Rows of the classes "
                f"{listed(classes)}: {shares}. Shuffled rows give a rare class by luck, perhaps none. "
                "Cut the rows of each class on their own.",
            ),
            Check(
                whole,
                1,
                "throws-rows-away",
                f"{missing} of {size} rows are in no part, and {doubled} are there more than once. Each "
                "row belongs in exactly one part.",
                right="each row is in one part",
            ),
            Check(
                fits,
                1,
                "wrong-part-sizes",
                f"The parts have {listed(sizes)} rows. Expected 60, 20 and 20 % of {size}: "
                f"{listed([round(share * size) for share in SHARES])}.",
                right="the parts are 60/20/20",
            ),
            Check(
                even,
                3,
                "not-per-class",
                f"Rows of the classes {listed(classes)}: {shares}. Each part needs its share of each "
                "class.",
                right="each class has its share in each part",
            ),
            Check(
                whole and repeats,
                1,
                "seed-ignored",
                "The same seed gave another split.",
                right="the same seed gives the same split",
            ),
            Check(
                whole and varies,
                1,
                "always-the-same-rows",
                "Another seed gave the same split.",
                right="another seed gives another split",
            ),
        ],
        praise=f"{listed(sizes)} rows, and the rarest class is in each part with its share. Train on the "
        "first, choose on the second, and look at the third once, at the end.",
    )


def _sorted(parts: list[list[int] | None] | None) -> list[list[int]]:
    return [sorted(part or []) for part in parts or []]


def _inputs(seed: int) -> torch.Tensor:
    """Draw labels in mixed order; the size of each class is a multiple of 5, so shares are whole."""
    draw = np.random.default_rng(seed)
    classes = np.sort(draw.choice(12, 4, replace=False))
    sizes = draw.permutation([10, 25, 40, 85 + 5 * (seed % 3)])
    return torch.tensor(draw.permutation(np.repeat(classes, sizes)))


EXERCISE = Exercise(
    id="stratified-split",
    lesson=11,
    title="Train, validation and test, each class with its share",
    points=5,
    prompt="""
Your own folder of images has a rare class. A careless split may leave none of it to test on. Write
`stratified_split(labels, seed)`. `labels` is a 1-D tensor of classes, whole numbers, in any order. Return
`(train, validation, test)`: three lists, arrays or tensors of row numbers.

* Of **each class**, 60 % of the rows are in train, 20 % in validation and 20 % in test. The size of each
  class is a multiple of 5, so these are whole numbers.
* Every row is in exactly one part.
* The seed decides which rows are drawn: the same seed, the same split; another seed, another split.
""".strip(),
    hints=(
        "Split one class at a time: `torch.nonzero(labels == c).flatten()` are the rows of class `c`.",
        "`rows[torch.randperm(len(rows), generator=generator)]` shuffles them. Make one generator "
        "before the loop: `torch.Generator().manual_seed(seed)`.",
        "With `fifth = len(rows) // 5` the pieces are `rows[:fifth]`, `rows[fifth : 2 * fifth]` and the "
        "rest. Collect the pieces of all classes and join them with `torch.cat`.",
    ),
    reference=stratified_split,
    mutants={
        "fifth-of-the-rest": fifth_of_the_rest,
        "not-per-class": not_stratified,
        "always-the-same-rows": first_of_each_class,
        "split-overlaps": validates_on_test,
        "seed-ignored": unseeded,
    },
    visible_test="""
labels = torch.tensor([0] * 20 + [1] * 5)
split = stratified_split(labels, 0)
assert split is not None and len(split) == 3, "expected three parts: train, validation, test"
sizes = [len(part) for part in split]
assert sizes == [15, 5, 5], f"expected 15, 5 and 5 rows, got {sizes}"
found = sorted(int(row) for part in split for row in part)
assert found == list(range(25)), "each row from 0 to 24 should be in exactly one part"
""".strip(),
    observer=observe,
    judger=judge,
)
