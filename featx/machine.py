"""What this machine has to offer: cores, memory, bfloat16 instructions, a compiler, weights that are here."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import psutil
import torch

__all__ = [
    "bfloat16_instructions",
    "cores",
    "downloads_folder",
    "free_memory",
    "has_compiler",
    "instructions",
    "out_of_memory",
]

_CGROUP = Path("/sys/fs/cgroup")

_INSTRUCTIONS = {
    "AVX2": "avx2",
    "AVX512": "avx512_f",
    "AVX512-BF16": "avx512_bf16",
    "AMX": "amx_bf16",
}


def cores() -> int:
    """Return how many processor cores this process may use: of the machine's, or its container's."""
    count = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else psutil.cpu_count() or 1
    )
    try:  # a container may have the time of fewer cores than it sees
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        count = min(count, math.ceil(int(quota) / int(period)))  # "max" where there is no limit
    except (OSError, ValueError):
        pass
    return count


def free_memory(device: torch.device | None = None) -> int:
    """Return how many bytes of memory can still be taken: of a GPU's, the machine's, or its container's."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:  # a container may have less than the machine it runs on
        limit = int((_CGROUP / "memory.max").read_text())  # "max" where there is no limit
        used = int((_CGROUP / "memory.current").read_text())
        kept = (_CGROUP / "memory.stat").read_text().split()  # files that are kept for later
        free = min(free, limit - used + int(kept[kept.index("inactive_file") + 1]))
    except (OSError, ValueError):
        pass
    return max(0, free)


def bfloat16_instructions(device: torch.device) -> str:
    """Name the instructions for bfloat16 that a device has.

    Parameters
    ----------
    device
        Where the model runs.

    Returns
    -------
    str
        ``"AMX"``, ``"AVX512-BF16"`` or ``"GPU"``; empty where bfloat16 would only be imitated, and slow.
    """
    if device.type == "cuda":
        return "GPU" if torch.cuda.is_bf16_supported(including_emulation=False) else ""
    here = instructions() if device.type == "cpu" else {}
    return next((name for name in ("AMX", "AVX512-BF16") if here.get(name)), "")


def instructions() -> dict[str, bool]:
    """Say which of the processor's instructions that are of use here there are.

    Returns
    -------
    dict of str to bool
        Empty for another processor than x86-64, and where torch does not say.
    """
    look = getattr(torch.cpu, "get_capabilities", None)  # not in every torch
    known: dict[str, Any] = look() if look else {}
    if known.get("architecture") != "x86_64":
        return {}
    return {name: bool(known.get(key)) for name, key in _INSTRUCTIONS.items()}


def downloads_folder() -> Path:
    """Return where torch puts the weights that it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def has_compiler(device: torch.device) -> bool:
    """Say whether `torch.compile` finds what it needs: a C++ compiler, on a GPU Triton as well."""
    named = os.environ.get("CXX", "").split()[:1]
    found = any(shutil.which(each) for each in (*named, "c++", "g++", "clang++"))
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return found and has_triton()
    return found


def out_of_memory(error: BaseException) -> bool:
    """Say whether it is want of memory that an error tells of: torch has three ways to say so."""
    told = str(error)  # of the CPU, and of a GPU that has not even room for what CUDA itself needs
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in told for words in ("allocate memory", "CUDA error: out of memory")
    )
