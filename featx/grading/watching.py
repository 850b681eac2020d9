"""Which submissions were handed in or changed since one last looked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from featx.grading.gradebook import Course
from featx.grading.submissions import list_submissions

__all__ = ["changed_students"]

#: Seconds between two looks; what differs in two of them is still being written.
PAUSE = 0.3

#: The state of a folder: its files, when each was changed, and how large it is.
_Look = tuple[tuple[str, int, int], ...]


def changed_students(
    course: Course, assignment: str, students: list[str] | None = None
) -> Iterator[list[str]]:
    """Wait for changes, and name whose work must be graded anew; never ends.

    What there is when this is called counts as known, also if nobody asks for the first change yet.

    Parameters
    ----------
    course, assignment
        What to watch: ``submitted/``, and ``source/`` and ``release/``, which concern everybody.
    students
        Only these; None for all.
    """
    known = _look(course, assignment)
    return _changes(course, assignment, students, known)


def _changes(
    course: Course, assignment: str, students: list[str] | None, known: dict[str, _Look]
) -> Iterator[list[str]]:
    while True:
        now = known
        while now == known:
            time.sleep(PAUSE)
            now = _settled(course, assignment)
        before, known = known, now
        everybody = before[""] != now[""]
        changed = [
            student
            for student, look in now.items()
            if student and (everybody or look != before.get(student))
        ]
        if students is not None:
            changed = [student for student in changed if student in students]
        if changed:
            yield changed


def _settled(course: Course, assignment: str) -> dict[str, _Look]:
    first, second = None, _look(course, assignment)
    while first != second:
        first = second
        time.sleep(PAUSE)
        second = _look(course, assignment)
    return second


def _look(course: Course, assignment: str) -> dict[str, _Look]:
    """Look at each student's folder, and under an empty name at the assignment's own."""
    there = {
        student: _files(course.submission(student, assignment))
        for student in list_submissions(course.submitted(), assignment)
    }
    return {"": sum(map(_files, course.assignment_folders(assignment)), ()), **there}


def _files(folder: Path) -> _Look:
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            status = path.lstat()
        except OSError:  # gone meanwhile
            continue
        found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)
