"""Fixtures for the tests and for the doctests of the package."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

_numbers = count()


@pytest.fixture(scope="session")
def _progress_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("progress")


@pytest.fixture(autouse=True)
def progress_of_its_own(_progress_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep each test's answers in a folder of its own, never in that of the user."""
    monkeypatch.setenv("FEATX_DATA_DIR", str(_progress_folder / str(next(_numbers))))
