"""Every picture: draws what others computed, computes nothing, never calls ``plt.show``.

Each function draws into `ax` (or a new figure), returns its Axes, and leaves a description in words for
those who cannot see it, which `alt_text` returns. All have one style, whatever the user's rcParams are, and
leave these as they were: a white ground, colours that the colour-blind tell apart (Okabe and Ito, 2008), and
a marker, a kind of line or a hatching for each, so that a grey print reads as well.
"""

from featx.plots.curves import (
    plot_few_label_accuracy,
    plot_learning_curves,
    plot_regularisation_path,
)
from featx.plots.scores import (
    plot_confusion,
    plot_precision_recall,
    plot_predictions,
    plot_reliability,
    plot_roc,
    plot_threshold_sweep,
)
from featx.plots.style import alt_text
from featx.plots.tiles import plot_feature_maps, plot_features_2d, plot_images, plot_shapes

__all__ = [
    "alt_text",
    "plot_confusion",
    "plot_feature_maps",
    "plot_features_2d",
    "plot_few_label_accuracy",
    "plot_images",
    "plot_learning_curves",
    "plot_precision_recall",
    "plot_predictions",
    "plot_regularisation_path",
    "plot_reliability",
    "plot_roc",
    "plot_shapes",
    "plot_threshold_sweep",
]
