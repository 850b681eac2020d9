"""Checks of what the lessons need of Jupyter: a kernel that starts, extensions that are switched on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from featx.shipped import JUPYTERLAB_SETTINGS
from featx.wording import first_line

__all__ = ["extensions", "kernel"]

_NOT_INSTALLED = "- not installed; for the lessons: pip install 'featx[course]'"

#: JupyterLab's name of an extension -> its package, what its lack is, and what it is for.
_EXTENSIONS = {
    "@jupyter-widgets/jupyterlab-manager": (
        "jupyterlab_widgets",
        "problem",
        "the lessons show no questions and no sliders without it",
    ),
    "@jupyter/nbgrader": ("nbgrader", "warning", "only teachers use it, to look through grades"),
}


def kernel() -> tuple[str, str, str]:
    """Look whether the kernel that notebooks ask for starts, and is this Python."""
    if not _there("ipykernel") or not _there("jupyter_client"):
        return "ok", _NOT_INSTALLED, ""
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


def extensions() -> tuple[str, str, str]:
    """Look whether JupyterLab's extensions are there and switched on, as ``jupyter labextension list``."""
    if not _there("jupyterlab"):
        return "ok", _NOT_INSTALLED, ""
    from jupyter_core.paths import jupyter_path
    from jupyterlab_server.config import get_page_config, get_static_page_config

    page = get_page_config(jupyter_path("labextensions"), str(JUPYTERLAB_SETTINGS))
    known = {each["name"] for each in page["federated_extensions"]}
    for name, (package, status, lack) in _EXTENSIONS.items():
        if name not in known:
            fix = f"Install it again: pip install --force-reinstall --no-deps {package}."
            return status, f"the extension {name} is missing: {lack}", fix
        off = [each for each in page["disabledExtensions"] if each.partition(":")[0] == name]
        if off:
            levels = [
                level
                for level in ("user", "sys_prefix", "system")
                if off[0] in get_static_page_config(level=level).get("disabledExtensions", {})
            ]
            where = f"--level={levels[0]} " if levels else ""
            fix = f"Switch it on: jupyter labextension enable {where}{off[0]}."
            return status, f"the extension {off[0]} is switched off: {lack}", fix
    return "ok", "the extensions for widgets and for nbgrader are on", ""


def _there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
