"""How long each lesson runs from top to bottom, and how soon its knobs answer.

    python bench/lessons.py [NUMBER ...]

Each notebook runs once in a fresh kernel, as a learner runs it; the seconds include the imports. For the
knobs each slider and each group of buttons is moved through its values: what is printed is the longest
time that the kernel takes to bring the new picture. What is aimed at: at most 60 s a lesson, 480 s for all,
200 ms a move, on two cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

LESSONS = Path(__file__).parents[1] / "lessons"

MOVES = """\
import gc
import time
from ipywidgets import RadioButtons, SelectionSlider

longest = 0.0
for knob in [each for each in gc.get_objects() if type(each) in (RadioButtons, SelectionSlider)]:
    for index in reversed(range(len(knob.options))):
        begin = time.perf_counter()
        knob.index = index
        longest = max(longest, time.perf_counter() - begin)
print(round(1000 * longest))
"""


def main() -> None:
    wanted = {f"{int(number):02d}" for number in sys.argv[1:]}
    total = 0.0
    print("| lesson | seconds | longest move, ms |")
    print("|---|---|---|")
    for path in sorted(LESSONS.glob("*.ipynb")):
        if wanted and path.stem[:2] not in wanted:
            continue
        notebook = nbformat.read(path, as_version=4)
        *lesson, moves = notebook.cells = [*notebook.cells, nbformat.v4.new_code_cell(MOVES)]
        client = NotebookClient(notebook, timeout=600, kernel_name="python3")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FEATX_DATA_DIR"] = folder  # no answer of the user's changes what is shown
            with client.setup_kernel():
                begin = time.perf_counter()
                for place, cell in enumerate(lesson):
                    client.execute_cell(cell, place)
                seconds = time.perf_counter() - begin
                client.execute_cell(moves, len(lesson))
        total += seconds
        print(f"| {path.stem} | {seconds:.1f} | {moves.outputs[0].text.strip()} |", flush=True)
    print(f"| together | {total:.1f} | |")


if __name__ == "__main__":
    main()
