"""What the tests and the doctests of the package share, and how pytest-xdist deals the tests out."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# On a busy machine an example takes as long as it takes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_numbers = count()

#: Here one costly preparation serves all tests, so one worker runs the whole file.
ONE_WORKER = (
    "tests/browser/test_book.py",
    "tests/grading/test_attacks.py",
    "tests/grading/test_grade.py",
    "tests/grading/test_practice.py",
)


class _OneByOne(LoadScopeScheduling):
    """Deals out tests one by one, but for the files of `ONE_WORKER`.

    (The marker ``xdist_group`` would say it beside the tests; pytest-xdist 3.8 does not find it with pytest
    9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in ONE_WORKER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Deal tests out by `ONE_WORKER`."""
    return _OneByOne(config, log)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def _progress_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("progress")


@pytest.fixture(autouse=True)
def progress_of_its_own(_progress_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep each test's answers in a folder of its own, never in that of the user."""
    monkeypatch.setenv("FEATX_DATA_DIR", str(_progress_folder / str(next(_numbers))))
