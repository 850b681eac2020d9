"""A course is made once, whole, and never over anything that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.errors import FeatxError
from featx.grading import courses
from featx.grading.assignments import check_assignment, list_assignments
from featx.grading.courses import init_course


def files(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """What a new course has in it."""
    folder = tmp_path_factory.mktemp("made") / "deep" / "course"
    assert sorted(init_course(folder)) == sorted(files(folder))
    for name in list_assignments(folder):
        check_assignment(name, folder)
    return files(folder)


def test_a_second_run_changes_nothing(made, tmp_path: Path) -> None:
    init_course(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert init_course(tmp_path) == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


LISTED = """
[mine]
title = "Mine"
minutes = 5
items = [{ question = "freeze-order", points = 1 }]

[other]
title = "Other"
minutes = 5
items = [{ question = "what-learns", points = 1 }]
"""


def test_only_what_is_missing_is_added(tmp_path: Path) -> None:
    """The course's own list says what is missing, and what a teacher changed stays."""
    (tmp_path / "assignments.toml").write_text(LISTED)
    (tmp_path / "source" / "other").mkdir(parents=True)
    (tmp_path / "source" / "other" / "other.ipynb").write_text("by hand")
    assert sorted(init_course(tmp_path)) == [
        Path("nbgrader_config.py"),
        Path("source/mine/mine.ipynb"),
    ]
    assert (tmp_path / "assignments.toml").read_text() == LISTED
    assert (tmp_path / "source" / "other" / "other.ipynb").read_text() == "by hand"


def test_stopped_at_any_file_the_same_call_goes_on(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stopped_at in range(len(made)):
        folder, left = tmp_path / str(stopped_at), stopped_at

        def write(self: Path, content: bytes) -> None:
            nonlocal left
            with self.open("wb") as file:
                file.write(content if left else content[:10])
            left -= 1
            if left < 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", write)
            with pytest.raises(KeyboardInterrupt):
                init_course(folder)
        assert files(folder).items() <= made.items()
        init_course(folder)
        assert files(folder) == made


def test_nothing_is_written_before_all_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(courses, "notebook_text", stop)
    with pytest.raises(KeyboardInterrupt):
        init_course(tmp_path / "course")
    assert not (tmp_path / "course").exists()


def test_an_empty_folder_will_do(made, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    init_course(tmp_path)
    assert files(tmp_path) == made


def test_a_folder_with_files_of_its_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FeatxError, match=r"files of its own and no assignments\.toml") as error:
        init_course(tmp_path)
    assert error.value.exit_status == 2
    assert files(tmp_path) == {Path("thesis.txt"): b"mine"}


@pytest.mark.parametrize("place", ["file", "file/course"])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FeatxError, match=r"can be written for the course, got .*Not a directory"):
        init_course(tmp_path / place)


def test_a_list_that_does_not_load_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "assignments.toml").write_text("[mine]\ntitle = 3\n")
    with pytest.raises(FeatxError, match=r"assignments\.toml, mine"):
        init_course(tmp_path)
    assert list(files(tmp_path)) == [Path("assignments.toml")]


def test_commands_find_the_course_that_they_are_typed_in(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = command("assignment", "init", "my course").stdout
    assert "featx grade practice --course-dir 'my course'\n" in told
    assert "Nothing is missing in my course" in command("assignment", "init", "my course").stdout
    monkeypatch.chdir("my course")
    Path("source/ps1/ps1.ipynb").unlink()
    told = command("assignment", "init", ".").stdout
    assert told.startswith("Wrote to .: source/ps1/ps1.ipynb\n")
    assert "featx grade practice\n" in told
    assert command("assignment", "check", "ps1").stdout == "ps1 is up to date.\n"
