"""Checks of Python and of what is installed in it."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import featx
from featx.wording import first_line

__all__ = [
    "GLYPHNET_SHA256",
    "extra",
    "glyphnet",
    "installed",
    "python",
    "required",
    "torch_loads",
    "torch_pair",
]

#: Of the weights that travel with the package; a test holds it against the file.
GLYPHNET_SHA256 = "bb2bbf60602a7b69aa6cd0b23a7b3782709919d01c0bfc31c6a5db155136f90e"


def python() -> tuple[str, str, str]:
    """Look whether Python is new enough."""
    found = f"{platform.python_version()} at {sys.executable}"
    if _numbers(platform.python_version()) < [3, 11]:
        return "problem", found, "Make an environment with Python 3.11 or newer."
    return "ok", found, ""


def installed() -> tuple[str, str, str]:
    """Say which featx this is."""
    return "ok", f"{featx.__version__} at {Path(featx.__file__).parent}", ""


def required() -> tuple[str, str, str]:
    """Look for what featx requires, and whether it is new enough."""
    there, wanting = _versions(_requirements())
    if wanting:
        return "problem", "; ".join(wanting), "Install them: pip install --upgrade featx."
    shown = ("numpy", "scikit-learn", "matplotlib", "pillow", "safetensors")
    return "ok", ", ".join(f"{name} {there[name]}" for name in shown if name in there), ""


def extra(name: str, what: str) -> Callable[[], tuple[str, str, str]]:
    """Return the check of one of featx's extras, which is for `what`."""

    def look() -> tuple[str, str, str]:
        wanting = _versions(_requirements(name))[1]
        if not wanting:
            return "ok", f"installed, for {what}", ""
        install = f"pip install 'featx[{name}]'"
        if any("older" in line for line in wanting):
            return "warning", "; ".join(wanting), f"Bring it up to date: {install}."
        return "ok", f"- not installed; for {what}: {install}", ""

    return look


def glyphnet() -> tuple[str, str, str]:
    """Look whether the embedded weights are those that were shipped, and load."""
    again = "Install featx again: pip install --force-reinstall --no-deps featx."
    from featx.glyphnet import WEIGHTS_FILE

    if not WEIGHTS_FILE.is_file():
        return "problem", f"the weights are missing at {WEIGHTS_FILE}", again
    if hashlib.sha256(WEIGHTS_FILE.read_bytes()).hexdigest() != GLYPHNET_SHA256:
        return "problem", f"the weights at {WEIGHTS_FILE} are damaged or changed", again
    backbone = featx.load_backbone("glyphnet")
    return "ok", f"embedded weights are intact, {backbone.num_features} features", ""


# --- torch and torchvision ------------------------------------------------------------------------

_PAIR_FIX = (
    "Install both from one place: pip install --force-reinstall torch torchvision (and for CPU builds "
    "the same --index-url for both)."
)
_RUNTIME_FIX = (
    "Install Microsoft's Visual C++ Redistributable (x64), which torch needs on Windows; if it is there: "
    "pip install --force-reinstall torch torchvision."
)


def torch_loads() -> bool:
    """Tell whether torch can be imported."""
    try:
        import torch  # noqa: F401
    except Exception:  # a library of it that does not load raises OSError
        return False
    return True


def torch_pair() -> tuple[str, str, str]:
    """Look whether torch and torchvision are of one release, of one build, and work together."""
    versions = {}
    for name in ("torch", "torchvision"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            return "problem", f"{name} is missing", _PAIR_FIX
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    wanted = _torch_for_torchvision()
    if any(not _fits(versions["torch"], rule) for rule in wanted):
        found = f"{found}: this torchvision is built for torch {', '.join(map(''.join, wanted))}"
        return "problem", found, _PAIR_FIX
    # other tags, such as +git1a2b3c of one's own build, name no device
    tags = (
        re.search(r"\+(cpu|xpu|cu\d+|rocm\d+(?:\.\d+)*)", version) for version in versions.values()
    )
    if len({tag[1] for tag in tags if tag}) > 1:  # such as cpu and cu128
        return "problem", f"{found} are built for different devices", _PAIR_FIX
    try:
        import torch
        import torchvision

        # An operator compiled against this very torch: a wrong pair fails here, or at the import.
        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
        kept = torchvision.ops.nms(boxes, torch.tensor([1.0, 0.5]), 0.5).tolist()
    except OSError as error:  # a shared library that is not there
        fix = _RUNTIME_FIX if sys.platform == "win32" else _PAIR_FIX
        return "problem", f"{found} do not load ({first_line(error)})", fix
    except (RuntimeError, ImportError, AttributeError, NotImplementedError) as error:
        return "problem", f"{found} do not work together ({first_line(error)})", _PAIR_FIX
    if kept != [0]:
        return "problem", f"{found} compute wrong numbers together", _PAIR_FIX
    # Versions need not tell what a build is for; whether torchvision has operators for GPUs does. ROCm
    # goes by the name of CUDA here.
    for_gpu = torch.version.cuda is not None or torch.version.hip is not None
    if torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "CUDA") != for_gpu:
        one, other = ("torch", "torchvision") if for_gpu else ("torchvision", "torch")
        found = f"{found} are built for different devices: {one} for GPUs and {other} not"
        return "problem", found, _PAIR_FIX
    return "ok", f"{found}, a pair that works", ""


def _torch_for_torchvision() -> list[tuple[str, str]]:
    """Return what torchvision itself asks of torch: ``[("==", "2.15.0")]``, or a range."""
    for line in metadata.requires("torchvision") or []:
        package, _, _ = line.partition(";")
        if re.match(r"torch\b(?![-_.])", package):
            return re.findall(r"(==|>=|<=|!=|<|>)\s*([\w.]+)", package)
    return []


def _fits(version: str, rule: tuple[str, str]) -> bool:
    comparison, wanted = rule
    have, limit = _numbers(version), _numbers(wanted)
    return {
        "==": have == limit,
        "!=": have != limit,
        ">=": have >= limit,
        "<=": have <= limit,
        ">": have > limit,
        "<": have < limit,
    }[comparison]


# --- versions -------------------------------------------------------------------------------------


def _requirements(extra: str = "") -> dict[str, str]:
    """Return what featx, or one of its extras, requires: package name -> lowest version."""
    found = {}
    for line in metadata.requires("featx") or []:
        package, _, marker = line.partition(";")
        named = re.search(r"extra == ['\"](\w+)", marker)
        if (named[1] if named else "") == extra:
            name, _, lowest = package.partition(">=")
            found[name.strip()] = lowest.strip()
    return found


def _versions(requirements: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the versions that are there, and what is missing or too old."""
    there, wanting = {}, []
    for name, lowest in requirements.items():
        try:
            there[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            wanting.append(f"{name} is missing")
            continue
        if _numbers(there[name]) < _numbers(lowest):
            wanting.append(f"{name} {there[name]} is older than {lowest}")
    return there, wanting


def _numbers(version: str) -> list[int]:
    release = re.match(r"[\d.]*", version)
    numbers = [int(part) for part in (release[0] if release else "").split(".") if part]
    while numbers and not numbers[-1]:  # 2.0 is 2
        del numbers[-1]
    return numbers
