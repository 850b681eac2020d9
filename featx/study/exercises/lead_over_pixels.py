"""Exercise: how many points features gain over raw pixels, on the same split."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number
from featx.study.verdicts import Check, Verdict, weigh


def lead_over_pixels(make_probe, features, images, labels, train, test) -> float:
    """Return the test accuracy of a probe on features minus that of a probe on pixels.

    `make_probe()` gives a new scikit-learn classifier. `features` is (N, D), `images` (N, H, W),
    `labels` (N,); `train` and `test` are row numbers.
    """
    ### BEGIN SOLUTION
    scores = []
    for rows in (features, images.reshape(len(images), -1)):
        probe = make_probe().fit(rows[train], labels[train])
        scores.append(probe.score(rows[test], labels[test]))
    return scores[0] - scores[1]
    ### END SOLUTION


def scores_on_training(make_probe, features, images, labels, train, test) -> float:
    scores = []
    for rows in (features, images.reshape(len(images), -1)):
        probe = make_probe().fit(rows[train], labels[train])
        scores.append(probe.score(rows[train], labels[train]))
    return scores[0] - scores[1]


def probe_sees_test(make_probe, features, images, labels, train, test) -> float:
    scores = []
    for rows in (features, images.reshape(len(images), -1)):
        probe = make_probe().fit(rows, labels)
        scores.append(probe.score(rows[test], labels[test]))
    return scores[0] - scores[1]


def baseline_left_out(make_probe, features, images, labels, train, test) -> float:
    return make_probe().fit(features[train], labels[train]).score(features[test], labels[test])


def pixels_minus_features(make_probe, features, images, labels, train, test) -> float:
    scores = []
    for rows in (images.reshape(len(images), -1), features):
        probe = make_probe().fit(rows[train], labels[train])
        scores.append(probe.score(rows[test], labels[test]))
    return scores[0] - scores[1]


def observe(function: Any, seed: int) -> dict[str, Any]:
    leads = []
    for ahead in (True, False):
        returned = function(_make_probe, *(part.copy() for part in _inputs(seed, ahead)))
        leads.append(number(returned))
    return {"leads": leads, "type": type(returned).__name__}


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    leads = seen["leads"]
    known = [_leads(seed, ahead) for ahead in (True, False)]

    def gives(name: str) -> list[bool]:
        return [
            lead is not None and abs(lead - numbers[name]) < 1e-6
            for lead, numbers in zip(leads, known, strict=True)
        ]

    first, second = gives("right")
    both = first and second
    shown = " and ".join("no number" if lead is None else f"{lead:+.3f}" for lead in leads)
    wrong = {
        "training-score-is-proof": f"Your leads, {shown}, are those on the *training* rows. A probe "
        "remembers what it was fitted on; only the test rows show what features are worth.",
        "probe-sees-test": f"Your leads, {shown}, come from probes that were fitted on all rows, test "
        "rows too. Fit on `train` alone.",
        "baseline-left-out": f"You returned {shown}: the accuracy on features alone. Without the same "
        "probe on pixels nobody knows what the backbone added.",
        "lead-turned-round": f"Your leads, {shown}, have the wrong sign: pixels minus features. A lead "
        "is positive where the features win.",
    }
    return weigh(
        [
            Check(
                None not in leads,
                0,
                "not-a-number",
                f"You returned a {seen['type']}. Expected one number, the lead.",
            ),
            *(Check(both or not all(gives(n)), 0, n, text) for n, text in wrong.items()),
            Check(
                first,
                1,
                "lead-not-right",
                f"Your leads, {shown}, are not the difference of the two test accuracies. Fit one new "
                "probe on features and one on pixels, both on `train`, and score both on `test`.",
                right="the lead is right where features win",
            ),
            Check(
                second,
                1,
                "hides-a-negative-lead",
                f"Your leads are {shown}, but once the pixels won. A lead below 0 is a result too: report "
                "it as it is.",
                right="the lead is right where pixels win",
            ),
        ],
        praise="Same rows, same probe, two inputs: so the difference comes from the features alone.",
    )


def _make_probe() -> LogisticRegression:
    return LogisticRegression(max_iter=300)


def _inputs(seed: int, ahead: bool) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng([seed, ahead])
    labels = draw.integers(0, 4, 240)
    noises = (1.3, 3.5) if ahead else (3.5, 1.3)
    features = draw.normal(size=(4, 12))[labels] + noises[0] * draw.normal(size=(240, 12))
    images = draw.normal(size=(4, 4, 4))[labels] + noises[1] * draw.normal(size=(240, 4, 4))
    order = draw.permutation(240)
    return features, images, labels, order[:67], order[67:]


def _leads(seed: int, ahead: bool) -> dict[str, float]:
    parts = _inputs(seed, ahead)
    return {
        "right": lead_over_pixels(_make_probe, *parts),
        "training-score-is-proof": scores_on_training(_make_probe, *parts),
        "probe-sees-test": probe_sees_test(_make_probe, *parts),
        "baseline-left-out": baseline_left_out(_make_probe, *parts),
        "lead-turned-round": pixels_minus_features(_make_probe, *parts),
    }


EXERCISE = Exercise(
    id="lead-over-pixels",
    lesson=1,
    title="The lead of features over pixels",
    points=3,
    prompt="""
Write `lead_over_pixels(make_probe, features, images, labels, train, test)`. Fit one new probe on the features
and one on the flattened pixels, both on the rows `train`. Return the accuracy on the rows `test` with
features minus the one with pixels, such as 0.12; it may be negative. All inputs are NumPy arrays, and
`make_probe()` gives a new scikit-learn classifier with `fit` and `score`.
""".strip(),
    hints=(
        "`images.reshape(len(images), -1)` makes one row of pixels for each image.",
        "`make_probe().fit(rows[train], labels[train])` is a fitted probe. On which rows is it scored?",
    ),
    reference=lead_over_pixels,
    mutants={
        "training-score-is-proof": scores_on_training,
        "probe-sees-test": probe_sees_test,
        "baseline-left-out": baseline_left_out,
        "lead-turned-round": pixels_minus_features,
    },
    visible_test="""
from sklearn.neighbors import KNeighborsClassifier
labels = torch.arange(40).numpy() % 2
features, images = labels[:, None] * 1.0, torch.rand(40, 3, 3).numpy()
train, test = torch.arange(20).numpy(), torch.arange(20, 40).numpy()
lead = lead_over_pixels(KNeighborsClassifier, features, images, labels, train, test)
assert lead is not None, "lead_over_pixels returned nothing yet"
assert 0 <= lead <= 1, "perfect features cannot be behind"
""".strip(),
    observer=observe,
    judger=judge,
)
