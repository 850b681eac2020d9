"""A name becomes a `Backbone`: the model, and the preprocessing and weights that belong to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torchvision.models import WeightsEnum

from featx import glyphnet
from featx.errors import FeatxError, close_matches
from featx.heads import head_name, in_size

__all__ = ["Backbone", "list_backbones", "load_backbone"]


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
        Channels of the images that the model takes: 1 or 3.
    """

    name: str
    model: nn.Module
    preprocess: Callable[[torch.Tensor], torch.Tensor]
    num_features: int
    in_channels: int

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the features of preprocessed images: what the head would take in.

        Parameters
        ----------
        x
            Preprocessed images ``(N, C, H, W)``, on the model's device.

        Returns
        -------
        torch.Tensor
            ``(N, num_features)``; a convolutional head's feature map is averaged over its places.

        Examples
        --------
        >>> import torch, featx
        >>> backbone = featx.load_backbone("glyphnet")
        >>> backbone.features(backbone.preprocess(torch.zeros(4, 8, 8))).shape
        torch.Size([4, 256])
        """
        taken: list[torch.Tensor] = []
        head = self.model.get_submodule(head_name(self.model))
        handle = head.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
        try:
            self.model(x)
        finally:
            handle.remove()
        features = taken[-1]
        return features.flatten(2).mean(2) if features.ndim == 4 else features

    def __repr__(self) -> str:
        return f"Backbone({self.name}, {self.num_features} features)"

    @property
    def weights_id(self) -> str:
        """The content hash of all parameters and buffers: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]


def list_backbones() -> list[str]:
    """Name everything that `load_backbone` can load.

    Returns
    -------
    list of str
        GlyphNet first, then all of torchvision's classifiers.

    Examples
    --------
    >>> list_backbones()[:3]
    ['glyphnet', 'alexnet', 'convnext_base']
    """
    return ["glyphnet", *torchvision.models.list_models(module=torchvision.models)]


def load_backbone(name: str, weights: str | Path | WeightsEnum | None = "default") -> Backbone:
    """Load a backbone by name, with the preprocessing that belongs to its weights.

    Parameters
    ----------
    name
        ``"glyphnet"``, or any name that `list_backbones` lists.
    weights
        ``"default"``: GlyphNet's embedded weights (no network, ever), or torchvision's default
        weights, downloaded once with progress and hash check. Torchvision's weights or their name:
        ``ResNet18_Weights.IMAGENET1K_V1`` or ``"IMAGENET1K_V1"``.
        A ``.safetensors``, ``.pth`` or ``.pt`` file with a state dict. ``None``:
        random weights, drawn from torch's global generator.

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
    if name not in list_backbones():
        raise FeatxError(
            f"Expected the name of a backbone, got {name!r}. "
            f"{close_matches(str(name), list_backbones())}"
        )
    path = _as_file(weights)
    if name == "glyphnet":
        model, preprocess = glyphnet.GlyphNet(), glyphnet.preprocess
        if path is None and weights is not None:
            if weights != "default":
                raise _unknown_weights(name, weights, [])
            path = glyphnet.WEIGHTS_FILE
    else:
        model, preprocess = _torchvision_model(name, None if path else weights)
    if path is not None:
        _load_state(model, path, name)
        if hasattr(model, "transform_input"):  # Inception and GoogLeNet
            # as torchvision sets it for the weights it trained
            model.transform_input = True  # pyright: ignore[reportArgumentType]
    first = next(p for p in model.parameters() if p.ndim == 4)
    head = model.get_submodule(head_name(model))
    return Backbone(name, model.eval(), preprocess, in_size(head), in_channels=first.shape[1])


def _torchvision_model(
    name: str, weights: str | Path | WeightsEnum | None
) -> tuple[nn.Module, Callable]:
    known = torchvision.models.get_model_weights(name)
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if weights is None:
        model = torchvision.models.get_model(name, weights=None, **options)
        return model, known.DEFAULT.transforms()  # type: ignore[attr-defined]
    wanted = "DEFAULT" if weights == "default" else weights
    if isinstance(wanted, str) and wanted in known.__members__:
        wanted = known[wanted]
    if not isinstance(wanted, known):
        raise _unknown_weights(name, weights, list(known.__members__))
    chosen: Any = wanted
    try:
        return torchvision.models.get_model(name, weights=chosen), chosen.transforms()
    except (URLError, OSError, RuntimeError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(chosen.url).name
        raise FeatxError(
            f"Could not get the weights of {name} ({_first_line(error)}). Put the file "
            f"{file.name} into {file.parent}, or go on without a network: "
            'featx.load_backbone("glyphnet") has its weights with it.'
        ) from error


def _as_file(weights: str | Path | WeightsEnum | None) -> Path | None:
    """Return the path when `weights` names a file, and None when it is a word or None."""
    if not isinstance(weights, (str, Path)) or not str(weights).endswith(
        (".safetensors", ".pth", ".pt")
    ):
        return None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FeatxError(f"Expected a file with weights, but there is none at {path.absolute()}.")
    return path


def _load_state(model: nn.Module, path: Path, name: str) -> None:
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:  # weights_only: a pickle that would run code is refused
            state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise FeatxError(
            f"Expected {path} to hold a state dict of {name}, as torch.save(model.state_dict(), …) "
            f"writes it, but it does not load: {_first_line(error)}"
        ) from error


def _unknown_weights(name: str, weights: object, known: list[str]) -> FeatxError:
    words = ["default", *known]
    return FeatxError(
        f"Expected weights of {name}: one of {', '.join(words)}, a .safetensors or .pth file, or "
        f"None for random ones; got {weights!r}."
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
