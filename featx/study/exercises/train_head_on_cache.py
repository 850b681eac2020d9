"""Exercise: train a head on features that were extracted before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import featx
from featx.study.exercises import Exercise
from featx.study.exercises._observing import count_steps, describe
from featx.study.exercises._plain import shape_of, was_changed
from featx.study.verdicts import Check, Verdict, weigh

NUM_IMAGES = 120
ACCURACY, LOSS = 0.95, 0.5
#: So many passes and steps are looked at closely.
FIRST = 20


def train_head(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> nn.Module:
    """Train a linear head on features (N, D) and labels (N,) from 0 to num_classes - 1. Return it."""
    ### BEGIN SOLUTION
    head = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(features), labels)
        loss.backward()
        optimizer.step()
    return head
    ### END SOLUTION


def softmax_before_the_loss(
    features: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> nn.Module:
    head = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    for _ in range(150):
        optimizer.zero_grad()
        probabilities = head(features).softmax(dim=1)
        criterion(probabilities, labels).backward()
        optimizer.step()
    return head


def zero_grad_forgotten(
    features: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> nn.Module:
    head = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(150):
        nn.functional.cross_entropy(head(features), labels).backward()
        optimizer.step()
    return head


def shuffles_without_labels(
    features: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> nn.Module:
    head = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(30):
        shuffled = features[torch.randperm(len(features))]
        for rows, targets in zip(shuffled.split(32), labels.split(32), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(rows), targets).backward()
            optimizer.step()
    return head


def changes_its_input(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> nn.Module:
    features -= features.mean(dim=0)
    features /= features.std(dim=0) + 1e-6
    head = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features), labels).backward()
        optimizer.step()
    return head


def counts_seen_classes(
    features: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> nn.Module:
    head = nn.Linear(features.shape[1], len(labels.unique()))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features), labels).backward()
        optimizer.step()
    return head


def no_step(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> nn.Module:
    head = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features), labels).backward()
    return head


def observe(function: Any, seed: int) -> dict[str, Any]:
    features, labels, num_classes = _inputs(seed)
    given, given_labels = features.clone(), labels.clone()
    with count_steps() as steps, _watch_loss(features, labels) as loss, _watch_steps() as kept:
        returned = function(given, given_labels, num_classes)
        taken = steps()
    seen: dict[str, Any] = describe(returned) | {
        "is_head": isinstance(returned, nn.Module),
        "steps": taken,
        "softmax": loss["softmax"],
        "foreign_labels": loss["foreign"],
        "gradients_kept": kept["steps"],
        "changed": was_changed(given, features) or was_changed(given_labels, labels),
        "outputs": None,
        "accuracy": 0.0,
        "loss": None,
        "accuracy_scaled": 0.0,
    }
    if isinstance(returned, nn.Module):
        returned.eval()
        with torch.no_grad():
            outputs = returned(features)
            scaled = returned((features - features.mean(0)) / (features.std(0) + 1e-6))
        seen["outputs"] = shape_of(outputs)
        if isinstance(outputs, torch.Tensor) and outputs.ndim == 2 and len(outputs) == len(labels):
            seen["accuracy"] = float((outputs.argmax(1) == labels).float().mean())
            seen["accuracy_scaled"] = float((scaled.argmax(1) == labels).float().mean())
            if outputs.shape[1] > labels.max() and outputs.isfinite().all():
                seen["loss"] = float(nn.functional.cross_entropy(outputs, labels))
    return seen


@contextlib.contextmanager
def _watch_loss(features: torch.Tensor, labels: torch.Tensor) -> Iterator[dict[str, int]]:
    """Look at what the cross-entropy is given: probabilities, and labels of other rows."""
    seen = {"calls": 0, "softmax": 0, "foreign": 0}
    index = {row.numpy().tobytes(): i for i, row in enumerate(features)}
    rows: list[int | None] = []
    real = nn.functional.cross_entropy

    def take(module: nn.Module, args: Any) -> None:
        given = args[0] if args and seen["calls"] < FIRST else None
        if isinstance(given, torch.Tensor) and given.shape[1:] == features.shape[1:]:
            rows[:] = [index.get(row.detach().numpy().tobytes()) for row in given]

    def cross_entropy(input: torch.Tensor, target: torch.Tensor, *args: Any, **options: Any) -> Any:
        if seen["calls"] < FIRST and input.ndim == 2 and input.shape[1] > 1:
            sums = input.detach().sum(1)
            near_one = torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
            seen["softmax"] += bool(near_one and (input >= 0).all())
            if target.ndim == 1 and len(target) == len(rows):
                pairs = zip(rows, target.tolist(), strict=True)
                seen["foreign"] += sum(i is not None and int(labels[i]) != t for i, t in pairs)
        seen["calls"] += 1
        return real(input, target, *args, **options)

    handle = register_module_forward_pre_hook(take)
    try:
        with mock.patch.object(nn.functional, "cross_entropy", cross_entropy):
            yield seen
    finally:
        handle.remove()


@contextlib.contextmanager
def _watch_steps() -> Iterator[dict[str, int]]:
    """Count the steps whose gradients still hold those of the step before."""
    seen = {"steps": 0, "watched": 0}
    before: dict[torch.Tensor, torch.Tensor] = {}  # gradients of the last step
    since: dict[torch.Tensor, torch.Tensor] = {}  # what came since then
    handles: dict[torch.Tensor, Any] = {}

    def pre(optimizer: Optimizer, *_: Any) -> None:
        if seen["watched"] < FIRST:
            ours = [p for g in optimizer.param_groups for p in g["params"]]
            seen["steps"] += any(_still_holds(p.grad, before.get(p), since.get(p)) for p in ours)

    def post(optimizer: Optimizer, *_: Any) -> None:
        seen["watched"] += 1
        since.clear()
        if seen["watched"] < FIRST:
            for p in (p for g in optimizer.param_groups for p in g["params"]):
                if p.grad is not None and p.requires_grad:
                    before[p] = p.grad.clone()
                    if p not in handles:
                        handles[p] = p.register_hook(lambda new, p=p: add(p, new))

    def add(p: torch.Tensor, new: torch.Tensor) -> None:
        since[p] = since[p] + new if p in since else new.clone()

    hooks = [register_optimizer_step_pre_hook(pre), register_optimizer_step_post_hook(post)]
    try:
        yield seen
    finally:
        for handle in [*hooks, *handles.values()]:
            handle.remove()


def _still_holds(
    now: torch.Tensor | None, before: torch.Tensor | None, since: torch.Tensor | None
) -> bool:
    if now is None or before is None or since is None:
        return False
    holds = torch.allclose(now, before + since, rtol=1e-3, atol=1e-7)
    return holds and bool(before.norm() > 1e-3 * now.norm())


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    features, labels, num_classes = _inputs(seed)
    n, d = features.shape
    loss = seen["loss"]
    shown = "without a number" if loss is None else f"{loss:.2f}"
    accuracy = seen["accuracy"]
    learned = accuracy >= ACCURACY and (loss is None or loss < LOSS)
    trained = seen["is_head"] and (seen["steps"] > 0 or learned)
    classes = int(labels.max()) + 1
    outputs = seen["outputs"] or []
    return weigh(
        [
            Check(
                seen["is_head"],
                0,
                "head-not-returned",
                f"You returned a {seen['type']}. Return the trained head, an `nn.Linear`.",
            ),
            Check(
                trained,
                0,
                "no-step",
                f"No step was taken, so the head is as random as at its beginning: accuracy {accuracy:.2f}. "
                "`loss.backward()` only computes gradients; `optimizer.step()` moves the weights.",
            ),
            Check(
                trained and not seen["changed"],
                1,
                "changes-its-input",
                "You changed the cache itself: the features or labels are not what they were. The next head "
                "would train on other numbers, and yours fits numbers that no extraction gives. Make a new "
                "tensor; `-=`, `/=` and names with `_` at the end write into the old one.",
                right="the cache is as it was",
            ),
            Check(
                trained and not seen["foreign_labels"],
                1,
                "shuffles-without-labels",
                "In the loss, rows met the labels of other rows, so there was nothing to learn: accuracy "
                f"{accuracy:.2f}. If you shuffle, use one order for both: `features[order]` and `labels[order]`.",
                right="each row has its label",
            ),
            Check(
                trained and not seen["softmax"],
                2,
                "softmax-before-the-loss",
                "The cross-entropy was given probabilities. It takes the outputs of the head as they are "
                "(logits) and applies softmax itself. Twice, the gradients become small, and the loss that "
                "you watch cannot come near 0 even when every answer is right and sure.",
                right="the loss gets logits",
            ),
            Check(
                trained and not seen["gradients_kept"],
                2,
                "zero-grad-forgotten",
                "Each step also used the gradients of all steps before it, since `backward()` *adds* to what is "
                "there. It can work by luck, and overshoots. Call `optimizer.zero_grad()` once in each step.",
                right="each step has its own gradients",
            ),
            Check(
                trained and outputs == [n, num_classes],
                1,
                "wrong-num-classes",
                f"For {n} rows your head gives the shape `{tuple(outputs)}`, expected `{(n, num_classes)}`. "
                "Take `num_classes`: the labels of a cache need not show every class "
                f"(the greatest here is {classes - 1}).",
                right="the head has an output for each class",
            ),
            Check(
                learned or seen["accuracy_scaled"] < ACCURACY,
                0,
                "head-for-scaled-features",
                f"Your head is right on standardised features, but it is given the features as they are: accuracy "
                f"{accuracy:.2f}. Train it on `features` without scaling.",
            ),
            Check(
                trained and learned,
                4,
                "not-trained-enough",
                f"The head was trained, but its accuracy on its own training features is {accuracy:.2f} and its "
                f"loss {shown}. Expected at least {ACCURACY} and less than {LOSS}. Take more steps, or a greater "
                "learning rate: on a cache an epoch costs next to nothing.",
                right=f"its accuracy is {accuracy:.2f}",
            ),
        ],
        praise=f"Accuracy {accuracy:.2f} and loss {shown} on {n} rows of {d} features: and no image went through "
        "the backbone again. Now measure it on features that it has not seen.",
    )


def _inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return features of digits, their labels, and the number of classes: one of them is absent."""
    backbone = featx.load_backbone("glyphnet")
    digits = featx.datasets.load_digits()
    num_classes = 6 + seed % 4
    labels = torch.as_tensor(digits.labels)
    known = torch.nonzero(labels < num_classes - 1).flatten()
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    chosen = known[order[:NUM_IMAGES]]
    with torch.no_grad():
        features = backbone.features(backbone.preprocess(digits.images[chosen]))
    return features.clone(), labels[chosen].clone(), num_classes


EXERCISE = Exercise(
    id="train-head-on-cache",
    lesson=5,
    title="Train a head on cached features",
    points=4,
    prompt=f"""
A backbone has extracted the features of a data set, once. Write `train_head(features, labels, num_classes)`:
make a linear head, train it on these features with the cross-entropy loss, and return it.

- `features` is a tensor `(N, D)`; `labels` has N whole numbers from 0 to `num_classes - 1`. Not every class
  has to occur among them.
- Choose the optimizer and the number of steps. On the given features the head must reach an accuracy of
  {ACCURACY} or more and a loss below {LOSS}. They are easy to tell apart, and training takes less than a second.
- Train on the features as they are. Somebody else trains on the same tensors after you: do not change them.
""".strip(),
    hints=(
        "How many numbers does the head take in, and how many does it give out? "
        "`nn.Linear(features.shape[1], num_classes)`.",
        "A step has four parts: clear the gradients, compute the loss, `backward()`, `step()`.",
        "All rows at once fit in memory: no batches are needed. `torch.optim.Adam(head.parameters(), lr=0.01)` "
        "and 150 steps are enough.",
    ),
    reference=train_head,
    mutants={
        "softmax-before-the-loss": softmax_before_the_loss,
        "zero-grad-forgotten": zero_grad_forgotten,
        "shuffles-without-labels": shuffles_without_labels,
        "changes-its-input": changes_its_input,
        "wrong-num-classes": counts_seen_classes,
        "no-step": no_step,
    },
    visible_test="""
labels = torch.arange(60) % 3
features = 4 * nn.functional.one_hot(labels, 8).float() + torch.rand(60, 8)
head = train_head(features.clone(), labels.clone(), 4)
assert isinstance(head, nn.Module), "train_head returned no head yet"
outputs = head(features)
assert outputs.shape == (60, 4), f"expected the shape (60, 4), got {tuple(outputs.shape)}"
accuracy = (outputs.argmax(dim=1) == labels).float().mean().item()
assert accuracy > 0.9, f"expected the head to learn these easy features, its accuracy is {accuracy:.2f}"
""".strip(),
    observer=observe,
    judger=judge,
)
