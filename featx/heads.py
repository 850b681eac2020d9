"""Find, replace and remove the classification head of an image classifier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from featx.errors import FeatxError

__all__ = [
    "aux_head_names",
    "drop_aux_heads",
    "find_heads",
    "head_name",
    "in_size",
    "output_layer",
    "remove_head",
    "replace_head",
]


def find_heads(model: nn.Module) -> list[str]:
    """Return the dotted names of the layers that turn features into class scores.

    A model that answers ``get_classifier()``, as timm's do, is asked. Of any other, the head is the
    last `nn.Linear`: classifiers register their layers in the order of the data's way through them.
    In a network without any (SqueezeNet) it is a closing 1 x 1 `nn.Conv2d`. That layer is part of
    the backbone, and no head, when a normalisation registered later takes its output, when a block
    beside its own holds the same layer, or when an `nn.Identity` follows: it stands where the head
    was.

    Parameters
    ----------
    model
        Any module.

    Returns
    -------
    list of str
        Names that ``model.get_submodule`` understands. Empty when `model` has no head (any more);
        more than one where the model averages several (distilled DeiT).

    Examples
    --------
    >>> from torchvision.models import squeezenet1_1
    >>> find_heads(squeezenet1_1(weights=None)), find_heads(nn.Sequential(nn.Conv2d(3, 8, 3)))
    (['classifier.1'], [])
    """
    modules = list(model.named_modules())
    if callable(ask := getattr(model, "get_classifier", None)):
        answer = ask()
        heads = answer if isinstance(answer, (tuple, list)) else [answer]
        return [
            name
            for name, module in modules
            if name and any(module is head for head in heads) and _has_parameters(module)
        ]
    found = [i for i, (_, module) in enumerate(modules) if isinstance(module, nn.Linear)]
    if not found:  # a convolution is a head only as the last layer, a linear map of each place
        own = [i for i, (_, module) in enumerate(modules) if list(module.parameters(recurse=False))]
        found = [i for i in own[-1:] if _is_linear_map(modules[i][1])]
    if not found:
        return []
    name, layer = modules[found[-1]]
    later = [module for _, module in modules[found[-1] + 1 :]]
    inside = any(isinstance(module, nn.Identity) or _normalises(module, layer) for module in later)
    return [] if inside or not name or _is_repeated(model, name) else [name]


def head_name(model: nn.Module) -> str:
    """Return the dotted name of the layer that turns features into class scores.

    Parameters
    ----------
    model
        An image classifier that still has its head; `find_heads` says how it is found.

    Returns
    -------
    str
        A name that ``model.get_submodule`` understands; the first, where a model has several heads.

    Raises
    ------
    FeatxError
        When the model has no head: it was removed, or there never was one.

    Examples
    --------
    >>> from torchvision.models import resnet18, vgg11
    >>> head_name(resnet18(weights=None)), head_name(vgg11(weights=None))
    ('fc', 'classifier.6')
    """
    return _heads(model)[0]


def _heads(model: nn.Module) -> list[str]:
    names = find_heads(model)
    if not names:
        raise FeatxError(
            f"Expected an image classifier that still has its head, got a {type(model).__name__} "
            "without one. Load the model again, or call this before the head is removed."
        )
    return names


def output_layer(model: nn.Module, head: str) -> tuple[str, Any]:
    """Return the name and the `nn.Linear` or `nn.Conv2d` that ends the head named `head`.

    Mostly that is the head itself; some of timm's heads hold a normalisation or a hidden layer too.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> output_layer(resnet18(weights=None), "fc")
    ('fc', Linear(in_features=512, out_features=1000, bias=True))
    """
    return _layers(model, head)[-1]


def _layers(model: nn.Module, head: str) -> list[tuple[str, Any]]:
    """Return the layers of the head named `head` by their full names, at least one."""
    layers = [
        (name, module)
        for name, module in model.get_submodule(head).named_modules(prefix=head)
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    if not layers:
        raise FeatxError(
            f"Expected the head {head!r} to hold a Linear or a Conv2d layer, got a "
            f"{type(model.get_submodule(head)).__name__}. Put a layer that featx knows in its place."
        )
    return layers


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _is_linear_map(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.bias is not None
    )


def _normalises(module: nn.Module, layer: nn.Module) -> bool:
    """Say whether `module` is a normalisation of as many numbers as `layer` gives."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.shape == (_out_size(layer),)


def _is_repeated(model: nn.Module, name: str) -> bool:
    """Say whether a block beside one that holds `name` has the same layer at the same place."""
    layer, parts = model.get_submodule(name), name.split(".")
    for depth in range(1, len(parts)):
        around = model.get_submodule(".".join(parts[: depth - 1]))
        block = getattr(around, parts[depth - 1])
        place = ".".join(parts[depth:])
        for sibling in around.children():
            if sibling is block or type(sibling) is not type(block):
                continue
            twin: Any = dict(sibling.named_modules()).get(place)
            if type(twin) is type(layer) and twin.weight.shape == layer.weight.shape:
                return True
    return False


def aux_head_names(model: nn.Module) -> list[str]:
    """Return the names of the auxiliary heads (Inception and GoogLeNet have them).

    Parameters
    ----------
    model
        An image classifier that still has its head.

    Returns
    -------
    list of str
        Linear layers with as many outputs as the head, inside a child named ``aux…``.

    Examples
    --------
    >>> from torchvision.models import googlenet
    >>> aux_head_names(googlenet(weights=None, aux_logits=True, init_weights=False))
    ['aux1.fc2', 'aux2.fc2']
    """
    size = _out_size(output_layer(model, head_name(model))[1])
    return [
        f"{branch}.{name}"
        for branch in _aux_branches(model)
        for name, module in model.get_submodule(branch).named_modules()
        if isinstance(module, nn.Linear) and module.out_features == size
    ]


def drop_aux_heads(model: nn.Module, but: Iterable[str] = ()) -> None:
    """Take the auxiliary branches off `model`, except those named in `but`.

    They only help to train the network from scratch. Torchvision does the same to the models that
    it loads with weights: the branch is None, and ``model.aux_logits`` is False.

    Examples
    --------
    >>> from torchvision.models import googlenet
    >>> model = googlenet(weights=None, aux_logits=True, init_weights=False)
    >>> drop_aux_heads(model)
    >>> model.aux1, model.aux_logits
    (None, False)
    """
    dropped = [branch for branch in _aux_branches(model) if branch not in set(but)]
    for branch in dropped:
        setattr(model, branch, None)
    if dropped and hasattr(model, "aux_logits"):
        model.aux_logits = bool(_aux_branches(model))  # pyright: ignore[reportArgumentType]


def _aux_branches(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_children() if name.lower().startswith("aux")]


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Put a new, randomly initialised head of `num_classes` outputs in place of the old one.

    The new head's parameters require gradients, whatever was frozen before. An optimizer made
    earlier still holds the old head: make the optimizer after this call.

    Parameters
    ----------
    model
        An image classifier, changed in place.
    num_classes
        Outputs of the new head, at least 1.

    Returns
    -------
    torch.nn.Module
        The same model, for chaining.

    Raises
    ------
    FeatxError
        When `num_classes` is not a whole number of at least 1, or no head is found.

    Examples
    --------
    >>> import torch
    >>> from torchvision.models import resnet18
    >>> model = replace_head(resnet18(weights=None), 10)
    >>> model(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise FeatxError(
            f"Expected num_classes to be a whole number of at least 1, got {num_classes!r}. "
            "Count the classes of your data."
        )
    heads = _heads(model)
    if callable(reset := getattr(model, "reset_classifier", None)):
        like = output_layer(model, heads[0])[1].weight
        reset(num_classes)
        for name in find_heads(model):
            model.get_submodule(name).to(like)
        return model
    for name in [*heads, *aux_head_names(model)]:
        name, layer = output_layer(model, name)
        model.set_submodule(name, _new_layer(layer, num_classes))
    return model


def remove_head(model: nn.Module) -> int:
    """Put `nn.Identity` in place of the head, so that ``model(x)`` returns features.

    Parameters
    ----------
    model
        An image classifier, changed in place.

    Returns
    -------
    int
        ``num_features``: `model(x)` now has the shape ``(N, num_features)``.

    Examples
    --------
    >>> import torch
    >>> from torchvision.models import resnet18
    >>> model = resnet18(weights=None).eval()
    >>> remove_head(model)
    512
    >>> model(torch.zeros(4, 3, 64, 64)).shape
    torch.Size([4, 512])
    """
    heads = _heads(model)
    num_features = in_size(model, heads[0])
    if callable(reset := getattr(model, "reset_classifier", None)):
        reset(0)
    else:
        for name in heads:
            model.set_submodule(name, nn.Identity())
    return num_features


def in_size(model: nn.Module, head: str) -> int:
    """Return how many features the head named `head` takes."""
    layer = _layers(model, head)[0][1]
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _out_size(layer: Any) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _new_layer(old: Any, num_classes: int) -> nn.Module:
    """Make a layer like `old`, on the same device and of the same dtype, with `num_classes` outputs."""
    like = {"device": old.weight.device, "dtype": old.weight.dtype, "bias": old.bias is not None}
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, num_classes, **like)
    return nn.Conv2d(old.in_channels, num_classes, old.kernel_size, old.stride, old.padding, **like)
