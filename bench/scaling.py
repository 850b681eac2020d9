"""`featx extract` under `torchrun`: two and four processes beside one, and the same bits.

    python bench/scaling.py [--images 1024] [--backbone resnet18]

One thread for each process, the same JPEG files, a fresh cache each time. The efficiency is the speed-up
over the number of processes, or of cores where there are fewer of those. X.npy must be the same each time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from extraction import CORES, write_photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    figures, sums = [], set()
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        photos.mkdir()
        write_photos(photos, chosen.images)
        for processes in chosen.processes:
            out = Path(name, f"out{processes}")
            figures.append({"processes": processes, "seconds": run(chosen, processes, photos, out)})
            sums.add(hashlib.sha256((out / "X.npy").read_bytes()).hexdigest())
    assert len(sums) == 1, "the features differ"
    print(
        f"{chosen.images} JPEG files, {chosen.backbone}, {CORES} cores; X.npy is the same each time\n"
    )
    print("| processes | seconds | speed-up | efficiency |\n|---|---|---|---|")
    alone = figures[0]["seconds"]
    for each in figures:
        speedup = alone / each["seconds"]
        each["efficiency"] = speedup / min(each["processes"], CORES)
        print(
            f"| {each['processes']} | {each['seconds']:.1f} | {speedup:.2f} | {each['efficiency']:.0%} |"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


def run(chosen: argparse.Namespace, processes: int, photos: Path, out: Path) -> float:
    """Extract with so many processes; return the seconds that it took, the start included."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["-m", "featx", "extract", str(photos), "--out", str(out)]
    command += ["--backbone", chosen.backbone, "--weights", str(weights(chosen.backbone, photos))]
    command += ["--workers", "0"]
    begin = time.perf_counter()
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return time.perf_counter() - begin


def weights(backbone: str, photos: Path) -> Path | str:
    """Save random weights once: each process must have the same."""
    if backbone == "glyphnet":
        return "default"
    import torch

    import featx

    path = photos.parent / "weights.pt"
    if not path.exists():
        torch.save(featx.load_backbone(backbone, weights=None).model.state_dict(), path)
    return path


if __name__ == "__main__":
    main()
