"""How extraction into a cache grows: time in proportion to N, memory flat, opened again at once.

    python bench/growth.py [--sizes 1000 4000 16000]

Each size in a process of its own: GlyphNet's features of made-up images, which a `Dataset` draws one by one
(so they take no memory), are written to a cache; then all is asked for again, which computes nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import Dataset

import featx


class Drawn(Dataset):
    """Images that exist only while they are looked at."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(number)
        return torch.randint(0, 256, (1, 32, 32), dtype=torch.uint8, generator=draw)


def extract_some(count: int) -> dict[str, float]:
    """Extract into a fresh cache and again from it; return seconds and megabytes."""
    backbone = featx.load_backbone("glyphnet")
    featx.extract(backbone, Drawn(64), progress=False)  # imports, buffers
    before = _peak()
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for _ in range(2):
            begin = time.perf_counter()
            features = featx.extract(backbone, Drawn(count), cache_dir=folder, progress=False)
            seconds.append(time.perf_counter() - begin)
            assert features.X.shape == (count, 256)
        assert features.plan.computed == 0
    return {"images": count, "first": seconds[0], "again": seconds[1], "grown": _peak() - before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(extract_some(chosen.one)))
        return
    figures = []
    print("| images | seconds | a thousand | again, all known | memory grown, MB |")
    print("|---|---|---|---|---|")
    for size in chosen.sizes:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(size)],
            capture_output=True,
            text=True,
            check=True,
        )
        each = json.loads(done.stdout)
        figures.append(each)
        print(
            f"| {size} | {each['first']:.1f} | {1000 * each['first'] / size:.2f} | {each['again']:.2f} "
            f"| {each['grown']:.0f} |"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
