"""Pictures: each returns its Axes, says itself in words, and draws what it was given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torchvision import models

import featx
from featx import plots
from featx.probes import FewLabelAccuracy
from featx.shapes import trace_shapes


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


RESULTS = {
    "pixels": FewLabelAccuracy((1, 5), np.array([[0.5, 0.7], [0.8, 0.8]])),
    "GlyphNet": FewLabelAccuracy((1, 5), np.array([[0.8, 0.8], [0.9, 1.0]])),
}


def test_few_label_accuracy_draws_the_means():
    ax = plots.plot_few_label_accuracy(RESULTS)
    drawn = {container.get_label(): container[0].get_ydata() for container in ax.containers}
    assert {name: y.round(2).tolist() for name, y in drawn.items()} == {
        "pixels": [0.6, 0.8],
        "GlyphNet": [0.8, 0.95],
    }
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "5"]
    assert "GlyphNet: 0.80 with 1, 0.95 with 5." in plots.alt_text(ax)
    markers = {container[0].get_marker() for container in ax.containers}
    assert len(markers) == 2, "told apart without colour"


def test_features_2d_draws_every_point_and_names_classes():
    points, y = np.random.default_rng(0).normal(size=(30, 2)), np.repeat([4, 7, 9], 10)
    ax = plots.plot_features_2d(points, y, title="Digits")
    assert sum(len(c.get_offsets()) for c in ax.collections) == 30
    assert [text.get_text() for text in ax.texts] == ["4", "7", "9"]
    assert plots.alt_text(ax) == "Digits: 30 points of 3 classes."
    with pytest.raises(featx.FeatxError, match="Bring the features to two dimensions"):
        plots.plot_features_2d(np.zeros((5, 64)), y[:5])


def test_images_are_tiled_and_named():
    images = torch.arange(3 * 64).reshape(3, 1, 8, 8)
    ax = plots.plot_images(images, ["a", "b", "c"], columns=2)
    assert len(ax.images) == 3
    assert np.array_equal(ax.images[2].get_array(), images[2, 0])
    assert plots.alt_text(ax) == "3 images of 8 x 8 pixels: a, b, c."


def test_shapes_draws_a_block_for_each_step_wider_with_more_channels():
    trace = trace_shapes(featx.load_backbone("glyphnet"), (1, 1, 32, 32))
    ax = plots.plot_shapes(trace)
    blocks = [patch for patch in ax.patches if isinstance(patch, plt.Rectangle)]
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


@pytest.mark.parametrize(("name", "shape"), [("resnet18", 224), ("vit_b_16", 224), ("vgg11", 224)])
def test_shapes_writes_nothing_over_each_other_or_over_the_edge(name, shape):
    with torch.device("meta"):
        model = models.get_model(name)
    ax = plots.plot_shapes(trace_shapes(model, (1, 3, shape, shape)))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= ax.figure.bbox.x1 for box in boxes)


def test_each_draws_where_it_is_told():
    _, ax = plt.subplots()
    assert plots.plot_few_label_accuracy(RESULTS, ax) is ax
    assert plots.alt_text(plt.subplots()[1]) == ""
