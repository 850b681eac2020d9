"""What saved features are worth: a probe, a verdict, pictures, and one page that shows it all."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from featx import plots
from featx.errors import FeatxError
from featx.features import Features, load_features
from featx.metrics import Report, evaluate
from featx.probes import KNNProbe, LinearProbe
from featx.store import write_atomically

__all__ = ["Mistake", "ProbeReport", "probe_report", "show_probe_report"]

MOST_MISTAKES = 10  # named in the report
MOST_POINTS = 3000  # drawn: more of them hide one another


@dataclass(frozen=True)
class Mistake:
    """A test image that the probe gets wrong.

    Attributes
    ----------
    name : str
        Its file, or its row.
    true, predicted : str
        Its class, and the one it was taken for.
    probability : float
        How sure the probe was.
    """

    name: str
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True, eq=False)
class ProbeReport:
    """What `probe_report` found.

    Attributes
    ----------
    title : str
        Which features, in a few words.
    train_rows, test_rows, num_features : int
        Images to learn from and to test on; D.
    report : Report
        Numbers, verdict and findings of the linear probe on the test images.
    C : float
        The regularisation that was picked on the training images.
    knn_accuracy : float
        A second opinion that learns nothing: the most similar training images.
    mistakes : list of Mistake
        The test images that it is most wrong about, the surest first.
    skipped : int
        Files that the extraction left out.
    page : pathlib.Path
        The report as HTML, pictures included.
    """

    title: str
    train_rows: int
    test_rows: int
    num_features: int
    report: Report
    C: float
    knn_accuracy: float
    mistakes: list[Mistake]
    skipped: int
    page: Path


def probe_report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    test_size: float = 0.25,
    seed: int = 0,
    console: Console | None = None,
) -> ProbeReport:
    """Fit probes on saved features, test them on images held out, and write ``report.html``.

    Parameters
    ----------
    folder
        What ``featx extract`` or `Features.save` wrote.
    out
        Folder for the page; by default `folder`.
    test_size
        Share of the images to test on, above 0 and below 1. Every class is split in this proportion.
    seed
        Draws them. The same number draws the same ones.
    console
        Where to say what is going on; by default nowhere.

    Returns
    -------
    ProbeReport
        Numbers, verdict, mistakes, and where the page is.

    Raises
    ------
    FeatxError
        When there are no features, no classes, or too few images of one; when `out` cannot be written to.
    """
    console = console or Console(quiet=True)
    features = load_features(folder)
    names = _class_of_each_row(features, Path(folder))
    train, test = _split(names, test_size, seed)
    with console.status(f"linear probe on {len(train)} images"):
        X_train, y_train = features.X[train], names[train]
        probe = LinearProbe("path", random_state=seed).fit(X_train, y_train)
        X_test, y_test = features.X[test], names[test]
        probability = probe.predict_proba(X_test)
        predicted = probe.classes_[probability.argmax(1)]
    with console.status("nearest neighbours"):
        knn = KNNProbe(min(20, len(train))).fit(X_train, y_train)
        knn_accuracy = float(np.mean(knn.predict(X_test) == y_test))
    report = evaluate(y_test, predicted, probability, labels=list(probe.classes_), y_train=y_train)

    wrong = np.flatnonzero(predicted != y_test)
    surest = wrong[np.argsort(-probability[wrong].max(1), kind="stable")][:MOST_MISTAKES]
    mistakes = [
        Mistake(
            features.paths[test[i]] if features.paths else f"row {test[i]}",
            str(y_test[i]),
            str(predicted[i]),
            float(probability[i].max()),
        )
        for i in surest
    ]
    page = Path(out or folder) / "report.html"
    result = ProbeReport(
        f"{features.meta.get('backbone', 'features')} on {len(features)} images",
        len(train),
        len(test),
        features.X.shape[1],
        report,
        float(probe.C_),
        knn_accuracy,
        mistakes,
        len(features.skipped),
        page,
    )
    with console.status("drawing"):
        pictures = _pictures(features, names, probe, report, seed)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, _html(result, pictures).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise FeatxError(
            f"Expected a folder to write the report to, got {page.parent}: {error.strerror}. Choose one with "
            "--out DIR."
        ) from error
    return result


def _class_of_each_row(features: Features, folder: Path) -> np.ndarray:
    """Return class names, or labels as they are, ``(N,)``."""
    y = features.y
    if y is None:
        raise FeatxError(
            f"Expected features with labels, got {folder}, where there are none. Put the images of each "
            "class into a sub-folder of its own, and extract again."
        )
    if y.ndim != 1 or y.dtype.kind == "f":
        raise FeatxError(
            f"Expected one class for each image, got labels of the shape {y.shape} and the type {y.dtype}. "
            'For numbers use featx.LinearProbe(task="regression").'
        )
    return np.array([features.class_names[label] for label in y]) if features.class_names else y


def _split(names: np.ndarray, test_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows to train on and rows to test on, in the same proportion for each class."""
    if not isinstance(test_size, (int, float)) or not 0 < test_size < 1:
        raise FeatxError(f"Expected test_size above 0 and below 1, got {test_size!r}.")
    classes, counts = np.unique(names, return_counts=True)
    if len(classes) < 2:
        raise FeatxError(
            f"Expected images of at least two classes, got {len(names)} of {classes[0]!s} only. Add a "
            "sub-folder with images of another class, and extract again."
        )
    rarest = counts.argmin()
    if counts[rarest] < 2:
        raise FeatxError(
            "Expected at least two images of each class, one to learn from and one to test on, got one of "
            f"{classes[rarest]!s}. Add images of it, or leave it out."
        )
    num_test = round(len(names) * test_size)
    num_test = min(max(num_test, len(classes)), len(names) - len(classes))  # one of each in both
    rows = np.arange(len(names))
    train, test = train_test_split(rows, test_size=num_test, stratify=names, random_state=seed)
    return np.sort(train), np.sort(test)


# --- pictures -------------------------------------------------------------------------------------


def _pictures(
    features: Features, names: np.ndarray, probe: LinearProbe, report: Report, seed: int
) -> dict[str, tuple[str, bytes]]:
    """Return heading -> (description, PNG)."""
    rows = np.arange(len(names))
    if len(rows) > MOST_POINTS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_POINTS, replace=False))
    points = PCA(2, random_state=seed).fit_transform(features.X[rows])
    pictures = {}

    side = min(4 + 0.35 * len(report.labels), 16)
    ax = _axes(side, side)
    report.plot(ax)
    ax.tick_params(axis="x", rotation=90 if len(report.labels) > 4 else 0)
    right = int(np.trace(report.confusion))
    pictures["What is taken for what"] = (
        f"Confusion matrix: {right} of {sum(report.support)} test images are on the diagonal.",
        _png(ax),
    )
    if probe.path_ is not None:
        ax = plots.plot_regularisation_path(probe.path_, probe.C_, _axes(6.4, 4))
        pictures["How C was picked"] = (plots.alt_text(ax), _png(ax))
    title = "Features in two dimensions (PCA)"
    ax = plots.plot_features_2d(points, names[rows], _axes(6.4, 6.4), title=title)
    pictures[title] = (plots.alt_text(ax), _png(ax))
    return pictures


def _axes(width: float, height: float) -> Axes:
    # Figure, not pyplot: nothing stays open, and no screen is needed.
    return Figure(figsize=(width, height), layout="constrained").subplots()


def _png(ax: Axes) -> bytes:
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png", dpi=110)  # pyright: ignore[reportAttributeAccessIssue]
    return buffer.getvalue()


# --- the page -------------------------------------------------------------------------------------

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0 }
caption { text-align: left; font-weight: bold }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ccc; text-align: left }
img { max-width: 100% }
.verdict { font-size: 1.4rem } figure { margin: 1.5rem 0 } figcaption { color: #555 }
"""


def _html(result: ProbeReport, pictures: dict[str, tuple[str, bytes]]) -> str:
    report = result.report
    figures = "".join(
        f"<h2>{escape(heading)}</h2><figure><img alt='{escape(words, quote=True)}' "
        f"src='data:image/png;base64,{base64.b64encode(png).decode()}'>"
        f"<figcaption>{escape(words)}</figcaption></figure>"
        for heading, (words, png) in pictures.items()
    )
    rows = "".join(
        f"<tr><td>{escape(_printable(m.name))}</td><td>{escape(m.true)}</td><td>{escape(m.predicted)}</td>"
        f"<td>{m.probability:.2f}</td></tr>"
        for m in result.mistakes
    )
    mistakes = (
        "<table><caption>The surest mistakes: look at these images, and at their labels</caption><thead><tr>"
        "<th scope='col'>image</th><th scope='col'>class</th><th scope='col'>taken for</th>"
        f"<th scope='col'>probability</th></tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else "<p>Not one test image is wrong.</p>"
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{escape(result.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(result.title)}</h1>"
        f"<p class='verdict'>Verdict: <strong>{escape(report.verdict)}</strong></p>"
        + "".join(f"<p>{escape(sentence)}</p>" for sentence in _sentences(result))
        + f"<h2>Numbers</h2>{report._repr_html_()}{figures}<h2>Mistakes</h2>{mistakes}</body></html>"
    )


def _sentences(result: ProbeReport) -> list[str]:
    report = result.report
    skipped = f" {result.skipped} files were no images." if result.skipped else ""
    return [
        f"A linear probe on {result.num_features} features, trained on {result.train_rows} images, gets "
        f"{report.accuracy:.3f} of {result.test_rows} others right; always answering "
        f"{report.majority_label} gets {report.majority_accuracy:.3f}, and the nearest neighbours "
        f"{result.knn_accuracy:.3f}.",
        f"C = {result.C:g} was picked on the training images alone.{skipped}",
    ]


def show_probe_report(result: ProbeReport, console: Console) -> None:
    """Print the numbers, the verdict, the surest mistakes and where the page is.

    Parameters
    ----------
    result
        From `probe_report`.
    console
        Where to print.
    """
    report = result.report
    table = Table(title=result.title, caption="class by class, on the test images")
    for column in ("class", "precision", "recall", "F1", "images"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in report.per_class():
        table.add_row(*map(_plain, row))
    console.print(table)
    console.print(f"Verdict: {report.verdict}.", style="bold", highlight=False)
    for sentence in _sentences(result):
        console.print(sentence, markup=False, highlight=False)
    for finding in report.findings:
        console.print(f"{finding.message} {finding.advice}", markup=False, highlight=False)
    for mistake in result.mistakes[:3]:
        console.print(
            f"Wrong: {_printable(mistake.name)} is {mistake.true}, taken for {mistake.predicted} "
            f"({mistake.probability:.2f})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"Report: {result.page}", markup=False, highlight=False, soft_wrap=True)


def _plain(cell: Any) -> str:
    from rich.markup import escape as without_markup  # a class may be called [red]

    return without_markup(str(cell))


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
