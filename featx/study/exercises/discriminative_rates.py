"""Exercise: parameter groups with a smaller learning rate for each stage towards the input."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from featx.study.exercises import Exercise
from featx.study.verdicts import Check, Verdict, weigh

STEM = ("conv1", "bn1")

#: Steps from the head back to each part.
STEPS = {"fc": 0, "layer4": 1, "layer3": 2, "layer2": 3, "layer1": 4, "conv1": 5, "bn1": 5}


def discriminative_rates(model: nn.Module, head_lr: float, decay: float) -> list[dict]:
    """Return parameter groups for an optimizer: the head learns at head_lr, earlier stages slower.

    The model is a ResNet. From stage to stage towards the input the rate is multiplied by decay.
    """
    ### BEGIN SOLUTION
    stages = [["fc"], ["layer4"], ["layer3"], ["layer2"], ["layer1"], ["conv1", "bn1"]]
    groups = []
    for steps, names in enumerate(stages):
        modules = [getattr(model, name) for name in names]
        params = [p for module in modules for p in module.parameters() if p.requires_grad]
        if params:
            groups.append({"params": params, "lr": head_lr * decay**steps})
    return groups
    ### END SOLUTION


def stem_left_out(model: nn.Module, head_lr: float, decay: float) -> list[dict]:
    groups = []
    for steps, name in enumerate(["fc", "layer4", "layer3", "layer2", "layer1"]):
        params = [p for p in getattr(model, name).parameters() if p.requires_grad]
        groups.append({"params": params, "lr": head_lr * decay**steps})
    return groups


def holds_frozen(model: nn.Module, head_lr: float, decay: float) -> list[dict]:
    stages = [["fc"], ["layer4"], ["layer3"], ["layer2"], ["layer1"], ["conv1", "bn1"]]
    groups = []
    for steps, names in enumerate(stages):
        params = [p for name in names for p in getattr(model, name).parameters()]
        groups.append({"params": params, "lr": head_lr * decay**steps})
    return groups


def twice(model: nn.Module, head_lr: float, decay: float) -> list[dict]:
    rest = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": rest, "lr": head_lr * decay**5}]
    for steps, name in enumerate(["fc", "layer4", "layer3", "layer2", "layer1"]):
        params = [p for p in getattr(model, name).parameters() if p.requires_grad]
        groups.append({"params": params, "lr": head_lr * decay**steps})
    return groups


def early_fastest(model: nn.Module, head_lr: float, decay: float) -> list[dict]:
    stages = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"], ["fc"]]
    groups = []
    for steps, names in enumerate(stages):
        params = [p for name in names for p in getattr(model, name).parameters() if p.requires_grad]
        groups.append({"params": params, "lr": head_lr * decay**steps})
    return groups


def two_rates(model: nn.Module, head_lr: float, decay: float) -> list[dict]:
    head = [p for p in model.fc.parameters() if p.requires_grad]  # pyright: ignore
    body = [p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("fc.")]
    return [{"params": body, "lr": head_lr * decay}, {"params": head, "lr": head_lr}]


def decay_at_the_head(model: nn.Module, head_lr: float, decay: float) -> list[dict]:
    stages = [["fc"], ["layer4"], ["layer3"], ["layer2"], ["layer1"], ["conv1", "bn1"]]
    groups = []
    rate = head_lr
    for names in stages:
        rate = rate * decay
        params = [p for name in names for p in getattr(model, name).parameters() if p.requires_grad]
        groups.append({"params": params, "lr": rate})
    return groups


def observe(function: Any, seed: int) -> dict[str, Any]:
    model, head_lr, decay = _inputs(seed)
    names = {id(p): name for name, p in model.named_parameters()}
    returned = function(model, head_lr, decay)
    if isinstance(returned, torch.optim.Optimizer):
        returned = returned.param_groups
    seen: dict[str, Any] = {"type": type(returned).__name__, "groups": None, "strangers": 0}
    groups = returned if isinstance(returned, list | tuple) else []
    if not groups or not all(isinstance(group, dict) and "params" in group for group in groups):
        return seen
    seen["groups"] = []
    for group in groups:
        params = group["params"]
        params = [params] if isinstance(params, torch.Tensor) else list(params)
        pairs = [p[1] if isinstance(p, tuple) else p for p in params]
        known = [names[id(p)] for p in pairs if id(p) in names]
        seen["strangers"] += len(pairs) - len(known)
        seen["groups"].append({"lr": _rate(group.get("lr")), "names": known})
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    model, head_lr, decay = _inputs(seed, "meta")
    expected = {
        name: head_lr * decay ** STEPS[name.split(".")[0]]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    formed = seen["groups"] is not None
    rates: dict[str, Any] = {}
    listed: list[str] = []
    for group in seen["groups"] or []:
        listed += group["names"]
        rates |= dict.fromkeys(group["names"], group["lr"])
    doubled = sorted({name for name in listed if listed.count(name) > 1})
    frozen = sorted(set(listed) - set(expected))
    left_out = [name for name in expected if name not in rates]
    stem_only = bool(left_out) and all(name.startswith(STEM) for name in left_out)
    used = formed and bool(set(rates) & set(expected))
    head = rates.get("fc.weight")
    no_rate = used and any(rates[name] is None for name in rates)
    given = {name: rates[name] for name in expected if rates.get(name) is not None}
    right = {
        name for name, rate in given.items() if math.isclose(rate, expected[name], rel_tol=1e-6)
    }
    body = {rate for name, rate in given.items() if not name.startswith("fc.")}
    early = max(_stage_rates(given, ("layer1", *STEM)), default=0)
    late = min(_stage_rates(given, ("layer4", "fc")), default=math.inf)
    all_right = used and right == set(expected)
    once = used and not doubled and not frozen and not left_out and not seen["strangers"]
    head_right = used and head is not None and math.isclose(head, head_lr, rel_tol=1e-6)
    return weigh(
        [
            Check(
                formed and used,
                0,
                "not-parameter-groups",
                f"You returned a {seen['type']}. Expected a list of parameter groups: dicts with `params`, "
                "parameters of this model, and `lr`.",
            ),
            Check(
                not seen["strangers"],
                0,
                "stranger-in-groups",
                f"{seen['strangers']} things in your groups are no parameters of the model. An optimizer "
                "moves what is in its groups, so a copy would be trained in the place of the model.",
            ),
            Check(
                not doubled,
                0,
                "parameter-twice",
                f"{len(doubled)} parameters are in two groups, for example `{(doubled or ['-'])[0]}`: an "
                "optimizer stops with an error at that. `model.parameters()` holds all stages; put only "
                "what is in no other group into the last one.",
            ),
            Check(
                not frozen,
                0,
                "optimizer-holds-frozen",
                f"Your groups hold {len(frozen)} frozen parameters, for example "
                f"`{(frozen or ['-'])[0]}`. A freeze is easier to see and to trust when the optimizer does "
                "not hold what is frozen: look at `requires_grad`.",
            ),
            Check(
                not (used and stem_only),
                0,
                "stem-left-out",
                "The first layers, `conv1` and `bn1`, are in no group. They are trainable, but an "
                "optimizer that does not hold them never moves them, and no error says so. They are the "
                "stage before `layer1`.",
            ),
            Check(
                once,
                2,
                "parameters-left-out",
                f"{len(left_out)} trainable parameters are in no group, for example "
                f"`{(left_out or ['-'])[0]}`. They would never move, without an error.",
                right="each trainable parameter is in one group",
            ),
            Check(
                not no_rate,
                0,
                "group-without-rate",
                "A group has no `lr` of its own that is a number, so the optimizer's default would count.",
            ),
            Check(
                not (used and early > late),
                0,
                "early-stages-fastest",
                f"The first stage learns at {early:.2g} and the last at {late:.2g}: the wrong way round. "
                "Early stages hold edges and colours, which every task can use; they should change least.",
            ),
            Check(
                not (used and len(set(given.values())) == 1),
                0,
                "one-rate-for-all",
                f"Everything learns at {max(given.values(), default=0):.2g}. The head is new and needs large "
                "steps; the same steps would destroy what the backbone has learned.",
            ),
            Check(
                head_right,
                1,
                "decay-starts-at-the-head",
                f"The head learns at {head or 0:.3g}. Expected `head_lr` itself, here {head_lr}: the decay "
                "starts one stage before the head, so the head has `decay ** 0`.",
                right="the head has its rate",
            ),
            Check(
                not (used and len(body) == 1),
                0,
                "one-rate-for-the-backbone",
                f"The whole backbone learns at {max(body, default=0):.2g}. Expected a rate for each stage: "
                "multiply by `decay` once more at each stage towards the input.",
            ),
            Check(
                all_right,
                2,
                "wrong-rates",
                f"{len(given) - len(right)} parameters have another rate than expected. The stages from the "
                "head back are `fc`, `layer4`, `layer3`, `layer2`, `layer1`, then `conv1` with `bn1`; a "
                "frozen stage counts as a step too.",
                right="each stage has its rate",
            ),
        ],
        praise="Each stage has its own rate, and each trainable parameter is there once. "
        "`featx.param_groups(model, lr, decay)` does the same for any model.",
    )


def _stage_rates(rates: dict[str, float], stages: Iterable[str]) -> list[float]:
    return [rate for name, rate in rates.items() if name.split(".")[0] in set(stages)]


def _rate(value: Any) -> float | None:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        return None
    return rate if math.isfinite(rate) else None


def _inputs(seed: int, device: str = "cpu") -> tuple[nn.Module, float, float]:
    with torch.device(device):
        model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3 + seed % 5)
    for module in model.modules():  # BatchNorm is frozen everywhere, and for some seeds a stage
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    if seed % 3 != 1:
        model.get_submodule(f"layer{1 + seed % 3}").requires_grad_(False)
    return model, 0.01 * (2 + seed % 7), (0.5, 0.3, 0.2)[seed % 3]


EXERCISE = Exercise(
    id="discriminative-rates",
    lesson=10,
    title="A learning rate for each stage",
    points=4,
    prompt="""
Write `discriminative_rates(model, head_lr, decay)` for a ResNet such as `resnet18`. Return a list of
parameter groups (dicts with `params` and `lr`) that an optimizer of `torch.optim` takes.

The stages are, from the head back to the input: `fc`, `layer4`, `layer3`, `layer2`, `layer1`, and last the
stem, which is `conv1` with `bn1`. The head learns at `head_lr`, `layer4` at `head_lr * decay`, and so on: at
each stage the rate is multiplied by `decay` once more.

Some parameters are frozen; they belong in no group. Each *trainable* parameter is in exactly one. A stage
where all is frozen still counts as a step.
""".strip(),
    hints=(
        "`for steps, name in enumerate([...])` over the stages, the head first, gives the number of steps.",
        "`getattr(model, name).parameters()` are those of one stage; keep those with `requires_grad`.",
        "The stem is two modules: `conv1` and `bn1` go into one group, with `head_lr * decay ** 5`.",
    ),
    reference=discriminative_rates,
    mutants={
        "stem-left-out": stem_left_out,
        "optimizer-holds-frozen": holds_frozen,
        "parameter-twice": twice,
        "early-stages-fastest": early_fastest,
        "one-rate-for-the-backbone": two_rates,
        "decay-starts-at-the-head": decay_at_the_head,
    },
    visible_test="""
model = torchvision.models.resnet18(weights=None)
groups = discriminative_rates(model, 0.1, 0.5)
assert groups is not None, "discriminative_rates returned nothing yet"
rates = {id(p): group["lr"] for group in torch.optim.SGD(groups).param_groups for p in group["params"]}
assert rates.get(id(model.fc.weight)) == 0.1, "the head should learn at 0.1"
assert rates.get(id(model.layer4[0].conv1.weight)) == 0.05, "layer4 should learn at 0.1 * 0.5"
""".strip(),
    observer=observe,
    judger=judge,
)
