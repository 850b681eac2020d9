"""Open JupyterLab on the lessons: on the clone's own, or on a copy when featx was installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from featx.errors import FeatxError

__all__ = ["lessons_folder", "serve"]

FIRST_LESSON = "00_start_here.ipynb"


def lessons_folder(copy_to: Path = Path("featx-lessons")) -> Path:
    """Return the folder with the lessons, copied out of the package where there is no clone.

    Parameters
    ----------
    copy_to
        Where to copy to. A file that is there already is never written over: a learner's changes stay.

    Returns
    -------
    pathlib.Path
        The clone's ``lessons`` or `copy_to`.

    Raises
    ------
    FeatxError
        When neither the clone nor the package has lessons.
    """
    package = Path(__file__).parent
    clone, packed = package.parent / "lessons", package / "_lessons"
    if (clone / FIRST_LESSON).is_file():
        return clone
    if not packed.is_dir():
        raise FeatxError(
            f"Expected the lessons in {clone} or {packed}, and found neither. Install featx again."
        )
    copy_to.mkdir(exist_ok=True)
    for lesson in packed.iterdir():
        if not (copy_to / lesson.name).exists():
            shutil.copy(lesson, copy_to)
    return copy_to


def serve(port: int | None = None, flags: list[str] | None = None) -> None:
    """Run JupyterLab on the first lesson until it is stopped.

    Parameters
    ----------
    port
        Port to serve on; by default JupyterLab's choice, 8888 or the next that is free.
    flags
        Further options for JupyterLab, such as ``["--no-browser"]``.

    Raises
    ------
    FeatxError
        When JupyterLab is not installed.
    """
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise FeatxError(
            "Expected JupyterLab to be installed. Install it with: pip install 'featx[course]'"
        ) from error
    arguments = [str(lessons_folder() / FIRST_LESSON)]
    if port is not None:
        arguments.append(f"--port={port}")
    if not _has_screen():
        arguments.append("--no-browser")  # else a text browser takes over the terminal
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")  # JupyterLab refuses root, which is all a container has
    LabApp.launch_instance([*arguments, *(flags or [])])


def _has_screen() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
