"""`featx doctor`: looks at this machine, and says how to fix what is missing."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

import featx
from featx.errors import first_line

__all__ = ["GLYPHNET_SHA256", "Check", "diagnose", "show_diagnosis"]

#: Of the weights that travel with the package; a test holds it against the file.
GLYPHNET_SHA256 = "bb2bbf60602a7b69aa6cd0b23a7b3782709919d01c0bfc31c6a5db155136f90e"

GB = 2**30


@dataclass(frozen=True)
class Check:
    """What one look at the machine found.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "warning", "problem"}
        A warning costs comfort or a part that not everyone needs; a problem stops the course.
    found : str
        What is there.
    fix : str
        What to do, in a sentence; empty when there is nothing to do.
    """

    name: str
    status: Literal["ok", "warning", "problem"]
    found: str
    fix: str = ""


def diagnose(console: Console | None = None) -> list[Check]:
    """Look at everything that featx needs on this machine. No network is used.

    Parameters
    ----------
    console
        Where to say what is being looked at: loading torch takes a few seconds.

    Returns
    -------
    list of Check
        In the order in which to fix them. A check that breaks is a problem itself; nothing raises.

    Examples
    --------
    >>> checks = diagnose()
    >>> checks[0].name, checks[0].status
    ('Python', 'ok')
    """
    if console is None:
        return [_checked(name, look) for name, look in _CHECKS.items()]
    checks = []
    with console.status("Looking at this machine …") as status:
        for name, look in _CHECKS.items():
            status.update(f"Looking at: {name} …")
            checks.append(_checked(name, look))
    return checks


def show_diagnosis(checks: Sequence[Check], console: Console) -> None:
    """Print the checks as a table, each with its fix, and a last line that sums them up.

    Parameters
    ----------
    checks
        What `diagnose` returned.
    console
        Where to print.
    """
    table = Table(title="featx doctor", title_justify="left", show_lines=False, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        found = Text(check.found)
        if check.fix:
            found.append(f"\nFix: {check.fix}", style="bold")
        table.add_row(check.name, Text(check.status, style=_STYLES[check.status]), found)
    console.print(table)
    count = {status: sum(check.status == status for check in checks) for status in _STYLES}
    if count["problem"]:
        words = (
            f"{_many(count['problem'], 'problem')} to fix, {_many(count['warning'], 'warning')}."
        )
    elif count["warning"]:
        words = f"Ready, with {_many(count['warning'], 'warning')}."
    else:
        words = "Ready: all is well."
    console.print(words, highlight=False)


_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _checked(name: str, look: Callable[[], tuple[str, str, str]]) -> Check:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a driver's warning comes as a row, not between rows
            status, found, fix = look()
    except Exception as error:
        # Whatever is broken on a machine shows here first; the other checks must go on.
        status, found = "problem", f"this check failed: {type(error).__name__}: {first_line(error)}"
        fix = "Install featx again in a fresh environment; if that does not help, report this line."
    return Check(name, status, found, fix)  # pyright: ignore[reportArgumentType]


# --- packages --------------------------------------------------------------------------------------


def _python() -> tuple[str, str, str]:
    found = f"{platform.python_version()} at {sys.executable}"
    if _numbers(platform.python_version()) < [3, 11]:
        return "problem", found, "Make an environment with Python 3.11 or newer."
    return "ok", found, ""


def _featx() -> tuple[str, str, str]:
    return "ok", f"{featx.__version__} at {Path(featx.__file__).parent}", ""


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


def _packages() -> tuple[str, str, str]:
    there, wanting = _versions(_requirements())
    if wanting:
        return "problem", "; ".join(wanting), "Install them: pip install --upgrade featx."
    shown = ("numpy", "scikit-learn", "matplotlib", "pillow", "safetensors")
    return "ok", ", ".join(f"{name} {there[name]}" for name in shown if name in there), ""


_PAIR_FIX = (
    "Install both from one place: pip install --force-reinstall torch torchvision (and for CPU builds "
    "the same --index-url for both)."
)


def _torch_pair() -> tuple[str, str, str]:
    versions = []
    for name in ("torch", "torchvision"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            return "problem", f"{name} is missing", _PAIR_FIX
    found = ", ".join(versions)
    try:
        import torch
        import torchvision

        # An operator compiled against this very torch: a wrong pair fails here, or at the import.
        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
        kept = torchvision.ops.nms(boxes, torch.tensor([1.0, 0.5]), 0.5).tolist()
    except (RuntimeError, ImportError, OSError, AttributeError, NotImplementedError) as error:
        return "problem", f"{found} do not work together ({first_line(error)})", _PAIR_FIX
    if kept != [0]:
        return "problem", f"{found} compute wrong numbers together", _PAIR_FIX
    return "ok", f"{found}, a pair that works", ""


def _extra(name: str, what: str) -> Callable[[], tuple[str, str, str]]:
    def look() -> tuple[str, str, str]:
        wanting = _versions(_requirements(name))[1]
        if not wanting:
            return "ok", f"installed, for {what}", ""
        install = f"pip install 'featx[{name}]'"
        if any("older" in line for line in wanting):
            return "warning", "; ".join(wanting), f"Bring it up to date: {install}."
        return "ok", f"- not installed; for {what}: {install}", ""

    return look


# --- machine ---------------------------------------------------------------------------------------


def _device() -> tuple[str, str, str]:
    import torch

    device, found = "cpu", "CPU only; all lessons run on it"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        device, found = "cuda", f"CUDA: {properties.name}, {properties.total_memory / GB:.0f} GB"
    elif torch.backends.mps.is_available():
        device, found = "mps", "MPS: the graphics processor of this Mac"
    try:
        square = torch.full((4, 4), 2.0, device=device)
        right = (square @ square).sum().item() == 256
    except (RuntimeError, NotImplementedError) as error:
        fix = "Update the driver, or compute on the CPU with device='cpu'."
        return "problem", f"{found}, but it cannot compute: {first_line(error)}", fix
    if not right:
        return "problem", f"{found}, but it computes wrong numbers", "Compute with device='cpu'."
    if device == "cpu" and shutil.which("nvidia-smi"):
        fix = "Install a torch build for CUDA that fits the driver: see pytorch.org/get-started."
        return "warning", "a GPU driver is there, but torch cannot use it", fix
    return "ok", found, ""


def _cpu() -> tuple[str, str, str]:
    import torch

    found = f"{platform.machine()}, torch uses {torch.backends.cpu.get_cpu_capability()}"
    look = getattr(torch.cpu, "get_capabilities", None)  # not in every torch
    known: dict[str, Any] = look() if look else {}
    if known.get("architecture") == "x86_64":
        names = {
            "avx2": "AVX2",
            "avx512_f": "AVX512",
            "avx512_bf16": "AVX512-BF16",
            "amx_tile": "AMX",
        }
        has = [label for name, label in names.items() if known.get(name)]
        lacks = [label for name, label in names.items() if not known.get(name)]
        found += f"; has {', '.join(has) or 'none'}"
        found += f"; lacks {', '.join(lacks)}" if lacks else ""
        if not known.get("avx2"):
            return "warning", found, "Use a machine with AVX2: without it extraction is slow."
    return "ok", found, ""


def _threads() -> tuple[str, str, str]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "ok", f"{torch.get_num_threads()} for torch, {cores} cores to use", ""


def _memory() -> tuple[str, str, str]:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return "ok", "not known on this system", ""
    if total < 2:
        fix = "Use a machine with 2 GB or more, or small batches (batch_size=8)."
        return "warning", f"{total:.1f} GB", fix
    return "ok", f"{total:.1f} GB", ""


def _disk() -> tuple[str, str, str]:
    free = shutil.disk_usage(Path.cwd()).free / GB
    if free < 1:
        fix = (
            "Free some space: a cache of features takes about 2 kB an image, weights 50 to 500 MB."
        )
        return "warning", f"{free:.1f} GB free in this folder", fix
    return "ok", f"{free:.1f} GB free in this folder", ""


def _sandbox() -> tuple[str, str, str]:
    alone = "Only teachers need it; without it, grade with --sandbox none, unprotected."
    if sys.platform != "linux":
        return "ok", "- bubblewrap, for grading in a sandbox, exists on Linux only", ""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        fix = f"On Debian and Ubuntu: sudo apt install bubblewrap. {alone}"
        return "warning", "bubblewrap is not installed", fix
    command = [bwrap, "--ro-bind", "/", "/", "--unshare-net", "--die-with-parent", "--", "true"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        said = ran.stderr.strip().splitlines()[:1] if ran.returncode else []
        works = ran.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        works, said = False, [first_line(error)]
    if not works:
        fix = f"Allow user namespaces (in a container: from the host's side). {alone}"
        return "warning", f"bubblewrap is there but does not start: {' '.join(said)}", fix
    return "ok", "bubblewrap works, network cut off", ""


def _glyphnet() -> tuple[str, str, str]:
    again = "Install featx again: pip install --force-reinstall --no-deps featx."
    from featx.glyphnet import WEIGHTS_FILE

    if not WEIGHTS_FILE.is_file():
        return "problem", f"the weights are missing at {WEIGHTS_FILE}", again
    if hashlib.sha256(WEIGHTS_FILE.read_bytes()).hexdigest() != GLYPHNET_SHA256:
        return "problem", f"the weights at {WEIGHTS_FILE} are damaged or changed", again
    backbone = featx.load_backbone("glyphnet")
    return "ok", f"embedded weights are intact, {backbone.num_features} features", ""


# --- write access ----------------------------------------------------------------------------------


def _folder(where: Callable[[], Path], fix: str) -> Callable[[], tuple[str, str, str]]:
    def look() -> tuple[str, str, str]:
        try:
            folder = where()
            # What does not exist yet is made on first use, inside the nearest folder that does.
            there = next(path for path in (folder, *folder.parents) if path.exists())
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            return "problem", f"cannot write: {first_line(error)}", fix
        return "ok", f"can write to {folder}", ""

    return look


def _hub() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _jupyter() -> tuple[str, str, str]:
    if util.find_spec("ipykernel") is None or util.find_spec("jupyter_client") is None:
        return "ok", "- not installed; for the lessons: pip install 'featx[course]'", ""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    fix = "Register this environment: python -m ipykernel install --sys-prefix."
    try:
        python = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return "problem", "there is no kernel named python3", fix
    # A bare "python" stands for the environment that Jupyter itself runs in.
    python = python if Path(python).is_absolute() else sys.executable
    command = [python, "-m", "ipykernel_launcher", "--version"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "problem", f"the kernel python3 does not start: {first_line(error)}", fix
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
        return "problem", f"the kernel python3 does not start: {said}", fix
    if Path(python).parent != Path(sys.executable).parent:
        return "warning", f"the kernel python3 is another Python, {python}", fix
    return "ok", f"the kernel python3 starts (ipykernel {ran.stdout.strip()})", ""


_CHECKS: dict[str, Callable[[], tuple[str, str, str]]] = {
    "Python": _python,
    "featx": _featx,
    "torch": _torch_pair,
    "packages": _packages,
    "GlyphNet": _glyphnet,
    "device": _device,
    "CPU": _cpu,
    "threads": _threads,
    "memory": _memory,
    "disk": _disk,
    "this folder": _folder(Path.cwd, "Go to a folder of your own: cd ~."),
    "weights folder": _folder(_hub, "Name a folder of your own: export TORCH_HOME=~/torch."),
    "temp folder": _folder(
        lambda: Path(tempfile.gettempdir()), "Name a folder of your own: export TMPDIR=~/tmp."
    ),
    "sandbox": _sandbox,
    "Jupyter": _jupyter,
    "extra course": _extra("course", "the lessons and assignments"),
    "extra scale": _extra("scale", "grading on a cluster"),
    "extra timm": _extra("timm", "timm's backbones"),
}
