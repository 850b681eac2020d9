"""Where progress is kept, and where a teacher's own questions and exercises are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

from featx.errors import FeatxError

__all__ = ["PROGRESS_VARIABLE", "VARIABLE", "own_folders", "progress_folder"]

#: Environment variable: the folder of the progress.
PROGRESS_VARIABLE = "FEATX_DATA_DIR"

#: Environment variable: folders with YAML files and exercise modules, parted like those of ``PATH``.
VARIABLE = "FEATX_STUDY_PATH"


def own_folders() -> tuple[Path, ...]:
    """Return the folders that ``FEATX_STUDY_PATH`` names.

    Raises
    ------
    FeatxError
        When one of them is no folder.
    """
    named = [
        Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part
    ]
    for folder in named:
        if not folder.is_dir():
            raise FeatxError(
                f"Expected folders in {VARIABLE}, but {folder} is none. Check the paths in it, or unset it."
            )
    return tuple(folder.resolve() for folder in named)


def progress_folder() -> Path:
    """Return the folder that ``FEATX_DATA_DIR`` names, else that of the user's data; it need not exist."""
    named = os.environ.get(PROGRESS_VARIABLE)
    folder = Path(named).expanduser() if named else user_data_path("featx", appauthor=False)
    return folder.absolute()
