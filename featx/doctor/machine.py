"""Checks of what computes, and of the programs that featx starts."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import sys

from featx.bubblewrap import bubblewrap_fault, where_it_exists
from featx.wording import first_line

__all__ = ["chromium", "cpu", "device", "memory", "sandbox", "threads"]

GB = 2**30

_NO_GPU = "ok", "CPU only; all lessons run on it", ""

#: Less free memory than this on a GPU, and other programs hold what a backbone needs.
LITTLE = GB

_CLOSE_OTHERS = (
    "Close what holds it (nvidia-smi lists the programs; a notebook gives it back when its kernel is shut "
    "down), or compute on the CPU with device='cpu'."
)


def device() -> tuple[str, str, str]:
    """Look for a GPU, whether torch can use it, and whether there is room on it."""
    import torch

    kind, found = "cpu", "CPU only"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        kind, found = "cuda", f"CUDA: {properties.name}, {properties.total_memory / GB:.0f} GB"
    elif torch.backends.mps.is_available():
        kind, found = "mps", "MPS: the graphics processor of this Mac"
    try:
        square = torch.full((4, 4), 2.0, device=kind)
        right = (square @ square).sum().item() == 256
    except (RuntimeError, NotImplementedError) as error:
        if "out of memory" in str(error):
            return "problem", f"{found}, but its memory is full", _CLOSE_OTHERS
        fix = (
            "Install a torch build that knows this GPU (see pytorch.org/get-started) and a new driver, or "
            "compute on the CPU with device='cpu'."
        )
        return "problem", f"{found}, but it cannot compute: {first_line(error)}", fix
    if not right:
        return "problem", f"{found}, but it computes wrong numbers", "Compute with device='cpu'."
    if kind == "cuda":
        free, _ = torch.cuda.mem_get_info(0)
        if free < LITTLE:
            found = f"{found}, but only {free / GB:.1f} GB of it are free"
            return "warning", found, _CLOSE_OTHERS
    return _unused_gpu() if kind == "cpu" else ("ok", found, "")


def _unused_gpu() -> tuple[str, str, str]:
    """Say why a GPU that is there is not used; all is well where there is none."""
    import torch

    instead = "until then everything runs on the CPU"
    if torch.version.cuda is None:  # built for the CPU, or for a Mac
        if shutil.which("nvidia-smi"):
            fix = (
                "Install a torch build for CUDA that fits the driver (see pytorch.org/get-started); "
                f"{instead}."
            )
            return "warning", "a GPU driver is there, but torch is built without CUDA", fix
        return _NO_GPU
    try:
        torch.cuda.init()  # says each time what is wrong; is_available() only warns, and only once
        said = "torch does not say why"
    except (RuntimeError, AssertionError) as error:
        said = first_line(error)
    old = re.search(r"driver on your system is too old \(found version (\d+)\)", said)
    if old:
        version = int(old[1])
        cuda = f"{version // 1000}.{version % 1000 // 10}"
        fix = (
            f"Update the driver ({_driver_source()}), or install a torch build for CUDA {cuda} or older "
            f"(see pytorch.org/get-started); {instead}."
        )
        return (
            "warning",
            f"the GPU's driver is too old: it knows CUDA up to {cuda}, this torch wants {torch.version.cuda}",
            fix,
        )
    if "no NVIDIA driver" in said and not shutil.which("nvidia-smi"):
        return _NO_GPU  # the usual build, on a machine without
    fix = (
        "See whether nvidia-smi lists the GPU and CUDA_VISIBLE_DEVICES does not hide it, restart after an "
        f"update of the driver; {instead}."
    )
    return "warning", f"torch is built for CUDA {torch.version.cuda}, but: {said}", fix


def _driver_source() -> str:
    if sys.platform == "win32":
        return "NVIDIA's app or nvidia.com/drivers; under WSL the one of Windows"
    return "on Ubuntu: sudo ubuntu-drivers install; else from nvidia.com/drivers"


def cpu() -> tuple[str, str, str]:
    """Say what the processor can do, and whether it is very old."""
    import torch

    from featx.machine import instructions

    found = f"{platform.machine()}, torch uses {torch.backends.cpu.get_cpu_capability()}"
    here = instructions()
    if not here:
        return "ok", found, ""
    has = [name for name, there in here.items() if there]
    lacks = [name for name, there in here.items() if not there]
    found += f"; has {', '.join(has) or 'none'}"
    found += f"; lacks {', '.join(lacks)}" if lacks else ""
    if not here["AVX2"]:
        return "warning", found, "Use a machine with AVX2: without it extraction is slow."
    return "ok", found, ""


def threads() -> tuple[str, str, str]:
    """Say how many cores there are, and how many threads torch uses."""
    import torch

    from featx.machine import cores

    return "ok", f"{torch.get_num_threads()} for torch, {cores()} cores to use", ""


def memory() -> tuple[str, str, str]:
    """Look whether there is memory enough, also where a container has less than its machine."""
    import psutil

    from featx.machine import free_memory

    total, free = psutil.virtual_memory().total / GB, free_memory() / GB
    found = f"{total:.1f} GB, {free:.1f} GB free"
    if free < 1:
        fix = "Close other programs and notebooks, or use small batches (batch_size=8)."
        return "warning", found, fix
    return "ok", found, ""


def sandbox() -> tuple[str, str, str]:
    """Look whether bubblewrap is there and may work."""
    alone = "Only teachers need it; without it, grade with --sandbox none, unprotected."
    if where := where_it_exists():
        return "ok", f"- bubblewrap, for grading in a sandbox, exists {where}", ""
    fault, fix = bubblewrap_fault()
    if fault:
        return "warning", f"bubblewrap {fault}", f"{fix}. {alone}"
    return "ok", "bubblewrap works, network cut off", ""


_CHROMIUM = {
    "linux": "Debian: sudo apt install chromium; Fedora: sudo dnf install chromium",
    "darwin": "brew install --cask chromium",
}


def chromium() -> tuple[str, str, str]:
    """Look for the browser of the tests, where there is what drives it."""
    if shutil.which("chromium"):
        return "ok", "is there, for the tests in a browser", ""
    if importlib.util.find_spec("playwright") is None:
        return "ok", "- not there; only who changes featx and runs its tests needs it", ""
    how = _CHROMIUM.get(sys.platform, "from chromium.org, its folder on the PATH")
    fix = f"Install it ({how}). Only the tests in a browser need it; they are skipped without."
    return "warning", "there is no program chromium on the PATH", fix
