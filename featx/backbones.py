"""A name becomes a `Backbone`: the model, and the preprocessing and weights that belong to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call

from featx import glyphnet
from featx.errors import FeatxError, whole_number
from featx.heads import find_heads, in_size, output_layer
from featx.layers import FEATURES, check_pooling, first_tensor, pool, read_layers
from featx.modules import bits_of, home
from featx.timm_models import PREFIX, timm_model, timm_names
from featx.weights import load_state, read_state, unknown_weights, weights_file
from featx.wording import close_matches, first_line

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["Backbone", "has_weights", "list_backbones", "load_backbone"]

# Image sizes for a first try of a user's model whose preprocessing leaves the size as it is.
_SIZES = (224, 64, 32, 28, 8)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A model with the preprocessing that belongs to its weights.

    Attributes
    ----------
    name : str
        What it was loaded as.
    model : torch.nn.Module
        The plain model in eval mode, its head still on: ``model(preprocess(images))`` gives class
        scores, `features` gives features.
    preprocess : callable
        Turns images (uint8 0-255 or float 0-1, ``(N, C, H, W)``) into what the model was trained on.
    num_features : int
        The size D of one image's features.
    in_channels : int
        Channels of the images that the model takes: 1, 3, or another number, which its images then have.
    layer : str
        The layer whose output the features are. ``"features"``: what the head takes in, or what the
        model returns if it has no head. ``""``: what the model returns.
    pooling : str or None
        How tokens become one row, ``"cls"`` or ``"mean"``, where `layer` gives some.
    places : tuple of str
        Where the heads were at first: features go in there, whatever a user puts in their place.

    Examples
    --------
    >>> import featx
    >>> backbone = featx.load_backbone("glyphnet")
    >>> backbone, backbone.in_channels, backbone.model.fc
    (Backbone(glyphnet, 256 features), 1, Linear(in_features=256, out_features=52, bias=True))
    """

    name: str
    model: nn.Module
    preprocess: Callable[[torch.Tensor], torch.Tensor]
    num_features: int
    in_channels: int
    layer: str = FEATURES
    pooling: str | None = None
    places: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note where the head is."""
        places = find_heads(self.model) if self.layer == FEATURES else []
        object.__setattr__(self, "places", tuple(places))

    @classmethod
    def from_module(
        cls,
        model: nn.Module,
        preprocess: Callable[[torch.Tensor], torch.Tensor],
        *,
        name: str | None = None,
        layer: str | None = None,
        pooling: str | None = None,
        in_channels: int | None = None,
        num_features: int | None = None,
    ) -> Backbone:
        """Make a backbone of any module.

        Its features are the output of `layer`, else what its head takes in, else what it returns.
        A network without Linear layers that ends in a 1 x 1 convolution with a bias counts as one with
        a head; for an embedding network of that kind say ``layer=""``, as for one that ends in a Linear.

        Parameters
        ----------
        model
            Any module that takes images ``(N, C, H, W)``. It is put in eval mode.
        preprocess
            Turns images (uint8 0-255 or float 0-1, ``(N, C, H, W)``) into what the model was
            trained on. ``lambda x: x`` if it takes floats 0-1 as they are.
        name
            What to call it; by default its class.
        layer
            The dotted name of a layer that gives ``(N, D)``, a feature map ``(N, C, H, W)``, which is
            averaged over its places, or tokens ``(N, T, D)``. ``""`` is the model's own output.
        pooling
            How tokens become one row: ``"cls"`` takes the class token, ``"mean"`` the mean of the others.
        in_channels
            Channels of its images: 1 or 3. For another number give `extract` images that have so many.
        num_features
            The size D of one image's features.

        Returns
        -------
        Backbone
            What is not given is found by a dry run on black images, without gradients; it leaves
            buffers and torch's random state as they were. What else the model's own code writes in a
            forward pass, to its parameters or to a list or a counter of its own, is written then, too.

        Raises
        ------
        FeatxError
            When the dry run fails, gives something else than ``(N, D)`` or ``(N, C, H, W)``, or `layer`
            is unknown.

        Examples
        --------
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> Backbone.from_module(model, lambda x: x, name="tiny")
        Backbone(tiny, 8 features)
        """
        for what, value, right in (
            ("model to be a torch module", model, isinstance(model, nn.Module)),
            ("preprocess to be a function of images", preprocess, callable(preprocess)),
        ):
            if not right:
                raise FeatxError(
                    f"Expected {what}, got {type(value).__name__}. Write "
                    "Backbone.from_module(model, preprocess)."
                )
        known = dict(model.named_modules())
        check_pooling(pooling)
        if layer is not None and not (isinstance(layer, str) and layer in known):
            raise FeatxError(
                f"Expected the name of a layer of this {type(model).__name__}, got {layer!r}. "
                f"{close_matches(str(layer), filter(None, known))}"
            )
        advice = "Leave it out to have it found."
        if in_channels is not None:
            in_channels = whole_number(in_channels, "in_channels", advice=advice)
        if num_features is not None:
            num_features = whole_number(num_features, "num_features", advice=advice)
        model.eval()
        name = type(model).__name__ if name is None else name
        if in_channels is None:
            in_channels = _in_channels(model)
        layer = FEATURES if layer is None else layer
        if num_features is None:
            layer, num_features = _dry_run(model, preprocess, layer, in_channels, pooling)
        return cls(name, model, preprocess, num_features, in_channels, layer, pooling)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the features of preprocessed images: what the head would take in.

        They stay the same when the head is replaced or removed.

        Parameters
        ----------
        x
            Preprocessed images ``(N, C, H, W)``, on the model's device.

        Returns
        -------
        torch.Tensor
            ``(N, num_features)``; a convolutional head's feature map is averaged over its places. Where
            the model has two heads (distilled DeiT), the mean of what they take in.

        Raises
        ------
        FeatxError
            When they have another shape.

        Examples
        --------
        >>> import torch, featx
        >>> backbone = featx.load_backbone("glyphnet")
        >>> backbone.features(backbone.preprocess(torch.zeros(4, 8, 8))).shape
        torch.Size([4, 256])
        """
        layer = self.layer
        features = read_layers(self.model, x, [layer], self.places, self.pooling)[layer]
        if features.shape[1] != self.num_features:
            raise FeatxError(
                f"Expected {self.num_features} features of {self.name}, got {features.shape[1]}. Did its "
                "layers change? Load it again, or make a backbone of what it is now with "
                "featx.Backbone.from_module(model, preprocess)."
            )
        return features

    def __repr__(self) -> str:
        return f"Backbone({self.name}, {self.num_features} features)"

    @property
    def weights_id(self) -> str:
        """The content hash of all parameters and buffers: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(bits_of(tensor.cpu()).numpy().data)
        return digest.hexdigest()[:16]


def list_backbones() -> list[str]:
    """Name everything that `load_backbone` can load.

    Returns
    -------
    list of str
        GlyphNet first, then all of torchvision's classifiers, then, where timm is installed, its
        models as ``"timm/<name>"``. The first call imports timm, which takes about two seconds.

    Examples
    --------
    >>> list_backbones()[:3]
    ['glyphnet', 'alexnet', 'convnext_base']
    """
    from featx.torchvision_models import torchvision_names

    return ["glyphnet", *torchvision_names(), *timm_names()]


def load_backbone(name: str, weights: str | Path | WeightsEnum | None = "default") -> Backbone:
    """Load a backbone by name, with the preprocessing that belongs to its weights.

    Parameters
    ----------
    name
        ``"glyphnet"``, or any name that `list_backbones` lists. A timm name may end in the tag of
        its weights: ``"timm/resnet10t.c3_in1k"``.
    weights
        ``"default"``: GlyphNet's embedded weights (no network, ever), or the default weights of
        torchvision or timm, downloaded once with progress and hash check. Torchvision's weights or
        their name: ``ResNet18_Weights.IMAGENET1K_V1`` or ``"IMAGENET1K_V1"``; timm's tag.
        The path of a file, ``.safetensors`` or as torch.save writes it under any name, with a state
        dict or a checkpoint that holds one; a file fine-tuned for other classes brings its own head.
        A file that has the name of one of torchvision's own gets the transform of those weights.
        ``None``: random weights, drawn from torch's global generator.

    Returns
    -------
    Backbone
        On the CPU, in eval mode.

    Raises
    ------
    FeatxError
        When the name or the weights are unknown, do not fit, or cannot be downloaded.

    Examples
    --------
    >>> backbone = load_backbone("glyphnet")
    >>> backbone.num_features, backbone.model.training
    (256, False)
    >>> load_backbone("resnet50", weights=None).num_features
    2048
    """
    if not isinstance(name, str):
        raise FeatxError(
            f"Expected the name of a backbone, got {type(name).__name__}. featx.list_backbones() names "
            "them; a model of your own becomes one with featx.Backbone.from_module(model, preprocess)."
        )
    path = weights_file(weights)
    if name == "glyphnet":  # without torchvision, which takes seconds to import
        if path is None and weights not in (None, "default"):
            raise unknown_weights(name, weights, [])
        model, preprocess = glyphnet.GlyphNet(), glyphnet.preprocess
        if weights is not None:
            file = path or glyphnet.WEIGHTS_FILE
            load_state(model, read_state(file, name), file, name)
    elif name.startswith(PREFIX):
        model, preprocess = timm_model(name, weights, path)
    else:
        from featx.torchvision_models import torchvision_model, torchvision_names

        if name not in torchvision_names():
            known = list_backbones()
            raise FeatxError(
                f"Expected the name of a backbone, got {name!r}. {close_matches(name, known)}"
            )
        model, preprocess = torchvision_model(name, weights, path)
    heads = find_heads(model.eval())
    # timm tells it of its models: some rearrange pixels before the first convolution
    told = getattr(model, "pretrained_cfg", None)
    in_channels = told["input_size"][0] if told else _in_channels(model)
    if heads:
        num_features = in_size(model, heads[0])
    else:
        _, num_features = _dry_run(model, preprocess, "", in_channels)
    return Backbone(name, model, preprocess, num_features, in_channels)


def has_weights(name: str) -> bool:
    """Tell whether `load_backbone` finds the default weights on this computer, with no download.

    Parameters
    ----------
    name
        ``"glyphnet"``, whose weights always are, or one of torchvision's classifiers.

    Returns
    -------
    bool
        Whether they are.

    Raises
    ------
    FeatxError
        When the name is none of these.

    Examples
    --------
    >>> backbone = load_backbone("resnet18" if has_weights("resnet18") else "glyphnet")
    """
    if name == "glyphnet":
        return True
    from featx.torchvision_models import is_downloaded, torchvision_names

    if name not in torchvision_names():
        known = ["glyphnet", *torchvision_names()]
        raise FeatxError(
            f"Expected glyphnet or a classifier of torchvision, got {name!r}. "
            f"{close_matches(str(name), known)}"
        )
    return is_downloaded(name)


def _in_channels(model: nn.Module) -> int:
    """Return what the first convolution takes; 3 where there is none."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


def _dry_run(
    model: nn.Module, preprocess: Callable, layer: str, in_channels: int, pooling: str | None = None
) -> tuple[str, int]:
    """Return the layer to read and D, by a pass of a black image of the first size that fits.

    Only buffers and torch's random state are kept from it: it is the user's code that runs.
    """
    device = home(model)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    heads = find_heads(model) if layer == FEATURES else []
    outputs: list[Any] = []
    reasons: list[str] = []

    def forward(x: torch.Tensor) -> Any:
        outputs.append(functional_call(model, buffers, x))  # what it writes goes to the clones
        return outputs[-1]

    seeded = [device] if device.type == "cuda" else []
    for size in _SIZES:
        try:
            with torch.random.fork_rng(seeded), torch.no_grad():
                x = preprocess(torch.zeros(1, in_channels, size, size, device=device))
                features = read_layers(model, x, [layer], heads, pooling, forward)[layer]
        except FeatxError:
            raise
        except Exception as error:  # a user's model may fail with any error
            reasons.append(f"{first_line(error)} (images of {size} x {size})")
            continue
        output = first_tensor(outputs[-1])
        if heads and not _gives(output_layer(model, heads[0])[1], output):
            # the last linear layer is in the middle of the backbone: this model has no head
            return "", pool(output, len(x), pooling, layer="the model").shape[1]
        return layer, features.shape[1]
    raise FeatxError(
        f"Expected a {type(model).__name__} that takes preprocessed images of {in_channels} channels, but "
        f"a dry run failed: {reasons[0]}. Check preprocess and in_channels, or pass num_features, too."
    )


def _gives(layer: nn.Module, output: Any) -> bool:
    """Say whether `output` is of the size that the head's `layer` gives."""
    size = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
    return isinstance(output, torch.Tensor) and output.ndim > 1 and output.shape[1] == size
