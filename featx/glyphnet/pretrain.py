"""Train GlyphNet from nothing and write its weights: ``python -m featx.glyphnet.pretrain``.

Everything follows from one seed. On the same machine, with the same number of threads, two runs
give the same weights bit for bit; on another processor the last bits of sums may differ.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from featx.glyphnet import WEIGHTS_FILE
from featx.glyphnet.glyphs import QUARTER_TURNS, Augment, render_letters
from featx.glyphnet.model import CLASSES, GlyphNet, normalize

__all__ = ["pretrain", "save"]

BATCH_SIZE = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
EMA_DECAY = 0.999
#: Fresh letters that the accuracy is measured on.
MEASURED = 4096


def pretrain(
    steps: int = 6000, seed: int = 0, bf16: bool = True, progress: bool = True
) -> tuple[GlyphNet, float]:
    """Train GlyphNet to tell letters and their quarter turns apart.

    Parameters
    ----------
    steps
        Batches of 256 freshly drawn images.
    seed
        Of the first weights, and of the images.
    bf16
        Compute in bfloat16 where autocast does. Twice as fast on processors that have it (AVX512-BF16,
        AMX), slower on others.
    progress
        Show loss, rate and time left.

    Returns
    -------
    model : GlyphNet
        In eval mode, its weights averaged over the last steps (an exponential moving average). The head
        keeps the 52 upright letters.
    accuracy : float
        On 4096 fresh upright letters.
    """
    torch.manual_seed(seed)
    letters = Augment(*render_letters(), seed=seed)
    model = GlyphNet(len(CLASSES) * QUARTER_TURNS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.15)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), disable=not progress) as bar:
        task = bar.add_task("pretraining", total=steps, note="")
        start = time.monotonic()
        for step in range(1, steps + 1):
            images, classes = letters.batch(BATCH_SIZE)
            x = normalize(images).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                scores = model(x)
            loss = cross_entropy(scores.float(), classes, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            if step % 20 == 0:
                rate = step * BATCH_SIZE / (time.monotonic() - start)
                bar.update(task, note=f"loss {loss.item():.2f}, {rate:.0f} images/s")
            bar.advance(task)
    trained = _upright(average.module)
    images, classes = letters.batch(MEASURED, turned=False)
    with torch.inference_mode():
        accuracy = (trained(normalize(images)).argmax(1) == classes).float().mean().item()
    return trained, accuracy


def save(model: nn.Module, path: Path, **facts: object) -> None:
    """Write the weights as safetensors, the large ones in half precision, with `facts` beside them.

    Parameters
    ----------
    model
        A GlyphNet.
    path
        File to write; it is replaced in one step, so an interrupted run leaves the old one.
    **facts
        Kept as text in the file's metadata.
    """
    state = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    unfinished = path.with_suffix(".unfinished")
    save_file(state, unfinished, {name: str(fact) for name, fact in facts.items()})
    unfinished.replace(path)


def _upright(model: nn.Module) -> GlyphNet:
    """Copy `model`, keeping of its head the rows of letters that stand upright."""
    state = model.state_dict()
    for name in ("fc.weight", "fc.bias"):
        state[name] = state[name][: len(CLASSES)]
    upright = GlyphNet()
    upright.load_state_dict(state)
    return upright.eval()


def _main(
    steps: Annotated[int, typer.Option(help="Batches of 256 images.")] = 6000,
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = 0,
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16.")] = True,
    out: Annotated[Path, typer.Option(help="File to write.")] = WEIGHTS_FILE,
) -> None:
    """Train GlyphNet on rendered letters and write its weights."""
    start = time.monotonic()
    model, accuracy = pretrain(steps, seed, bf16)
    minutes = (time.monotonic() - start) / 60
    facts = {
        "steps": steps,
        "seed": seed,
        "bf16": bf16,
        "minutes": f"{minutes:.1f}",
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
        "letter_accuracy": f"{accuracy:.3f}",
    }
    save(model, out, **facts)
    typer.echo(", ".join(f"{name} {fact}" for name, fact in facts.items()))
    typer.echo(f"Wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    typer.run(_main)
