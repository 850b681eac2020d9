"""`featx grade` in a terminal: what was typed is checked, progress is shown, tables are printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rich.console import Console

from featx.errors import FeatxError
from featx.grading.grade import grade
from featx.grading.gradebook import Course
from featx.grading.protocol import Limits
from featx.grading.report import as_data, as_page, changes_table, summarise
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
    if match is None or float(match[1]) == 0:
        raise FeatxError(f"Expected an amount of memory such as 4GiB or 512MiB, got {text!r}.")
    return int(float(match[1]) * _UNITS[match[2]])


def grade_in_terminal(
    assignment: str,
    course_dir: Path,
    *,
    students: list[str] | None,
    jobs: int | None,
    scheduler: str | None,
    sandbox: str,
    timeout: float | None,
    memory: str,
    regrade: bool,
    dry_run: bool,
    report: Path | None,
    console: Console,
) -> str:
    """Grade, show how far it is, and print tables; the options are those of ``featx grade``.

    Returns
    -------
    str
        What is wrong: submissions that could not be graded by a fault that is not theirs. Else empty.
    """
    if sandbox not in ("auto", "bwrap", "none"):
        raise FeatxError(f"Expected auto, bwrap or none for --sandbox, got {sandbox!r}.")
    if timeout is not None and not timeout > 0:
        raise FeatxError(f"Expected seconds above 0 for --timeout, got {timeout:g}.")
    if jobs is not None and jobs < 1:
        raise FeatxError(f"Expected 1 or more for --jobs, got {jobs}.")
    kind = report_kind(report) if report is not None else ""
    course = Course(course_dir)
    seconds = timeout or course.timeout() or Limits().seconds
    limits = Limits(seconds=seconds, memory=read_size(memory))
    number = len(students or []) or course.count_submissions(assignment)
    with progress_bar(f"Grading {assignment}", number, unit="submissions") as step:
        graded = grade(
            assignment,
            course_dir,
            students=students,
            jobs=jobs,
            scheduler=scheduler,
            sandbox=sandbox,  # type: ignore[arg-type]
            limits=limits,
            regrade=regrade,
            dry_run=dry_run,
            tell=lambda said: console.print(said, markup=False, highlight=False),
            done=lambda _: step(1),
        )
    if not graded:
        said = f"Nobody handed in {assignment}: {course.submitted()} has no such folder."
        console.print(said, markup=False, highlight=False)
        return ""
    console.print(
        table_rich(changes_table(graded)) if dry_run else sheet_rich(summarise(assignment, graded))
    )
    if report is not None:
        if kind == "html":
            text = as_page(assignment, graded)
        else:
            text = json.dumps(as_data(assignment, graded), indent=1, ensure_ascii=False) + "\n"
        console.print(f"Wrote {write_report(report, text)}", markup=False, highlight=False)
    faults = sum(bool(each.fault) for each in graded)
    if not faults:
        return ""
    return (
        f"{faults} of {len(graded)} submissions could not be graded, and their marks were left as they were. "
        "Run the same command again: the others are not run again."
    )
