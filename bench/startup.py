"""How long it takes until featx answers: to import it, to print help, to load GlyphNet.

    python bench/startup.py [--runs 9]

Each command runs in a process of its own, all of them in turn, so that a slow moment of the machine meets all
alike. Printed are medians, and what featx adds to the command beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

COMMANDS = {
    "python": ["-c", "pass"],
    "import featx": ["-c", "import featx"],
    "featx --help": ["-m", "featx", "--help"],
    "import torch": ["-c", "import torch"],
    "load GlyphNet": ["-c", "import torch, featx; featx.load_backbone('glyphnet')"],
}

#: What is measured, beside what, and the most milliseconds that it may add.
CLAIMS = (
    ("import featx", "python", 100),
    ("featx --help", None, 300),
    ("load GlyphNet", "import torch", 300),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(chosen.runs + 1):
        for name, arguments in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            if number:  # the first round fills the disk's cache
                seconds[name].append(time.perf_counter() - begin)
    middle = {name: 1000 * median(each) for name, each in seconds.items()}
    print("| | ms | beyond | ms | at most |")
    print("|---|---|---|---|---|")
    figures = {}
    for name, beside, most in CLAIMS:
        added = figures[name] = middle[name] - (middle[beside] if beside else 0)
        print(f"| {name} | {middle[name]:.0f} | {beside or ''} | {added:.0f} | {most} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
