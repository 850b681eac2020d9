"""The learner's record: two writers, kill -9, a full disk, damage, older and newer files, export."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featx.errors import FeatxError
from featx.study.record import (
    _MIGRATIONS,
    Answer,
    DrawnExam,
    Progress,
    open_progress,
    read_export,
    write_export,
)

WRITE = """
import sys
from pathlib import Path
from featx.study.record import Answer, Progress
progress = Progress(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    progress.record(Answer(item=f"{sys.argv[2]}-{number}", status="correct", score=1))
    print(number, flush=True)
print(*progress.notices)
"""


def answer(item: str = "freeze-order", score: float = 1.0) -> Answer:
    return Answer(item=item, status="correct" if score else "wrong", score=score, answer="a")


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    return Progress(tmp_path / "sub" / "progress.sqlite3")


def writer(path: Path, name: str, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(path), name, str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_is_recorded_is_read_back_in_order(progress: Progress) -> None:
    given = [answer("a"), answer("b", 0), answer("a", 0)]
    for each in given:
        progress.record(each)
    assert progress.answers() == given
    assert progress.answers(item="a") == [given[0], given[2]]
    exam = DrawnExam(seed=1, questions=("x", "y"))
    progress.record_exam(exam)
    assert (progress.exams(), progress.handed_in()) == ([exam], {})
    progress.hand_in(exam)
    assert progress.handed_in().keys() == {exam.uid}
    with sqlite3.connect(progress.path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_folder_is_that_of_the_variable(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FEATX_DATA_DIR", str(tmp_path))
    assert open_progress().path == tmp_path / "progress.sqlite3"
    assert open_progress() is open_progress()
    monkeypatch.delenv("FEATX_DATA_DIR")
    assert open_progress().path.parent.name == "featx"


def test_two_notebooks_at_once_lose_nothing(progress: Progress) -> None:
    processes = [writer(progress.path, name, 25) for name in ("left", "right")]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert out.splitlines()[-1] == ""  # no notice
    assert len(progress.answers()) == 50


def test_kill_at_any_moment_keeps_what_was_told(progress: Progress) -> None:
    told = 0
    for attempt in range(4):
        process = writer(progress.path, f"run{attempt}", 10_000)
        assert process.stdout is not None
        until = time.monotonic() + 0.05 * attempt
        line = process.stdout.readline()
        while time.monotonic() < until:
            line = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        told += int(rest[-1] if rest and rest[-1].isdigit() else line) + 1
    kept = len(progress.answers())
    assert told <= kept <= told + 4  # one may be written and not told
    assert progress.notices == []


def test_a_full_disk_loses_nothing(bwrap: str) -> None:
    """A file system of 128 KiB, filled, then emptied: all answers are there in the end."""
    code = """
from pathlib import Path
from featx.study.record import Answer, Progress
progress = Progress(Path("/small/progress.sqlite3"))
filler = Path("/small/filler")
def record(n): progress.record(Answer(item=f"item-{n}", status="correct", score=1, answer="x" * 500))
record(0)
with filler.open("wb", buffering=0) as file:
    try:
        while True: file.write(b"x" * 512)
    except OSError as error: assert error.errno == 28
for n in range(1, 80): record(n)
assert "kept in memory" in progress.notices[0], progress.notices
assert len(progress.news()) == 1 and progress.news() == []  # told once
assert len(progress.export()["answers"]) == 80  # they can be carried away
assert len(progress.answers()) == 80  # what waits counts as well
filler.unlink()
record(80)
assert len(Progress(progress.path).answers()) == 81
assert progress.notices == progress.news() == []  # it is over
with filler.open("wb", buffering=0) as file:
    try:
        while True: file.write(b"x" * 512)
    except OSError as error: assert error.errno == 28
while not progress.unsaved: record(81)
print(progress.news()[0])  # and told again
"""
    small = ["--size", str(1 << 19), "--tmpfs", "/small"]
    done = subprocess.run(
        [bwrap, "--dev-bind", "/", "/", *small, "--", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "kept in memory" in done.stdout
    assert "\n" not in done.stdout.strip()


def test_a_place_that_cannot_be_written_keeps_answers_in_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    progress = Progress(blocked / "progress.sqlite3")
    progress.record(answer())
    assert [each.item for each in progress.answers()] == ["freeze-order"]
    assert len([n for n in progress.notices if "kept in memory" in n]) == 1
    with pytest.raises(FeatxError, match="name another folder in FEATX_DATA_DIR"):
        progress.export()
    blocked.unlink()
    progress.record(answer("second"))
    assert len(Progress(progress.path).answers()) == 2


@pytest.mark.parametrize("version", range(1, len(_MIGRATIONS)))
def test_a_file_of_an_older_version_goes_on(progress: Progress, version: int) -> None:
    progress.path.parent.mkdir()
    connection = sqlite3.connect(progress.path)
    connection.executescript(";".join(_MIGRATIONS[:version]))
    connection.execute(
        "INSERT INTO answers VALUES ('u', '2025-01-01T00:00:00Z', 'freeze-order', 'quiz', 'a', "
        "'correct', 1.0, NULL)"
    )
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    progress.record(answer("new"))
    progress.record_exam(DrawnExam(seed=1, questions=("x",)))
    assert [each.item for each in progress.answers()] == ["freeze-order", "new"]
    assert len(progress.exams()) == 1


def test_a_file_of_a_newer_version_is_left_alone(progress: Progress) -> None:
    progress.record(answer())
    connection = sqlite3.connect(progress.path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    later = Progress(progress.path)
    later.record(answer("b"))
    assert "written by a newer featx" in later.notices[0]
    assert "gone when this session ends" in later.notices[0]
    assert [each.item for each in later.answers()] == ["b"]  # in memory
    with sqlite3.connect(progress.path) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (1,)


def damaged_copies(path: Path) -> list[Path]:
    return [each for each in path.parent.glob("progress.damaged-*") if each.suffix == ".sqlite3"]


@pytest.mark.parametrize("content", [b"this is no database at all, " * 50, bytes(range(256)) * 40])
def test_a_file_that_is_no_database_is_kept_aside(progress: Progress, content: bytes) -> None:
    progress.path.parent.mkdir()
    progress.path.write_bytes(content)
    progress.record(answer())
    assert [each.item for each in progress.answers()] == ["freeze-order"]
    (kept,) = damaged_copies(progress.path)
    assert kept.read_bytes() == content
    assert str(kept) in progress.notices[0]


def test_what_can_be_read_of_a_damaged_file_is_earned_still(progress: Progress) -> None:
    for number in range(300):
        progress.record(answer(f"item-{number}"))
    connection = sqlite3.connect(progress.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    content = bytearray(progress.path.read_bytes())
    last = len(content) // size - 1
    content[last * size : (last + 1) * size] = b"\xff" * size
    progress.path.write_bytes(content)
    later = Progress(progress.path)
    kept = {each.item for each in later.answers()}
    assert len(kept) > 100
    assert kept <= {f"item-{number}" for number in range(300)}
    (aside,) = damaged_copies(progress.path)
    assert "was damaged" in later.notices[0]
    assert str(aside) in later.notices[0]


def test_an_empty_file_begins_anew(progress: Progress) -> None:
    progress.path.parent.mkdir()
    progress.path.touch()
    progress.record(answer())
    assert len(progress.answers()) == 1
    assert progress.notices == []


def test_export_and_import(progress: Progress, tmp_path: Path) -> None:
    exam = DrawnExam(seed=3, questions=("x",))
    progress.record(answer())
    progress.record_exam(exam)
    progress.hand_in(exam)
    file = tmp_path / "mine.json"
    assert write_export(progress, file) == 1
    other = Progress(tmp_path / "other.sqlite3")
    other.record(answer("b"))
    assert other.take_in(read_export(file)) == 1
    assert other.take_in(read_export(file)) == 0  # once more does no harm
    assert {each.item for each in other.answers()} == {"freeze-order", "b"}
    assert other.exams() == [exam]
    assert other.handed_in() == progress.handed_in()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is not JSON"),
        ("[]", "got another one"),
        (
            '{"featx_progress": 2, "answers": [{"item": "x"}]}',
            "at answers.0.uid: Field required",
        ),
        ('{"featx_progress": 77, "answers": []}', "got version 77"),
    ],
)
def test_a_file_that_is_no_export_changes_nothing(
    progress: Progress, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(FeatxError) as caught:
        progress.take_in(read_export(file))
    assert said in str(caught.value)
    assert progress.answers() == []


def test_reset_keeps_the_old_file(progress: Progress) -> None:
    assert progress.reset() is None
    progress.record(answer())
    kept = progress.reset()
    assert kept is not None
    assert progress.answers() == []
    assert len(Progress(kept).answers()) == 1
    progress.record(answer("new"))
    assert [each.item for each in progress.answers()] == ["new"]


def test_a_reset_that_is_stopped_has_changed_nothing(progress: Progress, monkeypatch) -> None:
    progress.record(answer())
    monkeypatch.setattr("featx.study.record._new_database", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        progress.reset()
    assert len(progress.answers()) == 1


def test_what_no_file_can_hold_stands_in_nobodys_way(progress: Progress) -> None:
    progress.record(answer())
    progress.record(Answer(item="half", status="wrong", score=0, answer="caf\udce9"))
    with pytest.raises(ValueError, match="seed"):
        DrawnExam(seed=2**63, questions=("x",))
    with pytest.raises(ValueError, match="of these centuries"):
        Answer(item="x", status="wrong", score=0, at="0001-01-01T00:00:00+14:00")
    progress.record(answer("after"))
    assert progress.unsaved == 0
    assert [each.answer for each in progress.answers()] == ["a", "caf?", "a"]


def test_a_row_that_cannot_be_understood_does_not_count(progress: Progress) -> None:
    progress.record(answer())
    with sqlite3.connect(progress.path) as connection:
        connection.execute(
            "INSERT INTO answers VALUES ('u', 'some day', 'x', 'quiz', 'a', 'correct', 2, NULL)"
        )
    assert [each.item for each in progress.answers()] == ["freeze-order"]
    assert "1 of the 2 rows" in progress.notices[0]


def test_a_recovery_that_is_stopped_begins_again(progress: Progress, monkeypatch) -> None:
    for number in range(300):
        progress.record(answer(f"item-{number}"))
    connection = sqlite3.connect(progress.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray(progress.path.read_bytes())
    content[-4096:] = b"\xff" * 4096
    progress.path.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr("featx.study.record.shutil.copy2", lambda *where: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Progress(progress.path).answers()
    assert progress.path.read_bytes() == bytes(content)  # not touched
    later = Progress(progress.path)
    assert len(later.answers()) > 250
    assert len(damaged_copies(progress.path)) == 1


def test_one_damaged_page_costs_its_own_rows_only(progress: Progress) -> None:
    for number in range(300):
        progress.record(answer(f"item-{number}"))
    connection = sqlite3.connect(progress.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = (
        connection.execute(
            "SELECT pageno, ncell FROM dbstat WHERE name = 'answers' AND pagetype = 'leaf'"
        ).fetchall()
        if _has_dbstat(connection)
        else [(5, 40)]
    )
    connection.close()
    number, cells = pages[1 % len(pages)]
    content = bytearray(progress.path.read_bytes())
    content[(number - 1) * 4096 : number * 4096] = b"\xff" * 4096
    progress.path.write_bytes(content)
    assert 300 - cells <= len(Progress(progress.path).answers()) < 300


def _has_dbstat(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1 FROM dbstat LIMIT 1")
    except sqlite3.Error:
        return False
    return True


def test_ctrl_c_while_saving_keeps_the_answer(progress: Progress, monkeypatch) -> None:
    def stopped(self, connection):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "_write_waiting", stopped)
        with pytest.raises(KeyboardInterrupt):
            progress.record(answer())
    progress.record(answer("next"))
    assert len(Progress(progress.path).answers()) == 2


def test_an_export_over_the_progress_itself_is_refused(progress: Progress) -> None:
    progress.record(answer())
    with pytest.raises(FeatxError, match="holds your progress itself"):
        write_export(progress, progress.path)
    assert len(progress.answers()) == 1


def test_export_is_json(progress: Progress) -> None:
    progress.record(answer())
    assert json.loads(json.dumps(progress.export()))["answers"][0]["item"] == "freeze-order"
