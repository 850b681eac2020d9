"""What stock nbgrader does with the corpus, beside what each submission deserves.

    python -m tests.grading.attacks.beside_nbgrader [NAME ...]

Prints a line for each submission that nbgrader marks otherwise, and a table of the sums. The whole corpus takes
long, for nbgrader starts a kernel for each; names choose some. `featx grade` is not run: that it gives each what it
deserves is a test, `tests/grading/test_attacks.py`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from featx.grading.gradebook import Course
from tests.grading.attacks.corpus import CASES, CLASSES
from tests.grading.attacks.course import NAME, Case, make_course, submit

#: Seconds, after which nbgrader is stopped: it has a timeout of 5 for a cell.
LONGEST = 90

#: Not for a kernel that nothing holds: they would harm this machine, or never end.
NOT_SAFE = {
    *("endless-and-deaf", "endless-and-catching", "fork-bomb", "full-disk"),
    *("memory", "memory-by-and-by", "memory-of-torch", "process-left", "background-process"),
    *("kill-all", "kill-init", "kills-itself", "writes-to-channel", "closes-channel", "drips"),
    *("reads-files", "writes-files", "network", "mounts", "ptrace", "new-namespace"),
}


def main() -> None:
    wanted = sys.argv[1:] or [case.name for case in CASES]
    cases = [case for case in CASES if case.name in wanted and case.name not in NOT_SAFE]
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        make_course(course)
        Course(course).release(NAME)
        for case in cases:
            submit(course, case)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        for case in cases:  # one command each: an error in one does not keep another from its marks
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [sys.executable, "-m", "nbgrader", "autograde", NAME, "--student", case.name],
                    cwd=course,
                    env=os.environ | {"PATH": path},
                    capture_output=True,
                    check=False,
                    timeout=LONGEST,
                )
            print(".", end="", flush=True)
        print()
        given = {
            student: {cell.removeprefix("test-"): mark for (_, cell), mark in cells.items()}
            for student, cells in Course(course).marks(NAME).items()
        }
        whole = {
            case.name
            for case in cases
            if (course / "autograded" / case.name / NAME / f"{NAME}.ipynb").is_file()
        }
    print("| submission | deserves | stock nbgrader gives |")
    print("|---|---|---|")
    counts = []
    for label, kind in CLASSES.items():
        tried = [case for case in kind if case in cases]
        marks = {
            case.name: given.get(case.name, {}) if case.name in whole else None for case in tried
        }
        counts.append((label, len(kind), *map(len, _sorted_out(tried, marks))))
        for case in tried:
            if marks[case.name] != case.deserves:
                print(
                    f"| {case.name} | {sum(case.deserves.values()):g} | {_said(marks[case.name])} |"
                )
    print()
    print("| | submissions | tried | as deserved | marks lost | marks unearned | no grade |")
    print("|---|---|---|---|---|---|---|")
    for label, all_of_them, *sums in counts:
        print(f"| {label} | {all_of_them} | {sum(sums)} | {' | '.join(map(str, sums))} |")


def _said(marks: dict[str, float | None] | None) -> str:
    return "no grade" if marks is None else f"{sum(mark or 0 for mark in marks.values()):g}"


def _sorted_out(
    cases: list[Case], marks: dict[str, dict[str, float | None] | None]
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return who got what they deserve, less, more, and nothing that could be called a grade."""
    right, lost, unearned, none = [], [], [], []
    for case in cases:
        given = marks[case.name]
        if given is None:
            none.append(case.name)
        elif any((given.get(k) or 0) > v for k, v in case.deserves.items()):
            unearned.append(case.name)
        elif any((given.get(k) or 0) < v for k, v in case.deserves.items()):
            lost.append(case.name)
        else:
            right.append(case.name)
    return right, lost, unearned, none


if __name__ == "__main__":
    main()
