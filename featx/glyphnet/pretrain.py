"""Train GlyphNet from nothing and write its weights: ``python -m featx.glyphnet.pretrain``.

Everything follows from one seed. On the same machine, with the same number of threads, two runs
give the same weights bit for bit; on another processor the last bits of sums may differ. A run that was
stopped goes on from a file beside the weights, and comes to the same ones.
"""

from __future__ import annotations

import contextlib
import platform
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from featx.files import replacing
from featx.glyphnet import WEIGHTS_FILE
from featx.glyphnet.glyphs import QUARTER_TURNS, Augment, render_letters
from featx.glyphnet.model import CLASSES, GlyphNet, normalize
from featx.progress import progress_bar, say

__all__ = ["Pretrained", "pretrain", "save"]

BATCH_SIZE = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
EMA_DECAY = 0.999
#: Fresh letters that the accuracy is measured on.
MEASURED = 4096
#: Steps after which the state is kept again: half a minute.
KEEP_EVERY = 100


class Pretrained(NamedTuple):
    """What `pretrain` returns.

    Attributes
    ----------
    model : GlyphNet
        In eval mode, its weights averaged over the last steps (an exponential moving average). The head
        keeps the 52 upright letters.
    accuracy : float
        On 4096 fresh upright letters.
    seconds : float
        That the steps took, of all runs that it took.
    """

    model: GlyphNet
    accuracy: float
    seconds: float


def pretrain(
    steps: int = 6000,
    seed: int = 0,
    bf16: bool = True,
    progress: bool = True,
    kept: Path | None = None,
) -> Pretrained:
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
    kept
        A file for the state so far. If the same run was stopped and has left it, it goes on from there.

    Returns
    -------
    Pretrained
        Model, accuracy and seconds.
    """
    torch.manual_seed(seed)
    letters = Augment(*render_letters(), seed=seed)
    model = GlyphNet(len(CLASSES) * QUARTER_TURNS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.15)
    state = _State(
        {"steps": steps, "seed": seed, "bf16": bf16, "torch": str(torch.__version__)},
        {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule},
        letters.random,
    )
    done, before = state.restore(kept)
    if done and progress:
        say(f"Going on after step {done} of {steps}.")
    with progress_bar("pretraining", steps * BATCH_SIZE, show=progress) as advance:
        advance(done * BATCH_SIZE)
        start = time.monotonic()
        for step in range(done + 1, steps + 1):
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
            advance(BATCH_SIZE, f"loss {loss.item():.2f}" if step % 20 == 0 else None)
            if step % KEEP_EVERY == 0:
                state.keep(kept, step, before + time.monotonic() - start)
        seconds = before + time.monotonic() - start
    trained = _upright(average.module)
    images, classes = letters.batch(MEASURED, turned=False)
    with torch.inference_mode():
        accuracy = (trained(normalize(images)).argmax(1) == classes).float().mean().item()
    return Pretrained(trained, accuracy, seconds)


class _State:
    """All that the next step depends on, in memory and in a file."""

    def __init__(self, run: dict[str, Any], parts: dict[str, Any], random: torch.Generator) -> None:
        self.run, self.parts, self.random = run, parts, random

    def keep(self, path: Path | None, step: int, seconds: float) -> None:
        """Write the state after `step`; the file is replaced in one step, so it is always a whole one."""
        if path is None:
            return
        states = {name: part.state_dict() for name, part in self.parts.items()}
        done = {"step": step, "seconds": seconds, "random": self.random.get_state()}
        with replacing(path) as new:
            torch.save({"run": self.run, **done, **states}, new)

    def restore(self, path: Path | None) -> tuple[int, float]:
        """Read what a run of the same kind has left; return its steps and seconds, else zeros."""
        found: dict[str, Any] = {}
        if path is not None and path.is_file():
            with contextlib.suppress(Exception):  # a damaged pickle raises whatever its bytes mean
                found = torch.load(path, weights_only=True)
        if found.get("run") != self.run:
            return 0, 0.0
        for name, part in self.parts.items():
            part.load_state_dict(found[name])
        self.random.set_state(found["random"])
        return found["step"], found["seconds"]


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
    with replacing(path) as new:
        save_file(state, new, {name: str(fact) for name, fact in facts.items()})


def _upright(model: nn.Module) -> GlyphNet:
    """Copy `model`, keeping of its head the rows of letters that stand upright."""
    state = model.state_dict()
    for name in ("fc.weight", "fc.bias"):
        state[name] = state[name][: len(CLASSES)]
    upright = GlyphNet()
    upright.load_state_dict(state)
    return upright.eval()


def _main(
    steps: Annotated[int, typer.Option(min=2, help="Batches of 256 images.")] = 6000,
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = 0,
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16.")] = True,
    out: Annotated[Path, typer.Option(help="File to write.")] = WEIGHTS_FILE,
) -> None:
    """Train GlyphNet on rendered letters and write its weights. Stopped, it goes on where it was."""
    try:
        _train_and_save(steps, seed, bf16, out)
    except KeyboardInterrupt:
        typer.echo(
            f"Stopped; {out} is as it was. Run the same command again: it goes on from the last "
            f"{KEEP_EVERY} steps that are kept.",
            err=True,
        )
        raise typer.Exit(130) from None
    except OSError as error:
        typer.echo(
            f"Expected to write {out}, but: {error.strerror or error}. Name another file with --out.",
            err=True,
        )
        raise typer.Exit(2) from None


def _train_and_save(steps: int, seed: int, bf16: bool, out: Path) -> None:
    kept = out.with_suffix(".unfinished-training")
    tempfile.TemporaryFile(dir=out.parent).close()  # before the work, so that none is in vain
    model, accuracy, seconds = pretrain(steps, seed, bf16, kept=kept)
    facts = {
        "steps": steps,
        "seed": seed,
        "bf16": bf16,
        "minutes": f"{seconds / 60:.1f}",
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
        "letter_accuracy": f"{accuracy:.3f}",
    }
    save(model, out, **facts)
    kept.unlink(missing_ok=True)
    typer.echo(", ".join(f"{name} {fact}" for name, fact in facts.items()))
    typer.echo(f"Wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    typer.run(_main)
