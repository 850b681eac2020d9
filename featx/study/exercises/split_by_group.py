"""Exercise: a split in which no group is on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.study.exercises import Exercise
from featx.study.exercises._splits import observe_split
from featx.study.verdicts import Check, Verdict, weigh


def split_by_group(groups, test_size: float, seed: int) -> tuple:
    """Return (train, test): the numbers of the rows, no group on both sides.

    `groups` is a NumPy array (N,): the group of each row, such as the animal in the photo.
    `test_size` is the share of the groups that go to the test.
    """
    import numpy as np

    ### BEGIN SOLUTION
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    in_test = np.isin(groups, names[: round(test_size * len(names))])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
    ### END SOLUTION


def shuffles_rows(groups, test_size: float, seed: int) -> tuple:
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(groups))
    size = round(test_size * len(groups))
    return order[size:], order[:size]


def stratifies(groups, test_size: float, seed: int) -> tuple:
    import numpy as np
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(groups))
    train, test = train_test_split(rows, test_size=test_size, stratify=groups, random_state=seed)
    return train, test


def cuts_through(groups, test_size: float, seed: int) -> tuple:
    import numpy as np

    names = np.random.default_rng(seed).permutation(np.unique(groups))
    order = np.concatenate([np.flatnonzero(groups == name) for name in names])
    size = round(test_size * len(groups))
    return order[size:], order[:size]


def groups_for_rows(groups, test_size: float, seed: int) -> tuple:
    import numpy as np

    names = np.random.default_rng(seed).permutation(np.unique(groups))
    size = round(test_size * len(names))
    return names[size:], names[:size]


def unseeded(groups, test_size: float, seed: int) -> tuple:
    import numpy as np

    names = np.random.permutation(np.unique(groups))  # noqa: NPY002
    in_test = np.isin(groups, names[: round(test_size * len(names))])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def one_row_each(groups, test_size: float, seed: int) -> tuple:
    import numpy as np

    _, rows = np.unique(groups, return_index=True)
    rows = np.random.default_rng(seed).permutation(rows)
    size = round(test_size * len(rows))
    return rows[size:], rows[:size]


def observe(function: Any, seed: int) -> dict[str, Any]:
    groups, share = _inputs(seed)
    state = np.random.get_state()  # noqa: NPY002
    try:
        first = observe_split(function, groups, share, 30 + seed, noise=1)
        again = observe_split(function, groups, share, 30 + seed, noise=2)
        others = [
            observe_split(function, groups, share, 40 + k + seed, noise=1)["test"] for k in range(4)
        ]
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return {"first": first, "again": again, "others": others}


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    groups, share = _inputs(seed)
    first = seen["first"]
    pair = first["train"] is not None and first["test"] is not None
    train, test = first["train"] or [], first["test"] or []
    inside = pair and bool(train and test) and all(0 <= r < len(groups) for r in train + test)
    rows_on_both = len(set(train) & set(test))
    train_groups = {str(groups[row]) for row in train} if inside else set()
    test_groups = {str(groups[row]) for row in test} if inside else set()
    torn = len(train_groups & test_groups)
    number = len(np.unique(groups))
    wanted = round(share * number)
    apart = inside and not torn
    whole = apart and len({*train, *test}) == len(groups) == len(train) + len(test)
    missing = len(groups) - len({*train, *test})
    repeats = sorted(test) == sorted(seen["again"]["test"] or [])
    varies = any(sorted(test) != sorted(other or []) for other in seen["others"])
    return weigh(
        [
            Check(
                inside,
                0,
                "groups-for-rows",
                f"You returned {first['type']}. Expected two lists or arrays of row numbers from 0 to "
                f"{len(groups) - 1}, `(train, test)`, none of them empty. The groups decide, but what "
                "is returned are the *places* of the rows.",
            ),
            Check(
                not rows_on_both,
                0,
                "split-overlaps",
                f"{rows_on_both} rows are in the training part *and* in the test part. Each row belongs "
                "on one side.",
            ),
            Check(
                torn != number,
                0,
                "stratifies-by-group",
                f"All {number} groups are on both sides. `stratify` spreads each group evenly, which is "
                "right for *classes*. For groups it is the opposite of what you want: keep each whole.",
            ),
            Check(
                not 0 < torn <= 2,
                0,
                "cuts-through-a-group",
                f"{torn} of {number} groups are on both sides: the cut between the two parts goes "
                "through them. Cut the list of *groups*, not the list of rows.",
            ),
            Check(
                apart,
                3,
                "shuffling-cures-leaks",
                f"{torn} of {number} groups have rows on both sides: you shuffled the rows. A photo of "
                "the same animal is then known from training, and the accuracy is too high. Shuffle "
                "`np.unique(groups)` instead.",
                right="no group is on both sides",
            ),
            Check(
                whole,
                1,
                "throws-rows-away",
                f"{missing} of {len(groups)} rows are in neither part, or some are there twice. Every row "
                "follows its group: `np.isin(groups, chosen)` finds all rows of the chosen groups.",
                right="every row is there once",
            ),
            Check(
                whole and len(test_groups) == wanted,
                1,
                "wrong-test-size",
                f"{len(test_groups)} of {number} groups are in the test part. Expected the share "
                f"{share} of them: {wanted} groups.",
                right="the test has its share of the groups",
            ),
            Check(
                whole and repeats,
                1,
                "seed-ignored",
                "The same seed gave another split the second time, so nobody can repeat your result. "
                "Draw with a generator made from `seed`, such as `np.random.default_rng(seed)`.",
                right="the same seed gives the same split",
            ),
            Check(
                whole and varies,
                1,
                "always-the-same-rows",
                "Another seed gave the same test groups. Let `seed` decide which groups are drawn.",
                right="another seed gives another split",
            ),
        ],
        praise=f"{wanted} whole groups test, {number - wanted} train, and no group is on both sides. The "
        "accuracy will be lower than with shuffled rows, and it is the honest one: it tells about animals "
        "that the probe has never seen.",
    )


def _inputs(seed: int) -> tuple[np.ndarray, float]:
    """Make groups of unequal size, their rows mixed, and a share that gives a whole number of groups."""
    draw = np.random.default_rng(seed)
    number, share = ((12, 0.25), (10, 0.3), (20, 0.2))[seed % 3]
    names = np.array([f"animal-{k}" for k in draw.choice(900, number, replace=False) + 100])
    sizes = draw.permutation(np.arange(number) + 5)
    return draw.permutation(np.repeat(names, sizes)), share


EXERCISE = Exercise(
    id="split-by-group",
    lesson=9,
    title="Keep each group on one side",
    points=4,
    prompt="""
Ten photos of one cat are not ten cats. If some of them train and the others test, the probe is asked what
it knows. Write `split_by_group(groups, test_size, seed)`. `groups` is a NumPy array `(N,)` with the group of
each row, here a string such as `"animal-7"`. Return `(train, test)`, two lists or arrays of row numbers:

* no group has rows on both sides, and every row is in one of the two parts;
* `test_size` is the share of the **groups** that test (here it always gives a whole number of groups);
* the seed decides which groups these are: the same seed, the same split; another seed, another split.
""".strip(),
    hints=(
        "What should be shuffled: the rows, or the groups? `np.unique(groups)` names each group once.",
        "`np.random.default_rng(seed).permutation(names)` shuffles; the first ones are the test groups.",
        "`np.isin(groups, chosen)` is true for each row of a chosen group. `np.flatnonzero` turns this "
        "into row numbers.",
    ),
    reference=split_by_group,
    mutants={
        "shuffling-cures-leaks": shuffles_rows,
        "stratifies-by-group": stratifies,
        "cuts-through-a-group": cuts_through,
        "groups-for-rows": groups_for_rows,
        "seed-ignored": unseeded,
        "throws-rows-away": one_row_each,
    },
    visible_test="""
import numpy as np
groups = np.array(["a", "a", "b", "b", "b", "c", "d", "d"])
split = split_by_group(groups, 0.25, 0)
assert split is not None and len(split) == 2, "expected the two parts, train and test"
train, test = split
assert len(train) + len(test) == 8, "expected each of the 8 rows in one of the parts"
assert not set(groups[train]) & set(groups[test]), "a group is on both sides"
""".strip(),
    observer=observe,
    judger=judge,
)
