"""The stages of any architecture, from stem to head."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from torch import nn

from featx.heads import find_heads

__all__ = ["Stage", "stage_names", "stages"]

# A part that holds this share of the body is the body's container, not one of its stages.
_CONTAINER_SHARE = 0.9


class Stage(NamedTuple):
    """One stage of a model.

    Attributes
    ----------
    name : str
        The dotted name of its module.
    parameters : dict of str to torch.nn.Parameter
        Its parameters by their full names. A shared parameter is in the first stage that has it.
    is_head : bool
        Whether the classification head is in it.
    """

    name: str
    parameters: dict[str, nn.Parameter]
    is_head: bool


def stage_names(model: nn.Module) -> list[str]:
    """Name the stages of `model`, from stem to head.

    The stages are the direct children that hold parameters. A child that holds at least 90 % of the
    parameters outside the head's own child, or that is the only one, is a container: its children
    take its place.

    Parameters
    ----------
    model
        Any module.

    Returns
    -------
    list of str
        Dotted names for `featx.unfreeze` and ``model.get_submodule``, in the order in which the
        model registers them.

    Examples
    --------
    >>> from torchvision.models import convnext_tiny, resnet18
    >>> stage_names(resnet18(weights=None))
    ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4', 'fc']
    >>> stage_names(convnext_tiny(weights=None))[-3:]
    ['features.6', 'features.7', 'classifier']
    """
    heads = find_heads(model)
    parts = _parts(model, "")
    while parts:
        sizes = {part: _size(model.get_submodule(part)) for part in parts if not _has(part, heads)}
        enough = _CONTAINER_SHARE * sum(sizes.values())
        containers = [part for part, size in sizes.items() if size >= enough]
        container = parts[0] if len(parts) == 1 else next(iter(containers), None)
        inner = [] if container is None else _parts(model.get_submodule(container), container)
        if container is None or not inner:
            break
        place = parts.index(container)
        parts[place : place + 1] = inner
    return parts


def stages(model: nn.Module) -> list[Stage]:
    """Return the stages of `model` with their parameters, each parameter in exactly one.

    A parameter that a container holds itself (a ViT's class token, its position embedding) belongs
    to the first stage in that container. A module without parametrised children is one stage, of
    the empty name.

    Parameters
    ----------
    model
        Any module.

    Returns
    -------
    list of Stage
        From stem to head.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> [(s.name, len(s.parameters), s.is_head) for s in stages(resnet18(weights=None))][-2:]
    [('layer4', 15, False), ('fc', 2, True)]
    """
    names = stage_names(model) or [""]
    owned: dict[str, dict[str, nn.Parameter]] = defaultdict(dict)
    for path, parameter in model.named_parameters():
        around = path.rpartition(".")[0]
        stage = next((name for name in names if _inside(path, name)), None)
        stage = stage or next(name for name in names if _inside(name, around))
        owned[stage][path] = parameter
    heads = find_heads(model)
    return [Stage(name, owned[name], _has(name, heads)) for name in names]


def _parts(module: nn.Module, path: str) -> list[str]:
    prefix = f"{path}." if path else ""
    return [f"{prefix}{name}" for name, child in module.named_children() if _size(child)]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _inside(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(f"{part}.")


def _has(part: str, heads: list[str]) -> bool:
    return any(_inside(head, part) for head in heads)
