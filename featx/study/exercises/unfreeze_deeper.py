"""Exercise: a frozen model underfits, so unfreeze its deepest stage and fine-tune."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from featx.study.exercises import Exercise
from featx.study.exercises._observing import (
    attribute_on_modules,
    describe,
    groups_of,
    made_quickly,
    stages_of,
    trainable,
)
from featx.study.verdicts import Check, Verdict, weigh


def unfreeze_deeper(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    """Unfreeze layer4 of a frozen ResNet; return an optimizer that fine-tunes it and the head.

    The head `fc`, already trainable, learns at `head_lr`, layer4 at a smaller rate.
    """
    ### BEGIN SOLUTION
    for parameter in model.layer4.parameters():
        parameter.requires_grad = True
    groups = [
        {"params": model.layer4.parameters(), "lr": head_lr / 10},
        {"params": model.fc.parameters(), "lr": head_lr},
    ]
    return torch.optim.SGD(groups, momentum=0.9)
    ### END SOLUTION


def huge_learning_rate(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.fc.parameters(), lr=1.0, momentum=0.9)


def momentum_dropped(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.fc.parameters(), lr=head_lr)


def everything_unfrozen(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    for parameter in model.parameters():
        parameter.requires_grad = True
    backbone = [p for name, p in model.named_parameters() if not name.startswith("fc.")]
    groups = [
        {"params": backbone, "lr": head_lr / 10},
        {"params": model.fc.parameters(), "lr": head_lr},
    ]
    return torch.optim.SGD(groups, momentum=0.9)


def optimizer_before_unfreezing(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=head_lr, momentum=0.9)
    for parameter in model.layer4.parameters():
        parameter.requires_grad = True
    return optimizer


def shallow_stage(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    for parameter in model.layer1.parameters():
        parameter.requires_grad = True
    groups = [
        {"params": model.layer1.parameters(), "lr": head_lr / 10},
        {"params": model.fc.parameters(), "lr": head_lr},
    ]
    return torch.optim.SGD(groups, momentum=0.9)


def same_rate(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    for parameter in model.layer4.parameters():
        parameter.requires_grad = True
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trainable, lr=head_lr, momentum=0.9)


def head_frozen(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("layer4")
    groups = [
        {"params": model.layer4.parameters(), "lr": head_lr / 10},
        {"params": model.fc.parameters(), "lr": head_lr},
    ]
    return torch.optim.SGD(groups, momentum=0.9)


def attribute_on_module(model: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    model.layer4.requires_grad = True
    groups = [
        {"params": model.layer4.parameters(), "lr": head_lr / 10},
        {"params": model.fc.parameters(), "lr": head_lr},
    ]
    return torch.optim.SGD(groups, momentum=0.9)


def observe(function: Any, seed: int) -> dict[str, Any]:
    # The stages of a resnet34, one block each; made like the one that underfits: 3 classes.
    model = made_quickly(lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3))
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.")
    returned = function(model, _head_lr(seed))
    groups = groups_of(returned, model)
    rates: dict[str, list[float]] = {}
    for group in groups or []:
        for stage in stages_of(group["names"]):
            rates.setdefault(stage, []).append(group["lr"])
    live = trainable(model)
    # Who leaves BatchNorm's scale and shift frozen still lets the stage learn: its convolutions do.
    convolutions = {f"layer4.{name}" for name, p in model.layer4.named_parameters() if p.ndim == 4}
    learning = convolutions | {name for name in live if name.startswith("layer4.")}
    head = {"fc.weight", "fc.bias"}
    held = [name for group in groups or [] for name in group["names"]]
    return describe(returned) | {
        "is_optimizer": groups is not None,
        "rates": rates,
        "momentum": [group["momentum"] for group in groups or []],
        "unfrozen": stages_of(live),
        "with_attribute": attribute_on_modules(model),
        "layer4_complete": convolutions <= set(live),
        "layer4_held": learning <= set(held),
        "head_trainable": head <= set(live),
        "head_held": head <= set(held),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    head_lr = _head_lr(seed)
    unfrozen = [stage for stage in seen["unfrozen"] if stage != "fc"]
    others = [stage for stage in unfrozen if stage != "layer4"]
    nothing = not unfrozen
    rates = seen["rates"]
    top = max((rate for each in rates.values() for rate in each), default=0.0)
    deep, head = max(rates.get("layer4", [0.0])), max(rates.get("fc", [0.0]))
    calm = top < 0.5
    held = seen["is_optimizer"] and seen["layer4_held"] and seen["head_held"]
    tuned = calm and held and seen["layer4_complete"] and seen["head_trainable"]
    return weigh(
        [
            Check(
                not seen["with_attribute"] or (seen["layer4_complete"] and seen["head_trainable"]),
                0,
                "attribute-on-module",
                f"You set `requires_grad` on a module (`{(seen['with_attribute'] or ['-'])[0]}`). A "
                "module has no such switch: Python adds a new attribute and no parameter changes. Set "
                "it on each of `model.layer4.parameters()`, or call "
                "`model.layer4.requires_grad_(True)`.",
            ),
            Check(
                calm or not nothing,
                0,
                "huge-learning-rate",
                f"You only raised the learning rate, to {top:g}. The head already does what it can "
                "with these features; a huge rate makes it jump about, and no better features come of "
                "it. Let the deepest stage adapt: unfreeze `layer4`.",
            ),
            Check(
                calm,
                0,
                "huge-learning-rate",
                f"You train at the huge learning rate {top:g}. The first steps would destroy what the "
                f"unfrozen stages have learned ({', '.join(unfrozen) or 'none'}). Let the head learn "
                "at `head_lr` and `layer4` at a smaller rate.",
            ),
            Check(
                not (nothing and seen["is_optimizer"] and not any(seen["momentum"])),
                0,
                "momentum-dropped",
                "You only made another optimizer, without momentum, and all but the head is still "
                "frozen. How the head is trained is not the problem: the features do not fit the "
                "task. Unfreeze `layer4`.",
            ),
            Check(
                not nothing,
                0,
                "still-frozen",
                "All but the head is still frozen, so the features stay as they are and the model "
                "goes on underfitting. Set `requires_grad = True` for the parameters of `layer4`.",
            ),
            Check(
                seen["layer4_complete"] or not others,
                0,
                "shallow-stage",
                f"You unfroze `{(others or ['-'])[0]}`. Shallow stages see edges and colours, which "
                "serve any task; the deepest stage holds what is special to the old task. Unfreeze "
                "`layer4`.",
            ),
            Check(
                seen["layer4_complete"] and calm,
                2,
                "layer4-incomplete",
                "Not all convolutions of `layer4` require gradients. Loop over all of its parameters.",
                right="`layer4` can learn",
            ),
            Check(
                seen["layer4_complete"] and not others and calm,
                1,
                "everything-unfrozen",
                f"You unfroze {len(others)} more stages than asked ({', '.join(others)}). With little "
                "data that invites overfitting and forgets what was learned: go deeper step by step, "
                "and begin with `layer4` alone.",
                right="the shallow stages stay frozen",
            ),
            Check(
                seen["is_optimizer"],
                0,
                "no-optimizer",
                f"The function returned a {seen['type']}. Return the optimizer.",
            ),
            Check(
                seen["head_trainable"],
                0,
                "head-frozen",
                "The head `fc` no longer requires gradients: you froze it while you unfroze "
                "`layer4`. The head has to learn the new classes; leave it trainable.",
            ),
            Check(
                tuned,
                1,
                "optimizer-before-unfreezing",
                "The optimizer does not hold `layer4` and the head together. If it was built before "
                "the unfreezing it took only what was trainable then. Unfreeze first, then build it.",
                right="the optimizer holds `layer4` and the head",
            ),
            Check(
                tuned and 0 < deep < head and abs(head - head_lr) < 1e-9,
                1,
                "one-rate-for-all",
                f"`layer4` learns at {deep:g} and the head at {head:g}. Expected the head at `head_lr` "
                "and `layer4` at a smaller rate: its weights are good already and need small steps. "
                "Give the optimizer two parameter groups.",
            ),
        ],
        praise="`layer4` adapts in small steps, the head learns at its own rate, and the shallow stages "
        "keep what they know. If it still underfits, `layer3` is next.",
    )


def _head_lr(seed: int) -> float:
    return (0.01, 0.02, 0.005)[seed % 3]


EXERCISE = Exercise(
    id="unfreeze-deeper",
    lesson=10,
    title="Unfreeze the deepest stage",
    points=5,
    prompt="""
A `resnet34` with a new head for 3 classes is frozen but for `fc`, and even its *training* accuracy stays
very low. Write `unfreeze_deeper(model, head_lr)`: let its deepest stage, `layer4`, learn as well, leave the
other stages frozen, and return an optimizer for the fine-tuning. The head learns at `head_lr`, `layer4` at
a smaller rate.
""".strip(),
    hints=(
        "Low *training* accuracy: can the head do better with the features it gets?",
        "Which stage holds what is most special to the old task, the first or the last?",
        "An optimizer takes a list of parameter groups, each with its own `lr`.",
    ),
    reference=unfreeze_deeper,
    mutants={
        "huge-learning-rate": huge_learning_rate,
        "momentum-dropped": momentum_dropped,
        "everything-unfrozen": everything_unfrozen,
        "optimizer-before-unfreezing": optimizer_before_unfreezing,
        "shallow-stage": shallow_stage,
        "one-rate-for-all": same_rate,
        "head-frozen": head_frozen,
        "attribute-on-module": attribute_on_module,
    },
    visible_test="""
from torchvision.models.resnet import BasicBlock, ResNet

model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)  # the stages of a resnet34, quickly made
for name, parameter in model.named_parameters():
    parameter.requires_grad = name.startswith("fc.")
optimizer = unfreeze_deeper(model, head_lr=0.01)
assert isinstance(optimizer, torch.optim.Optimizer), "unfreeze_deeper returned no optimizer yet"
assert not model.conv1.weight.requires_grad, "the first layer should stay frozen"
""".strip(),
    observer=observe,
    judger=judge,
)
