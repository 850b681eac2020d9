"""Make a course that is ready to grade: `featx assignment init`."""

from __future__ import annotations

from pathlib import Path

from featx.errors import FeatxError
from featx.grading.assignments import ASSIGNMENTS, list_assignments, notebook_path, notebook_text
from featx.shipped import copy_out, shipped_folder

__all__ = ["init_course"]

#: What nbgrader reads in a course.
SETTINGS = "nbgrader_config.py"


def init_course(folder: str | Path) -> list[Path]:
    """Make an nbgrader course with featx's assignments, or add what is missing in one.

    Parameters
    ----------
    folder
        Its root; made when it is not there. Whatever is in it stays as it is. In a course that is there
        already, the assignments are those of its own ``assignments.toml``.

    Returns
    -------
    list of Path
        What was written, from the root; empty when nothing was missing. All is made before the first file
        is written, and each file is there whole or not at all: stopped, the same call goes on.

    Raises
    ------
    FeatxError
        When the folder has other things in it, or cannot be written, or its own assignments are not valid.
    """
    folder = Path(folder)
    shipped, _ = shipped_folder("autograders", ASSIGNMENTS)
    try:
        is_course = (folder / ASSIGNMENTS).is_file()
        if not is_course and folder.exists() and any(map(_counts, folder.iterdir())):
            raise FeatxError(
                f"Expected a new or an empty folder for the course, got {folder}, which has files of its own "
                f"and no {ASSIGNMENTS}. Choose another."
            )
        own = folder if is_course else shipped
        # The list of assignments first: by it the next call knows the course again.
        files = {Path(name): (shipped / name).read_bytes() for name in (ASSIGNMENTS, SETTINGS)}
        for name in list_assignments(own):
            path = notebook_path(name)
            if not (folder / path).exists():
                files[path] = notebook_text(name, own).encode()
        written = [path for path, content in files.items() if copy_out(content, folder / path)]
        (folder / "submitted").mkdir(exist_ok=True)
    except OSError as error:
        raise FeatxError(
            f"Expected a folder that can be written for the course, got {folder}: {error.strerror}. Choose "
            "another."
        ) from error
    return written


def _counts(path: Path) -> bool:
    """Tell a file of somebody's from a `.git` or `.DS_Store`, which a new folder may have."""
    return not path.name.startswith(".")
