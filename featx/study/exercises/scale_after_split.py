"""Exercise: standardise train and test features with the statistics of the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from featx.study.exercises import Exercise
from featx.study.exercises._plain import array_described, was_changed
from featx.study.verdicts import Check, Verdict, weigh

#: The columns with the same number in every row, such as a channel that ReLU keeps at 0.
DEAD = {1: 0.0, 4: 2.0}
COLUMNS = 6


def scale_after_split(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (train, test), both standardised with the mean and std of the training rows.

    Both are float tensors (N, D) of features, with a different N. The given tensors stay as they
    are. A column that is constant becomes 0.
    """
    ### BEGIN SOLUTION
    mean, std = train.mean(dim=0), train.std(dim=0)
    std = torch.where(std == 0, 1.0, std)
    return (train - mean) / std, (test - mean) / std
    ### END SOLUTION


def statistics_of_both(
    train: torch.Tensor, test: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    both = torch.cat([train, test])
    mean, std = both.mean(dim=0), both.std(dim=0).clamp(min=1e-8)
    return (train - mean) / std, (test - mean) / std


def each_by_its_own(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaled = scaler.fit_transform(train.numpy()), scaler.fit_transform(test.numpy())
    return torch.from_numpy(scaled[0]), torch.from_numpy(scaled[1])


def test_as_it_came(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-8)
    return (train - mean) / std, test


def in_place(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-8)
    train -= mean
    train /= std
    test -= mean
    test /= std
    return train, test


def divides_by_zero(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = train.mean(dim=0), train.std(dim=0)
    return (train - mean) / std, (test - mean) / std


def one_mean_for_all(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = train.mean(), train.std()
    return (train - mean) / std, (test - mean) / std


def observe(function: Any, seed: int) -> dict[str, Any]:
    train, test = _inputs(seed)
    given = train.clone(), test.clone()
    returned = function(*given)
    pair = isinstance(returned, tuple | list) and len(returned) == 2
    return {
        "type": type(returned).__name__,
        "parts": [array_described(part) for part in returned] if pair else None,
        "changed": [
            name
            for name, now, before in zip(("train", "test"), given, (train, test), strict=True)
            if was_changed(now, before)
        ],
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    train, test = (part.double().numpy() for part in _inputs(seed))
    parts = seen["parts"] or []
    shapes = [tuple(part["shape"]) if part["shape"] is not None else None for part in parts]
    fits = shapes == [train.shape, test.shape]
    found = [_array(part) for part in parts] if fits else []
    live = [c for c in range(COLUMNS) if c not in DEAD]

    def is_like(place: int, rows: np.ndarray, fitted: np.ndarray, axis: int | None = 0) -> bool:
        """Tell whether a part is `rows` by the statistics of `fitted`; both ways to take a std."""
        if not fits:
            return False
        return any(
            np.allclose(
                found[place][:, live],
                ((rows - fitted.mean(axis)) / (fitted.std(axis, ddof=ddof) + 1e-12))[:, live],
                rtol=1e-3,
                atol=1e-3,
            )
            for ddof in (0, 1)
        )

    both = np.concatenate([train, test])
    right_train, right_test = is_like(0, train, train), is_like(1, test, train)
    dead = np.concatenate([part[:, list(DEAD)] for part in found]) if found else np.empty(0)
    not_finite = bool(found) and not np.isfinite(dead).all()
    flat = bool(found) and not not_finite and bool(np.abs(dead).max() < 1e-3)
    worst = np.abs(dead).max() if found and not not_finite else 0.0
    if seen["parts"] is None:
        shown = f"a {seen['type']}"
    else:
        shown = " and ".join(
            f"the shape {shape}" if shape is not None else f"a {part['type']}"
            for shape, part in zip(shapes, parts, strict=True)
        )
    means = [round(float(part[:, live].mean()), 2) + 0.0 for part in found] or [0.0, 0.0]
    stds = [float(part[:, live].std(0).mean()) for part in found] or [0.0, 0.0]
    test_mean = float(((test - train.mean(0)) / (train.std(0) + 1e-12))[:, live].mean())
    return weigh(
        [
            Check(
                fits,
                0,
                "not-two-parts",
                f"You returned {shown}. Expected `(train, test)`, two tensors of the shapes "
                f"{train.shape} and {test.shape}, as they came.",
            ),
            Check(
                not (is_like(0, train, both) or is_like(1, test, both)),
                0,
                "fits-before-splitting",
                "You took mean and std over train *and* test rows together. So the test rows had a say "
                "in the features that the probe is trained on, and the test is no longer of unseen "
                "rows. Take both numbers from `train` alone.",
            ),
            Check(
                not is_like(1, test, test),
                0,
                "test-scaled-by-itself",
                f"The test features have the mean {means[1]:.2f}: you scaled them by their own mean and "
                f"std. With the training statistics it is {test_mean:.2f}, and that difference is "
                "real. The same image must get the same numbers in both parts: fit once, on `train`.",
            ),
            Check(
                not (right_train and found and np.allclose(found[1][:, live], test[:, live])),
                0,
                "test-left-unscaled",
                "The training features are standardised, and the test features are as they came. The "
                "probe learns on one scale and is asked on another. Apply the mean and std of `train` "
                "to `test` as well.",
            ),
            Check(
                not is_like(0, train, train, None),
                0,
                "one-mean-for-all-columns",
                "You took one mean and one std over all numbers. A feature with large numbers still "
                "drowns the others. Each column needs its own: `mean(dim=0)` gives D of them.",
            ),
            Check(
                not (right_train and not_finite),
                0,
                "constant-column-is-nan",
                "A column with the same number in all rows became `nan` or infinite: its std is 0, and "
                "you divided by it. Such channels are usual after ReLU, and one `nan` spoils the whole "
                "probe. Put 1 in place of a std of 0.",
            ),
            Check(
                right_train,
                1,
                "train-not-standardised",
                f"The training features have the mean {means[0]:.2f} and the std {stds[0]:.2f}, column by "
                "column; they should be those of `train`, minus the mean of each column, divided by "
                "its std: 0 and 1.",
                right="the training features",
            ),
            Check(
                right_test,
                2,
                "test-not-standardised",
                f"The test features have the mean {means[1]:.2f}, expected {test_mean:.2f}: minus the "
                "mean of each column of `train`, divided by its std in `train`.",
                right="the test features",
            ),
            Check(
                flat and right_train and right_test,
                1,
                "constant-column-is-not-0",
                f"A constant column has numbers up to {worst:.3g}; expected 0. Minus its mean it is 0 "
                "already; only the division by a std of 0 has to be avoided.",
                right="a constant column is 0",
            ),
            Check(
                not seen["changed"] and right_train and right_test,
                1,
                "changes-its-input",
                "Your function changed what it was given: "
                + " and ".join(f"`{name}`" for name in seen["changed"])
                + ". `-=` and `/=` write into the tensor itself, so features in a cache would be scaled "
                "again at each call. Write `train - mean` into a new tensor.",
                right="the given tensors are as they were",
            ),
        ],
        praise=f"Mean 0 for the training features, {test_mean:.2f} for the test features: that is not "
        "an error but the difference between the two parts, and the probe meets it honestly.",
    )


def _array(part: dict[str, Any]) -> np.ndarray:
    values = [np.nan if value is None else value for value in part["values"]]
    return np.array(values, dtype=float).reshape(part["shape"])


def _inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make features on different scales; the test rows lie elsewhere, as photos of another day do."""
    draw = np.random.default_rng(seed)
    scale, centre = draw.uniform(0.3, 9, COLUMNS), draw.uniform(1, 12, COLUMNS)
    train = centre + scale * draw.normal(size=(24 + seed % 5, COLUMNS))
    test = centre + scale * (0.8 + 1.7 * draw.normal(size=(15 + seed % 3, COLUMNS)))
    for column, value in DEAD.items():
        train[:, column] = test[:, column] = value
    return torch.tensor(train, dtype=torch.float32), torch.tensor(test, dtype=torch.float32)


EXERCISE = Exercise(
    id="scale-after-split",
    lesson=9,
    title="Scale with what the training rows say",
    points=5,
    prompt="""
A probe learns faster when all features are on one scale. Write `scale_after_split(train, test)`. Both are
float tensors of features, `(N, D)`, split already. Return `(train, test)`, standardised column by column:
minus the mean, divided by the standard deviation.

* Mean and standard deviation come from the **training** rows only, for both parts.
* A column with the same number in all rows (a dead channel) must become 0, not `nan`.
* The given tensors stay as they are.

The standard deviation may divide by `N - 1` (as `torch.std` does) or by `N` (as scikit-learn does).
""".strip(),
    hints=(
        "What may you know about the test rows before you test? Nothing, not even their mean.",
        "`train.mean(dim=0)` and `train.std(dim=0)` have one number for each column. Use the same two "
        "for `train` and for `test`.",
        "0 / 0 is `nan`, but 0 / 1 is 0: `torch.where(std == 0, 1.0, std)`.",
    ),
    reference=scale_after_split,
    mutants={
        "fits-before-splitting": statistics_of_both,
        "test-scaled-by-itself": each_by_its_own,
        "test-left-unscaled": test_as_it_came,
        "changes-its-input": in_place,
        "constant-column-is-nan": divides_by_zero,
        "one-mean-for-all-columns": one_mean_for_all,
    },
    visible_test="""
train = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
test = torch.tensor([[3.0, 5.0], [7.0, 5.0]])
scaled = scale_after_split(train, test)
assert scaled is not None and len(scaled) == 2, "expected the two parts, train and test"
assert abs(float(scaled[0][:, 0].mean())) < 1e-5, "the training column should have the mean 0"
assert abs(float(scaled[1][0, 0])) < 1e-5, "3.0 is the mean of the training column, so it becomes 0"
assert float(scaled[1][1, 0]) > 1.5, "7.0 is about two std above the mean of the training column"
""".strip(),
    observer=observe,
    judger=judge,
)
