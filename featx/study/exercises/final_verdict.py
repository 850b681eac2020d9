"""Exercise: one word for all the numbers of a model, by the course's table of good and bad."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.metrics.ratings import verdict_of
from featx.study.exercises import Exercise
from featx.study.verdicts import Check, Verdict, weigh

WORDS = ("good", "mixed", "bad")


def final_verdict(metrics: dict[str, float]) -> str:
    """Return `"good"`, `"mixed"` or `"bad"` for the numbers of a classifier on test rows.

    Keys: `accuracy`, `precision`, `recall`, `loss`; and of guessing: `baseline`, `baseline_loss`.
    """
    ### BEGIN SOLUTION
    ratings = []

    if 1 - metrics["accuracy"] >= 0.9 * (1 - metrics["baseline"]):
        ratings.append("bad")
    else:
        ratings.append("good" if metrics["accuracy"] > 0.85 else "fair")

    weaker = min(metrics["precision"], metrics["recall"])
    if weaker < 0.5:
        ratings.append("bad")
    else:
        ratings.append("good" if weaker > 0.8 else "fair")

    if metrics["loss"] >= 0.9 * metrics["baseline_loss"]:
        ratings.append("bad")
    else:
        ratings.append("good" if metrics["loss"] < 0.5 else "fair")

    if all(rating == "good" for rating in ratings):
        return "good"
    return "bad" if "bad" in ratings and "good" not in ratings else "mixed"
    ### END SOLUTION


def accuracy_only(metrics: dict[str, float]) -> str:
    if 1 - metrics["accuracy"] >= 0.9 * (1 - metrics["baseline"]):
        return "bad"
    return "good" if metrics["accuracy"] > 0.85 else "mixed"


def f1_for_the_weaker(metrics: dict[str, float]) -> str:
    precision, recall = metrics["precision"], metrics["recall"]
    f1 = 2 * precision * recall / (precision + recall)
    no_skill = 1 - metrics["accuracy"] >= 0.9 * (1 - metrics["baseline"])
    no_loss_skill = metrics["loss"] >= 0.9 * metrics["baseline_loss"]
    ratings = [
        "bad" if no_skill else "good" if metrics["accuracy"] > 0.85 else "fair",
        "bad" if f1 < 0.5 else "good" if f1 > 0.8 else "fair",
        "bad" if no_loss_skill else "good" if metrics["loss"] < 0.5 else "fair",
    ]
    if ratings == ["good"] * 3:
        return "good"
    return "bad" if "bad" in ratings and "good" not in ratings else "mixed"


def threshold_counts(metrics: dict[str, float]) -> str:
    weaker = min(metrics["precision"], metrics["recall"])
    no_skill = 1 - metrics["accuracy"] >= 0.9 * (1 - metrics["baseline"])
    no_loss_skill = metrics["loss"] >= 0.9 * metrics["baseline_loss"]
    ratings = [
        "bad" if no_skill else "good" if metrics["accuracy"] >= 0.85 else "fair",
        "bad" if weaker <= 0.5 else "good" if weaker >= 0.8 else "fair",
        "bad" if no_loss_skill else "good" if metrics["loss"] <= 0.5 else "fair",
    ]
    if ratings == ["good"] * 3:
        return "good"
    return "bad" if "bad" in ratings and "good" not in ratings else "mixed"


def one_good_is_enough(metrics: dict[str, float]) -> str:
    weaker = min(metrics["precision"], metrics["recall"])
    no_skill = 1 - metrics["accuracy"] >= 0.9 * (1 - metrics["baseline"])
    no_loss_skill = metrics["loss"] >= 0.9 * metrics["baseline_loss"]
    ratings = [
        "bad" if no_skill else "good" if metrics["accuracy"] > 0.85 else "fair",
        "bad" if weaker < 0.5 else "good" if weaker > 0.8 else "fair",
        "bad" if no_loss_skill else "good" if metrics["loss"] < 0.5 else "fair",
    ]
    if "good" in ratings:
        return "good"
    return "bad" if "bad" in ratings else "mixed"


def loss_left_out(metrics: dict[str, float]) -> str:
    weaker = min(metrics["precision"], metrics["recall"])
    no_skill = 1 - metrics["accuracy"] >= 0.9 * (1 - metrics["baseline"])
    ratings = [
        "bad" if no_skill else "good" if metrics["accuracy"] > 0.85 else "fair",
        "bad" if weaker < 0.5 else "good" if weaker > 0.8 else "fair",
    ]
    if ratings == ["good"] * 2:
        return "good"
    return "bad" if "bad" in ratings and "good" not in ratings else "mixed"


def baseline_ignored(metrics: dict[str, float]) -> str:
    weaker = min(metrics["precision"], metrics["recall"])
    ratings = [
        "bad" if metrics["accuracy"] < 0.55 else "good" if metrics["accuracy"] > 0.85 else "fair",
        "bad" if weaker < 0.5 else "good" if weaker > 0.8 else "fair",
        "bad" if metrics["loss"] > 0.62 else "good" if metrics["loss"] < 0.5 else "fair",
    ]
    if ratings == ["good"] * 3:
        return "good"
    return "bad" if "bad" in ratings and "good" not in ratings else "mixed"


def observe(function: Any, seed: int) -> dict[str, Any]:
    said = {}
    for name, metrics in _cases(seed).items():
        returned = function(dict(metrics))
        said[name] = returned[:40] if isinstance(returned, str) else type(returned).__name__
    return {"said": said}


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    said = seen["said"]
    expected = {
        name: verdict_of(
            accuracy=m["accuracy"],
            precision=m["precision"],
            recall=m["recall"],
            log_loss=m["loss"],
            guessing=m["baseline"],
            guessing_log_loss=m["baseline_loss"],
        )
        for name, m in _cases(seed).items()
    }
    wrong = [name for name in expected if said[name] != expected[name]]
    other = [word for word in said.values() if word not in WORDS]

    def fine(*names: str) -> bool:
        return not any(name in wrong for name in names)

    def about(name: str) -> str:
        return f'you said "{said[name]}", expected "{expected[name]}"'

    accuracy_decides = (
        said["accuracy_only"] == "good"
        and said["weak_recall"] == "good"
        and said["loss_only"] != "good"
    )
    some_good = said["loss_only"] == "good" and said["all_bad"] != "good"
    some_bad = said["bad_among_good"] == said["bad_loss"] == "bad" and said["all_good"] != "bad"
    plain = fine("all_good", "all_fair", "all_bad")
    edges = ("edge_accuracy", "edge_recall", "edge_loss", "edge_half")
    edge = next((name for name in edges if name in wrong), edges[0])
    joined = ("bad_among_good", "bad_beside_loss", "bad_among_fair", "accuracy_only", "loss_only")
    join = next((name for name in joined if name in wrong), joined[0])
    loss = "bad_loss" if "bad_loss" in wrong else "fair_loss"
    weak = next(
        (n for n in ("weak_recall", "weak_precision", "weak_half") if n in wrong), "weak_half"
    )
    missed = next((name for name in ("paradox", "beaten") if name in wrong), "paradox")
    return weigh(
        [
            Check(
                not other,
                0,
                "not-a-verdict",
                f'You returned "{(other or ["-"])[0]}" for a model. Expected one of the words "good", '
                '"mixed" and "bad".',
            ),
            Check(
                not (accuracy_decides and wrong),
                0,
                "accuracy-is-quality",
                "Your verdict is that of accuracy alone: a model with a good accuracy and nothing else "
                f"that is good, {about('accuracy_only')}. Rate three things, then join the "
                "ratings.",
            ),
            Check(
                not some_good,
                0,
                "one-good-is-enough",
                f"A model whose loss alone is good: {about('loss_only')}. The verdict is good only when "
                "*all three* ratings are: join them with `and`, not with `or`.",
            ),
            Check(
                not some_bad,
                0,
                "one-bad-is-enough",
                f"A model with one bad rating beside two good ones: {about('bad_among_good')}. Bad is a "
                "model with something bad and *nothing* good.",
            ),
            Check(
                plain,
                1,
                "not-by-the-table",
                "Begin with models whose three ratings agree. All good: "
                f"{about('all_good')}. All fair: {about('all_fair')}. All bad: {about('all_bad')}.",
                right="where all ratings agree the verdict is right",
            ),
            Check(
                plain and fine("weak_recall", "weak_precision", "weak_half"),
                2,
                "mean-hides-the-weaker",
                f"Precision and recall are far apart, and one is not good: {about(weak)}. F1 and the mean let a high one make up for a low one; "
                "the *weaker* of the two has to pass.",
                right="the weaker of precision and recall counts",
            ),
            Check(
                plain and fine("bad_loss", "fair_loss"),
                2,
                "loss-left-out",
                f"Accuracy, precision and recall are good, the loss is not: {about(loss)}. Such a "
                "model is sure of its wrong answers; rate the loss too.",
                right="the loss is rated",
            ),
            Check(
                plain and fine("paradox", "beaten"),
                2,
                "threshold-without-baseline",
                f"A model is hardly better than always giving the most frequent answer: {about(missed)}. "
                "An accuracy above 0.85, or a loss below 0.5, is bad where guessing has the same. Compare "
                "with the baseline before the threshold.",
                right="guessing is called bad, however high its accuracy",
            ),
            Check(
                plain and fine(*edges),
                1,
                "threshold-itself-counts",
                f"Right at a threshold: {about(edge)}. Good is *above* 0.85 or 0.8 and *below* 0.5, bad is "
                "below 0.5; the number itself is fair.",
                right="the thresholds themselves are fair",
            ),
            Check(
                plain and fine(*joined),
                2,
                "ratings-joined-wrongly",
                f"Ratings that disagree: {about(join)}. Good is a model with all three good, bad one with "
                "something bad and *nothing* good; all others are mixed.",
            ),
        ],
        praise="Three ratings, each against its threshold *and* against guessing, then one word. "
        "`featx.evaluate` gives the same verdict from the answers themselves, and says too what a small "
        "test set leaves open.",
    )


def _cases(seed: int) -> dict[str, dict[str, float]]:
    draw = np.random.default_rng(seed)

    def model(
        accuracy: float,
        precision: float,
        recall: float,
        loss: float,
        edge: str = "",
        guessing: tuple[float, float] = (0.5, 0.693),
    ) -> dict[str, float]:
        given = {"accuracy": accuracy, "precision": precision, "recall": recall, "loss": loss}
        # all but a number that is right at its threshold is moved a little
        moved = {
            name: value if name == edge else round(value + float(draw.uniform(-0.008, 0.008)), 4)
            for name, value in given.items()
        }
        return moved | dict(zip(("baseline", "baseline_loss"), guessing, strict=True))

    half = round(float(draw.uniform(0.5, 0.54)), 3)
    # what guessing gets with 40 %, 30 % and 22 % of positives
    forty, thirty, fifth = (0.6, 0.673), (0.7, 0.611), (0.78, 0.527)
    cases = {
        "all_good": model(0.92, 0.90, 0.88, 0.25, guessing=(half, 0.69)),
        "all_fair": model(0.79, 0.74, 0.70, 0.55, guessing=forty),
        "all_bad": model(0.52, 0.45, 0.40, 0.72, guessing=(0.55, 0.688)),
        "weak_recall": model(0.91, 0.97, 0.71, 0.30, guessing=thirty),
        "weak_precision": model(0.91, 0.71, 0.97, 0.30, guessing=fifth),
        # F1 and the mean are fair, recall alone is bad, nothing is good
        "weak_half": model(0.72, 0.78, 0.46, 0.56, guessing=forty),
        "bad_loss": model(0.92, 0.90, 0.89, 0.80),
        "fair_loss": model(0.92, 0.90, 0.89, 0.55),
        "paradox": model(0.97, 0.15, 0.12, 0.12, guessing=(0.98, 0.098)),
        "beaten": model(0.90, 0.52, 0.53, 0.33, guessing=(0.9, 0.325)),
        "edge_accuracy": model(0.85, 0.85, 0.86, 0.35, edge="accuracy"),
        "edge_recall": model(0.91, 0.97, 0.80, 0.30, edge="recall", guessing=forty),
        "edge_loss": model(0.91, 0.91, 0.90, 0.50, edge="loss"),
        "edge_half": model(0.66, 0.60, 0.50, 0.56, edge="recall", guessing=forty),
        "accuracy_only": model(0.89, 0.68, 0.67, 0.55, guessing=(0.83, 0.456)),
        "loss_only": model(0.76, 0.70, 0.69, 0.42, guessing=forty),
        "bad_among_good": model(0.91, 0.90, 0.30, 0.30, guessing=(0.88, 0.367)),
        # the loss is all that is good, beside a recall that is bad
        "bad_beside_loss": model(0.75, 0.60, 0.40, 0.42, guessing=thirty),
        "bad_among_fair": model(0.66, 0.60, 0.44, 0.58, guessing=forty),
    }
    return {name: cases[name] for name in draw.permutation(list(cases)).tolist()}


EXERCISE = Exercise(
    id="final-verdict",
    lesson=11,
    title="The numbers, in one word",
    points=4,
    prompt="""
Write `final_verdict(metrics)`: the verdict on a classifier with two classes, from its numbers on test rows.
`metrics` has `"accuracy"`, `"precision"`, `"recall"` and `"loss"` (cross-entropy); and what guessing gets:
`"baseline"` is the accuracy of always giving the most frequent answer, `"baseline_loss"` the loss of always
giving the shares of the classes. First rate three things:

| | bad | good, if not bad | else |
|---|---|---|---|
| accuracy | its errors are 0.9 or more of guessing's: `1 - accuracy >= 0.9 * (1 - baseline)` | above 0.85 | fair |
| precision and recall | one of them is below 0.5 | both are above 0.8 | fair |
| loss | `loss >= 0.9 * baseline_loss` | below 0.5 | fair |

A number right at 0.85, 0.8 or 0.5 is neither above nor below. Then join the three ratings: return `"good"` if
all three are good, `"bad"` if at least one is bad and none is good, else `"mixed"`.
""".strip(),
    hints=(
        "Rate first, join later: write down the three ratings, then look at them together.",
        "Precision and recall pass together, so only the weaker of them matters: `min(...)`.",
        'With a list of three ratings: `all(rating == "good" for rating in ratings)`, and '
        '`"bad" in ratings`.',
    ),
    reference=final_verdict,
    mutants={
        "accuracy-is-quality": accuracy_only,
        "mean-hides-the-weaker": f1_for_the_weaker,
        "threshold-itself-counts": threshold_counts,
        "one-good-is-enough": one_good_is_enough,
        "loss-left-out": loss_left_out,
        "threshold-without-baseline": baseline_ignored,
    },
    visible_test="""
numbers = {"accuracy": 0.9, "precision": 0.9, "recall": 0.9, "loss": 0.3}
guessing = {"baseline": 0.5, "baseline_loss": 0.69}
assert final_verdict(numbers | guessing) == "good", "all three ratings are good here"
assert final_verdict(numbers | guessing | {"recall": 0.6}) == "mixed", "recall is only fair here"
""".strip(),
    observer=observe,
    judger=judge,
)
