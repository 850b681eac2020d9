"""Where a teacher's own questions and exercises are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from featx.errors import FeatxError

__all__ = ["VARIABLE", "own_folders"]

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
            raise FeatxError(f"Expected folders in {VARIABLE}, but {folder} is none.")
    return tuple(folder.resolve() for folder in named)
