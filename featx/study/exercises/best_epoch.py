"""Exercise: the epoch whose weights early stopping keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number, shown
from featx.study.verdicts import Check, Verdict, weigh


def best_epoch(history: list[dict[str, float]], patience: int) -> int:
    """Return the index (from 0) of the epoch whose weights early stopping keeps.

    Each epoch has `train_loss`, `train_accuracy`, `val_loss` and `val_accuracy`.
    """
    ### BEGIN SOLUTION
    best = 0
    for epoch, row in enumerate(history):
        if row["val_loss"] < history[best]["val_loss"]:
            best = epoch
        elif epoch - best == patience:
            break
    return best
    ### END SOLUTION


def lowest_training_loss(history: list[dict[str, float]], patience: int) -> int:
    best = 0
    for epoch, row in enumerate(history):
        if row["train_loss"] < history[best]["train_loss"]:
            best = epoch
        elif epoch - best == patience:
            break
    return best


def last_epoch(history: list[dict[str, float]], patience: int) -> int:
    return len(history) - 1


def where_it_stopped(history: list[dict[str, float]], patience: int) -> int:
    best = 0
    for epoch, row in enumerate(history):
        if row["val_loss"] < history[best]["val_loss"]:
            best = epoch
        elif epoch - best == patience:
            return epoch
    return best


def counted_from_one(history: list[dict[str, float]], patience: int) -> int:
    lowest, best, waited = float("inf"), 0, 0
    for epoch, row in enumerate(history, start=1):
        waited += 1
        if row["val_loss"] < lowest:
            lowest, best, waited = row["val_loss"], epoch, 0
        if waited == patience:
            break
    return best


def ties_to_the_last(history: list[dict[str, float]], patience: int) -> int:
    best = 0
    for epoch, row in enumerate(history):
        if row["val_loss"] <= history[best]["val_loss"]:
            best = epoch
        elif epoch - best == patience:
            break
    return best


def lowest_of_all(history: list[dict[str, float]], patience: int) -> int:
    losses = [row["val_loss"] for row in history]
    return losses.index(min(losses))


def observe(function: Any, seed: int) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, (history, patience) in _cases(seed).items():
        returned = function([dict(row) for row in history], patience)
        seen[name] = {"shown": shown(returned), "epoch": number(returned)}
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    cases = _cases(seed)
    history, patience = cases["tie"]
    expected = {name: best_epoch(*case) for name, case in cases.items()}
    best = expected["tie"]
    got = {name: case["epoch"] for name, case in seen.items()}
    right = {name: got[name] == expected[name] for name in cases}
    first = got["tie"]
    whole = first is not None and first == int(first)
    epoch = int(first) if first is not None and 0 <= first < len(history) else 0
    losses = [row["val_loss"] for row in history]
    stop = best + patience
    what = f"You returned {seen['tie']['shown']}"
    train = [row["train_loss"] for row in history]
    accuracies = [row["val_accuracy"] for row in history]
    low_train = {_lowest(train), _lowest(train[: stop + 1])}
    top_accuracy = {_lowest([-x for x in part]) for part in (accuracies, accuracies[: stop + 1])}
    ties = {e for e, loss in enumerate(losses) if loss == losses[best]} - {best}
    total = _total_patience(history, patience)
    return weigh(
        [
            Check(
                first is not None,
                0,
                "not-an-epoch",
                f"{what}. Expected one whole number, the index of an epoch.",
            ),
            Check(
                whole,
                0,
                "loss-for-epoch",
                f"{what}, which is no whole number. Expected the *index* of the epoch, not its loss.",
            ),
            Check(
                first not in low_train,
                0,
                "lowest-training-loss",
                f"{what}: there the *training* loss is lowest. It falls as long as the model learns "
                "its training images by heart. Images that were not trained on decide: `val_loss`.",
            ),
            Check(
                first not in top_accuracy,
                0,
                "chooses-by-accuracy",
                f"{what}: there `val_accuracy` is highest. Here the lowest `val_loss` decides; it also "
                "counts how certain the answers are.",
            ),
            Check(
                first != len(history) - 1,
                0,
                "keeps-the-last-epoch",
                f"{what}, the last epoch of the history. By then the validation loss has risen from "
                f"{losses[best]:.2f} to {losses[-1]:.2f}: the model overfits. Keep the epoch that was best.",
            ),
            Check(
                first != stop,
                0,
                "keeps-the-stopping-epoch",
                f"{what}: there training *stops*, {patience} epochs after the best one. Only "
                "then you know which epoch was best, and its weights are the ones to keep.",
            ),
            Check(
                first != losses.index(min(losses)),
                0,
                "patience-ignored",
                f"{what}: its validation loss is the lowest of the whole history, but training had "
                f"stopped before. With a patience of {patience} nobody ever sees that epoch.",
            ),
            Check(
                first not in ties,
                0,
                "ties-to-the-last",
                f"{what}: its validation loss is lowest, and *equal* to that of an earlier epoch. Only "
                "a lower loss is an improvement, so the first of them is kept (`<`, not `<=`).",
            ),
            Check(
                first != best + 1,
                0,
                "counts-from-one",
                f"{what}, one epoch after the right one (its loss is {losses[epoch]:.2f}, the best is "
                f"{losses[best]:.2f}). Epochs are counted from 0 here, as `history[0]` is.",
            ),
            Check(
                first != total or total == best,
                0,
                "patience-in-all",
                f"{what}. You stopped too early: count the epochs without a new lowest loss *in a row*, "
                "and begin again at 0 when there is one.",
            ),
            Check(
                first == best or first != best_epoch(history, patience - 1),
                0,
                "patience-off-by-one",
                f"{what}. You stopped one epoch too early: with a patience of {patience}, the "
                f"{patience}th epoch in a row that is not better ends the training.",
            ),
            Check(
                right["tie"],
                2,
                "not-the-best-epoch",
                f"{what}, an epoch with the validation loss {losses[epoch]:.2f}; training with a patience "
                f"of {patience} reaches {losses[best]:.2f}.",
                right="the epoch is right in one long run",
            ),
            Check(
                right["boundary"],
                2,
                "patience-off-by-one",
                f"In another run you returned {seen['boundary']['shown']}. Training stops at the epoch "
                f"that is {cases['boundary'][1]} after the best one, not one earlier and not one later.",
                right="training stops at the right epoch",
            ),
            Check(
                right["never"] and (right["tie"] or right["boundary"]),
                1,
                "history-may-end-first",
                f"In a run that ends before patience does you returned {seen['never']['shown']}. Then "
                "the lowest validation loss of the whole history decides.",
            ),
        ],
        praise=f"Training stops {patience} epochs after the best one, and the weights of the best one are "
        "kept: save a copy of them each time the validation loss falls. This choice used the validation "
        "rows, so report the score on the test rows.",
    )


def _lowest(values: list[float]) -> int:
    return values.index(min(values))


def _total_patience(history: list[dict[str, float]], patience: int) -> int:
    """Return the best epoch when bad epochs are counted in all, not in a row."""
    best, bad = 0, 0
    for epoch, row in enumerate(history):
        if row["val_loss"] < history[best]["val_loss"]:
            best = epoch
        elif epoch:
            bad += 1
            if bad == patience:
                break
    return best


def _cases(seed: int) -> dict[str, tuple[list[dict[str, float]], int]]:
    """Make histories in which each common wrong rule names an epoch of its own."""
    draw = np.random.default_rng(seed)
    patience = 4 + seed % 2
    fall = int(draw.integers(2, 6))

    def make(patience: int, fall: int, tie: bool, dip: int) -> list[dict[str, float]]:
        # falls; just not `patience` bad epochs; falls; one bad; falls to the best; rises; dips late
        steps = [-1] * fall + [1] * (patience - 1) + [-1, 1, -1] + [1] * (dip - 1) + [-1] + [1] * 3
        low, val = 1.2, [1.2]
        for step in steps:
            drop, rise = draw.uniform(0.03, 0.06), draw.uniform(0.02, 0.05)
            low -= drop if step < 0 else 0
            val.append(round(low if step < 0 else low + rise, 3))
        best = fall + patience + 2
        # no epoch looks like another but for the tie; the late one is far lower than the best
        val[best + dip] = round(val[best] - 0.1, 3)
        for epoch in range(best + dip + 1, len(val)):
            val[epoch] = round(val[best] + 0.1 + 0.03 * (epoch - best - dip), 3)
        if tie:
            val[best + 2] = val[best]
        train = [round(1.1 * 0.93**epoch, 3) for epoch in range(len(val))]
        stop = best + patience
        # lowest up to the stop one epoch before it, and in all one epoch before the end
        train[stop - 1], train[stop] = train[stop], train[stop - 1]
        train[-2], train[-1] = train[-1], train[-2]
        accuracy = [round(0.9 - 0.3 * loss + 0.002 * epoch, 3) for epoch, loss in enumerate(val)]
        accuracy[best - 1] = round(max(accuracy) + 0.01, 3)
        accuracy[stop + 1] = round(max(accuracy) + 0.01, 3)
        return [
            {
                "train_loss": train[epoch],
                "train_accuracy": round(1 - 0.6 * train[epoch], 3),
                "val_loss": val[epoch],
                "val_accuracy": accuracy[epoch],
            }
            for epoch in range(len(val))
        ]

    other = 9 - patience
    never = make(patience, fall, False, patience + 1)[: fall + patience + 4]
    return {
        "tie": (make(patience, fall, True, patience + 3), patience),
        "boundary": (make(other, fall + 1, False, other + 1), other),
        "never": (never, patience),
    }


EXERCISE = Exercise(
    id="best-epoch",
    lesson=10,
    title="Which epoch to keep",
    points=4,
    prompt="""
While you fine-tune, you write down each epoch. Write `best_epoch(history, patience)`: which weights would
early stopping have kept? `history` is a list of dicts, one for each epoch, with `"train_loss"`,
`"train_accuracy"`, `"val_loss"` and `"val_accuracy"`.

* An epoch is better only if its *validation loss* is lower than every one before it. An equal loss is no
  improvement.
* Training stops as soon as `patience` epochs in a row were not better. What the history says about later
  epochs does not count.
* If that never happens, training goes on to the end of the history.

Return the index of the best epoch up to there, counted from 0 like `history[0]`.
""".strip(),
    hints=(
        "Go through the epochs in order and remember the best one so far.",
        "How many epochs have passed since the best one? When do you stop?",
        "`for epoch, row in enumerate(history)` counts from 0; `break` leaves the loop, and what you "
        "return is the best epoch, not the one you stopped at.",
    ),
    reference=best_epoch,
    mutants={
        "lowest-training-loss": lowest_training_loss,
        "keeps-the-last-epoch": last_epoch,
        "keeps-the-stopping-epoch": where_it_stopped,
        "counts-from-one": counted_from_one,
        "ties-to-the-last": ties_to_the_last,
        "patience-ignored": lowest_of_all,
    },
    visible_test="""
losses = [0.9, 0.6, 0.7, 0.8, 0.9]
history = [
    {"train_loss": 0.5 / (i + 1), "train_accuracy": 0.9, "val_loss": loss, "val_accuracy": 0.8}
    for i, loss in enumerate(losses)
]
epoch = best_epoch(history, patience=2)
assert epoch is not None, "best_epoch returned nothing yet"
assert epoch == 1, f"the validation loss is lowest in epoch 1, got {epoch}"
""".strip(),
    observer=observe,
    judger=judge,
)
