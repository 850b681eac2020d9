"""`featx grade` in a terminal: what was typed is checked, progress is shown, tables are printed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from rich.console import Console

from featx.errors import FeatxError
from featx.grading.executors import Cluster, Local
from featx.grading.grade import Graded, grade
from featx.grading.gradebook import Course
from featx.grading.marked_cells import load_exercises
from featx.grading.protocol import Limits
from featx.grading.report import as_data, as_page, changes_table, in_a_line, summarise
from featx.grading.sandbox import Sandbox
from featx.grading.watching import changed_students
from featx.pages import report_kind, write_report
from featx.progress import progress_bar
from featx.tables import sheet_rich, table_rich

__all__ = ["grade_in_terminal", "read_size"]

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def read_size(text: str) -> int:
    """Read an amount of memory.

    Parameters
    ----------
    text
        Such as ``"4GiB"``, ``"512M"`` or a number of bytes.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    FeatxError
        When it is none.

    Examples
    --------
    >>> read_size("4GiB"), read_size("512M")
    (4294967296, 536870912)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size == 0:
        raise FeatxError(f"Expected an amount of memory such as 4GiB or 512MiB, got {text!r}.")
    return size


def grade_in_terminal(
    assignment: str,
    course_dir: Path,
    *,
    students: list[str] | None,
    jobs: int | None,
    sandbox: Sandbox | str,
    scheduler: str | None,
    timeout: float | None,
    memory: str,
    regrade: bool,
    dry_run: bool,
    report: Path | None,
    watch: bool,
    console: Console,
) -> str:
    """Grade, show how far it is, and print tables; the options are those of ``featx grade``.

    `sandbox` is the warm process of this machine; with a scheduler, the kind that each worker starts.

    Returns
    -------
    str
        What is wrong: submissions that could not be graded by a fault that is not theirs. Else empty.
    """
    if timeout is not None and not 0 < timeout < math.inf:
        raise FeatxError(f"Expected seconds above 0 for --timeout, got {timeout:g}.")
    if watch and dry_run:
        raise FeatxError("Expected --watch or --dry-run, not both: what is watched is recorded.")
    kind = report_kind(report) if report is not None else ""
    course = Course(course_dir)
    limits = Limits(seconds=timeout or course.timeout(), memory=read_size(memory))

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    def run(chosen: list[str] | None, *, again: bool) -> list[Graded]:
        number = len(chosen or []) or course.count_submissions(assignment)
        with progress_bar(f"Grading {assignment}", number, unit="submissions") as step:
            return grade(
                assignment,
                course_dir,
                students=chosen,
                jobs=jobs,
                executor=executor,
                limits=limits,
                regrade=again,
                dry_run=dry_run,
                tell=say,
                done=lambda _: step(1),
            )

    def write(graded: list[Graded]) -> None:
        if report is None or not graded:
            return
        if kind == "html":
            text = as_page(assignment, graded)
        else:
            text = json.dumps(as_data(assignment, graded), indent=1, ensure_ascii=False) + "\n"
        say(f"Wrote {write_report(report, text)}")

    def follow(graded: list[Graded], changes: Iterator[list[str]]) -> list[Graded]:
        for notebook in course.instructor_notebooks(assignment).values():
            load_exercises(notebook.notebook)  # it takes seconds, and nobody waits yet
        say(f"Watching {course.submitted()} for {assignment}; Ctrl-C ends it.")
        latest = {each.student: each for each in graded}
        with suppress(KeyboardInterrupt):
            for some in changes:
                try:
                    fresh = run(some, again=False)
                except FeatxError as error:  # a folder that is gone again, say
                    say(f"{datetime.now():%H:%M:%S} {error}")
                    continue
                for each in fresh:
                    say(f"{datetime.now():%H:%M:%S} {in_a_line(each)}")
                    latest[each.student] = each
                write(list(latest.values()))
        return list(latest.values())

    local = isinstance(sandbox, Sandbox)
    with closing(Local(sandbox) if local else Cluster(str(scheduler), sandbox)) as executor:
        changes = changed_students(course, assignment, students) if watch else iter(())
        graded = run(students, again=regrade)
        if graded and dry_run:
            console.print(table_rich(changes_table(graded)))
        elif graded:
            console.print(sheet_rich(summarise(assignment, graded)))
        else:
            say(f"Nobody handed in {assignment}: {course.submitted()} has no such folder.")
        write(graded)
        if watch:
            graded = follow(graded, changes)
    faults = sum(bool(each.fault) for each in graded)
    if not faults:
        return ""
    return (
        f"{faults} of {len(graded)} submissions could not be graded, and their marks were left as they were. "
        "Run the same command again: the others are not run again."
    )
