"""`featx.extract` beside the tutorials' loop, `create_feature_extractor`, and the limit.

    python bench/extraction.py [--models resnet18 vit_b_16] [--images 128] [--rounds 3] [--device cpu]

Twice for each model: from JPEG files on disk (500 x 375), and from a uint8 tensor in memory (224 x 224;
GlyphNet 32 x 32). All ways run in turn, as many rounds as asked for; the table gives images a second
(medians) and ratios. Weights are random: what they are does not change the time.

* tutorial: `eval()`, `no_grad()`, the head replaced by `Identity`, a `DataLoader` with a worker for each core
  (from memory: batches of the tensor), float32.
* extractor: the same with torchvision's `create_feature_extractor`.
* limit: the forward pass alone on images that lie ready, the quickest of float32, `channels_last`, and
  bfloat16 where the processor has instructions for it (AMX or AVX512-bf16) or on a GPU. From files the
  time to decode and preprocess comes on top, for both want the same cores.

Features of all ways must agree, or there is no table.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import to_tensor

import featx

MODELS = ("resnet18", "resnet50", "vit_b_16", "efficientnet_b0", "glyphnet")
BATCH = 32
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

#: The layer whose output, pooled, is what the head takes in.
LAST = {"vit_b_16": "getitem_5"}

Way = Callable[[], torch.Tensor]
Batches = Callable[[], Iterable[torch.Tensor]]


def write_photos(folder: Path, count: int) -> None:
    """Write JPEG files: crops of two photographs, each its own."""
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (
            rng.integers(0, size - crop)
            for size, crop in zip(photo.shape, (375, 500), strict=False)
        )
        place = folder / f"class{number % 2}" / f"{number:05d}.jpg"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(photo[top : top + 375, left : left + 500]).save(place, quality=90)


def headless(backbone: featx.Backbone) -> nn.Module:
    """Take the head off as tutorials do; the same weights, another model."""
    other = featx.load_backbone(backbone.name, weights=None).model
    other.load_state_dict(backbone.model.state_dict())
    for name in ("fc", "heads", "classifier"):
        if hasattr(other, name):
            setattr(other, name, nn.Identity())
            return other.eval()
    raise ValueError(backbone.name)


def extractor_of(backbone: featx.Backbone) -> nn.Module:
    """Cut the model where its head begins, as torchvision's documentation shows."""
    node = LAST.get(backbone.name, "flatten")
    graph = create_feature_extractor(backbone.model.eval(), [node])
    return nn.Sequential(graph, _Only(node))


class _Only(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return outputs[self.name]


def loop(model: nn.Module, batches: Iterable[torch.Tensor], device: str) -> torch.Tensor:
    """Do what the tutorials do."""
    rows = []
    with torch.no_grad():
        for images in batches:
            rows.append(model(images.to(device)).cpu())
    return torch.cat(rows)


def forward_limit(model: nn.Module, ready: torch.Tensor, device: str) -> dict[str, Way]:
    """Return the forward passes alone that there are to choose from."""
    ways: dict[str, Way] = {}
    model, ready = deepcopy(model), ready.to(device)  # its own: the layout stays with a model
    half = device != "cpu" or _has_bf16()
    for name, layout in {
        "float32": torch.contiguous_format,
        "channels_last": torch.channels_last,
    }.items():
        for dtype in [torch.float32, torch.bfloat16] if half else [torch.float32]:

            def run(layout: Any = layout, dtype: torch.dtype = dtype) -> torch.Tensor:
                with (
                    torch.inference_mode(),
                    torch.autocast(device, dtype, enabled=dtype != torch.float32),
                ):
                    prepared = model.to(memory_format=layout)
                    rows = [
                        prepared(b.to(memory_format=layout)).float() for b in ready.split(BATCH)
                    ]
                    return torch.cat(rows).cpu()

            ways[f"{name}, {str(dtype).removeprefix('torch.')}"] = run
    return ways


def _has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def measure(ways: dict[str, Way], rounds: int) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Run all ways in turn; return the median seconds of each and its features."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rows = {}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            rows[name] = way()
            if number:  # the first round warms
                seconds[name].append(time.perf_counter() - begin)
    return {name: median(each) for name, each in seconds.items()}, rows


def compare(
    title: str,
    backbone: featx.Backbone,
    data: Path | torch.Tensor,
    batches: Batches,
    shared: tuple[str, int, int],
) -> dict[str, float]:
    """Measure all ways, check that the features agree, and print the table."""
    device, count, rounds = shared
    model, graph = headless(backbone).to(device), extractor_of(backbone).to(device)

    def with_featx() -> torch.Tensor:
        return torch.from_numpy(featx.extract(backbone, data, device=device, progress=False).X)

    ways: dict[str, Way] = {
        "tutorial": lambda: loop(model, batches(), device),
        "extractor": lambda: loop(graph, batches(), device),
        "featx": with_featx,
    }
    forwards = forward_limit(model, torch.cat(list(batches())), device)
    decode: dict[str, Way] = {}
    if isinstance(data, Path):
        decode["decode alone"] = lambda: torch.cat(list(batches()))
    seconds, rows = measure(ways | decode | forwards, rounds)
    for name in ways:
        error = (rows[name] - rows["tutorial"]).abs().max() / rows["tutorial"].abs().max()
        assert error < 2e-2, f"{title}: the features of {name} differ by {error:.3f}"
    # decoding and the model share the cores: together they need the sum of both
    limit = min(seconds[name] for name in forwards) + sum(seconds[name] for name in decode)
    figures = {name: count / value for name, value in seconds.items()} | {"limit": count / limit}
    print(f"\n{title}\n\n| | images/s | beside the tutorial | of the limit |\n|---|---|---|---|")
    for name, rate in figures.items():
        beside, part = rate / figures["tutorial"], rate / figures["limit"]
        print(f"| {name} | {rate:.1f} | {beside:.2f} | {part:.2f} |")
    return figures


def from_files(
    backbone: featx.Backbone, folder: Path, shared: tuple[str, int, int]
) -> dict[str, float]:
    images = ImageFolder(str(folder), transform=_transform(backbone))

    def batches() -> Iterable[torch.Tensor]:
        for batch, _ in DataLoader(images, batch_size=BATCH, num_workers=CORES):
            yield batch

    return compare(f"{backbone.name}, from files", backbone, folder, batches, shared)


def _transform(backbone: featx.Backbone) -> Callable[[Image.Image], torch.Tensor]:
    if backbone.name == "glyphnet":  # it takes tensors
        return lambda image: backbone.preprocess(to_tensor(image)[None])[0]
    return backbone.preprocess


def from_memory(backbone: featx.Backbone, shared: tuple[str, int, int]) -> dict[str, float]:
    size = (1, 32, 32) if backbone.name == "glyphnet" else (3, 224, 224)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (shared[1], *size), dtype=torch.uint8, generator=draw)

    def batches() -> Iterable[torch.Tensor]:
        for batch in images.split(BATCH):
            yield backbone.preprocess(batch)

    return compare(f"{backbone.name}, from memory", backbone, images, batches, shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    print(
        f"{chosen.device}, {CORES} cores, bfloat16 instructions: {_has_bf16()}, torch {torch.__version__}"
    )
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder, chosen.images)
        for model in chosen.models:
            backbone = featx.load_backbone(
                model, weights="default" if model == "glyphnet" else None
            )
            shared = (chosen.device, chosen.images, chosen.rounds)
            figures[model] = {
                "files": from_files(backbone, folder, shared),
                "memory": from_memory(backbone, shared),
            }
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
