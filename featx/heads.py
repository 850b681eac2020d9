"""Find, replace and remove the classification head of an image classifier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from featx.errors import FeatxError, whole_number
from featx.modules import check_module

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

    A model that answers ``get_classifier()``, as timm's do, is asked, also inside a wrapper without
    parameters of its own. Of any other, the head is the last of the least nested `nn.Linear` layers:
    a classifier has its head at the top, and in a head of several layers the last gives the scores.
    Where another Linear takes its output, it is an embedding or a projection; then the head is the
    last Linear of all, if none takes the output of that.

    In a network without any Linear (SqueezeNet) the head is a closing 1 x 1 `nn.Conv2d` with a bias.
    An embedding network that ends in such a convolution cannot be told from it.

    The layer so found is part of the backbone, and no head, when a normalisation registered later
    takes its output, when a block beside its own holds the same layer, or when an `nn.Identity` is
    registered after all parameters: it stands where the head was.

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
    return _find(model)[0]


def _find(model: nn.Module) -> tuple[list[str], str]:
    """Return the names of the heads; without any, the layer that might be one and why it is not."""
    check_module(model)
    modules = list(model.named_modules())
    if (owner := _answering(model)) is not None:
        answer = owner.get_classifier()
        heads = answer if isinstance(answer, (tuple, list)) else [answer]
        return [
            name
            for name, module in modules
            if name and any(module is head for head in heads) and _has_parameters(module)
        ], ""
    layers = dict(modules)
    name = _last_layer(layers)
    if not name:
        return [], ""
    names = list(layers)
    last = max(i for i, m in enumerate(layers.values()) if list(m.parameters(recurse=False)))
    for i, later in list(enumerate(names))[names.index(name) + 1 :]:
        empty = i > last and isinstance(layers[later], nn.Identity)
        if empty or _normalises(layers[later], layers[name]):
            kind = type(layers[later]).__name__
            return (
                [],
                f"its last {type(layers[name]).__name__}, {name}, is followed by {later} ({kind})",
            )
    if twin := _twin(model, name):
        return [], f"its last {type(layers[name]).__name__}, {name}, has a twin, {twin}"
    return [name], ""


def _answering(model: nn.Module) -> Any:
    """Return the module that knows its classifier: `model`, or the one that all its parameters are in."""
    count = len(list(model.parameters()))
    for module in model.modules():
        asked = callable(getattr(module, "get_classifier", None))
        if asked and len(list(module.parameters())) == count:
            return module
    return None


def _last_layer(layers: dict[str, nn.Module]) -> str:
    """Return the name of the layer that seems to give the model's output; empty when none does."""
    linear = {name: m for name, m in layers.items() if isinstance(m, nn.Linear)}
    if not linear:  # a convolution is a head only as the last layer, a linear map of each place
        own = [name for name, m in layers.items() if list(m.parameters(recurse=False))]
        return next((name for name in own[-1:] if _is_linear_map(layers[name])), "")
    depth = min(name.count(".") for name in linear)
    top = [name for name in linear if name.count(".") == depth][-1]
    for name in (top, list(linear)[-1]):
        others = [layer for other, layer in linear.items() if other != name]
        if all(linear[name].out_features != other.in_features for other in others):
            return name
    return top


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
    names, why = _find(model)
    if not names:
        advice = (
            f": {why}. If that is the head, register it last, and beside no twin"
            if why
            else ". Load the model again, or call this before the head is removed"
        )
        raise FeatxError(
            f"Expected an image classifier that still has its head, got a {type(model).__name__} "
            f"without one{advice}."
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
    size = _out_size(layer)
    if size == 1 or isinstance(module, nn.PReLU):  # one number cannot be normalised
        return False
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.shape == (size,)


def _twin(model: nn.Module, name: str) -> str:
    """Return the same layer as `name` at the same place in a block beside one that holds it."""
    layer, parts = model.get_submodule(name), name.split(".")
    for depth in range(1, len(parts)):
        path = ".".join(parts[: depth - 1])
        around = model.get_submodule(path)
        block = getattr(around, parts[depth - 1])
        place = ".".join(parts[depth:])
        for sibling, module in around.named_children():
            if module is block or type(module) is not type(block):
                continue
            twin: Any = dict(module.named_modules()).get(place)
            if type(twin) is type(layer) and twin.weight.shape == layer.weight.shape:
                return ".".join(filter(None, (path, sibling, place)))
    return ""


def aux_head_names(model: nn.Module) -> list[str]:
    """Return the names of the auxiliary heads (Inception and GoogLeNet have them).

    Parameters
    ----------
    model
        An image classifier that still has its head.

    Returns
    -------
    list of str
        Linear layers with as many outputs as the head, each the last layer of a child named ``aux…``.

    Examples
    --------
    >>> from torchvision.models import googlenet
    >>> aux_head_names(googlenet(weights=None, aux_logits=True, init_weights=False))
    ['aux1.fc2', 'aux2.fc2']
    """
    return list(_aux_heads(model, head_name(model)).values())


def _aux_heads(model: nn.Module, head: str) -> dict[str, str]:
    """Return the auxiliary branches, each with the name of the layer that ends it."""
    size = _out_size(output_layer(model, head)[1])
    found = {}
    for branch, child in model.named_children():
        if not branch.lower().startswith("aux"):
            continue
        layers = [(n, m) for n, m in child.named_modules() if list(m.parameters(recurse=False))]
        if layers and isinstance(layers[-1][1], nn.Linear) and layers[-1][1].out_features == size:
            found[branch] = ".".join(filter(None, (branch, layers[-1][0])))
    return found


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
    branches = {branch for head in find_heads(model)[:1] for branch in _aux_heads(model, head)}
    dropped = branches - set(but)
    for branch in dropped:
        setattr(model, branch, None)
    if dropped and hasattr(model, "aux_logits"):
        model.aux_logits = dropped != branches  # pyright: ignore[reportArgumentType]


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
        When `num_classes` is not a whole number from 1, or no head is found.

    Examples
    --------
    >>> import torch
    >>> from torchvision.models import resnet18
    >>> model = replace_head(resnet18(weights=None), 10)
    >>> model(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    num_classes = whole_number(num_classes, "num_classes", advice="Count the classes of your data.")
    heads = _heads(model)
    if callable(reset := getattr(_answering(model), "reset_classifier", None)):
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

    Raises
    ------
    FeatxError
        When `model` is no torch module, or no head is found.

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
    if callable(reset := getattr(_answering(model), "reset_classifier", None)):
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
