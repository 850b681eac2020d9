"""The table of good and bad values, as data; and the rule that turns numbers into a verdict.

A number is *good* beyond its threshold, and *bad* where it hardly beats guessing, however good it looks: an
accuracy of 0.98 is bad where always giving the same answer gets 0.98. In between it is *fair*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from featx.errors import FeatxError
from featx.findings import with_overrides

__all__ = [
    "THRESHOLDS",
    "Rating",
    "Verdict",
    "rate",
    "rate_all",
    "verdict",
    "verdict_of",
]

Rating = Literal["good", "fair", "bad"]
Verdict = Literal["good", "mixed", "bad"]

#: Every number that a verdict or a finding is decided by. Override with ``thresholds={...}``.
THRESHOLDS = {
    # what is good, and what is bad
    "accuracy_good": 0.85,  # above, on rows that were not trained on
    "precision_recall_good": 0.80,  # both above
    "precision_recall_bad": 0.50,  # either below
    "loss_good": 0.50,  # cross-entropy below, in nats
    "r2_good": 0.80,  # above; a convention of this course: what is good depends on the field
    "fewest_rows": 20,  # with fewer, errors of predicted numbers are never enough to tell
    "guessing_margin": 0.10,  # who avoids no more than this share of guessing's errors is guessing
    # what is worth a sentence
    "precision_recall_gap": 0.20,  # precision and recall further apart
    "overfitting_gap": 0.10,  # training score above validation score by more
    "too_good": 0.995,  # balanced accuracy from here on is rare enough to be checked
    "too_good_rows": 50,  # on at least so many rows
    "overconfidence": 0.10,  # mean probability of the answers above their accuracy by more
    "large_errors": 2.0,  # root mean squared error over mean absolute error (1.25 for normal errors)
    "paradox_majority": 0.50,  # the most frequent class has at least this share of the rows
    "reversed_auc": 0.30,  # ROC-AUC below: the scores are those of the other class
    "bias": 0.50,  # mean error, as a share of the mean absolute error
    "cost_of_theory": 1.25,  # cost at the threshold that calibrated scores would have, over the lowest
    "same_rows": 0.10,  # share of test rows that a threshold was chosen on
}


def rate(good: bool, skill: float, limits: Mapping[str, float]) -> Rating:
    """Rate a number that guessing has, too.

    Parameters
    ----------
    good
        Whether it is beyond its threshold.
    skill
        The share of guessing's errors (or loss) that is avoided: 0 guesses, 1 is perfect.
    limits
        All thresholds.
    """
    if skill <= limits["guessing_margin"]:
        return "bad"
    return "good" if good else "fair"


def rate_all(numbers: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, Rating]:
    """Apply the table of good and bad values to a classification's numbers.

    Parameters
    ----------
    numbers
        ``"accuracy"`` and its ``"skill"``; ``"precision"``, ``"recall"`` and ``"balanced_skill"`` (that of
        balanced accuracy); ``"log_loss"`` and its ``"loss_skill"``. Those that are missing are not rated.
    limits
        All thresholds.

    Returns
    -------
    dict
        ``"accuracy"``, ``"precision"``, ``"recall"``, ``"log_loss"`` -> rating.
    """
    ratings: dict[str, Rating] = {}
    if "accuracy" in numbers:
        good = numbers["accuracy"] > limits["accuracy_good"]
        ratings["accuracy"] = rate(good, numbers["skill"], limits)
    for name in ("precision", "recall"):
        if name in numbers:
            ratings[name] = _rate_share(numbers[name], limits)
            if numbers.get("balanced_skill", 1) <= limits["guessing_margin"]:
                ratings[name] = "bad"  # always giving one answer does as well
    if "log_loss" in numbers:
        good = numbers["log_loss"] < limits["loss_good"]
        ratings["log_loss"] = rate(good, numbers["loss_skill"], limits)
    return ratings


def _rate_share(value: float, limits: Mapping[str, float]) -> Rating:
    if value < limits["precision_recall_bad"]:
        return "bad"
    return "good" if value > limits["precision_recall_good"] else "fair"


def verdict(ratings: Mapping[str, Rating]) -> Verdict:
    """Turn the ratings of all numbers into one word.

    Parameters
    ----------
    ratings
        What was rated -> its rating. Precision and recall count as one: the weaker of the two.

    Returns
    -------
    str
        ``"good"`` where all are good, ``"bad"`` where some are bad and none is good, else ``"mixed"``;
        ``"mixed"`` too where nothing could be rated.

    Examples
    --------
    >>> verdict({"accuracy": "good", "log_loss": "good"}), verdict({"accuracy": "good", "log_loss": "bad"})
    ('good', 'mixed')
    >>> verdict({"accuracy": "bad", "precision": "good", "recall": "bad"})
    'bad'
    """
    rows = dict(ratings)
    if "precision" in rows and "recall" in rows:
        both = rows.pop("precision"), rows["recall"]
        rows["recall"] = next(rating for rating in _WORST_FIRST if rating in both)
    given = set(rows.values())
    if given == {"good"}:
        return "good"
    return "bad" if "bad" in given and "good" not in given else "mixed"


_WORST_FIRST: tuple[Rating, ...] = ("bad", "fair", "good")


def verdict_of(
    *,
    accuracy: float | None = None,
    precision: float | None = None,
    recall: float | None = None,
    log_loss: float | None = None,
    guessing: float = 0.5,
    guessing_log_loss: float = math.log(2),
    thresholds: Mapping[str, float] | None = None,
) -> Verdict:
    """Give the verdict on numbers that someone else reports.

    Parameters
    ----------
    accuracy, precision, recall, log_loss
        Those that are known.
    guessing
        Accuracy of always giving the most frequent answer: 0.5 for two balanced classes.
    guessing_log_loss
        Log loss of always giving the shares of the classes: 0.69 for two balanced classes.
    thresholds
        Overrides for `THRESHOLDS`.

    Returns
    -------
    str
        ``"good"``, ``"mixed"`` or ``"bad"``. What a small test set leaves open only `featx.evaluate` can
        tell, which has the rows.

    Examples
    --------
    >>> verdict_of(accuracy=0.86, precision=0.82, recall=0.81, log_loss=0.45)
    'good'
    >>> verdict_of(accuracy=0.98, recall=0.12, guessing=0.98), verdict_of(accuracy=0.98, recall=0.12)
    ('bad', 'mixed')
    """
    limits = with_overrides(thresholds, THRESHOLDS)
    given = {"accuracy": accuracy, "precision": precision, "recall": recall, "log_loss": log_loss}
    numbers = {name: value for name, value in given.items() if value is not None}
    for name, value in numbers.items():
        most = math.inf if name == "log_loss" else 1
        if not 0 <= value <= most:
            raise FeatxError(f"Expected {name} from 0 to {most}, got {value!r}.")
    if not 0 <= guessing < 1 or not guessing_log_loss > 0:
        raise FeatxError(
            "Expected guessing from 0 to below 1 and guessing_log_loss above 0, got "
            f"{guessing!r} and {guessing_log_loss!r}."
        )
    if accuracy is not None:
        numbers["skill"] = 1 - (1 - accuracy) / (1 - guessing)
    if log_loss is not None:
        numbers["loss_skill"] = 1 - log_loss / guessing_log_loss
    return verdict(rate_all(numbers, limits))
