"""Torchvision's classifiers: how one is built, with which weights and which transform."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torchvision.models import WeightsEnum

from featx.errors import FeatxError
from featx.machine import downloads_folder
from featx.progress import can_draw
from featx.weights import NO_NETWORK, damaged_weights, load_state, read_state, unknown_weights
from featx.wording import first_line

__all__ = ["is_downloaded", "torchvision_model", "torchvision_names"]


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers."""
    return torchvision.models.list_models(module=torchvision.models)


def torchvision_model(
    name: str, weights: str | Path | WeightsEnum | None, path: Path | None
) -> tuple[nn.Module, Callable]:
    """Build a classifier of torchvision and the transform that belongs to its weights.

    Parameters
    ----------
    name
        One of `torchvision_names`.
    weights
        As for `featx.load_backbone`.
    path
        The file that `weights` names, if it names one.

    Returns
    -------
    tuple
        The model and its preprocessing.
    """
    known: Any = torchvision.models.get_model_weights(name)
    if path is not None:
        state = read_state(path, name)
        official = next((entry for entry in known if Path(entry.url).name == path.name), None)
        if official is not None:
            # another's file under this name, such as one fine-tuned, is read as any other is
            with suppress(Exception):
                return _with_weights(name, official, state), official.transforms()
        model = _random_model(name)
        load_state(model, state, path, name)
        if hasattr(model, "transform_input"):  # Inception and GoogLeNet
            # as torchvision sets it for the weights it trained
            model.transform_input = True  # pyright: ignore[reportArgumentType]
        return model, official.transforms() if official else _fitting_transforms(model, known)
    if weights is None:
        model = _random_model(name)
        return model, _fitting_transforms(model, known)
    entry: Any = known.DEFAULT if weights == "default" else weights
    if isinstance(entry, str):
        entry = known.__members__.get(entry.removeprefix(f"{known.__name__}."))
    if not isinstance(entry, known):
        raise unknown_weights(name, weights, [entry.name for entry in known])
    file = _cached(entry)
    state = _downloaded(name, entry, file)
    try:
        return _with_weights(name, entry, state), entry.transforms()
    except Exception as error:  # whatever stands in the file is met here first
        raise damaged_weights(name, file, error) from error


def is_downloaded(name: str) -> bool:
    """Tell whether the default weights of one of `torchvision_names` are in torch's cache."""
    known: Any = torchvision.models.get_model_weights(name)
    return _cached(known.DEFAULT).is_file()


def _cached(entry: Any) -> Path:
    return downloads_folder() / Path(entry.url).name


def _random_model(name: str) -> nn.Module:
    with warnings.catch_warnings():
        # two models announce that their initialisation will change; it stays torchvision's
        warnings.simplefilter("ignore", FutureWarning)
        return torchvision.models.get_model(name, weights=None)


def _downloaded(name: str, entry: Any, file: Path) -> Mapping[str, Any]:
    """Return the state dict of `entry` from torch's cache, or bring it there."""
    try:
        with _patience():
            # torch.hub says what it downloads in any case; its bar would fill a log file
            return entry.get_state_dict(progress=can_draw(), check_hash=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        if file.exists():
            raise damaged_weights(name, file, error) from error
        where = f"Put the file {file.name} into {file.parent}"
        if isinstance(error, OSError) and not isinstance(error, URLError) and error.filename:
            where = (
                f"Set the environment variable TORCH_HOME to a folder that can be written, put the file "
                f"{file.name} into {file.parent}"
            )
        raise FeatxError(
            f"Could not get the weights of {name} ({first_line(error)}). {where}, {NO_NETWORK}"
        ) from error


@contextmanager
def _patience(seconds: float = 30) -> Iterator[None]:
    """Give up on a server that is silent for so long; torch.hub itself would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _with_weights(name: str, entry: Any, state: Mapping[str, Any]) -> nn.Module:
    """Let torchvision build the model of `entry`, which knows its options, from `state`."""
    # A twin of the enum's member: the builder asks it for meta data and for the state dict.
    twin: Any = object.__new__(type(entry))
    twin._name_, twin._value_ = entry.name, entry.value
    twin.get_state_dict = lambda *args, **kwargs: state
    return torchvision.models.get_model(name, weights=twin)


def _fitting_transforms(model: nn.Module, known: Any) -> Callable:
    """Return the transform of the first known weights, the default first, that fits `model`.

    A ViT takes one image size only, and its default weights may be for another than the size it is
    built with.
    """
    model.eval()
    for entry in [known.DEFAULT, *known]:
        transforms = entry.transforms()
        if _takes(model, transforms(torch.zeros(1, 3, 8, 8))):
            return transforms
    return known.DEFAULT.transforms()  # a model that meta tensors cannot go through


def _takes(model: nn.Module, x: torch.Tensor) -> bool:
    """Say whether `model` takes images of the size of `x`, without computing a number."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    try:
        with torch.no_grad():
            functional_call(model, meta, x.to("meta"))
    except Exception:  # a model may refuse with any error
        return False
    return True
