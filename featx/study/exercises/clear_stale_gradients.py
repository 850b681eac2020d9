"""Exercise: freeze the backbone in the middle of training, stale gradients included."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from torch import nn

from featx.study.exercises import Exercise
from featx.study.exercises._observing import fingerprints, trainable
from featx.study.verdicts import Check, Verdict, weigh

NUM_CLASSES = 3
STEPS = 3


def freeze_backbone(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Freeze everything but `model.fc`, in the middle of training.

    No later `optimizer.step()` moves a parameter of the backbone; the head goes on learning.
    """
    ### BEGIN SOLUTION
    for name, parameter in model.named_parameters():
        if not name.startswith("fc."):
            parameter.requires_grad = False
            parameter.grad = None
    ### END SOLUTION


def only_the_flag(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.")


def gradient_of_zeros(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.")
    optimizer.zero_grad(set_to_none=False)


def momentum_cleared(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for name, parameter in model.named_parameters():
        if not name.startswith("fc."):
            parameter.requires_grad = False
            optimizer.state.pop(parameter, None)


def head_frozen_too(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        parameter.requires_grad = False
    optimizer.zero_grad()


def optimizer_replaced(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.")
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=optimizer.param_groups[0]["lr"])


def only_the_gradient(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()


def observe(function: Any, seed: int) -> dict[str, Any]:
    # Called between backward() and step(); and before loops that fill gradients with zeros.
    return {
        "at_once": _run(function, seed, "sgd", at_once=True),
        "adam_at_once": _run(function, seed, "adam", at_once=True),
        "zero_filled": _run(function, seed, "sgd", at_once=False),
        "adam_zero_filled": _run(function, seed, "adam", at_once=False),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    cases = list(seen.values())
    live = max((case["live"] for case in cases), key=len)
    frozen = not live
    at_once = sorted({*seen["at_once"]["moved"], *seen["adam_at_once"]["moved"]})
    zero_filled = sorted({*seen["zero_filled"]["moved"], *seen["adam_zero_filled"]["moved"]})
    moved = at_once or zero_filled
    example = f"for example `{(moved or ['-'])[0]}`"
    learns = all(case["head_learns"] for case in cases)
    made = any(case["optimizers_made"] for case in cases)
    left = max(case["gradients_left"] for case in cases)
    zeros = bool(left) and all(case["gradients_are_zero"] for case in cases)
    forgotten = all(case["states_left"] == 0 for case in cases)
    return weigh(
        [
            Check(
                all(case["head_kept"] for case in cases),
                0,
                "head-was-changed",
                "The head that the optimizer holds is not the head of the model any more, or its "
                "weights changed in the call. Leave `model.fc` as it is: it goes on learning.",
            ),
            Check(
                not frozen or learns,
                0,
                "head-does-not-train",
                "The backbone stands still, but so does the head: it did not move in "
                f"{STEPS} more steps. Leave out the parameters whose names begin with `fc.`.",
            ),
            Check(
                not (made and moved),
                0,
                "new-optimizer-is-lost",
                "You made a new optimizer inside the function. The training loop outside still calls the "
                f"old one, and that moved the backbone ({example}). Change what the caller holds: the "
                "parameters, or the groups of `optimizer`.",
            ),
            Check(
                frozen,
                1,
                "backbone-still-trains",
                f"{len(live)} parameters of the backbone still require gradients, for example "
                f"`{(live or ['-'])[0]}`. Whatever you clear now, the next `backward()` fills again. Set "
                "`requires_grad = False` too.",
                right="no parameter of the backbone requires gradients",
            ),
            Check(
                not (moved and frozen and zeros),
                0,
                "zero-gradient-stops-the-optimizer",
                f"The backbone still moved ({example}): its gradients are zeros, and that is not the same "
                "as no gradient. With a gradient of zeros, momentum and weight decay go on; only where "
                "`grad` is `None` does the optimizer leave a parameter out.",
            ),
            Check(
                not (moved and frozen and left and forgotten),
                0,
                "momentum-moves-without-gradient",
                f"The backbone still moved ({example}). You cleared what the optimizer remembers, but "
                f"{left} parameters of the backbone still have the `grad` of the last `backward()`, and "
                "`step()` uses that.",
            ),
            Check(
                frozen and learns and not at_once,
                2,
                "flag-stops-the-optimizer",
                f"The next `step()` moved {len(at_once)} tensors of the backbone, {example}. "
                "`requires_grad = False` stops *new* gradients; the old `grad` stays, and the optimizer "
                f"looks only at that. You left {left} of them.",
                right="the next `step()` leaves the backbone as it is",
            ),
            Check(
                frozen and learns and not zero_filled,
                2,
                "flag-stops-the-optimizer",
                f"In a loop with `zero_grad(set_to_none=False)` the backbone still moved, {example}. An "
                "old `grad` becomes zeros there, and momentum and weight decay go on.",
                right="later steps leave the backbone as it is",
            ),
            Check(
                frozen and learns,
                1,
                "head-does-not-train",
                f"The head did not move in {STEPS} more steps. It has to go on learning.",
                right="the head goes on learning",
            ),
        ],
        praise="Flag off, gradients gone, so the optimizer passes the backbone by. In a loop that calls "
        "`zero_grad()` first, PyTorch's default clears to `None` for you; your function is right in "
        "every loop.",
    )


def _run(function: Any, seed: int, kind: str, at_once: bool) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)
    model = _model(draw)
    backbone = [p for name, p in model.named_parameters() if not name.startswith("fc.")]
    head = list(model.fc.parameters())
    # One group, or one for each part: a loop may have either.
    groups: list[dict[str, Any]] = [{"params": backbone, "lr": 0.02}, {"params": head, "lr": 0.05}]
    if at_once:
        groups = [{"params": list(model.parameters()), "lr": 0.03}]
    if kind == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=0.01)
    else:
        optimizer = torch.optim.Adam(groups, weight_decay=0.01)

    def backward() -> None:
        images = torch.rand(6, 3, 8, 8, generator=draw)
        labels = torch.randint(0, NUM_CLASSES, (6,), generator=draw)
        loss = nn.functional.cross_entropy(model(images), labels)
        if loss.requires_grad:
            loss.backward()

    for _ in range(2):
        optimizer.zero_grad()
        backward()
        optimizer.step()
    if at_once:
        optimizer.zero_grad()
        backward()  # the function is called before the step that belongs to it
    made: list[str] = []
    plain_init = torch.optim.Optimizer.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        made.append(type(self).__name__)
        plain_init(self, *args, **options)

    before = fingerprints(model)
    with mock.patch.object(torch.optim.Optimizer, "__init__", init):
        function(model, optimizer)
    called = fingerprints(model)
    gradients = [p.grad for p in backbone if p.grad is not None]
    seen: dict[str, Any] = {
        "optimizers_made": len(made),
        "live": [name for name in trainable(model) if not name.startswith("fc.")],
        "gradients_left": len(gradients),
        "gradients_are_zero": not any(bool(gradient.any()) for gradient in gradients),
        "states_left": sum(bool(optimizer.state.get(p)) for p in backbone),
    }
    if at_once:
        optimizer.step()
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=at_once)
        backward()
        optimizer.step()
    after = fingerprints(model)
    inside = {id(p) for p in model.parameters()}
    own = [name for name in before if name.startswith("fc.")]
    seen["head_kept"] = all(id(p) in inside for p in head) and all(
        before[name] == called.get(name) for name in own
    )
    seen["moved"] = [name for name in before if name not in own and before[name] != after.get(name)]
    seen["head_learns"] = all(called.get(name) != after.get(name) for name in own)
    return seen


def _model(draw: torch.Generator) -> nn.Module:
    """Make a small backbone without BatchNorm, so that only the optimizer can move it."""
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(3, 6, 3))
    model.add_module("relu", nn.Tanh())
    model.add_module("layer1", nn.Conv2d(6, 8, 3))
    model.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc", nn.Linear(8, NUM_CLASSES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5, generator=draw)
    return model


EXERCISE = Exercise(
    id="clear-stale-gradients",
    lesson=10,
    title="Freeze in the middle of training",
    points=4,
    prompt="""
A model has been fine-tuned for some epochs: the optimizer holds the backbone *and* the head `model.fc`. Now
only the head shall go on. Write `freeze_backbone(model, optimizer)`, which the training loop calls once, at
any point, even between `loss.backward()` and `optimizer.step()`. The loop goes on with the same model and
the same optimizer, which may be SGD with momentum or Adam, with weight decay, in one group or several.
Afterwards

* no parameter of the backbone (all but `model.fc`) requires gradients;
* no later `optimizer.step()` moves a parameter of the backbone by a single bit, whether the loop clears
  gradients with `zero_grad()`, with `zero_grad(set_to_none=False)`, or steps once before it clears them;
* the head goes on learning.

Change the model and the optimizer in place; nothing is to be returned. There is no BatchNorm in this model.
""".strip(),
    hints=(
        "What does the optimizer look at in `step()`: at `requires_grad`, or at something else?",
        "A parameter that is frozen now still has the `grad` of the last `backward()`. What would "
        "momentum and weight decay do if it were all zeros?",
        "The optimizer leaves out a parameter whose `grad` is `None`.",
    ),
    reference=freeze_backbone,
    mutants={
        "flag-stops-the-optimizer": only_the_flag,
        "zero-gradient-stops-the-optimizer": gradient_of_zeros,
        "momentum-moves-without-gradient": momentum_cleared,
        "head-does-not-train": head_frozen_too,
        "new-optimizer-is-lost": optimizer_replaced,
        "backbone-still-trains": only_the_gradient,
    },
    visible_test="""
model = nn.Sequential()
model.add_module("conv1", nn.Conv2d(3, 4, 3))
model.add_module("flatten", nn.Flatten())
model.add_module("fc", nn.Linear(4 * 6 * 6, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.rand(2, 3, 8, 8)).sum().backward()
freeze_backbone(model, optimizer)
before = model.conv1.weight.clone()
optimizer.step()
assert not model.conv1.weight.requires_grad, "conv1 should not require gradients any more"
assert model.fc.weight.requires_grad, "the head should go on learning"
assert torch.equal(model.conv1.weight, before), "one step still moved the backbone"
""".strip(),
    observer=observe,
    judger=judge,
)
