"""What comes out of any layer of a model, as one row for each image."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from featx.arrays import channels_last
from featx.errors import FeatxError
from featx.heads import find_heads
from featx.modules import home, in_eval_mode, no_backbone
from featx.pixels import as_images, fit_channels
from featx.wording import close_matches

if TYPE_CHECKING:
    from featx.backbones import Backbone

__all__ = [
    "FEATURES",
    "LayerReader",
    "check_pooling",
    "feature_map",
    "first_tensor",
    "pool",
    "read_layers",
]

#: The name for what the head takes in.
FEATURES = "features"


class LayerReader:
    """Reads layers of a backbone, several in one forward pass.

    Parameters
    ----------
    backbone
        Its model is used as it is: bring it into eval mode first.
    layers
        Names of layers, as ``model.named_modules()`` has them; ``"features"`` is what the head takes in,
        and what is read when nothing is named.
    pooling
        How a sequence of tokens becomes one row: see `pool`. With ``layers=None`` it is applied to the
        feature map, which is the last output before the head that still has places or tokens.

    Raises
    ------
    FeatxError
        When a layer or a way to pool is not known.

    Examples
    --------
    >>> import torch, featx
    >>> reader = LayerReader(featx.load_backbone("glyphnet"), ["layer2", "features"])
    >>> {layer: tuple(rows.shape) for layer, rows in reader(torch.zeros(5, 1, 32, 32)).items()}
    {'layer2': (5, 64), 'features': (5, 256)}
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: str | Sequence[str] | None = None,
        pooling: str | None = None,
    ) -> None:
        check_pooling(pooling)
        if not isinstance(layers, (str, list, tuple, NoneType)):
            raise FeatxError(
                f"Expected layers to be a name, a list of names or None, got {layers!r}. featx.trace_shapes "
                "shows the names."
            )
        names = [layers] if isinstance(layers, str) else list(layers or [FEATURES])
        _check_layers(backbone, names)
        self.backbone, self.names, self.pooling = backbone, names, pooling or backbone.pooling
        self.from_map = layers is None and pooling is not None
        self._map: str | None = None

    def __call__(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return layer -> features ``(N, D)`` of preprocessed images ``(N, C, H, W)``."""
        backbone = self.backbone
        if self.from_map and self._map is None:
            self._map = _feature_map_layer(backbone, x[:1])
        rows = read_layers(backbone.model, x, self.read, backbone.places, self.pooling)
        return {name: rows[self._where(name)] for name in self.names}

    @property
    def read(self) -> set[str]:
        """The layers that are read for what is asked for."""
        return {self._where(name) for name in self.names}

    def on(self, model: nn.Module) -> LayerReader:
        """Return a reader of the same layers of another model: a copy that was changed."""
        other, backbone = copy.copy(self), copy.copy(self.backbone)
        object.__setattr__(backbone, "model", model)  # its places are those of the first model
        other.backbone = backbone
        return other

    def _where(self, name: str) -> str:
        return (self._map or self.backbone.layer) if name == FEATURES else name


def _check_layers(backbone: Backbone, names: Sequence[str]) -> None:
    known = [FEATURES, *(name for name, _ in backbone.model.named_modules() if name)]
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        wrong = repr(unknown[0]) if unknown else f"a name twice in {names}"
        raise FeatxError(
            f"Expected names of layers of {backbone.name}, got {wrong}. "
            f"{close_matches(str(unknown[0]), known) if unknown else 'Name each once.'}"
        )


def read_layers(
    model: nn.Module,
    x: torch.Tensor,
    layers: Iterable[str],
    places: Sequence[str] = (),
    pooling: str | None = None,
    forward: Callable[[torch.Tensor], Any] | None = None,
) -> dict[str, torch.Tensor]:
    """Run `model` once and return what layers give, one row for each image.

    Parameters
    ----------
    model
        Any module.
    x
        What it takes, N images.
    layers
        Dotted names; ``"features"`` is what enters the `places`, and ``""`` what the model returns.
    places
        Where the heads are, or were. Of several the mean is taken; without any, what the model returns.
    pooling
        See `pool`.
    forward
        What to call in place of `model`.

    Returns
    -------
    dict
        Layer -> ``(N, D)``.

    Raises
    ------
    FeatxError
        When a layer takes no part in the forward pass, or gives what cannot be pooled.
    """
    taken = _outputs(model, x, layers, places, forward)
    prefix, size = _num_prefix_tokens(model), _size(x)
    rows = {}
    for layer, found in taken.items():
        name = "the model" if layer in ("", FEATURES) else layer
        pooled = [pool(each, len(x), pooling, prefix, name, size) for each in found]
        rows[layer] = torch.stack(pooled).mean(0) if len(pooled) > 1 else pooled[0]
    return rows


def feature_map(backbone: Backbone, images: Any, layer: str) -> torch.Tensor:
    """Return what a layer makes of images, place by place: not pooled.

    Parameters
    ----------
    backbone
        Its preprocessing is applied, and its model runs in eval mode, without gradients; the modes are
        left as they were.
    images
        ``(N, C, H, W)`` or grey ``(N, H, W)``, array or tensor, **not yet preprocessed**: uint8 0-255 or
        float 0-1. Grey is repeated for a backbone that takes colour, and colour is turned to grey.
    layer
        The dotted name of a layer; `featx.trace_shapes` shows the names.

    Returns
    -------
    torch.Tensor
        ``(N, C, H, W)``, on the model's device, the channels in the second place whatever the layer's own
        order is (Swin has them last). Of a layer that is called several times, the last call's.

    Raises
    ------
    FeatxError
        When these are no images, or the layer is unknown, takes no part in the forward pass, or gives
        something else than a feature map, such as tokens or features.

    Examples
    --------
    >>> import numpy as np, featx
    >>> images = np.zeros((5, 32, 32), dtype=np.uint8)
    >>> feature_map(featx.load_backbone("glyphnet"), images, "layer2").shape
    torch.Size([5, 64, 8, 8])
    """
    if not hasattr(backbone, "places"):
        raise no_backbone(backbone)
    model = backbone.model
    _check_layers(backbone, [layer])
    if not isinstance(images, (np.ndarray, torch.Tensor)):
        raise FeatxError(
            f"Expected images as an array or a tensor (N, C, H, W), got {type(images).__name__}. Tensors "
            "of one size make one with torch.stack(images)."
        )
    x = fit_channels(as_images(images), backbone.in_channels)
    if not len(x):
        raise FeatxError("Expected at least one image, got none. Pass images (N, C, H, W).")
    with in_eval_mode(model), torch.inference_mode():
        ready = backbone.preprocess(x.to(home(model, x.device)))
        output = _outputs(model, ready, [layer], backbone.places)[layer][0]
    output = first_tensor(output)
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or len(output) != len(x):
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        kind = ", tokens" if isinstance(output, torch.Tensor) and output.ndim == 3 else ""
        raise FeatxError(
            f"Expected {layer} to return a feature map (N, C, H, W) of {len(x)} images, got {shape}{kind}. "
            "Name a layer that keeps height and width apart; featx.trace_shapes shows the shapes."
        )
    output = output.movedim(3, 1) if channels_last(output.shape[1:], _size(ready)) else output
    return output.clone()  # an ordinary tensor, with which a user may go on to compute gradients


def check_pooling(pooling: object) -> None:
    """Raise for a way of pooling that is not known.

    Parameters
    ----------
    pooling
        What the user wrote; None, ``"cls"`` and ``"mean"`` pass.

    Raises
    ------
    FeatxError
        For anything else.

    Examples
    --------
    >>> check_pooling("mean")
    >>> check_pooling("max")
    Traceback (most recent call last):
    featx.errors.FeatxError: Expected pooling to be None, "cls" or "mean", got 'max'. ...
    """
    if pooling not in (None, "cls", "mean"):
        raise FeatxError(
            f'Expected pooling to be None, "cls" or "mean", got {pooling!r}. "cls" takes the class '
            'token, "mean" the mean of the others.'
        )


def pool(
    output: Any,
    count: int,
    pooling: str | None,
    prefix_tokens: int = 0,
    layer: str = "the layer",
    size: Sequence[int] = (1, 1),
) -> torch.Tensor:
    """Turn what a layer returns into one row for each image.

    Parameters
    ----------
    output
        ``(N, D)``: taken as it is. A feature map ``(N, C, H, W)``, or ``(N, H, W, C)`` as Swin has it:
        averaged over its places. Tokens ``(N, T, D)``: pooled as `pooling` says. Of a tuple the first.
    count
        N.
    pooling
        For tokens: ``"cls"`` takes the class token, ``"mean"`` the mean of all others (class token and
        registers left out). None is an error there: both are in use, and give different features.
    prefix_tokens
        How many of the tokens stand for no place: class token and registers.
    layer
        What to call it in a message.
    size
        Height and width of the images, by which a feature map's channels are told from its places; by
        default of a square.

    Returns
    -------
    torch.Tensor
        ``(N, D)``.

    Raises
    ------
    FeatxError
        When the output is nothing that can be pooled, or `pooling` is missing or does not fit.

    Examples
    --------
    >>> pool(torch.ones(4, 64, 7, 7), 4, None).shape
    torch.Size([4, 64])
    >>> pool(torch.ones(4, 197, 192), 4, "cls", prefix_tokens=1).shape
    torch.Size([4, 192])
    """
    output = first_tensor(output)
    if not isinstance(output, torch.Tensor) or output.ndim < 2 or len(output) != count:
        got = (
            f"the shape {tuple(output.shape)}"
            if isinstance(output, torch.Tensor)
            else type(output).__name__
        )
        raise FeatxError(
            f"Expected {layer} to return one tensor, features (N, D) or a feature map (N, C, H, W) of "
            f"{count} images, got {got}. Name another layer."
        )
    if output.ndim == 2:
        return output
    if output.ndim > 3:
        last = channels_last(output.shape[1:], size)
        return output.mean((1, 2)) if last else output.flatten(2).mean(2)
    if pooling is None:
        raise FeatxError(
            f"Expected pooling to be named, for {layer} returns tokens of the shape {tuple(output.shape)}. "
            'Say pooling="mean" for the mean over the places'
            + (', or pooling="cls" for the class token.' if prefix_tokens else ".")
        )
    if pooling == "mean":
        return output[:, prefix_tokens:].mean(1)
    if not prefix_tokens:
        raise FeatxError(
            f'Expected a model with a class token for pooling="cls", but {layer} is of one without. Say '
            'pooling="mean".'
        )
    return output[:, 0]


def first_tensor(output: Any) -> Any:
    """Return what stands first in a tuple or list, however deep; anything else as it is.

    Examples
    --------
    >>> first_tensor(((torch.ones(2), "more"), [])), first_tensor("no tuple")
    (tensor([1., 1.]), 'no tuple')
    """
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output


def _size(x: torch.Tensor) -> Sequence[int]:
    """Return height and width of images; of what is none, those of a square."""
    return x.shape[2:] if x.ndim == 4 else (1, 1)


def _outputs(
    model: nn.Module,
    x: torch.Tensor,
    layers: Iterable[str],
    places: Sequence[str] = (),
    forward: Callable[[torch.Tensor], Any] | None = None,
) -> dict[str, list[Any]]:
    """Run `model` once and return what layers give, as it is; see `read_layers`."""
    taken: dict[str, list[Any]] = {layer: [] for layer in layers}

    def enters(module: nn.Module, args: tuple, kwargs: dict) -> None:
        taken[FEATURES].append(next(iter((*args, *kwargs.values()))))

    def leaves(layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            taken[layer] = [output]

        return hook

    with ExitStack() as hooks:
        if FEATURES in taken:
            for place in filter(None, {_standing(model, place) for place in places}):
                module = model.get_submodule(place)
                handle = module.register_forward_pre_hook(enters, with_kwargs=True)
                hooks.callback(handle.remove)
        for layer in taken:
            if layer not in (FEATURES, ""):
                handle = model.get_submodule(layer).register_forward_hook(leaves(layer))
                hooks.callback(handle.remove)
        output = (forward or model)(x)
    for layer in ("", FEATURES):
        if layer in taken and not taken[layer]:
            taken[layer] = [output]
    silent = [layer for layer, found in taken.items() if not found]
    if silent:
        raise FeatxError(
            f"Expected layers that take part in the forward pass, but {silent[0]} does not. A container "
            "that is indexed, not called, has no output: name a layer in it."
        )
    return taken


def _standing(model: nn.Module, place: str) -> str:
    """Return `place`, or what is left of the way to it: a user may have replaced a container."""
    while place:
        try:
            model.get_submodule(place)
        except AttributeError:
            place = place.rpartition(".")[0]
        else:
            break
    return place


def _num_prefix_tokens(model: nn.Module) -> int:
    """Count the tokens that stand for no place: timm's models say, others have a class token or not."""
    count = getattr(model, "num_prefix_tokens", None)
    if isinstance(count, int):
        return count
    return int(any(hasattr(model, name) for name in ("class_token", "cls_token")))


def _feature_map_layer(backbone: Backbone, x: torch.Tensor) -> str:
    """Return the last layer before the head whose output still has places or tokens."""
    model = backbone.model
    heads = find_heads(model)
    found: list[str] = []
    reached: list[str] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not reached and isinstance(output, torch.Tensor) and output.ndim in (3, 4):
                places = output[0].numel() // max(output.shape[1], output.shape[-1])
                if places > 1:
                    found.append(name)

        return hook

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name in heads:
                stop = module.register_forward_pre_hook(lambda *_: reached.append("head"))
                hooks.callback(stop.remove)
            elif name:
                hooks.callback(module.register_forward_hook(note(name)).remove)
        model(x)
    if not found:
        raise FeatxError(
            f"Expected a feature map or tokens to pool in {backbone.name}, and found none. Leave pooling "
            "out."
        )
    return found[-1]
