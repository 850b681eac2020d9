"""`featx grade` beside `nbgrader autograde`, on the same made-up class.

    python bench/grading.py [--assignment practice] [--students 40]

Both grade the same submissions, each in a process of its own and on all cores that there are; featx with its
sandbox on. Printed are seconds, submissions a minute, the ratio, the largest memory in use, and for featx
how soon the first submission is done and what it costs when one submission has changed: by the same command
again, and while `featx grade --watch` stays (then from the change to the mark in the gradebook). The marks
must be the same, to the hundredth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from featx.grading.gradebook import Course
from featx.grading.samples import make_class

COURSE = Path(__file__).parents[1] / "autograders"


@dataclass(frozen=True)
class Run:
    """What one command took."""

    seconds: float
    first: float | None
    megabytes: float


def run(command: list[str], course: Path) -> Run:
    """Run a command; look now and then at its memory, and for the first notebook in ``autograded/``."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    begin = time.perf_counter()
    first, largest = 0.0, 0.0
    log = course / "log.txt"
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=course, env=environment, stdout=out, stderr=out) as process,
    ):
        timer = threading.Event()
        while process.poll() is None:
            largest = max(largest, memory_of_family(process.pid))
            if not first and any((course / "autograded").glob("*/*/*.ipynb")):
                first = time.perf_counter() - begin
            timer.wait(0.2)
    if process.returncode:
        sys.exit(log.read_text()[-3000:])
    return Run(time.perf_counter() - begin, first, largest)


def memory_of_family(process: int) -> float:
    """Add up, in MB, what a process and its descendants hold; shared pages are shared out (Linux only)."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(folder.name))
    family, total = [process], 0.0
    while family:
        each = family.pop()
        family += parents.get(each, [])
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if "Pss:" in line) / 1024
    return total


def change(path: Path) -> None:
    """Add a comment to each answer of a submission."""
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] += ["\n# changed"]
    path.write_text(json.dumps(notebook))


def watch(command: list[str], path: Path) -> float:
    """Return the seconds from a change to the new mark, told by a `featx grade --watch` that waits."""
    with subprocess.Popen(
        [command[0], "-u", *command[1:], "--watch"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while "Watching" not in process.stdout.readline():
            pass
        time.sleep(2)
        begin = time.perf_counter()
        change(path)
        while f"{path.parents[1].name}: " not in process.stdout.readline():
            pass
        seconds = time.perf_counter() - begin
        process.send_signal(signal.SIGINT)
    return round(seconds, 2)


def marks(course: Path, assignment: str) -> dict:
    return Course(course).marks(assignment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assignment", default="practice")
    parser.add_argument("--students", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    name = chosen.assignment
    with tempfile.TemporaryDirectory() as folder:
        stock, ours = Path(folder, "stock"), Path(folder, "ours")
        stock.mkdir()
        for each in ("nbgrader_config.py", "assignments.toml"):
            shutil.copy(COURSE / each, stock)
        shutil.copytree(COURSE / "source" / name, stock / "source" / name)
        samples = make_class(name, stock, chosen.students)
        shutil.copytree(stock, ours)
        python = [sys.executable, "-m"]
        grade = [*python, "featx", "grade", name, "--course-dir", str(ours)]
        featx = run(grade, ours)
        # nbgrader writes a notebook before it runs it, so the first one there is not graded yet
        nbgrader = replace(run([*python, "nbgrader", "autograde", name], stock), first=None)
        assert marks(stock, name) == marks(ours, name), "the marks differ"
        path = ours / "submitted" / samples[0].student / name / f"{name}.ipynb"
        change(path)
        one = run(grade, ours)
        none = run(grade, ours)
        watched = [watch(grade, path) for _ in range(3)]
    print("| | seconds | submissions a minute | largest memory, MB | first one after, s |")
    print("|---|---|---|---|---|")
    for label, each in {"nbgrader autograde": nbgrader, "featx grade": featx}.items():
        rate = 60 * chosen.students / each.seconds
        first = "" if each.first is None else f"{each.first:.1f}"
        print(f"| {label} | {each.seconds:.1f} | {rate:.0f} | {each.megabytes:.0f} | {first} |")
    ratio = nbgrader.seconds / featx.seconds
    print(
        f"\nratio {ratio:.1f} for {chosen.students} submissions of {name}; the marks are the same"
    )
    print(f"again, one submission changed: {one.seconds:.1f} s; none changed: {none.seconds:.1f} s")
    print(f"with --watch, one submission changed: {median(watched):.1f} s ({watched})")
    if chosen.json:
        figures = {"ratio": ratio, "nbgrader": vars(nbgrader), "featx": vars(featx)}
        figures |= {"one_changed": one.seconds, "none_changed": none.seconds, "watched": watched}
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
