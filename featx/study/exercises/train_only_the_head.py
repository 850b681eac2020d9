"""Exercise: one training step that moves the head and nothing else, BatchNorm included."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torchvision.models.resnet import Bottleneck, ResNet

from featx.study.exercises import Exercise
from featx.study.exercises._observing import (
    count_steps,
    describe,
    fingerprints,
    groups_of,
    made_quickly,
)
from featx.study.verdicts import Check, Verdict, weigh


def train_only_the_head(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    """Freeze a ResNet, give it a new head, train the head for one step of SGD.

    Return the optimizer; it holds the parameters of the new head and no others.
    """
    ### BEGIN SOLUTION
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.01)

    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # requires_grad=False does not hold the running statistics
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return optimizer
    ### END SOLUTION


def optimizer_before_head(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.")
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.01)
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    nn.functional.cross_entropy(model.eval()(images), labels).backward()
    optimizer.step()
    return optimizer


def batchnorm_drifts(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.01)
    nn.functional.cross_entropy(model.train()(images), labels).backward()
    optimizer.step()
    return optimizer


def optimizer_holds_frozen(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    nn.functional.cross_entropy(model.eval()(images), labels).backward()
    optimizer.step()
    return optimizer


def backbone_still_trains(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    nn.functional.cross_entropy(model.eval()(images), labels).backward()
    optimizer.step()
    return optimizer


def no_step(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.fc.parameters(), lr=0.01)


def head_before_freeze(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    for parameter in model.parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.01)
    nn.functional.cross_entropy(model.eval()(images), labels).backward()
    optimizer.step()
    return optimizer


def several_steps(
    model: nn.Module, num_classes: int, images: torch.Tensor, labels: torch.Tensor
) -> torch.optim.Optimizer:
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.01)
    model.eval()
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return optimizer


def observe(function: Any, seed: int) -> dict[str, Any]:
    # The blocks, and so the head, of a resnet50, but thin and one a stage: a step takes no time.
    model = made_quickly(lambda: ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=8))
    num_classes = _num_classes(seed)
    images, labels = torch.rand(6, 3, 32, 32), torch.arange(6) % num_classes
    before = fingerprints(model)
    parameters = {name for name, _ in model.named_parameters()}
    old_head, heads = model.fc, []
    handle = register_optimizer_step_pre_hook(lambda *_: heads.append(fingerprints(model.fc)))
    try:
        with count_steps() as steps:
            returned = function(model, num_classes, images, labels)
            taken = steps()
    except (RuntimeError, ValueError):
        # torch says only that nothing requires gradients; the verdict names the mistake.
        if not _new_and_frozen(model.fc, old_head):
            raise
        returned, taken = None, 0
    finally:
        handle.remove()
    after = fingerprints(model)
    moved = [n for n in before if not n.startswith("fc.") and before[n] != after.get(n)]
    head = model.fc
    optimizer = returned if isinstance(returned, Optimizer) else None
    return describe(returned) | {
        "groups": groups_of(optimizer, model),
        "head_sizes": [head.in_features, head.out_features] if isinstance(head, nn.Linear) else [],
        "optimizer_steps": taken,
        "is_sgd": isinstance(optimizer, torch.optim.SGD),
        "head_frozen": _new_and_frozen(head, old_head),
        "head_moved": bool(heads) and heads[0] != fingerprints(head),
        "moved_parameters": [name for name in moved if name in parameters],
        "moved_buffers": [name for name in moved if name not in parameters],
        "trainable": [n for n, p in model.named_parameters() if p.requires_grad],
    }


def _new_and_frozen(head: Any, old_head: nn.Module) -> bool:
    if head is old_head or not isinstance(head, nn.Module):
        return False
    return not any(parameter.requires_grad for parameter in head.parameters())


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    groups = seen["groups"]
    held = [name for group in groups or [] for name in group["names"]]
    strangers = sum(group["strangers"] for group in groups or [])
    live = [name for name in seen["trainable"] if not name.startswith("fc.")]
    right_head = seen["head_sizes"] == [2048, _num_classes(seed)]
    holds_head = {"fc.weight", "fc.bias"} <= set(held)
    extra = [name for name in held if not name.startswith("fc.")]
    steps = right_head and holds_head and seen["optimizer_steps"] > 0
    moved = seen["moved_parameters"]
    still = not live and not moved
    return weigh(
        [
            Check(
                not seen["head_frozen"],
                0,
                "head-before-freeze",
                "The head was replaced before the freeze, so the new head is frozen too: nothing is "
                "left that could learn, and `loss.backward()` finds no tensor that requires gradients. "
                "Freeze first, then make the head.",
            ),
            Check(
                groups is not None,
                0,
                "no-optimizer",
                f"The function returned a {seen['type']}. Return the optimizer that took the step.",
            ),
            Check(
                right_head,
                1,
                "wrong-num-classes",
                f"The head is {seen['head_sizes'] or 'no nn.Linear'}. Expected a new `nn.Linear` from "
                "the backbone's 2048 features to `num_classes` outputs.",
                right="the new head has the right size",
            ),
            Check(
                holds_head or not strangers,
                0,
                "optimizer-before-head",
                "The optimizer was built before the head was replaced: it holds the *old* head, which "
                "is no longer part of the model, and the new one never learns. Build it last.",
            ),
            Check(
                holds_head,
                0,
                "head-not-in-optimizer",
                "The optimizer does not hold the new head's weight and bias, so it cannot train them.",
            ),
            Check(
                seen["optimizer_steps"] > 0,
                0,
                "no-step",
                "All is set up, but no step was taken: compute the loss of the images, then call "
                "`loss.backward()` and `optimizer.step()`.",
            ),
            Check(
                steps and still,
                1,
                "backbone-still-trains",
                f"The backbone is not frozen: {len(live)} of its parameters require gradients. "
                + (f"{len(moved)} of them moved. " if moved else "None moved yet. ")
                + "Loop over `model.parameters()` and "
                "set `requires_grad = False` before you make the head.",
                right="the backbone's parameters are frozen",
            ),
            Check(
                steps and not extra and not strangers,
                1,
                "optimizer-holds-frozen",
                f"The optimizer holds {len(extra) + strangers} parameters besides the head. It skips them, "
                "since they have no gradient, so the result is right; but give it only what is to "
                "learn: then the code says what you mean and stays right when something is unfrozen.",
                right="the optimizer holds the head and nothing else",
            ),
            Check(
                seen["is_sgd"],
                0,
                "not-sgd",
                f"The optimizer is `{seen['type']}`. Expected `torch.optim.SGD`.",
            ),
            Check(
                seen["optimizer_steps"] <= 1,
                0,
                "several-steps",
                f"The optimizer took {seen['optimizer_steps']} steps. Expected exactly one.",
            ),
            Check(
                steps and seen["is_sgd"] and seen["optimizer_steps"] == 1 and seen["head_moved"],
                1,
                "head-did-not-move",
                "A step was taken, but the head's numbers are what they were. A learning rate of 0, or "
                "gradients that were cleared before the step, move nothing.",
                right="the head took one step of SGD",
            ),
            Check(
                steps and not seen["moved_buffers"],
                1,
                "batchnorm-drifts",
                "The BatchNorm statistics moved "
                f"({len(seen['moved_buffers'])} buffers): `requires_grad = False` does not hold them, "
                "since in `train()` mode every forward pass updates them. Put the BatchNorm layers "
                "into `eval()` mode *after* `model.train()`.",
                right="the BatchNorm statistics stood still",
            ),
        ],
        praise="Only the head moved: the loop froze the parameters, the optimizer holds the new head "
        "alone, and BatchNorm kept its statistics.",
    )


def _num_classes(seed: int) -> int:
    return 3 + seed % 4


EXERCISE = Exercise(
    id="train-only-the-head",
    lesson=3,
    title="Train the head and nothing else",
    points=4,
    prompt="""
Write `train_only_the_head(model, num_classes, images, labels)` for a ResNet with wide blocks, such as
`resnet50`. Freeze its parameters in a loop, give it a new head `fc` with `num_classes` outputs, and take
**one** step of SGD with the cross-entropy loss of the images. Return the optimizer.

The optimizer shall hold the parameters of the new head and no others. And nothing else may move: after the
step the backbone's weights *and its BatchNorm statistics* are what they were.
""".strip(),
    hints=(
        "In which order do these come: the freeze, the new head, the optimizer?",
        "Running means are buffers, not parameters. In which mode does BatchNorm update them?",
        "`model.train()` switches every layer. Which layers can you switch back with `eval()`?",
    ),
    reference=train_only_the_head,
    mutants={
        "optimizer-before-head": optimizer_before_head,
        "batchnorm-drifts": batchnorm_drifts,
        "optimizer-holds-frozen": optimizer_holds_frozen,
        "backbone-still-trains": backbone_still_trains,
        "no-step": no_step,
        "head-before-freeze": head_before_freeze,
        "several-steps": several_steps,
    },
    visible_test="""
from torchvision.models.resnet import Bottleneck, ResNet

model = ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=8)  # the blocks of a resnet50, but thin
optimizer = train_only_the_head(model, 5, torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 3]))
assert isinstance(optimizer, torch.optim.Optimizer), "train_only_the_head returned no optimizer yet"
assert model.fc.out_features == 5, "expected a new head with 5 outputs"
""".strip(),
    observer=observe,
    judger=judge,
)
