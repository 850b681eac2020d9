"""Exercise: a split with few labels, the same number for each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.study.exercises import Exercise
from featx.study.exercises._splits import observe_split
from featx.study.verdicts import Check, Verdict, weigh

CLASSES = (2, 5, 6, 9)


def few_label_split(labels, k: int, seed: int) -> tuple:
    """Return (train, test): the numbers of the rows, k of each class to train, the rest to test.

    `labels` is a NumPy array (N,). The seed decides which rows are drawn.
    """
    import numpy as np

    ### BEGIN SOLUTION
    draw = np.random.default_rng(seed)
    train = np.concatenate(
        [draw.choice(np.flatnonzero(labels == c), k, replace=False) for c in np.unique(labels)]
    )
    test = np.setdiff1d(np.arange(len(labels)), train)
    return train, test
    ### END SOLUTION


def not_per_class(labels, k: int, seed: int) -> tuple:
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(labels))
    size = k * len(np.unique(labels))
    return order[:size], order[size:]


def overlaps(labels, k: int, seed: int) -> tuple:
    import numpy as np

    draw = np.random.default_rng(seed)
    train = np.concatenate(
        [draw.choice(np.flatnonzero(labels == c), k, replace=False) for c in np.unique(labels)]
    )
    return train, np.arange(len(labels))


def draws_rows_twice(labels, k: int, seed: int) -> tuple:
    import numpy as np

    draw = np.random.default_rng(seed)
    train = np.concatenate([draw.choice(np.flatnonzero(labels == c), k) for c in np.unique(labels)])
    return train, np.setdiff1d(np.arange(len(labels)), train)


def throws_rows_away(labels, k: int, seed: int) -> tuple:
    import numpy as np

    draw = np.random.default_rng(seed)
    train, test = [], []
    for c in np.unique(labels):
        rows = draw.permutation(np.flatnonzero(labels == c))
        train.extend(rows[:k])
        test.extend(rows[k : 2 * k])
    return train, test


def unseeded(labels, k: int, seed: int) -> tuple:
    import numpy as np

    train = np.concatenate(
        [np.random.permutation(np.flatnonzero(labels == c))[:k] for c in np.unique(labels)]  # noqa: NPY002
    )
    return train, np.setdiff1d(np.arange(len(labels)), train)


def always_the_first(labels, k: int, seed: int) -> tuple:
    import numpy as np

    train = np.concatenate([np.flatnonzero(labels == c)[:k] for c in np.unique(labels)])
    return train, np.setdiff1d(np.arange(len(labels)), train)


def observe(function: Any, seed: int) -> dict[str, Any]:
    labels, k = _inputs(seed)
    state = np.random.get_state()  # noqa: NPY002
    try:
        first = observe_split(function, labels, k, 10 + seed, noise=1)
        again = observe_split(function, labels, k, 10 + seed, noise=2)
        other = observe_split(function, labels, k, 20 + seed, noise=3)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return {"first": first, "again": again, "other": other}


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    labels, k = _inputs(seed)
    first = seen["first"]
    train, test = first["train"], first["test"]
    pair = train is not None and test is not None
    train, test = train or [], test or []
    inside = pair and bool(train) and all(0 <= row < len(labels) for row in train + test)
    counts = {c: sum(labels[row] == c for row in train if inside) for c in CLASSES}
    distinct = {c: sum(labels[row] == c for row in set(train) if inside) for c in CLASSES}
    both = set(train) & set(test)
    balanced = inside and all(number == k for number in distinct.values())
    uses = inside and not both and bool(test)
    fits = balanced and uses
    missing = len(labels) - len(set(train) | set(test))
    twice = len(train) - len(set(train))
    repeats = sorted(train) == sorted(seen["again"]["train"] or [])
    varies = sorted(train) != sorted(seen["other"]["train"] or [])
    shown = ", ".join(str(number) for number in counts.values())
    return weigh(
        [
            Check(
                pair,
                0,
                "not-row-numbers",
                f"You returned {first['type']}. Expected two lists or arrays of row numbers, `(train, "
                "test)`: whole numbers that can index `labels`.",
            ),
            Check(
                inside or not pair,
                0,
                "not-row-numbers",
                f"Expected row numbers from 0 to {len(labels) - 1}, at least one to train; other numbers "
                "are there. Return where the rows are, not their labels.",
            ),
            Check(
                uses,
                2,
                "split-overlaps",
                f"{len(both)} rows are in the training part *and* in the test part. The probe would be "
                "asked what it was told, and the accuracy would be too high. The test is what is left "
                "without the training rows.",
                right="no row is on both sides",
            ),
            Check(
                not (inside and twice),
                0,
                "draws-rows-twice",
                f"{twice} training rows are there a second time: you drew with replacement, so a class "
                "has fewer different images than `k`. Use `replace=False` or cut a permutation.",
            ),
            Check(
                balanced,
                2,
                "not-per-class",
                f"The training part has {shown} rows of the classes, with `k` = {k}. Drawing from all rows "
                "together follows the class sizes; draw `k` from the rows of each class.",
                right="each class has k training rows",
            ),
            Check(
                fits and not missing and len(test) == len(set(test)),
                1,
                "throws-rows-away",
                f"{missing} of {len(labels)} rows are in neither part. Labels to train with are few, but "
                "every other row can test, and more test rows measure more exactly.",
                right="every other row tests",
            ),
            Check(
                fits and repeats,
                1,
                "seed-ignored",
                "The same seed gave another split the second time, so nobody can repeat your result. "
                "Draw with a generator made from `seed`, such as `np.random.default_rng(seed)`.",
                right="the same seed gives the same split",
            ),
            Check(
                fits and varies,
                1,
                "always-the-same-rows",
                "Another seed gave the same training rows. With few labels much depends on which rows are "
                "drawn, and the first of a file are often alike: let `seed` decide.",
                right="another seed gives another split",
            ),
        ],
        praise="A fair small split: `k` rows of each class, all others to test, and a seed. Repeat it with "
        "several seeds, and you see how much a result hangs on the few rows that were drawn.",
    )


def _inputs(seed: int) -> tuple[np.ndarray, int]:
    draw = np.random.default_rng(seed)
    k = 4 + seed % 3
    sizes = draw.permutation([k + 3, 17, 34, 61])
    labels = np.repeat(CLASSES, sizes)
    return draw.permutation(labels), k


EXERCISE = Exercise(
    id="few-label-split",
    lesson=1,
    title="Split with few labels",
    points=4,
    prompt="""
Features pay most where labels are few. Write `few_label_split(labels, k, seed)`. `labels` is a NumPy array
`(N,)` of class labels (any whole numbers). Return `(train, test)`, two lists or arrays of row numbers:

* `train` has `k` different rows of each class, `test` has *all* the others, and no row is in both;
* the seed decides which rows are drawn: the same seed, the same split; another seed, another split.

Each class has more than `k` rows.
""".strip(),
    hints=(
        "`np.unique(labels)` names the classes, `np.flatnonzero(labels == c)` the rows of one class.",
        "`draw = np.random.default_rng(seed)`, then `draw.permutation(rows)[:k]` are `k` different rows.",
        "The test part is what is left: `np.setdiff1d(np.arange(len(labels)), train)`.",
    ),
    reference=few_label_split,
    mutants={
        "split-overlaps": overlaps,
        "draws-rows-twice": draws_rows_twice,
        "not-per-class": not_per_class,
        "throws-rows-away": throws_rows_away,
        "seed-ignored": unseeded,
        "always-the-same-rows": always_the_first,
    },
    visible_test="""
labels = torch.tensor([0] * 10 + [1] * 20).numpy()
split = few_label_split(labels, 3, 0)
assert split is not None and len(split) == 2, "expected the two parts, train and test"
train, test = split
assert len(train) == 6, f"expected 3 rows of each of 2 classes, got {len(train)} rows"
assert len(test) == 24, f"expected the other 24 rows in the test, got {len(test)}"
""".strip(),
    observer=observe,
    judger=judge,
)
