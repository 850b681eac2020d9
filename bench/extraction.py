"""`featx.extract` beside the tutorials' loop, `create_feature_extractor`, and the limit.

    python bench/extraction.py [--models resnet18 vit_b_16] [--images 256] [--rounds 3] [--device cpu]
        [--json FILE] [--picture FILE.png]

Twice for each model: from JPEG files on disk (500 x 375), and from a uint8 tensor in memory (224 x 224;
GlyphNet 32 x 32). All ways run in turn, as many rounds as asked for; the table gives images a second
(medians) and ratios. Weights are random: what they are does not change the time.

* tutorial: `eval()`, `no_grad()`, the head replaced by `Identity`, a `DataLoader` with a worker for each core
  (from memory: batches of the tensor), float32.
* extractor: the same with torchvision's `create_feature_extractor`.
* embetter: from files, where it is installed, with timm's model of the same name and random weights; its
  preprocessing is timm's, so its features are others. (The other peer, thingsvision 2.7, wants torchvision
  0.15 and TensorFlow before 2.16, and so cannot stand beside a torch of today.)
* forward: the forward pass alone on images that lie ready, the quickest of all combinations of float32 and
  bfloat16 (by autocast, or of the weights), `channels_last`, and BatchNorm folded.
* limit: forward, and to decode and preprocess alone, one after the other: both want the same cores. On a GPU
  the slower of the two.

Features of all ways must agree, or there is no table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import pil_to_tensor, to_tensor

import featx
from featx.machine import bfloat16_instructions, cores
from featx.sources import open_source, prepare_images

MODELS = ("resnet18", "resnet50", "vit_b_16", "efficientnet_b0", "glyphnet")
BATCH = 32

#: Models that get a part of the images only.
SLOWER = {"resnet50": 2, "vit_b_16": 4}
CORES = cores()

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


def embetter(backbone: featx.Backbone, folder: Path) -> Way | None:
    """Use the peer as its documentation shows, but for the weights, which it would download."""
    try:
        import timm
        from embetter.vision import ImageLoader, TimmEncoder
    except ImportError:
        return None
    create = timm.create_model

    def without_weights(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        return create(name, pretrained=False, **options)

    name = {"vit_b_16": "vit_base_patch16_224"}.get(backbone.name, backbone.name)
    if name not in timm.list_models():
        return None
    with patch.object(timm, "create_model", without_weights):
        encoder = TimmEncoder(name)
    paths = [str(path) for path in sorted(folder.rglob("*.jpg"))]
    return lambda: torch.from_numpy(encoder.transform(ImageLoader().transform(paths)))


def loop(model: nn.Module, batches: Iterable[torch.Tensor], device: str) -> torch.Tensor:
    """Do what the tutorials do."""
    rows = []
    with torch.no_grad():
        for images in batches:
            rows.append(model(images.to(device)).cpu())
    return torch.cat(rows)


def forwards(model: nn.Module, ready: torch.Tensor, device: str) -> dict[str, Way]:
    """Return the forward passes alone that there are to choose from."""
    ready = ready.to(device)
    models = {"": model}
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        models["folded, "] = fuse(deepcopy(model))
    ways: dict[str, Way] = {}
    for folded, each in models.items():
        for channels_last in (False, True):
            for numbers in _numbers(device):
                ways[f"{folded}{'channels_last, ' if channels_last else ''}{numbers}"] = _forward(
                    each, ready, numbers, channels_last
                )
    return ways


def _numbers(device: str) -> list[str]:
    half = bfloat16_instructions(torch.device(device))
    return ["float32", "autocast", "bfloat16"] if half else ["float32"]


def _forward(model: nn.Module, ready: torch.Tensor, numbers: str, channels_last: bool) -> Way:
    kind = torch.bfloat16 if numbers == "bfloat16" else torch.float32
    layout = torch.channels_last if channels_last else torch.preserve_format
    model = deepcopy(model).to(kind, memory_format=layout)  # its own: the layout stays with a model
    batches = [batch.to(kind, memory_format=layout) for batch in ready.split(BATCH)]

    def run() -> torch.Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(ready.device.type, torch.bfloat16, enabled=numbers == "autocast"),
        ):
            return torch.cat([model(batch).float() for batch in batches]).cpu()

    return run


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
    plans = []

    def with_featx() -> torch.Tensor:
        features = featx.extract(backbone, data, device=device, progress=False)
        plans.append(features.plan)
        return torch.from_numpy(features.X)

    ways: dict[str, Way] = {
        "tutorial": lambda: loop(model, batches(), device),
        "extractor": lambda: loop(graph, batches(), device),
        "featx": with_featx,
    }
    ready = torch.cat(list(batches()))
    alone = forwards(model, ready, device)
    # which is the quickest is found out on a part
    seconds, _ = measure(forwards(model, ready[:BATCH], device), 1)
    best = min(seconds, key=lambda name: seconds[name])

    def read() -> torch.Tensor:  # as featx reads, but for the model
        source = open_source(data, BATCH)
        prepare = partial(
            prepare_images, preprocess=backbone.preprocess, in_channels=backbone.in_channels
        )
        chunks = [range(i, min(i + BATCH, count)) for i in range(0, count, BATCH)]
        for batch in source.batches(chunks, prepare):
            if not batch.prepared:
                prepare(batch.images)
        return ready

    if isinstance(data, Path) and (peer := embetter(backbone, data)):
        ways["embetter"] = peer
    parts: dict[str, Way] = {"read and preprocess": read, f"forward ({best})": alone[best]}
    seconds, rows = measure(ways | parts, rounds)
    for name in ("extractor", "featx"):
        a, b = rows[name], rows["tutorial"]
        cosine = nn.functional.cosine_similarity(a.double(), b.double(), eps=1e-30).min()
        assert cosine > 0.999, f"{title}: the features of {name} differ (cosine {cosine:.4f})"
    both = [seconds[name] for name in parts]
    limit = sum(both) if device == "cpu" else max(both)
    figures = {name: count / value for name, value in seconds.items()} | {"limit": count / limit}
    print(f"\n{title}\n\n| | images/s | beside the tutorial | of the limit |\n|---|---|---|---|")
    for name, rate in figures.items():
        beside, part = rate / figures["tutorial"], rate / figures["limit"]
        print(f"| {name} | {rate:.1f} | {beside:.2f} | {part:.2f} |")
    print(f"\n{plans[-1].explain()}", flush=True)
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


def from_memory(
    backbone: featx.Backbone, folder: Path, shared: tuple[str, int, int]
) -> dict[str, float]:
    size = (32, 32) if backbone.name == "glyphnet" else (224, 224)
    mode = "L" if backbone.name == "glyphnet" else "RGB"
    images = torch.stack(
        [
            pil_to_tensor(Image.open(path).convert(mode).resize(size))
            for path in sorted(folder.rglob("*.jpg"))
        ]
    )
    if backbone.name == "glyphnet":  # it is quick: more of them, each another one
        shifted = [torch.roll(images, shift, -1) for shift in range(1, 16)]
        images = torch.cat([images, *shifted])

    def batches() -> Iterable[torch.Tensor]:
        for batch in images.split(BATCH):
            yield backbone.preprocess(batch)

    return compare(
        f"{backbone.name}, from memory",
        backbone,
        images,
        batches,
        (shared[0], len(images), shared[2]),
    )


def draw(figures: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Draw how many times as fast as the tutorial's loop each way is."""
    ways = {"extractor": "create_feature_extractor", "featx": "featx.extract", "limit": "limit"}
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.4), sharey=True, layout="constrained")
    for ax, (part, title) in zip(axes, PARTS.items(), strict=True):
        for number, (way, label) in enumerate(ways.items()):
            at = np.arange(len(figures)) + 0.27 * (number - 1)
            ratios = [each[part][way] / each[part]["tutorial"] for each in figures.values()]
            bars = ax.bar(
                at, ratios, 0.25, label=label, color=f"C{number}", hatch=["", "//", ".."][number]
            )
            ax.bar_label(bars, fmt="%.1f", fontsize=8)
        ax.axhline(1, color="black", linewidth=1)
        ax.set_xticks(np.arange(len(figures)), list(figures), fontsize=8)
        ax.set_title(title)
    axes[0].set_ylabel("times the tutorial's loop")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


PARTS = {"files": "From JPEG files", "memory": "From memory"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--picture", type=Path, help="draw the ratios here")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", "This DataLoader will create")  # where there is one core
    print(
        f"{chosen.device}, {CORES} cores, torch {torch.__version__}, bfloat16 by "
        f"{bfloat16_instructions(torch.device(chosen.device)) or 'nothing'}"
    )
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        for model in chosen.models:
            folder, count = Path(name, model), chosen.images // SLOWER.get(model, 1)
            folder.mkdir()
            write_photos(folder, count)
            backbone = featx.load_backbone(
                model, weights="default" if model == "glyphnet" else None
            )
            shared = (chosen.device, count, chosen.rounds)
            figures[model] = {
                "files": from_files(backbone, folder, shared),
                "memory": from_memory(backbone, folder, shared),
            }
            # after each model: all of them take half an hour, and what is measured is not lost
            if chosen.picture:
                draw(figures, chosen.picture)
            if chosen.json:
                chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
