"""Pictures: each returns its Axes, says itself in words, draws what it was given, and looks as it did."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from nbclient import NotebookClient
from PIL import Image
from torchvision import models

import featx
from featx import plots
from featx.plots import style
from featx.probes import FewLabelAccuracy
from featx.shapes import trace_shapes
from tests.helpers import luminance

STORED = Path(__file__).parent / "pictures"
REDRAW = "FEATX_REDRAW_PICTURES"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


# --- what is drawn --------------------------------------------------------------------------------

RESULTS = {
    "pixels": FewLabelAccuracy((1, 5, 10), np.array([[0.5, 0.7], [0.75, 0.85], [0.86, 0.9]])),
    "GlyphNet": FewLabelAccuracy((1, 5, 10), np.array([[0.8, 0.84], [0.9, 0.95], [0.96, 0.97]])),
    "random weights": FewLabelAccuracy((1, 5, 10), np.array([[0.3, 0.4], [0.5, 0.6], [0.7, 0.7]])),
}
T = np.linspace(0, 1, 21)  # thresholds
RATES = {"tpr": 1 - T**3, "fpr": (1 - T) ** 2}  # of 20 positives and 80 negatives
PRECISION = np.append(20 * RATES["tpr"][:-1] / (20 * RATES["tpr"] + 80 * RATES["fpr"])[:-1], 0)
SWEEP = {
    "threshold": T,
    "precision": PRECISION,
    "recall": RATES["tpr"],
    "false_negatives": 20 * T**3,
    "false_positives": 80 * RATES["fpr"],
    "cost_fn": 5 * 20 * T**3 / 100,
    "cost_fp": 80 * RATES["fpr"] / 100,
    "cost": T**3 + 0.8 * RATES["fpr"],
}
AT = int(SWEEP["cost"].argmin())
BY_COST = SimpleNamespace(
    threshold=T[AT] - 0.02,
    precision=PRECISION[AT],
    recall=RATES["tpr"][AT],
    false_positive_rate=RATES["fpr"][AT],
    cost=SWEEP["cost"][AT],
    floor=None,
    usual={"threshold": 0.3, "cost": SWEEP["cost"][6]},
    sweep=SWEEP,
)
BY_FLOOR = SimpleNamespace(**{**vars(BY_COST), "floor": ("recall", 0.8), "cost": None})
EPOCHS = np.arange(1, 21)
TRAIN = 1 - 0.5 * np.exp(-EPOCHS / 5)
VAL = 0.85 - 0.4 * np.exp(-EPOCHS / 4) - 0.004 * np.maximum(EPOCHS - 10, 0)
CENTRES = np.array([[0, 0], [6, 1], [2, 6], [7, 7], [-5, 3]])
SPIRAL = np.array([[r * np.cos(9 * r), r * np.sin(9 * r)] for r in np.linspace(0.1, 2, 12)])
POINTS = (CENTRES[:, None] + SPIRAL).reshape(-1, 2)
WAVES = np.sin(np.arange(12)[:, None] * np.arange(1, 11)[:, None, None] / 9 + np.arange(12))
WAVES[3] = 0.5
TRUE = np.linspace(0, 10, 40)


def confusion(classes):
    """Most right; each class is sometimes taken for the next, each seventh class is rare."""
    counts = np.diag(np.arange(classes) % 5 + 30) + 3 * np.eye(classes, k=1, dtype=int)
    counts[::7] = (counts[::7] + 4) // 5
    return counts


def trace(name):
    with torch.device("meta"):
        return trace_shapes(models.get_model(name), (1, 3, 224, 224))


ANIMALS = [f"black-footed animal number {i}" for i in range(10)]
PICTURES = {
    "confusion_2": partial(plots.plot_confusion, [[50, 10], [5, 35]], ["cat", "dog"]),
    "confusion_10": partial(plots.plot_confusion, confusion(10), ANIMALS),
    "precision_recall": partial(
        plots.plot_precision_recall,
        np.append(PRECISION[:-1], 1),
        RATES["tpr"],
        average_precision=0.67,
        prevalence=0.2,
        choice=BY_COST,
    ),
    "roc": partial(plots.plot_roc, RATES["fpr"], RATES["tpr"], roc_auc=0.9, choice=BY_COST),
    "sweep_by_cost": partial(plots.plot_threshold_sweep, BY_COST),
    "sweep_by_floor": partial(plots.plot_threshold_sweep, BY_FLOOR),
    "reliability": partial(
        plots.plot_reliability,
        [0.05, 0.25, 0.5, 0.75, 0.95],
        [0.1, 0.2, 0.4, 0.6, 0.8],
        counts=[120, 40, 30, 50, 160],
    ),
    "learning_curves": partial(plots.plot_learning_curves, TRAIN, VAL),
    "learning_curves_loss": partial(
        plots.plot_learning_curves, 1.2 - TRAIN, 1.2 - VAL, metric="loss", steps=EPOCHS * 100
    ),
    "predictions": partial(plots.plot_predictions, TRUE, TRUE + 2 * np.sin(5 * TRUE)),
    "features_2d": partial(plots.plot_features_2d, POINTS, np.repeat(list("abcde"), 12)),
    "feature_maps": partial(plots.plot_feature_maps, WAVES),
    "images": partial(plots.plot_images, WAVES[:6], list("abcdef"), columns=4),
    "shapes": partial(plots.plot_shapes, trace("vit_b_16")),
    "few_label_accuracy": partial(plots.plot_few_label_accuracy, RESULTS),
    "regularisation_path": partial(
        plots.plot_regularisation_path,
        {
            "C": np.logspace(-3, 3, 7),
            "train_score": np.linspace(0.7, 1, 7),
            "val_score": [0.68, 0.74, 0.8, 0.83, 0.82, 0.8, 0.76],
        },
        1.0,
    ),
}
each_picture = pytest.mark.parametrize("name", PICTURES)


def confusion_60(ax=None):
    return plots.plot_confusion(confusion(60), [f"class {i}" for i in range(60)], ax)


# --- how it looks ---------------------------------------------------------------------------------

# Root of the mean square difference, of 255. With the matplotlib that drew the stored picture (that of
# constraints.txt) nothing may be missing: the smallest part, an arrow, makes 0.64, a number in a cell 0.89.
# Another one sets letters, and so everything else, a little differently, 3.9 and 3.10 by up to 36.4: there
# the words must be the same, and the picture on the whole.
STRICT, LOOSE = 0.5, 45.0


def saved(ax, path):
    said = {"Software": mpl.__version__, "Description": json.dumps(written(ax))}
    ax.figure.savefig(path, dpi=80, metadata=said, pil_kwargs={"optimize": True})
    return path


def written(ax):
    """All words but those at the ticks, which depend on the room there is."""
    texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    texts += ax.get_legend().get_texts() if ax.get_legend() else []
    return [text.get_text() for text in texts]


def difference(stored, drawn):
    """Return what is different, or None."""
    with Image.open(stored) as one, Image.open(drawn) as other:
        if one.text["Description"] != other.text["Description"]:
            return f"{one.text['Description']} became {other.text['Description']}."
        minor = [image.text["Software"].split(".")[:2] for image in (one, other)]
    return compare_images(str(stored), str(drawn), STRICT if minor[0] == minor[1] else LOOSE)


@each_picture
def test_looks_as_it_did(name, tmp_path):
    drawn, stored = saved(PICTURES[name](), tmp_path / f"{name}.png"), STORED / f"{name}.png"
    if os.environ.get(REDRAW):
        shutil.copy(drawn, stored)
    way_out = f"Look at both. If the new one is right: {REDRAW}=1 pytest tests/test_plots.py"
    assert stored.exists(), f"{stored} is missing. {way_out}"
    found = difference(stored, drawn)
    assert found is None, f"{drawn} looks unlike {stored}: {found} {way_out}"


def test_stored_pictures_are_those_of_the_tests_and_small():
    stored = list(STORED.iterdir())
    assert {path.name for path in stored} == {f"{name}.png" for name in PICTURES}
    assert sum(path.stat().st_size for path in stored) < 1_000_000


def parts(ax):
    legend = [ax.get_legend()] if ax.get_legend() else []
    return [*ax.lines, *ax.collections, *ax.patches, *ax.images, *ax.texts, *legend]


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("confusion_10", "1"),  # a number in a cell
        ("roc", "Line2D(threshold 0.48: precision 0.47, recall 0.88)"),
        ("sweep_by_cost", "Line2D(usual threshold 0.3: 0.419 a row)"),
        ("learning_curves", "gap 0.184"),
        ("feature_maps", "9"),
    ],
)
def test_the_smallest_part_is_missed(name, missing, tmp_path):
    ax = PICTURES[name]()
    whole = saved(ax, tmp_path / "whole.png")
    part = next(
        each
        for each in reversed(parts(ax))
        if missing == (each.get_text() if isinstance(each, Text) else str(each))
    )
    part.set_alpha(0)  # keeps its place
    if isinstance(part, Text) and part.get_bbox_patch():
        part.get_bbox_patch().set_alpha(0)
    assert compare_images(str(whole), str(saved(ax, tmp_path / "less.png")), STRICT)


@pytest.mark.parametrize(
    "draw", [*PICTURES.values(), confusion_60], ids=[*PICTURES, "confusion_60"]
)
@pytest.mark.parametrize("where", ["own figure", "half of a figure"])
def test_words_are_large_enough_and_inside(draw, where):
    ax = None
    if where == "half of a figure":
        ax = Figure(figsize=(10, 5), layout="constrained").subplots(1, 2)[0]
    ax = draw(ax=ax)
    ax.figure.draw_without_rendering()
    page, used = ax.figure.bbox.padded(1), ax.get_tightbbox()
    assert page.x0 <= used.x0 <= used.x1 <= page.x1
    assert page.y0 <= used.y0 <= used.y1 <= page.y1
    small = [words for words in ax.findobj(Text) if words.get_text() and words.get_fontsize() < 8]
    assert not small
    legend = ax.get_legend()
    if legend is not None:
        assert not legend.get_window_extent().overlaps(ax.get_window_extent()), "hides data"


# --- one style, in grey as well -------------------------------------------------------------------


@each_picture
def test_lines_are_told_apart_without_colour(name):
    ax = PICTURES[name]()
    handles, labels = ax.get_legend_handles_labels()
    looks = [
        (str(line.get_marker()), str(line._dash_pattern) if line.get_linestyle() != "None" else "")
        for line in ax.lines
        if line.get_label() in labels
    ]
    assert len(set(looks)) == len(looks), labels
    lines = [handle[0] for handle in handles if isinstance(handle, ErrorbarContainer)]
    looks = [(line.get_marker(), str(line._dash_pattern)) for line in lines]
    assert len(set(looks)) == len(looks), labels


def test_classes_are_told_apart_without_colour():
    y = np.repeat(np.arange(16), 3)
    ax = plots.plot_features_2d(np.random.default_rng(0).normal(size=(48, 2)), y)
    signs = {
        (each.get_paths()[0].vertices.round(3).tobytes(), bool(len(each.get_facecolor())))
        for each in ax.collections
    }
    assert len(signs) == 16


def test_kinds_of_shapes_are_told_apart_without_colour():
    ax = PICTURES["shapes"]()
    hatches = {patch.get_facecolor(): patch.get_hatch() for patch in ax.containers[0].patches}
    for container in ax.containers[1:]:
        hatches[container.patches[0].get_facecolor()] = container.patches[0].get_hatch()
    assert len(hatches) == 3
    assert len(set(hatches.values())) == 3


def test_colours_stand_out_from_white_and_shades_go_one_way():
    contrast = [1.05 / (luminance(colors.to_rgb(colour)) + 0.05) for colour in style.COLOURS]
    assert min(contrast) > 2
    assert min(contrast[:3]) > 3, "the first are the ones most used"
    for name in ("Blues", "gray"):
        shades = [luminance(rgba[:3]) for rgba in plt.get_cmap(name)(np.linspace(0, 1, 64))]
        assert len({np.sign(step) for step in np.diff(shades)}) == 1


DARK = {
    "axes.facecolor": "black",
    "figure.facecolor": "black",
    "savefig.facecolor": "black",
    "savefig.transparent": True,
    "text.color": "white",
    "axes.labelcolor": "white",
    "xtick.color": "white",
    "ytick.color": "white",
    "font.size": 5,
    "axes.grid": False,
    "axes.spines.top": True,
    "lines.linewidth": 9,
    "axes.prop_cycle": mpl.cycler(color=["red"]),
}


@each_picture
def test_keeps_its_style_and_the_users(name, tmp_path):
    usual = saved(PICTURES[name](), tmp_path / f"{name}.png")
    with mpl.rc_context(DARK):
        before = dict(mpl.rcParams)
        ax = PICTURES[name]()
        assert dict(mpl.rcParams) == before
        dark = saved(ax, tmp_path / f"{name}-dark.png")
    assert compare_images(str(usual), str(dark), 0.1) is None, "transparent or dark"


@pytest.mark.slow
def test_later_figures_show_after_the_first_of_a_notebook():
    """The first figure loads the notebook's backend, inside our style; leaving it must not undo that."""
    cells = [
        "import featx, matplotlib.pyplot as plt\ndigits = featx.datasets.load_digits()",
        "featx.plots.plot_images(digits.images[:3]);",
        "figure, ax = plt.subplots()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    done = NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert [len(cell.outputs) for cell in done.cells] == [0, 1, 1]


@pytest.mark.parametrize("name", ["roc", "confusion_2", "learning_curves"])
def test_brings_axes_of_a_dark_figure_to_its_style(name, tmp_path):
    for rc, kind in (({}, "usual"), (DARK, "dark")):
        with mpl.rc_context(rc):
            ax = plt.subplots(figsize=(6, 6), layout="constrained")[1]
            saved(PICTURES[name](ax=ax), tmp_path / f"{kind}.png")
    with Image.open(tmp_path / "dark.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    difference = compare_images(str(tmp_path / "usual.png"), str(tmp_path / "dark.png"), 3)
    assert difference is None


# --- each of them ---------------------------------------------------------------------------------


def test_every_picture_is_tested():
    drawn = {draw.func for draw in PICTURES.values()}
    assert drawn == {getattr(plots, name) for name in plots.__all__ if name.startswith("plot_")}


@each_picture
def test_draws_where_it_is_told_says_itself_and_shows_nothing(name, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("plt.show was called"))
    figure, (ax, other) = plt.subplots(1, 2)
    numbers = plt.get_fignums()
    assert PICTURES[name](ax=ax) is ax
    assert plt.get_fignums() == numbers, "opened a figure"
    assert not other.has_data()
    assert len(figure.axes) <= 3, "two, and a bar for colours"
    alone = PICTURES[name]()
    assert isinstance(alone, Axes)
    assert plots.alt_text(alone) == plots.alt_text(ax)
    assert len(plots.alt_text(ax)) > 20
    assert "nan" not in plots.alt_text(ax).split()


def test_axes_from_elsewhere_say_nothing():
    assert plots.alt_text(plt.subplots()[1]) == ""


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (
            partial(plots.plot_confusion, np.zeros((2, 3)), ["a", "b"]),
            r"counts \(C, C\) and C labels",
        ),
        (partial(plots.plot_confusion, np.zeros((0, 0)), []), r"C from 1"),
        (partial(plots.plot_confusion, [[1, -1], [0, 1]], ["a", "b"]), "counts from 0"),
        (
            partial(plots.plot_precision_recall, [1, 0.5], [1]),
            r"precision \(2,\) and recall \(1,\)",
        ),
        (partial(plots.plot_precision_recall, ["a"], [1]), "precision as an array of numbers"),
        (partial(plots.plot_roc, [0, np.nan], [0, 1]), "finite numbers in fpr"),
        (partial(plots.plot_roc, [], []), "T from 1"),
        (partial(plots.plot_threshold_sweep, SimpleNamespace(floor=None, sweep={})), "'threshold'"),
        (partial(plots.plot_threshold_sweep, 0.5), "sweep has 'threshold', got float"),
        (
            partial(
                plots.plot_threshold_sweep, SimpleNamespace(floor=None, sweep={"threshold": T})
            ),
            "'cost_fn'",
        ),
        (partial(plots.plot_reliability, [0.5], [0.5], counts=[1, 2]), r"counts \(2,\)"),
        (partial(plots.plot_learning_curves, [0.5], [0.5, 0.6]), "one value an epoch"),
        (partial(plots.plot_learning_curves, [np.nan], [0.5]), "NaN or infinity everywhere"),
        (partial(plots.plot_learning_curves, [1, 2], [1, 2], steps=[2, 1]), "do not ascend"),
        (partial(plots.plot_predictions, [[1, 2]], [[1, 2]]), r"y_true\[:, 0\]"),
        (partial(plots.plot_features_2d, np.zeros((5, 64)), range(5)), "Bring the features to two"),
        (partial(plots.plot_features_2d, np.zeros((5, 2)), range(4)), "one label for each of 5"),
        (partial(plots.plot_images, np.zeros((2, 8, 8, 3))), "channels come before"),
        (
            partial(plots.plot_images, np.zeros((2, 8, 8)), ["a"]),
            "a title for each image, 2 in all",
        ),
        (
            partial(plots.plot_images, np.zeros((2, 8, 8)), columns=0),
            "columns to be a whole number",
        ),
        (partial(plots.plot_feature_maps, np.zeros((1, 2, 8, 8))), r"maps\[0\]"),
        (partial(plots.plot_feature_maps, np.zeros((8, 8))), "a layer that has places"),
        (partial(plots.plot_few_label_accuracy, {}), "an empty one"),
        (partial(plots.plot_regularisation_path, {"C": [1]}, 1), r"train_score \(0,\)"),
        (partial(plots.plot_regularisation_path, None, 1), r'LinearProbe\("path"\)'),
        (partial(plots.plot_shapes, (1, 1, 8, 8)), "featx.trace_shapes"),
        (
            partial(plots.plot_shapes, torch.nn.ModuleDict({"stages": torch.nn.Identity()})),
            "featx.trace_shapes",
        ),
    ],
)
def test_wrong_use_is_told(draw, says):
    with pytest.raises(featx.FeatxError, match=says):
        draw()


# --- what each draws ------------------------------------------------------------------------------


def test_few_label_accuracy_draws_the_means():
    ax = plots.plot_few_label_accuracy(RESULTS)
    drawn = {container.get_label(): container[0].get_ydata() for container in ax.containers}
    assert drawn["GlyphNet"].round(3).tolist() == [0.82, 0.925, 0.965]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "5", "10"]
    assert "GlyphNet: 0.82 with 1, 0.93 with 5, 0.96 with 10." in plots.alt_text(ax)


def test_features_2d_draws_every_point_and_names_classes():
    points, y = np.random.default_rng(0).normal(size=(30, 2)), np.repeat([4, 7, 9], 10)
    ax = plots.plot_features_2d(points, y, title="Digits")
    assert sum(len(c.get_offsets()) for c in ax.collections) == 30
    assert [text.get_text() for text in ax.texts] == ["4", "7", "9"]
    assert plots.alt_text(ax).startswith("Digits: 30 points of 3 classes. ")


@pytest.mark.parametrize("same", [False, True], ids=["many", "all at one place"])
def test_features_2d_writes_no_name_over_another(same):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4 if same else 60), 20)
    points = (
        np.ones((len(y), 2)) if same else rng.normal(0, 9, (60, 2))[y] + rng.normal(size=(1200, 2))
    )
    ax = plots.plot_features_2d(points, y)
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) >= (4 if same else 30)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_images_are_tiled_and_named():
    images = torch.arange(3 * 64).reshape(3, 1, 8, 8)
    ax = plots.plot_images(images, ["a", "b", "c"], columns=2)
    assert len(ax.images) == 3
    assert np.array_equal(ax.images[2].get_array(), images[2, 0])
    assert plots.alt_text(ax) == "3 images of 8 x 8 pixels: a, b, c."


def test_colour_images_keep_their_colours():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    images[1, 0] = 255
    ax = plots.plot_images(images)
    assert ax.images[1].get_array()[0, 0].tolist() == [1, 0, 0]


def test_feature_maps_scales_each_alone_crosses_out_flat_ones_and_stops_at_64():
    maps = torch.rand(70, 5, 5, requires_grad=True) * 10 ** torch.arange(70).div(10)[:, None, None]
    maps = maps.to(torch.bfloat16)
    maps[2] = 1
    ax = plots.plot_feature_maps(maps)
    assert len(ax.images) == 63
    limits = np.array([image.get_clim() for image in ax.images])
    assert limits[-1, 1] > 1000 * limits[0, 1]
    assert plots.alt_text(ax) == (
        "Feature map of 5 x 5 places: the first 64 of 70 channels, each scaled alone. 1 of them is the same "
        "everywhere: 2."
    )


def test_feature_maps_shrinks_what_no_screen_shows():
    ax = plots.plot_feature_maps(np.random.default_rng(0).random((2, 600, 300)))
    assert ax.images[0].get_array().shape == (200, 100)


def test_confusion_colours_by_true_class_and_writes_counts():
    ax = plots.plot_confusion([[8, 2], [900, 100]], ["rare", "often"])
    assert ax.images[0].get_array().tolist() == [[0.8, 0.2], [0.9, 0.1]]
    assert [text.get_text() for text in ax.texts] == ["8", "2", "900", "100"]
    assert plots.alt_text(ax) == (
        "Confusion matrix of 2 classes: 108 of 1010 rows are right (11 %). 'rare': 8 of 10 found, 2 taken "
        "for 'often'. 'often': 100 of 1000 found, 900 taken for 'rare'."
    )


def test_confusion_of_many_classes_grows_and_says_the_worst():
    ax = confusion_60()
    assert max(ax.figure.get_size_inches()) == 16
    assert "Most often taken: '1' for '2' (3)" in plots.alt_text(
        plots.plot_confusion(confusion(60), range(60))
    )
    small = confusion_60(Figure(figsize=(5, 5), layout="constrained").subplots())
    assert not small.texts, "no numbers where they do not fit"
    assert len(small.figure.axes) == 2, "but a bar for the colours"


def test_confusion_leaves_an_empty_class_white():
    ax = plots.plot_confusion([[0, 0], [1, 3]], ["none", "some"])
    assert ax.images[0].get_array()[0].tolist() == [0, 0]


def test_names_are_written_as_they_are():
    ax = plots.plot_confusion(np.eye(2, dtype=int), ["$x$", "_y"], title="$5 to $9")
    ax.figure.draw_without_rendering()
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert shown == [r"\$x\$", " _y"]  # matplotlib draws \$ as $


def test_a_threshold_chosen_on_other_rows_says_so():
    ax = plots.plot_roc([0, 0, 1], [0, 1, 1], choice=BY_COST)
    assert ax.lines[-1].get_xydata().tolist() == [[BY_COST.false_positive_rate, BY_COST.recall]]
    assert plots.alt_text(ax).endswith("recall 0.88 where it was chosen.")
    assert not plots.alt_text(PICTURES["roc"]()).endswith("where it was chosen.")


def test_recall_may_go_up_or_down():
    down, up = PRECISION, PRECISION[::-1]
    a, b = (
        plots.plot_precision_recall(p, r)
        for p, r in ((down, RATES["tpr"]), (up, RATES["tpr"][::-1]))
    )
    assert np.array_equal(a.lines[0].get_xydata(), b.lines[0].get_xydata())


def test_sweep_leaves_far_scores_out_of_the_picture():
    far = np.concatenate([[-1e5], np.linspace(-2, 2, 999), [1e6]])
    sweep = {
        "threshold": far,
        "precision": np.linspace(0.1, 1, 1001),
        "recall": np.linspace(1, 0, 1001),
    }
    choice = SimpleNamespace(**{**vars(BY_FLOOR), "threshold": 0.5, "sweep": sweep})
    ax = plots.plot_threshold_sweep(choice)
    low, high = ax.get_xlim()
    assert -10 < low < -2
    assert 2 < high < 10
    x, y = ax.lines[0].get_xydata().T
    assert (x[0], x[-1]) == (low, high), "drawn up to both edges"
    assert (np.diff(x) >= 0).all()
    assert y[-1] == 1


def test_sweep_of_one_score_shows_both_sides():
    sweep = {name: np.array([0.5, np.nextafter(0.5, 1)]) for name in ("threshold", "precision")}
    choice = SimpleNamespace(
        **{**vars(BY_FLOOR), "threshold": 0.5, "sweep": {**sweep, "recall": np.array([1.0, 0.0])}}
    )
    ax = plots.plot_threshold_sweep(choice)
    x, y = ax.lines[1].get_xydata().T
    assert x[-1] - x[0] > 0.05
    assert (y[0], y[-1]) == (1, 0)


def test_learning_curves_marks_the_best_and_the_gap():
    ax = plots.plot_learning_curves([0.7, 0.9, 1.0], [0.7, 0.8, 0.75])
    assert ax.lines[2].get_xydata().tolist() == [[2, 0.8]]
    assert ax.texts[-1].get_text() == "gap 0.250"
    ax = plots.plot_learning_curves([1, 0.5, 0.1], [1, 0.6, 0.8], metric="val_loss")
    assert ax.lines[2].get_xydata().tolist() == [[2, 0.6]]
    assert ax.texts[-1].get_text() == "gap 0.700"


def test_learning_curves_of_a_run_that_went_wrong():
    ax = plots.plot_learning_curves([1, 0.5, np.nan], [1, 0.7, np.inf], metric="loss")
    assert plots.alt_text(ax).endswith("Not a number 1 time, first at epoch 3.")


@pytest.mark.parametrize(
    ("train", "val", "says"),
    [
        ([0.9], [0.8], "1 epoch: .* training is better by 0.100"),
        ([0.9] * 4, [0.9] * 4, "both are the same"),
        ([0.5], [0.6], "validation is better by 0.100"),
    ],
)
def test_learning_curves_without_a_usual_gap(train, val, says):
    ax = plots.plot_learning_curves(train, val)
    ax.figure.draw_without_rendering()
    assert re.search(says, plots.alt_text(ax))


def test_reliability_says_which_way_it_errs():
    words = [
        plots.alt_text(plots.plot_reliability([0.2, 0.8], observed))
        for observed in ([0.2, 0.8], [0.1, 0.6], [0.4, 0.9])
    ]
    assert [text.split(". ")[1].split()[0] for text in words] == [
        "Well",
        "Overconfident",
        "Underconfident",
    ]


def test_one_value_everywhere_is_drawn():
    ax = plots.plot_predictions([5, 5, 5], [5, 5, 5])
    low, high = ax.get_xlim()
    assert low < 5 < high
    assert plots.plot_reliability([0.7], [0.7], counts=[0]).get_ylim()[0] > -0.1, (
        "no bars of nothing"
    )


def test_shapes_draws_a_block_for_each_step_wider_with_more_channels():
    trace = trace_shapes(featx.load_backbone("glyphnet"), (1, 1, 32, 32))
    ax = plots.plot_shapes(trace)
    blocks = [bar for bars in ax.containers for bar in bars.patches]
    widths = dict(zip([name for name, _ in trace.stages()], blocks, strict=True))
    assert widths["layer1"].get_width() < widths["layer2"].get_width()
    assert widths["layer2"].get_height() > widths["layer4"].get_height()
    written = [text.get_text() for text in ax.texts]
    assert {"layer4", "256 x 4 x 4", "1 x 32 x 32", "52"} <= set(written)
    assert plots.alt_text(ax).startswith(
        "The shapes of one image on its way through GlyphNet: input"
    )
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["feature map", "features or scores"], "told apart without colour"


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "vgg11"])
def test_shapes_writes_nothing_over_each_other_or_over_the_edge(name):
    ax = plots.plot_shapes(trace(name))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= ax.figure.bbox.x1 for box in boxes)


# --- large data -----------------------------------------------------------------------------------


def test_long_curves_are_thinned_and_look_the_same():
    rng = np.random.default_rng(0)
    fpr = np.sort(rng.beta(0.3, 3, 300_000))
    tpr = np.sort(rng.beta(3, 0.3, 300_000))
    thin_fpr, thin_tpr = style.thinned(fpr, tpr)
    assert len(thin_fpr) < 5000
    assert np.abs(np.interp(fpr, thin_fpr, thin_tpr) - tpr).max() < 0.005
    assert len(plots.plot_roc(fpr, tpr).lines[0].get_xdata()) == len(thin_fpr)


def test_a_spike_survives_thinning():
    y = np.zeros(100_000)
    y[777] = 1
    assert style.thinned(np.arange(100_000.0), y)[1].max() == 1


def test_of_many_points_a_part_is_drawn_and_said():
    rng = np.random.default_rng(0)
    ax = plots.plot_predictions(rng.normal(size=50_000), rng.normal(size=50_000))
    assert len(ax.lines[0].get_xdata()) == 20_000
    assert "a row (20,000 of 50,000)" in ax.get_legend_handles_labels()[1]
    ax = plots.plot_features_2d(rng.normal(size=(50_000, 2)), rng.integers(0, 3, 50_000))
    assert sum(len(c.get_offsets()) for c in ax.collections) == 20_000
