"""timm's models, by its own classifiers, resets and data configs."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import nn

from featx.errors import FeatxError
from featx.weights import NO_NETWORK, load_state, read_state, unknown_weights
from featx.wording import close_matches, first_line

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["PREFIX", "timm_model", "timm_names"]

#: What names of timm's models begin with.
PREFIX = "timm/"


def timm_names() -> list[str]:
    """Return the names of timm's models, with the prefix; none where timm is not installed."""
    if not find_spec("timm"):
        return []
    return [f"{PREFIX}{name}" for name in _import_timm().list_models()]


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise FeatxError(
            "Expected timm to be installed, for names that begin with timm/, but it cannot be imported "
            f"({first_line(error)}). Run: pip install 'featx[timm]'"
        ) from error
    return timm


def timm_model(
    name: str, weights: str | Path | WeightsEnum | None, path: Path | None
) -> tuple[nn.Module, Callable]:
    """Build a model of timm and the transform that belongs to its weights.

    Parameters
    ----------
    name
        With the prefix, and perhaps with the tag of its weights: ``"timm/resnet10t.c3_in1k"``.
    weights
        As for `featx.load_backbone`.
    path
        The file that `weights` names, if it names one.

    Returns
    -------
    tuple
        The model and its preprocessing.
    """
    timm = _import_timm()
    architecture, _, tag = name.removeprefix(PREFIX).partition(".")
    if not timm.is_model(architecture):
        raise FeatxError(
            f"Expected the name of a model of timm, got {name!r}. {close_matches(name, timm_names())}"
        )
    listed = timm.list_pretrained(f"{architecture}.*") + timm.list_pretrained(architecture)
    tags = sorted({known.partition(".")[2] for known in listed} - {""})
    if isinstance(weights, str) and path is None and weights != "default":
        tag = weights
    if path is None and not isinstance(weights, (str, type(None))):
        raise unknown_weights(name, weights, tags)
    if tag and tag not in tags:
        raise unknown_weights(name, tag, tags)
    full = f"{architecture}.{tag}" if tag else architecture
    download = weights is not None and path is None
    if download and not listed:
        raise FeatxError(
            f"Expected timm to have weights for {name}, but it has none. Pass weights=None for random "
            "ones, or a file."
        )
    config = timm.get_pretrained_cfg(full)
    try:
        if download:
            _check_hub(config)
        model = timm.create_model(full, pretrained=download)
    except Exception as error:  # the hub's client has its own families of errors
        if not download:
            raise
        file = config.hf_hub_filename or "model.safetensors"
        source = f"the file {file} of {config.hf_hub_id} on the Hugging Face hub"
        raise FeatxError(
            f"Could not get the weights of {name} ({first_line(error)}). Put "
            f"{source if config.hf_hub_id else config.url} into any folder and pass its path as "
            f"weights=…, {NO_NETWORK}"
        ) from error
    if path is not None:
        load_state(model, read_state(path, name), path, name)
    return model, _timm_transforms(timm.data.resolve_model_data_config(model))


def _check_hub(config: Any) -> None:
    """Raise at once where there is no network: the hub's client would try for a minute."""
    from huggingface_hub import constants, try_to_load_from_cache

    files = (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin")
    here = [
        try_to_load_from_cache(config.hf_hub_id, file)
        for file in files
        if file and config.hf_hub_id
    ]
    if any(isinstance(path, str) for path in here) or getproxies() or not config.hf_hub_id:
        return
    host = urlsplit(constants.ENDPOINT)
    socket.create_connection((host.hostname, host.port or 443), timeout=10).close()


def _timm_transforms(config: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make timm's evaluation transform for tensors, by the rules of its `transforms_imagenet_eval`."""
    from torchvision.transforms import v2

    crop = config["input_size"][1:]
    scaled = [math.floor(size / config["crop_pct"]) for size in crop]
    sizes: dict[str, dict[str, Any]] = {
        "squash": {"size": scaled},  # the shape of the image is lost, nothing of it is
        "border": {"size": None, "max_size": min(scaled)},  # CenterCrop pads with 0, the mean
    }
    return v2.Compose(
        [
            v2.Resize(
                **sizes.get(config["crop_mode"], {"size": min(scaled)}),
                interpolation=v2.InterpolationMode(config["interpolation"]),
                antialias=True,
            ),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=config["mean"], std=config["std"]),
            v2.CenterCrop(crop),
        ]
    )
