"""`featx grade` on a small course: what it prints, skips, goes on with, and leaves alone."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import queue
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbgrader.api import Gradebook

from featx.cli import main
from featx.errors import FeatxError
from featx.grading.execution import Ran
from featx.grading.executors import Local
from featx.grading.grade import Graded, grade
from featx.grading.gradebook import Course
from featx.grading.protocol import Limits
from featx.grading.rebuild import Rebuilt
from featx.grading.report import as_data
from featx.grading.sandbox import Sandbox, SandboxLost, check_sandbox
from featx.grading.terminal import read_size
from tests.grading.attacks.course import ANSWERS, FULL, NAME, NONE, Case, make_course, submit

pytestmark = pytest.mark.slow

CLASS = [
    Case("ada"),
    Case("bob", {"square": "def square(x):\n    return x + x"}, {"square": 0.0}),
    Case("cy", dict.fromkeys(ANSWERS), NONE),
]
DESERVED = {case.name: sum(case.deserves.values()) for case in CLASS}


@pytest.fixture(scope="module")
def released(bwrap: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with three submissions, not graded yet."""
    folder = tmp_path_factory.mktemp("released")
    make_course(folder)
    Course(folder).release(NAME)
    for case in CLASS:
        submit(folder, case)
    return folder


@pytest.fixture(scope="module")
def once(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same course, graded."""
    folder = tmp_path_factory.mktemp("graded") / "course"
    shutil.copytree(released, folder)
    grade(NAME, folder)
    return folder


@pytest.fixture
def fresh(released: Path, tmp_path: Path) -> Path:
    shutil.copytree(released, tmp_path / "course")
    return tmp_path / "course"


@pytest.fixture
def course(once: Path, tmp_path: Path) -> Path:
    """A graded course of one's own."""
    shutil.copytree(once, tmp_path / "course")
    return tmp_path / "course"


def featx(*arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "featx", *arguments],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd="/",
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def points(course: Path) -> dict[str, float]:
    marks = Course(course).marks(NAME)
    return {student: sum(p or 0 for p in cells.values()) for student, cells in marks.items()}


def ran(graded: list[Graded]) -> set[str]:
    return {each.student for each in graded if each.seconds}


def set_answer(course: Path, student: str, question: str, source: str) -> None:
    path = course / "submitted" / student / NAME / f"{NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == f"answer-{question}":
            cell.source = source
    nbformat.write(notebook, path)


def test_the_command_prints_tables_and_writes_a_report(fresh: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    said = featx("grade", NAME, "--course-dir", str(fresh), "--report", str(report))
    for case in CLASS:
        assert case.name in said
    assert "14" in said
    read = json.loads(report.read_text())
    assert {each["student"]: each["points"] for each in read["students"]} == DESERVED
    square = next(q for q in read["questions"] if q["cell"] == "test-square")
    assert square["outcomes"] == {"correct": 1, "wrong": 1, "missing": 1}
    assert points(fresh) == DESERVED
    assert "✓ Correct" in (fresh / "autograded/ada" / NAME / f"{NAME}.ipynb").read_text()


def test_a_course_that_was_never_released_is_released(bwrap: str, tmp_path: Path) -> None:
    make_course(tmp_path)
    said: list[str] = []
    assert grade(NAME, tmp_path, tell=said.append) == []
    assert "released it now" in said[0]
    assert "hidden" not in (tmp_path / "release" / NAME / f"{NAME}.ipynb").read_text().lower()


def test_what_is_known_is_not_run_again(course: Path) -> None:
    assert ran(grade(NAME, course)) == set()
    assert points(course) == DESERVED


def test_only_the_changed_submission_runs(course: Path) -> None:
    # with a comment, for the very answers of ada would be known
    set_answer(course, "bob", "square", ANSWERS["square"] + "  # mine")
    again = grade(NAME, course)
    assert ran(again) == {"bob"}
    assert points(course) == DESERVED | {"bob": sum(FULL.values())}


def test_regrade_runs_all_and_dry_run_writes_nothing(course: Path) -> None:
    set_answer(course, "bob", "square", ANSWERS["square"])
    tried = grade(NAME, course, dry_run=True)
    assert {each.student: each.changes for each in tried if each.changes} == {
        "bob": {(NAME, "test-square"): (0.0, 2.0)}
    }
    assert points(course) == DESERVED
    said = featx("grade", NAME, "--course-dir", str(course), "--dry-run")
    assert "bob" in said
    assert "ada" not in said
    assert points(course) == DESERVED
    assert ran(grade(NAME, course, regrade=True)) == set(DESERVED)
    assert points(course)["bob"] == sum(FULL.values())


def test_only_the_student_asked_for_is_graded(fresh: Path) -> None:
    grade(NAME, fresh, students=["ada"])
    assert points(fresh) == {"ada": DESERVED["ada"]}


def test_a_changed_test_runs_alone_and_changes_only_its_own_marks(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = course / "source" / NAME / f"{NAME}.ipynb"
    path.write_text(path.read_text().replace("square(3) == 9", "square(3) == 6"))
    featx_release = Course(course)
    with sqlite3.connect(course / "gradebook.db") as book:
        book.execute("PRAGMA journal_mode=DELETE")
    shutil.rmtree(course / "release")
    from nbgrader.apps.api import NbGraderAPI

    NbGraderAPI(featx_release.directory, config=featx_release.config).generate_assignment(NAME)
    tests_run: list[list[str]] = []

    class Watched(Local):
        def execute(
            self, rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int], limits: Limits
        ) -> dict:
            tests_run.append([str(rebuilt.parts[place].grade_id) for place in tests])
            return super().execute(rebuilt, files, tests, limits)

    monkeypatch.setattr("featx.grading.grade.Local", Watched)
    grade(NAME, course)
    assert tests_run == [["test-square"]] * len(CLASS)
    now = points(course)
    assert now["ada"] == DESERVED["ada"] - 2
    assert now["cy"] == 0


def test_what_the_prompts_leave_to_students_decides_what_tests_see(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = course / "release" / NAME / f"{NAME}.ipynb"
    prompt = "Write what is asked for."
    path.write_text(path.read_text().replace(prompt, f"{prompt} Define `math` as you like."))
    tests_run: list[set[str]] = []

    class Watched(Local):
        def execute(self, rebuilt: Rebuilt, files: Any, tests: set[int], limits: Limits) -> dict:
            tests_run.append({str(rebuilt.parts[place].grade_id) for place in tests})
            return super().execute(rebuilt, files, tests, limits)

    monkeypatch.setattr("featx.grading.grade.Local", Watched)
    grade(NAME, course)
    of_assertions = {"test-square", "test-double", "test-fizz", "test-first"}
    assert tests_run == [of_assertions] * len(CLASS)


def test_what_is_recorded_in_an_older_format_is_not_recorded_again(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in fresh.glob(f"*/**/{NAME}.ipynb"):
        notebook = json.loads(path.read_text())
        notebook["nbformat_minor"] = 4  # cells have no ids
        for cell in notebook["cells"]:
            del cell["id"]
        path.write_text(json.dumps(notebook))
    grade(NAME, fresh)
    assert points(fresh) == DESERVED
    record, recorded = Course.record, []
    monkeypatch.setattr(Course, "record", lambda *rest: recorded.append(rest[2]) or record(*rest))
    grade(NAME, fresh)
    assert recorded == []


def test_files_of_students_are_never_in_the_way_of_the_instructors(fresh: Path) -> None:
    (fresh / "submitted/ada" / NAME / "data").write_text("no folder")
    inside = fresh / "submitted/bob" / NAME / "data/first.txt"
    inside.mkdir(parents=True)
    (inside / "x.txt").write_text("no file")
    graded = grade(NAME, fresh)
    assert [each.fault for each in graded] == [""] * len(CLASS)
    assert ["left out" in " ".join(each.notes) for each in graded] == [True, True, False]
    assert points(fresh) == DESERVED


def test_files_of_the_instructors_that_do_not_fit_cost_no_mark(fresh: Path) -> None:
    (fresh / "source" / NAME / "large.bin").write_bytes(bytes(2**20))
    with pytest.raises(FeatxError, match=r"at most 0 MB together .*large\.bin"):
        grade(NAME, fresh, students=["ada"], limits=Limits(disk=2**19))
    assert points(fresh) == {}


def test_files_of_the_instructors_may_be_links_and_large(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.grading.submissions.LARGEST_FILES", 2)
    source = fresh / "source" / NAME
    (source / "data").rename(tmp_path / "elsewhere")
    (source / "data").symlink_to(tmp_path / "elsewhere")
    (source / "three.txt").write_text("333")
    (source / "link.txt").symlink_to(source / "three.txt")
    course = Course(fresh)
    assert course.instructor_files(NAME) == {
        "data/first.txt": b"1",
        "three.txt": b"333",
        "link.txt": b"333",
    }
    (tmp_path / "elsewhere" / "up").symlink_to(source)  # and round again
    (source / "again").symlink_to(tmp_path / "elsewhere")
    assert len(course.instructor_files(NAME, most=8)) == 4
    with pytest.raises(FeatxError, match="at most 0 MB together"):
        course.instructor_files(NAME, most=7)
    (source / "nowhere").symlink_to(tmp_path / "nothing")
    with pytest.raises(FeatxError, match="nowhere"):
        course.instructor_files(NAME)


def test_killed_in_the_middle_the_next_run_goes_on(fresh: Path) -> None:
    for number in range(8):
        submit(
            fresh,
            Case(f"more-{number}", {"first": f"import time\ntime.sleep(1)\nfirst = 1  # {number}"}),
        )
    command = [
        sys.executable,
        "-m",
        "featx",
        "grade",
        NAME,
        "--course-dir",
        str(fresh),
        "--jobs",
        "2",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 200
        while len(list((fresh / "autograded").glob("*/*/*.ipynb"))) < 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    again = grade(NAME, fresh)
    assert 0 < len(ran(again)) < len(again)
    assert points(fresh) == DESERVED | dict.fromkeys(
        (f"more-{n}" for n in range(8)), sum(FULL.values())
    )


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen, Callable[[str], str]]]:
    """Run featx; give its process, and a function that waits for a line with some text."""
    command = [sys.executable, "-u", "-m", "featx", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        reader = threading.Thread(
            target=lambda pipe: [*map(lines.put, pipe)], args=(process.stdout,)
        )
        reader.start()

        def wait_for(text: str) -> str:
            seen = ""
            while text not in seen.rpartition("\n")[2]:
                try:
                    seen += "\n" + lines.get(timeout=200).rstrip()
                except queue.Empty:
                    raise AssertionError(f"no {text!r} in: {seen}") from None
            return seen.rpartition("\n")[2]

        try:
            yield process, wait_for
        finally:
            if process.poll() is None:
                process.kill()
            reader.join()


def test_what_changes_is_graded_as_it_comes(course: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with running(
        "grade", NAME, "--course-dir", str(course), "--watch", "--report", str(report)
    ) as (process, wait_for):
        wait_for("Watching")
        set_answer(course, "bob", "square", ANSWERS["square"])
        full = f"{sum(FULL.values()):g}"
        said = wait_for("bob: ")
        assert f"bob: {full} of {full} points (before: {DESERVED['bob']:g})" in said
        submit(course, Case("dot", {"square": "square = None"}, {"square": 0.0}))
        assert f"dot: {DESERVED['bob']:g} of {full} points" in wait_for("dot: ")
        wait_for("Wrote")
        shutil.rmtree(course / "submitted" / "dot")  # nobody's marks go because a folder does
        set_answer(course, "ada", "square", "square = None")
        wait_for("ada: ")
        wait_for("Wrote")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    assert points(course) == {
        "ada": DESERVED["bob"],
        "bob": DESERVED["ada"],
        "cy": 0,
        "dot": DESERVED["bob"],
    }
    students = json.loads(report.read_text())["students"]
    assert {each["student"] for each in students} == {"ada", "bob", "cy", "dot"}


def test_interrupted_it_says_how_to_go_on(fresh: Path) -> None:
    for number in range(8):
        slow = f"import time\ntime.sleep(1)\nfirst = 1  # {number}"
        submit(fresh, Case(f"more-{number}", {"first": slow}))
    with running("grade", NAME, "--course-dir", str(fresh), "--jobs", "2") as (process, wait_for):
        deadline = time.monotonic() + 200
        while not list((fresh / "autograded").glob("*/*/*.ipynb")):
            assert process.poll() is None, "it ended before it could be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        wait_for("Stopped. Run the same command again")
        assert process.wait(60) == 130
    again = grade(NAME, fresh)
    assert 0 < len(ran(again)) < len(again)
    assert len(points(fresh)) == len(CLASS) + 8


def warm_processes() -> list[int]:
    """Find the warm processes that this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and "featx.grading.warm" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return found


def test_the_warm_process_is_killed_and_no_mark_is_lost(fresh: Path) -> None:
    for number in range(6):
        slow = f"import time\ntime.sleep(1)\nfirst = 1  # {number}"
        submit(fresh, Case(f"more-{number}", {"first": slow}))
    killed = []

    def kill_once(_: Graded) -> None:
        if not killed:
            killed.extend(warm_processes())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    graded = grade(NAME, fresh, jobs=2, done=kill_once)
    assert killed
    assert not [each.fault for each in graded if each.fault]
    assert points(fresh) == DESERVED | dict.fromkeys(
        (f"more-{n}" for n in range(6)), sum(FULL.values())
    )


def test_no_space_for_the_record_is_told_and_the_next_run_goes_on(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Course, "record", full)
        graded = grade(NAME, fresh)
    assert all("No space left on device" in each.fault for each in graded)
    assert points(fresh) == {}
    assert ran(grade(NAME, fresh)) == set()
    assert points(fresh) == DESERVED


def test_a_full_disk_is_told_and_nothing_is_lost(released: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    grade_there = f"{sys.executable} -m featx grade {NAME} --course-dir small --sandbox none"
    script = f"""
        cp -r {released}/. small
        dd if=/dev/zero of=small/fill bs=1k 2>/dev/null
        {grade_there}; echo "FULL $?"
        truncate -s -150k small/fill
        {grade_there}; echo "NEARLY FULL $?"
        rm small/fill
        {grade_there}; echo "FREED $?"
        cp small/gradebook.db {tmp_path}
    """
    # a disk of its own, 4 MB large, which vanishes with the command
    done = subprocess.run(
        [
            *["bwrap", "--dev-bind", "/", "/", "--size", "4000000", "--tmpfs"],
            *(str(small), "--chdir", str(tmp_path), "--", "bash", "-c", script),
        ],
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert re.search(r"^FULL [12]$", done.stdout, re.MULTILINE)
    assert "FREED 0" in done.stdout
    assert "full" in said or "No space left" in said or "cannot be written" in said
    shutil.copytree(released, tmp_path / "course")
    shutil.copy(tmp_path / "gradebook.db", tmp_path / "course")
    assert points(tmp_path / "course") == DESERVED


def test_a_kernel_without_namespaces_is_told(fresh: Path) -> None:
    done = subprocess.run(
        # the sandbox is to be made where no more namespaces can be
        [
            *["bwrap", "--dev-bind", "/", "/", "--unshare-user", "--disable-userns", "--"],
            *(sys.executable, "-m", "featx", "grade", NAME, "--course-dir", str(fresh)),
        ],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "but it does not start: " in done.stderr
    assert "sysctl" in done.stderr
    assert "--sandbox none" in done.stderr
    assert points(fresh) == {}


def test_a_fault_of_ours_costs_no_mark_and_is_reported(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_answer(course, "bob", "square", ANSWERS["square"] + "  # mine")

    class Failing(Local):
        tries = 0

        def execute(self, *_: object) -> dict:
            Failing.tries += 1
            raise SandboxLost("a cable was pulled")

    monkeypatch.setattr("featx.grading.grade.Local", Failing)
    graded = grade(NAME, course)
    assert Failing.tries == 3
    assert points(course) == DESERVED
    read = as_data(NAME, graded)
    assert {each["student"]: each["fault"] for each in read["students"]} == {
        "ada": "",
        "bob": "a cable was pulled",
        "cy": "",
    }
    assert all(each["outcomes"]["infrastructure"] == 1 for each in read["questions"])


def test_a_record_that_fails_once_is_tried_again(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, tries = Course.record, []

    def failing_first(course: Course, assignment: str, student: str, *rest: Any) -> None:
        tries.append(student)
        if tries.count(student) == 1:
            raise OSError("a cable was pulled")
        record(course, assignment, student, *rest)

    monkeypatch.setattr(Course, "record", failing_first)
    graded = grade(NAME, fresh)
    assert [each.fault for each in graded] == [""] * len(CLASS)
    assert sorted(tries) == sorted([*DESERVED, *DESERVED])
    assert points(fresh) == DESERVED


def test_memory_does_not_grow_with_the_class(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> dict[str, str]:
        return {"output_type": "stream", "name": "stdout", "text": "x" * 10**5}

    class Wordy(Local):
        def execute(self, rebuilt: Rebuilt, *_: object) -> dict:
            return {
                place: Ran("error" if part.role == "test" else "ok", [shown()])
                for place, part in enumerate(rebuilt.parts)
                if part.runs
            }

    monkeypatch.setattr("featx.grading.grade.Local", Wordy)
    for number in range(40):
        submit(fresh, Case(f"more-{number}", {"first": f"first = 1  # {number}"}))
    grade(NAME, fresh, students=["ada"], dry_run=True)  # imports
    tracemalloc.start()
    try:
        graded = grade(NAME, fresh, dry_run=True, regrade=True)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(graded) == 43
    # each of four tests shows as much
    assert kept < 43 * 10**5


def test_what_a_person_grades_stays_theirs(bwrap: str, tmp_path: Path) -> None:
    make_course(tmp_path)
    path = tmp_path / "source" / NAME / f"{NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    essay = nbformat.v4.new_markdown_cell("Why?", id="essay")
    essay.metadata["nbgrader"] = {
        "grade": True,
        "grade_id": "essay",
        "locked": False,
        "points": 5,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }
    notebook.cells.append(essay)
    nbformat.write(notebook, path)
    Course(tmp_path).release(NAME)

    def answer_essay(notebook: dict) -> None:
        notebook["cells"][-1]["source"] = "Because."

    submit(tmp_path, Case("ada", change=answer_essay))
    grade(NAME, tmp_path)
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as book:
        essay = book.find_grade("essay", NAME, NAME, "ada")
        assert essay.needs_manual_grade
        assert essay.auto_score is None
        essay.manual_score = 4
        book.db.commit()
    set_answer(tmp_path, "ada", "square", "def square(x):\n    return 0")
    grade(NAME, tmp_path)
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as book:
        submission = book.find_submission(NAME, "ada")
        assert submission.score == sum(FULL.values()) - FULL["square"] + 4
    graded = nbformat.read(tmp_path / "autograded/ada" / NAME / f"{NAME}.ipynb", as_version=4)
    assert graded.cells[-1].source == "Because."


def test_a_gradebook_that_is_locked_costs_nothing(fresh: Path) -> None:
    lock = sqlite3.connect(fresh / "gradebook.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        graded = grade(NAME, fresh, students=["ada"])
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    assert "locked" in graded[0].fault
    again = grade(NAME, fresh, students=["ada"])
    assert not again[0].fault
    assert not ran(again)
    assert points(fresh) == {"ada": DESERVED["ada"]}


def test_a_damaged_file_of_results_is_put_aside(course: Path) -> None:
    for name in ("results.db-wal", "results.db-shm"):
        (course / ".featx" / name).unlink(missing_ok=True)
    (course / ".featx/results.db").write_bytes(b"this is no database at all, by no means" * 100)
    assert ran(grade(NAME, course)) == set(DESERVED)
    assert (course / ".featx/results.damaged").is_file()
    assert points(course) == DESERVED


def test_without_a_sandbox_only_on_demand(fresh: Path) -> None:
    with contextlib.closing(Local(Sandbox("none"))) as unprotected:
        grade(NAME, fresh, executor=unprotected, limits=Limits(seconds=30))
    assert points(fresh) == DESERVED


def test_wrong_use_is_one_sentence(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in {
        ("attackd",): "Close matches: attacked",
        (NAME, "--student", "zoe"): "zoe did not",
        (NAME, "--sandbox", "docker"): "auto, bwrap or none",
        (NAME, "--timeout", "0"): "seconds above 0",
        (NAME, "--memory", "lots"): "such as 4GiB",
        (NAME, "--jobs", "0"): "equal to 1",
        (NAME, "--report", "x.txt"): ".html or .json",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(["grade", *arguments, "--course-dir", str(course)])
        assert ended.value.code == 2
        assert says in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FeatxError, match=r"apt install bubblewrap.*--sandbox none"):
        check_sandbox("auto")


def test_sizes_are_read() -> None:
    assert read_size("1.5 GB") == int(1.5 * 2**30)
    assert read_size("100") == 100
    for wrong in ("", "GiB", "0", "-1G", "4 gallons"):
        with pytest.raises(FeatxError, match="amount of memory"):
            read_size(wrong)
