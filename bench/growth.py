"""How extraction into a cache grows: time in proportion to N, memory flat, opened again at once.

    python bench/growth.py [--sizes 1000 4000 16000] [--rows 1000000]

Each size in a process of its own: GlyphNet's features of made-up images, which a `Dataset` draws one by one
(so they take no memory), are written to a cache; then all is asked for again, which computes nothing but
must draw all images to know them again; then once more with the process killed (SIGKILL) in the middle.

The store alone is measured with made-up rows, as many as a million: opened for the first time, when each row
is read, and from then on.
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

import numpy as np
import torch
from torch.utils.data import Dataset

import featx
from featx.store import DIGEST_BYTES, Recipe


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


def resume(count: int) -> dict[str, int]:
    """Kill an extraction in the middle, and go on; return how many images were computed twice."""
    backbone, batch = featx.load_backbone("glyphnet"), 256
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--work", folder, "--sizes", str(count)]
        child = subprocess.Popen(command)
        while not (journals := list(Path(folder).rglob("journal-0.jsonl"))):
            time.sleep(0.01)
        while journals[0].read_bytes().count(b"\n") < count / batch / 2:
            time.sleep(0.01)
        child.kill()
        child.wait()
        done = journals[0].read_bytes().count(b"sha256") * batch
        features = featx.extract(backbone, Drawn(count), cache_dir=folder, progress=False)
    return {"done": done, "twice": features.plan.computed - (count - done)}


def open_store(count: int, width: int = 256, chunk: int = 4096) -> dict[str, float]:
    """Write made-up rows to a store and open it; return seconds and megabytes."""
    digests = np.zeros((count, DIGEST_BYTES), np.uint8)
    digests[:, :8] = np.arange(count)[:, None].view(np.uint8).reshape(count, 8)
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        canary = {"features": np.ones(width, np.float32)}
        recipe = Recipe(Path(folder), "made up", {}, canary, 0.001)
        view = recipe.view(digests, {"features": width})
        begin, before = time.perf_counter(), _peak()
        view.prepare(chunk)
        for start in range(0, count, chunk):
            rows = np.arange(start, min(start + chunk, count))
            view.write(rows, {"features": draw.random((len(rows), width), np.float32)})
            view.commit(rows[0].item(), rows[-1].item() + 1, {})
        view.close()
        seconds = [time.perf_counter() - begin]
        for _ in range(3):
            begin = time.perf_counter()
            view = recipe.view(digests, {"features": width})
            view.verify()
            assert view.complete
            assert view.arrays()["features"].shape == (count, width)
            seconds.append(time.perf_counter() - begin)
    write, first, *again = seconds
    return {
        "rows": count,
        "write": write,
        "first": first,
        "again": min(again),
        "grown": _peak() - before,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process_of_its_own(part: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", part, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


PARTS = {"extract": extract_some, "resume": resume, "store": open_store}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--rows", type=int, nargs="+", default=[16000, 1_000_000])
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        data = Drawn(chosen.sizes[0])
        featx.extract(featx.load_backbone("glyphnet"), data, cache_dir=chosen.work, progress=False)
        return
    if chosen.part:
        part, count = chosen.part
        print(json.dumps(PARTS[part](int(count))))
        return
    figures: dict[str, list] = {part: [] for part in PARTS}
    print("| images | seconds | a thousand | again, all known | memory grown, MB |")
    print("|---|---|---|---|---|")
    for size in chosen.sizes:
        each = in_a_process_of_its_own("extract", size)
        figures["extract"].append(each)
        print(
            f"| {size} | {each['first']:.1f} | {1000 * each['first'] / size:.2f} | {each['again']:.2f} "
            f"| {each['grown']:.0f} |",
            flush=True,
        )
    each = in_a_process_of_its_own("resume", chosen.sizes[-1])
    figures["resume"].append(each)
    print(f"\nKilled with {each['done']} images done: computed twice {each['twice']} images.\n")
    print("| rows in the store | written, s | opened first, s | from then on, ms | memory, MB |")
    print("|---|---|---|---|---|")
    for rows in chosen.rows:
        each = in_a_process_of_its_own("store", rows)
        figures["store"].append(each)
        print(
            f"| {rows} | {each['write']:.1f} | {each['first']:.2f} | {1000 * each['again']:.0f} "
            f"| {each['grown']:.0f} |",
            flush=True,
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
