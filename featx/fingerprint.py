"""What a backbone is, in a few words that change whenever its features could."""

from __future__ import annotations

import hashlib
import re
from importlib import import_module, metadata
from types import CodeType
from typing import Any

import numpy as np
import PIL
import torch
from torch import nn

from featx import __version__
from featx.backbones import Backbone

__all__ = ["code_of", "describe"]


def describe(backbone: Backbone) -> dict[str, Any]:
    """Say which backbone this is: weights, architecture, code, and the versions of what computes.

    Parameters
    ----------
    backbone
        From `featx.load_backbone` or `Backbone.from_module`.

    Returns
    -------
    dict
        Short strings and numbers, ready for JSON.

    Examples
    --------
    >>> import featx
    >>> said = describe(featx.load_backbone("glyphnet"))
    >>> said["backbone"], len(said["weights_id"]), "torch" in said["versions"]
    ('glyphnet', 16, True)
    """
    return {
        "backbone": backbone.name,
        "weights_id": backbone.weights_id,
        "architecture": hashlib.sha256(_structure(backbone.model).encode()).hexdigest()[:16],
        "in_channels": backbone.in_channels,
        "layer": backbone.layer,
        "versions": _versions(backbone),
    }


def code_of(function: Any) -> Any:
    """Return what a Python function does, as far as its own code says it.

    Parameters
    ----------
    function
        Anything; what has no Python code gives None.

    Returns
    -------
    tuple or None
        Byte code, names and constants: the same wherever the function stands, another one when it is edited.

    Examples
    --------
    >>> code_of(lambda x: x + 1) == code_of(lambda x: x + 1) != code_of(lambda x: x + 2)
    True
    >>> code_of(len)
    """
    code = getattr(function, "__code__", function)
    if not isinstance(code, CodeType):
        return None
    constants = [code_of(each) or _constant(each) for each in code.co_consts]
    return code.co_code.hex(), code.co_names, constants


def _constant(value: Any) -> str:
    """Print a constant; a set, whose order is another one in each process, in the order of its parts."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(repr, value))})"
    return repr(value)


def _structure(model: nn.Module) -> str:
    """Describe the modules: their classes, their plain attributes, and the code of those not from torch."""
    lines = [repr(model)]
    for name, module in model.named_modules():
        plain = {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, (bool, int, float, str, tuple)) and key not in ("training", "name")
        }
        lines.append(f"{name} {type(module).__qualname__} {sorted(plain.items())}")
    for kind in sorted({kind for m in model.modules() for kind in type(m).__mro__}, key=repr):
        if kind.__module__.partition(".")[0] not in ("torch", "torchvision", "timm", "builtins"):
            functions = {key: code_of(value) for key, value in sorted(vars(kind).items())}
            lines.append(f"{kind.__qualname__} {functions}")
    # Functions print as their address, which is another one each time.
    return re.sub(r" at 0x[0-9a-f]+", "", "\n".join(lines))


def _versions(backbone: Backbone) -> dict[str, str]:
    packages = [torch, PIL, np]
    if backbone.name.startswith("timm/"):
        packages.append(import_module("timm"))
    versions = {each.__name__: each.__version__ for each in packages}
    # not imported for its version's sake: it takes seconds
    return {"featx": __version__, "torchvision": metadata.version("torchvision"), **versions}
