"""`featx grade` on a large class: whether memory grows, and whether the time left is told right.

    python bench/class_size.py [--students 500]

A made-up class answers three questions and one exercise. While it is graded, the memory of the grader and of
all that it has started is looked at, and each line of progress is kept with its time; at the end what was
told is compared with what it was.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from threading import Thread

from grading import marks, memory_of_family

from featx.grading.assignments import build_assignment
from featx.grading.samples import make_class

ASSIGNMENT = """
[small]
title = "Four small things"
minutes = 10
introduction = "For a benchmark."
items = [
    { question = "freeze-order", points = 1 },
    { question = "identity-head-shape", points = 1 },
    { question = "purpose-of-pretrained", points = 1 },
    { exercise = "majority-baseline", points = 4 },
]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=500)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        (course / "assignments.toml").write_text(ASSIGNMENT)
        build_assignment("small", course)
        make_class("small", course, chosen.students)
        # when, how many were done, seconds that were said to be left
        told: list[tuple[float, int, float]] = []
        # how many were done, MB of all, MB of the grader alone
        memory: list[tuple[int, float, float]] = []
        begin = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "featx", "grade", "small", "--course-dir", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:

            def listen() -> None:
                assert process.stderr is not None
                for line in process.stderr:
                    if said := re.search(r": (\d+) of .*, (\d+) s left", line):
                        told.append((time.perf_counter(), int(said[1]), float(said[2])))

            listener = Thread(target=listen)
            listener.start()
            while process.poll() is None:
                done = len(list((course / "autograded").glob("*/*/*.ipynb")))
                memory.append((done, memory_of_family(process.pid), _resident(process.pid)))
                time.sleep(0.5)
            listener.join()
        end = time.perf_counter()
        graded = marks(course, "small")
    assert process.returncode == 0
    assert len(graded) == chosen.students
    print(f"{chosen.students} submissions in {end - begin:.0f} s\n")
    print("| done | MB, all processes | MB, the grader |")
    print("|---|---|---|")
    parts = 5
    by_part = []
    for part in range(parts):
        low, high = (chosen.students * each // parts for each in (part, part + 1))
        inside = [each for each in memory if low < each[0] <= high]
        by_part.append((median(m for _, m, _ in inside), median(m for _, _, m in inside)))
        print(f"| {low}-{high} | {by_part[-1][0]:.0f} | {by_part[-1][1]:.0f} |")
    print("\n| done | seconds left, told | seconds left, true | off by |")
    print("|---|---|---|---|")
    off = []
    for when, done, left in told:
        true = end - when
        off.append((left - true) / true)
        print(f"| {done} | {left:.0f} | {true:.0f} | {off[-1]:+.0%} |")
    print(
        f"\nlargest memory {max(m for _, m, _ in memory):.0f} MB; median error of the time left "
        f"{median(map(abs, off)):.0%}, largest {max(map(abs, off)):.0%}"
    )
    if chosen.json:
        figures = {"seconds": end - begin, "megabytes": by_part, "off": off}
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


def _resident(process: int) -> float:
    """Return what a process itself holds, in MB (Linux only)."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return int(next((m[1] for m in re.finditer(r"VmRSS:\s+(\d+)", text)), "0")) / 1024


if __name__ == "__main__":
    main()
