"""Open JupyterLab on the lessons: on the clone's own, or on a copy when featx was installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from featx.errors import FeatxError
from featx.shipped import JUPYTERLAB_SETTINGS, copy_out, shipped_folder

__all__ = ["lessons_folder", "serve"]

FIRST_LESSON = "00_start_here.ipynb"


def lessons_folder(folder: Path | None = None) -> Path:
    """Return the folder with the lessons to work on, filled when it is not the clone's own.

    Parameters
    ----------
    folder
        Copy the lessons here. A file that is there already is never written over: a learner's changes
        stay. By default the clone's ``lessons``, or ``featx-lessons`` where there is no clone.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    FeatxError
        When neither the clone nor the package has lessons, or `folder` cannot be written.
    """
    source, in_repository = shipped_folder("lessons", FIRST_LESSON)
    if folder is None:
        if in_repository:
            return source
        folder = Path("featx-lessons")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for lesson in source.glob("*.ipynb"):
            copy_out(lesson.read_bytes(), folder / lesson.name)
    except OSError as error:
        raise FeatxError(
            f"Expected a folder to copy the lessons to, got {folder}: {error.strerror}. Choose one with "
            "--folder DIR."
        ) from error
    return folder


def serve(folder: Path, port: int | None = None, flags: list[str] | None = None) -> None:
    """Run JupyterLab on the first lesson until it is stopped.

    Parameters
    ----------
    folder
        Where the lessons are.
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
    # As the default address, not as a file to open: then the printed address has it too.
    arguments = [
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}",
        # Works with no network: no news, no look for updates, and no question about either.
        f"--LabApp.app_settings_dir={JUPYTERLAB_SETTINGS}",
    ]
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
