"""Weights of every kind: files, checkpoints, state dicts, and what can be wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn

from featx.errors import FeatxError
from featx.heads import drop_aux_heads, find_heads, output_layer, remove_head, replace_head
from featx.wording import first_line

if TYPE_CHECKING:  # GlyphNet needs no torchvision, which takes seconds to import
    from torchvision.models import WeightsEnum

__all__ = [
    "NO_NETWORK",
    "damaged_weights",
    "load_state",
    "read_state",
    "unknown_weights",
    "weights_file",
]

#: How a message about a failed download ends.
NO_NETWORK = 'or go on without a network: featx.load_backbone("glyphnet") has its weights with it.'


def weights_file(weights: str | Path | WeightsEnum | None) -> Path | None:
    """Return the path when `weights` names a file, and None when it is a word or None.

    A `Path` names a file, and so does a string that ends as one, in any case, or that is one:
    ``"epoch=3.ckpt"``, ``"model_best.pth.tar"``. The word ``"default"`` stays a word.
    """
    if not isinstance(weights, (str, Path)) or weights == "default":
        return None
    # os.path: no error of its own for a string that cannot be a path
    path = Path(os.path.expanduser(weights))  # noqa: PTH111
    ends_as_one = path.suffix.lower() in (".safetensors", ".pth", ".pt")
    if not (isinstance(weights, Path) or ends_as_one or os.path.isfile(path)):  # noqa: PTH113
        return None
    if not path.is_file():
        what = ", which is a folder" if path.is_dir() else ""
        raise FeatxError(
            f"Expected a file with weights, but there is none at {path.absolute()}{what}. Check the path."
        )
    return path


def read_state(path: Path, name: str) -> Any:
    """Read what a .safetensors file or one of torch.save holds; `name` is what it should be weights of."""
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        # weights_only: a pickle that would run code is refused
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise _does_not_load(path, name, _in_short(error)) from error


def _in_short(error: Exception) -> BaseException | str:
    """Say in a few words what torch says in a paragraph, which advises to run what is in the file."""
    told = str(error)
    if "Weights only load failed" not in told:
        return error
    if "Unsupported global" in told:
        return "it holds code, which would be run, beside tensors."
    return "torch.save did not write it, or not all of it."


def load_state(model: nn.Module, content: Any, path: Path, name: str) -> None:
    """Load what a file holds; head and auxiliary heads become what they are in the file."""
    state = _unwrapped(content, list(model.state_dict()))
    if state is None:
        raise _does_not_load(path, name, f"no tensor in it has a name that {name} knows.")
    drop_aux_heads(model, but={key.partition(".")[0] for key in state})
    head = next(iter(find_heads(model)), None)
    if head is not None and not any(key.startswith(f"{head}.") for key in state):
        remove_head(model)
    elif head is not None:
        layer, old = output_layer(model, head)
        weight = state.get(f"{layer}.weight")
        if weight is not None and len(weight) != len(old.weight):
            replace_head(model, len(weight))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise _does_not_load(path, name, error) from error


def _unwrapped(content: Any, keys: list[str]) -> dict[str, torch.Tensor] | None:
    """Find the state dict in a checkpoint, with the names `keys` that the model has.

    A training script keeps it under a key of its own beside the epoch and the optimizer, and
    DataParallel, Lightning and torch.compile put a prefix before each name. So: of all mappings in
    the checkpoint, and all prefixes in it, take those under which most of the keys are found.
    """
    longest = max(keys, key=len)
    best: dict[str, torch.Tensor] | None = None
    most = 0
    for state in _mappings(content):
        ends = [k.removesuffix(longest) for k in state if k.endswith(f".{longest}")]
        for prefix in ["", *ends]:
            found = sum(f"{prefix}{key}" in state for key in keys)
            if found > most:
                inside = {
                    k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)
                }
                best, most = inside, found
    return best


def _mappings(content: Any) -> Iterable[dict[str, torch.Tensor]]:
    """Yield each mapping of names to tensors in a checkpoint, the outer ones first."""
    if isinstance(content, Mapping):
        tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
        yield {k: v for k, v in tensors.items() if isinstance(k, str)}
        for value in content.values():
            yield from _mappings(value)


def _does_not_load(path: Path, name: str, error: BaseException | str) -> FeatxError:
    return FeatxError(
        f"Expected {path} to hold a state dict of {name}, as torch.save(model.state_dict(), …) "
        f"writes it, but it does not load: {first_line(error)}."
    )


def damaged_weights(name: str, file: Path, error: Exception) -> FeatxError:
    """Say that a file in the cache of downloads does not hold what its name says."""
    return FeatxError(
        f"Expected {file} to hold a state dict of {name}, the weights of that name, but it does not "
        f"load: {first_line(error)}. Delete it and load again to have it downloaded anew."
    )


def unknown_weights(name: str, weights: object, known: list[str]) -> FeatxError:
    """Say which weights there are for `name`, where `weights` is none of them."""
    words = ["default", *known]
    return FeatxError(
        f"Expected weights of {name}: one of {', '.join(words)}, the path of a .safetensors "
        f"or .pth file, or None for random ones; got {weights!r}."
    )
