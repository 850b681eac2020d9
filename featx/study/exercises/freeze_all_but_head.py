"""Exercise: freeze a ResNet, then give it a new head."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from featx.study.exercises import Exercise
from featx.study.exercises._observing import attribute_on_modules, describe, made_quickly, trainable
from featx.study.verdicts import Check, Verdict, weigh


def freeze_all_but_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Freeze a resnet18, give it a new trainable head for `num_classes`, and return it."""
    ### BEGIN SOLUTION
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model
    ### END SOLUTION


def head_before_freeze(model: nn.Module, num_classes: int) -> nn.Module:
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


def all_trainable(model: nn.Module, num_classes: int) -> nn.Module:
    for parameter in model.parameters():
        parameter.requires_grad = True
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model


def attribute_on_module(model: nn.Module, num_classes: int) -> nn.Module:
    for module in model.children():
        module.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model


def wrong_num_classes(model: nn.Module, num_classes: int) -> nn.Module:
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(512, 1000)
    return model


def head_not_replaced(model: nn.Module, num_classes: int) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.")
    return model


def observe(function: Any, seed: int) -> dict[str, Any]:
    given = made_quickly(
        lambda: ResNet(BasicBlock, [1, 1, 1, 1])
    )  # the stages of a resnet18, one block each
    old_head = given.fc
    returned = function(given, _num_classes(seed))
    model = returned if isinstance(returned, nn.Module) else given
    head = getattr(model, "fc", None)
    inside = list(head.modules()) if isinstance(head, nn.Module) else []
    linears = [module for module in inside if isinstance(module, nn.Linear)]
    return describe(returned) | {
        "same_model": returned is given,
        "trainable": trainable(model),
        "frozen": sum(not parameter.requires_grad for parameter in model.parameters()),
        "head": type(head).__name__,
        "new_head": head is not old_head,
        # A head of several layers, such as Dropout and Linear, is a head too.
        "head_sizes": [linears[0].in_features, linears[-1].out_features] if linears else [],
        "head_parameters": [n for n, _ in model.named_parameters() if n.startswith("fc.")],
        "with_attribute": attribute_on_modules(model),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    num_classes = _num_classes(seed)
    right_head = seen["new_head"] and seen["head_sizes"] == [512, num_classes]
    own = set(seen["head_parameters"])
    trains_head = bool(own) and own <= set(seen["trainable"])
    live = [name for name in seen["trainable"] if not name.startswith("fc.")]
    sizes = " -> ".join(map(str, seen["head_sizes"])) or seen["head"]
    return weigh(
        [
            Check(
                not seen["with_attribute"] or (trains_head and not live),
                0,
                "attribute-on-module",
                f"You set `requires_grad` on a module (`{(seen['with_attribute'] or ['-'])[0]}`). A "
                "module has no such switch: Python adds a new attribute and no parameter changes. Set it "
                "on each of `model.parameters()`, or call `module.requires_grad_(False)`.",
            ),
            Check(
                seen["frozen"] > 0,
                0,
                "all-trainable",
                f"Every parameter still requires gradients ({len(seen['trainable'])} tensors): nothing "
                "is frozen, and training would change the whole backbone. Freezing is "
                "`requires_grad = False`.",
            ),
            Check(
                not live,
                3,
                "backbone-still-trains",
                f"A part of the backbone still trains: {len(live)} parameters, for example "
                f"`{(live or ['-'])[0]}`. Set `requires_grad = False` on every parameter before you "
                "make the new head.",
                right="the backbone is frozen",
            ),
            Check(
                seen["new_head"],
                0,
                "head-not-replaced",
                "`model.fc` is still the old head for ImageNet's 1000 classes. Your task has other "
                "classes: make a new `nn.Linear`.",
            ),
            Check(
                right_head,
                2,
                "wrong-num-classes",
                f"The new head is {sizes}. Expected `nn.Linear` from the 512 features of resnet18 to "
                "`num_classes` outputs, one for each class: use the argument, not a fixed number.",
                right="the new head has one output for each class",
            ),
            Check(
                seen["new_head"] and trains_head and not live,
                2,
                "head-before-freeze",
                "The head was replaced before the freeze, so the new head is frozen too and nothing "
                "can learn. Freeze first, then make the head: new parameters require gradients.",
                right="only `fc` can learn",
            ),
            Check(
                seen["same_model"] and right_head,
                1,
                "model-not-returned",
                f"The function returned a {seen['type']}, not the model that it was given. Change the "
                "model in place and return it.",
            ),
        ],
        praise="Frozen first, then a new head: its fresh parameters are the only ones that require "
        "gradients. (BatchNorm's running statistics are no parameters; they still move in `train()` "
        "mode. Lesson 3 shows how to hold them.)",
    )


def _num_classes(seed: int) -> int:
    return 7 + seed % 6


EXERCISE = Exercise(
    id="freeze-all-but-head",
    lesson=3,
    title="Freeze all but the head",
    points=4,
    prompt="""
Write `freeze_all_but_head(model, num_classes)` for a `resnet18`. Afterwards no parameter of the backbone
requires gradients, `model.fc` is a new `nn.Linear` with `num_classes` outputs, and this head can learn.
Change the model in place and return it.
""".strip(),
    hints=(
        "`requires_grad` belongs to parameters. How do you reach all parameters of a model?",
        "What is `requires_grad` of a parameter that was made a moment ago?",
        "So which comes first, the freeze or the new head?",
    ),
    reference=freeze_all_but_head,
    mutants={
        "head-before-freeze": head_before_freeze,
        "all-trainable": all_trainable,
        "attribute-on-module": attribute_on_module,
        "wrong-num-classes": wrong_num_classes,
        "head-not-replaced": head_not_replaced,
    },
    visible_test="""
from torchvision.models.resnet import BasicBlock, ResNet

short = ResNet(BasicBlock, [1, 1, 1, 1])  # a short resnet18: the same stages, quickly made
model = freeze_all_but_head(short, num_classes=10)
assert isinstance(model, nn.Module), "freeze_all_but_head returned no model yet"
assert not model.conv1.weight.requires_grad, "the first layer should be frozen"
assert model(torch.rand(2, 3, 64, 64)).shape == (2, 10), "expected one score for each class"
""".strip(),
    observer=observe,
    judger=judge,
)
