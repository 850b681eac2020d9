"""What saved features are worth: a probe, a verdict, pictures, and one page that shows it all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from featx import plots
from featx.arrays import plain
from featx.errors import FeatxError
from featx.features import Features, load_features, named_labels
from featx.findings import Findings
from featx.images import printable
from featx.metrics import Report, evaluate
from featx.pages import figure_axes, page, picture, report_kind, write_report
from featx.pitfalls import check_imbalance, check_split
from featx.probes import KNNProbe, LinearProbe
from featx.tables import Table, table_html
from featx.wording import counted

__all__ = ["Mistake", "ProbeReport", "probe_report", "show_probe_report"]

MOST_MISTAKES = 10  # named in the report
MOST_POINTS = 3000  # drawn: more of them hide one another
MOST_LOOKED_AT = 2000  # image files that are compared; of more only the features are
DOUBTS = "Before you believe the numbers"  # heads what makes them doubtful


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
    pitfalls : Findings
        What stands out in the images and in how they were split, and makes the numbers doubtful.
    mistakes : list of Mistake
        The test images that it is most wrong about, the surest first.
    skipped : int
        Files that the extraction left out.
    path : pathlib.Path
        Where all this was written to: a page with its pictures inside, or JSON.
    """

    title: str
    train_rows: int
    test_rows: int
    num_features: int
    report: Report
    C: float
    knn_accuracy: float
    pitfalls: Findings
    mistakes: list[Mistake]
    skipped: int
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the path, ready for JSON."""
        kept = {key: value for key, value in vars(self).items() if key != "path"}
        return plain(
            {
                **kept,
                "report": self.report.to_dict(),
                "pitfalls": self.pitfalls.to_dict(),
                "mistakes": [asdict(mistake) for mistake in self.mistakes],
            }
        )


def probe_report(
    folder: str | Path,
    path: str | Path | None = None,
    *,
    test_size: float = 0.25,
    seed: int = 0,
    console: Console | None = None,
) -> ProbeReport:
    """Fit probes on saved features, test them on images held out, and write a report.

    Parameters
    ----------
    folder
        What ``featx extract`` or `Features.save` wrote.
    path
        The report: a page (``.html``) or ``.json``; by default ``report.html`` in `folder`.
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
        When there are no features, no classes, or too few images of one; when `path` cannot be written to.
    """
    console = console or Console(quiet=True)
    path = Path(path or Path(folder) / "report.html").expanduser()
    kind = report_kind(path)  # before the work, so that nothing is computed in vain
    features = load_features(folder)
    names = _class_of_each_row(features, Path(folder))
    train, test = _split(names, test_size, seed)
    X_train, y_train = features.X[train], names[train]
    X_test, y_test = features.X[test], names[test]
    probe = LinearProbe("path", random_state=seed, progress=not console.quiet).fit(X_train, y_train)
    probability = probe.predict_proba(X_test)
    predicted = probe.classes_[probability.argmax(1)]
    with console.status("nearest neighbours"):
        knn = KNNProbe(min(20, len(train))).fit(X_train, y_train)
        knn_accuracy = float(np.mean(knn.predict(X_test) == y_test))
    report = evaluate(
        y_test,
        predicted,
        probability,
        labels=list(probe.classes_),
        y_train=y_train,
        train_accuracy=probe.score(X_train, y_train),
    )
    with console.status("the same images in both parts?"):
        pitfalls = Findings(
            [
                *check_split(
                    _part(features, train), _part(features, test), images=_images_of(features)
                ),
                *check_imbalance(names),
            ]
        )

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
    result = ProbeReport(
        f"{features.meta.get('backbone', 'features')} on {len(features)} images",
        len(train),
        len(test),
        features.X.shape[1],
        report,
        float(probe.C_),
        knn_accuracy,
        pitfalls,
        mistakes,
        len(features.skipped),
        path,
    )
    if kind == "json":
        write_report(path, json.dumps(result.to_dict(), indent=1) + "\n")
        return result
    with console.status("drawing"):
        pictures = report.pictures_html() + _pictures(features, names, probe, seed)
        write_report(path, page(result.title, _html(result, pictures)))
    return result


def _images_of(features: Features) -> str | None:
    """Say whether the image files shall be compared, too: where they still are, and are not too many."""
    if not features.paths or len(features) > MOST_LOOKED_AT:
        return None
    return "paths" if all(Path(path).is_file() for path in features.paths) else None


def _part(features: Features, rows: np.ndarray) -> Features:
    """Return some of the rows, with where they came from."""
    return Features(
        features.X[rows],
        None if features.y is None else features.y[rows],
        paths=features.paths and [features.paths[row] for row in rows],
        class_names=features.class_names,
    )


def _class_of_each_row(features: Features, folder: Path) -> np.ndarray:
    """Return class names, or labels as they are, ``(N,)``."""
    y, named = features.y, named_labels(features)
    if y is None or named is None:
        raise FeatxError(
            f"Expected features with labels, got {folder}, where there are none. Put the images of each "
            "class into a sub-folder of its own, and extract again."
        )
    if y.ndim != 1 or y.dtype.kind == "f":
        raise FeatxError(
            f"Expected one class for each image, got labels of the shape {y.shape} and the type {y.dtype}. "
            'For numbers use featx.LinearProbe(task="regression").'
        )
    return named


def _split(names: np.ndarray, test_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows to train on and rows to test on, in the same proportion for each class."""
    if not isinstance(test_size, (int, float)) or not 0 < test_size < 1:
        raise FeatxError(
            f"Expected test_size above 0 and below 1, got {test_size!r}. 0.25 tests on every fourth image."
        )
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
    num_test = min(max(num_test, len(classes)), len(names) - len(classes))  # room for one of each
    rows = np.arange(len(names))
    parts = train_test_split(rows, test_size=num_test, stratify=names, random_state=seed)
    train, test = map(np.asarray, parts)
    # the proportion may leave a rare class out of one part
    _bring_each_class(names, test, train)
    _bring_each_class(names, train, test)
    return np.sort(train), np.sort(test)


def _bring_each_class(names: np.ndarray, part: np.ndarray, other: np.ndarray) -> None:
    """Put a row of each class into `part` that is missing there, for one of its largest class."""
    for missing in np.setdiff1d(names, names[part]):
        classes, counts = np.unique(names[part], return_counts=True)
        leaves = np.flatnonzero(names[part] == classes[counts.argmax()])[0]
        comes = np.flatnonzero(names[other] == missing)[0]
        part[leaves], other[comes] = other[comes], part[leaves]


# --- the page -------------------------------------------------------------------------------------


def _pictures(features: Features, names: np.ndarray, probe: LinearProbe, seed: int) -> str:
    """Draw how C was picked, and the features in two dimensions, as HTML."""
    drawn = ""
    if probe.path_ is not None:
        ax = plots.plot_regularisation_path(probe.path_, probe.C_, figure_axes(6.4, 4))
        drawn += picture("How C was picked", ax, plots.alt_text(ax))
    rows = np.arange(len(names))
    if len(rows) > MOST_POINTS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_POINTS, replace=False))
    points = PCA(2, random_state=seed).fit_transform(features.X[rows])
    title = "Features in two dimensions (PCA)"
    ax = plots.plot_features_2d(points, names[rows], figure_axes(6.4, 6.4), title=title)
    return drawn + picture(title, ax, plots.alt_text(ax))


def _html(result: ProbeReport, pictures: str) -> str:
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in _sentences(result))
    doubts = f"<h2>{DOUBTS}</h2>{result.pitfalls._repr_html_()}" if result.pitfalls else ""
    return (
        f"{doubts}<h2>Numbers</h2>{result.report._repr_html_()}{sentences}"
        f"<h2>Mistakes</h2>{_mistakes_html(result)}{pictures}"
    )


def _mistakes_html(result: ProbeReport) -> str:
    if not result.mistakes:
        return "<p>Not one test image is wrong.</p>"
    rows = [
        (printable(m.name), m.true, m.predicted, f"{m.probability:.2f}") for m in result.mistakes
    ]
    caption = "The surest mistakes: look at these images, and at their labels"
    return table_html(Table(caption, ("image", "class", "taken for", "probability"), rows))


def _sentences(result: ProbeReport) -> list[str]:
    report = result.report
    skipped = (
        f" Left out, as no images: {counted(result.skipped, 'file')}." if result.skipped else ""
    )
    split = (
        "" if result.pitfalls else " Nothing stands out in the images and in how they were split."
    )
    return [
        f"A linear probe on {result.num_features} features, trained on {result.train_rows} images, gets "
        f"{report.accuracy:.3f} of {result.test_rows} others right; always answering "
        f"{report.majority_label} gets {report.majority_accuracy:.3f}, and the nearest neighbours "
        f"{result.knn_accuracy:.3f}.",
        f"C = {result.C:g} was picked on the training images alone.{skipped}{split}",
    ]


def show_probe_report(result: ProbeReport, console: Console) -> None:
    """Print the numbers, the verdict, what stands out, the surest mistakes and where the page is.

    Parameters
    ----------
    result
        From `probe_report`.
    console
        Where to print.
    """

    def say(text: str, **options: Any) -> None:
        console.print(text, markup=False, highlight=False, **options)

    say(result.title, style="bold")
    if result.pitfalls:
        say(f"{DOUBTS}:\n{result.pitfalls}")
    console.print(result.report)
    for sentence in _sentences(result):
        say(sentence)
    for mistake in result.mistakes[:3]:
        say(
            f"Wrong: {printable(mistake.name)} is {mistake.true}, taken for {mistake.predicted} "
            f"({mistake.probability:.2f})",
            soft_wrap=True,
        )
    say(f"Report: {result.path}", soft_wrap=True)
