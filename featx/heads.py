"""Find, replace and remove the classification head of an image classifier."""

from __future__ import annotations

from typing import Any

from torch import nn

from featx.errors import FeatxError

__all__ = ["aux_head_names", "find_head", "head_name", "remove_head", "replace_head"]


def head_name(model: nn.Module) -> str:
    """Return the dotted name of the layer that turns features into class scores.

    Classifiers register their layers in the order of the data's way through them, so the head is
    the last `nn.Linear`. In a network without any (SqueezeNet) it is a closing 1 x 1 `nn.Conv2d`.

    Parameters
    ----------
    model
        An image classifier that still has its head.

    Returns
    -------
    str
        A name that `model.get_submodule` understands.

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
    name = find_head(model)
    if name is None:
        raise FeatxError(
            f"Expected an image classifier that still has its head, got a {type(model).__name__} "
            "without one. Load the model again, or call this before the head is removed."
        )
    return name


def find_head(model: nn.Module) -> str | None:
    """Return what `head_name` returns, or None when `model` has no head (any more)."""
    modules = list(model.named_modules())
    layers = [i for i, (_, module) in enumerate(modules) if isinstance(module, nn.Linear)]
    if (
        not layers
    ):  # a convolution is a head only as the last layer, and as a linear map of each place
        own = [i for i, (_, module) in enumerate(modules) if list(module.parameters(recurse=False))]
        layers = [i for i in own[-1:] if _is_linear_map(modules[i][1])]
    # An Identity behind the last layer stands where the head was: what is left is backbone.
    if not layers or any(isinstance(module, nn.Identity) for _, module in modules[layers[-1] :]):
        return None
    return modules[layers[-1]][0]


def _is_linear_map(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.bias is not None
    )


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
    size = _out_size(model.get_submodule(head_name(model)))
    return [
        name
        for name, module in model.named_modules()
        if name.lower().startswith("aux")
        and isinstance(module, nn.Linear)
        and module.out_features == size
    ]


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
    for name in [head_name(model), *aux_head_names(model)]:
        model.set_submodule(name, _new_layer(model.get_submodule(name), num_classes))
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
    name = head_name(model)
    num_features = in_size(model.get_submodule(name))
    model.set_submodule(name, nn.Identity())
    return num_features


def in_size(head: nn.Module) -> int:
    """Return how many features the layer `head` takes."""
    if isinstance(head, nn.Linear):
        return head.in_features
    assert isinstance(head, nn.Conv2d), head
    return head.in_channels


def _out_size(head: nn.Module) -> int:
    if isinstance(head, nn.Linear):
        return head.out_features
    assert isinstance(head, nn.Conv2d), head
    return head.out_channels


def _new_layer(old: Any, num_classes: int) -> nn.Module:
    """Make a layer like `old`, on the same device and of the same dtype, with `num_classes` outputs."""
    like = {"device": old.weight.device, "dtype": old.weight.dtype, "bias": old.bias is not None}
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, num_classes, **like)
    return nn.Conv2d(old.in_channels, num_classes, old.kernel_size, old.stride, old.padding, **like)
