"""Measures that exercises share. Everything returned here is plain data."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from featx.backbones import Backbone
from featx.datasets import load_digits

__all__ = [
    "attribute_on_modules",
    "count_steps",
    "describe",
    "fingerprints",
    "groups_of",
    "made_quickly",
    "some_digits",
    "stages_of",
    "trainable",
]


def fingerprints(model: nn.Module) -> dict[str, str]:
    """Return name -> content hash of each parameter and buffer."""
    return {
        name: hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()[:16]
        for name, tensor in model.state_dict().items()
    }


def trainable(model: nn.Module) -> list[str]:
    """Name the parameters that require gradients."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def attribute_on_modules(model: nn.Module) -> list[str]:
    """Name the modules on which ``requires_grad`` was set, which does nothing."""
    return [name or "model" for name, m in model.named_modules() if "requires_grad" in vars(m)]


def stages_of(names: list[str]) -> list[str]:
    """Reduce names of parameters to their stages: ``layer4.0.conv1.weight`` -> ``layer4``."""
    return list(dict.fromkeys(name.split(".")[0] for name in names))


def describe(value: Any) -> dict[str, Any]:
    """Describe a returned value: its type, and its shape when it is a tensor."""
    shape = list(value.shape) if isinstance(value, torch.Tensor) else None
    return {"type": type(value).__name__, "shape": shape}


def groups_of(optimizer: Any, model: nn.Module) -> list[dict[str, Any]] | None:
    """Describe an optimizer's parameter groups, or return None when it is no optimizer.

    Each group has its ``lr``, the ``names`` of the model's parameters in it, and how many
    ``strangers`` it holds: parameters that are not, or no longer, part of the model.
    """
    if not isinstance(optimizer, Optimizer):
        return None
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        {
            "lr": float(group["lr"]),
            "momentum": float(group.get("momentum", 0.0)),
            "names": [names[id(p)] for p in group["params"] if id(p) in names],
            "strangers": sum(id(p) not in names for p in group["params"]),
        }
        for group in optimizer.param_groups
    ]


def made_quickly(make: Callable[[], nn.Module]) -> nn.Module:
    """Return the network that `make` makes, with weights that are drawn cheaply, of about the usual size.

    To draw millions of numbers takes longer than to look at what becomes of them. Here a few are repeated.
    """
    with torch.device("meta"):  # where nothing is drawn
        model = make()
    model.to_empty(device="cpu")
    numbers = 2 * torch.rand(10_007) - 1  # a prime, so that rows do not begin alike
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            scaled = math.sqrt(6 / weight[0].numel()) * numbers  # uniform, as He et al. 2015
            repeated = scaled.repeat(weight.numel() // len(numbers) + 1)
            weight.data = repeated[: weight.numel()].view_as(weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return model


def some_digits(backbone: Backbone, size: int, seed: int) -> torch.Tensor:
    """Return digits that the seed chooses, preprocessed as the backbone wants them."""
    digits = load_digits()
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
    return backbone.preprocess(digits.images[order[:size]])


@contextlib.contextmanager
def count_steps() -> Iterator[Callable[[], int]]:
    """Count the steps inside the block with which any optimizer moved a parameter."""
    steps = 0

    def count(optimizer: Optimizer, *_: Any) -> None:
        nonlocal steps
        steps += any(p.grad is not None for g in optimizer.param_groups for p in g["params"])

    handle = register_optimizer_step_post_hook(count)
    try:
        yield lambda: steps
    finally:
        handle.remove()
