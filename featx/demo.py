"""The one-minute tour: few labels, three kinds of features, a table, a verdict and two pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import PCA

from featx import plots
from featx.backbones import load_backbone
from featx.datasets import load_digits
from featx.errors import FeatxError
from featx.extraction import extract
from featx.metrics import Report, evaluate
from featx.probes import FewLabelAccuracy, LinearProbe, draw_rows, few_label_accuracy
from featx.progress import progress_bar

__all__ = ["Demo", "run_demo", "show_demo"]

SHOTS = (1, 5, 10, 20)
REPORT_SHOTS = 10  # of these, the one that the verdict is about
FEW_SHOTS = 5  # and the one that pixels have to catch up with


@dataclass(frozen=True, eq=False)
class Demo:
    """What `run_demo` found.

    Attributes
    ----------
    results : dict
        Kind of features -> `FewLabelAccuracy`.
    report : Report
        Of a probe on GlyphNet's features, trained with 10 labels a class, on all other digits.
    pictures : list of pathlib.Path
        The two PNG files.
    """

    results: dict[str, FewLabelAccuracy]
    report: Report
    pictures: list[Path]


def run_demo(out: Path, console: Console | None = None) -> Demo:
    """Compare pixels, random weights and GlyphNet on the digits, and draw it.

    Parameters
    ----------
    out
        Folder for the two pictures; made when it is missing.
    console
        Where to say what is going on; by default nowhere.

    Returns
    -------
    Demo
        Numbers, report, pictures.

    Raises
    ------
    FeatxError
        When `out` cannot be written to.
    """
    console = console or Console(quiet=True)
    with _writing_to(out):  # before the work, so that nothing is computed in vain
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    with console.status("loading the digits"):
        digits = load_digits()
    y = digits.labels.numpy()
    torch.manual_seed(0)  # the random weights
    show = not console.quiet
    untrained = load_backbone("glyphnet", weights=None)
    kinds = {
        "pixels": digits.images.flatten(1).numpy().astype(np.float32),
        "random weights": extract(untrained, digits, progress=show).X,
        "GlyphNet": extract(load_backbone("glyphnet"), digits, progress=show).X,
    }
    results = {}
    total = len(kinds) * len(SHOTS)
    with progress_bar("linear probes", total, unit="of 5 draws each", show=show) as advance:
        for name, X in kinds.items():
            accuracy = []
            for shots in SHOTS:
                accuracy.append(few_label_accuracy(X, y, shots=[shots]).accuracy)
                advance(1, name)
            results[name] = FewLabelAccuracy(SHOTS, np.concatenate(accuracy))

    X = kinds["GlyphNet"]
    rows = draw_rows(y, REPORT_SHOTS, seed=0)
    probe = LinearProbe().fit(X[rows], y[rows])
    X_test, y_test = np.delete(X, rows, 0), np.delete(y, rows)
    report = evaluate(y_test, probe.predict(X_test), probe.predict_proba(X_test), y_train=y[rows])

    with console.status("drawing"), _writing_to(out):
        pictures = _draw(out, results, kinds, y)
    return Demo(results, report, pictures)


@contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FeatxError(
            f"Expected a folder to write to, got {out}: {error.strerror}. Choose one with --out DIR."
        ) from error


def _draw(
    out: Path, results: dict[str, FewLabelAccuracy], kinds: dict[str, np.ndarray], y: np.ndarray
) -> list[Path]:
    # Figure, not pyplot: nothing stays open, and no screen is needed.
    accuracy = Figure(figsize=(6.4, 4.4), layout="constrained")
    plots.plot_few_label_accuracy(results, accuracy.subplots())
    features = Figure(figsize=(10, 5.2), layout="constrained")
    for ax, name in zip(features.subplots(1, 2), ("pixels", "GlyphNet"), strict=True):
        # PCA, not t-SNE: it shows distances as they are, and so what a linear probe has to work with.
        points = PCA(2, random_state=0).fit_transform(kinds[name])
        plots.plot_features_2d(points, y, ax, title=f"{name}: the digits in two dimensions (PCA)")
    figures = {"accuracy_over_labels.png": accuracy, "features_2d.png": features}
    for file, figure in figures.items():
        figure.savefig(out / file, dpi=120)
    return [out / file for file in figures]


def show_demo(demo: Demo, console: Console) -> None:
    """Print the table, the verdict and the names of the pictures.

    Parameters
    ----------
    demo
        From `run_demo`.
    console
        Where to print.
    """
    table = Table(
        title="Accuracy on all other digits, by labels a class",
        caption="1797 handwritten digits; a linear probe on each kind of features; "
        "mean of 5 draws ± their spread",
    )
    table.add_column("features")
    for shot in SHOTS:
        table.add_column(f"{shot}", justify="right")
    best = max(demo.results, key=lambda name: demo.results[name].mean.sum())
    for name, result in demo.results.items():
        cells = [f"{m:.3f} ±{s:.2f}" for m, s in zip(result.mean, result.std, strict=True)]
        table.add_row(name, *cells, style="bold" if name == best else None)
    console.print(table)

    mean = {name: dict(zip(SHOTS, demo.results[name].mean, strict=True)) for name in demo.results}
    pixels, glyphnet = mean["pixels"], mean["GlyphNet"]
    report = demo.report
    console.print(
        f"\n[bold]Verdict: {report.verdict}.[/bold] With {REPORT_SHOTS} labels a class, "
        f"GlyphNet's frozen features get {report.accuracy:.3f} on {sum(report.support)} digits; "
        f"always answering {report.majority_label} gets {report.majority_accuracy:.3f}."
    )
    enough = next((shot for shot in SHOTS if pixels[shot] >= glyphnet[FEW_SHOTS]), None)
    console.print(
        f"Wrong answers: {1 - glyphnet[REPORT_SHOTS]:.1%} with GlyphNet, "
        f"{1 - pixels[REPORT_SHOTS]:.1%} with pixels. "
        + (
            f"Pixels need {enough} labels a class to do as well as GlyphNet with {FEW_SHOTS}."
            if enough
            else f"With {SHOTS[-1]} labels a class pixels still do worse than GlyphNet with {FEW_SHOTS}."
        )
    )
    console.print(
        "GlyphNet was trained on rendered letters. It has never seen a digit, and nothing in it was "
        "trained here.\n"
    )
    for picture in demo.pictures:
        console.print(f"Picture: {picture}", soft_wrap=True, highlight=False)
