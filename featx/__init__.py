"""featx: the feature extraction strategy in PyTorch, to learn, to teach and to use.

Importing this package is light: each public name loads its module, and torch with it, on first
use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # the same names, spelled out for editors and type checkers
    from featx import datasets as datasets
    from featx import images as images
    from featx import metrics as metrics
    from featx import pitfalls as pitfalls
    from featx import plots as plots
    from featx import study as study
    from featx.backbones import Backbone as Backbone
    from featx.backbones import has_weights as has_weights
    from featx.backbones import list_backbones as list_backbones
    from featx.backbones import load_backbone as load_backbone
    from featx.errors import FeatxError as FeatxError
    from featx.extraction import extract as extract
    from featx.features import Features as Features
    from featx.features import load_features as load_features
    from featx.findings import Finding as Finding
    from featx.findings import Findings as Findings
    from featx.freezing import FreezeReport as FreezeReport
    from featx.freezing import assert_frozen as assert_frozen
    from featx.freezing import freeze as freeze
    from featx.freezing import freeze_report as freeze_report
    from featx.freezing import param_groups as param_groups
    from featx.freezing import unfreeze as unfreeze
    from featx.heads import remove_head as remove_head
    from featx.heads import replace_head as replace_head
    from featx.layers import feature_map as feature_map
    from featx.metrics import RegressionReport as RegressionReport
    from featx.metrics import Report as Report
    from featx.metrics import ThresholdChoice as ThresholdChoice
    from featx.metrics import choose_threshold as choose_threshold
    from featx.metrics import evaluate as evaluate
    from featx.metrics import evaluate_regression as evaluate_regression
    from featx.probes import FeatureExtractor as FeatureExtractor
    from featx.probes import KNNProbe as KNNProbe
    from featx.probes import LinearProbe as LinearProbe
    from featx.probes import few_label_accuracy as few_label_accuracy
    from featx.shape_checks import check_shape as check_shape
    from featx.shapes import ShapeTrace as ShapeTrace
    from featx.shapes import trace_shapes as trace_shapes
    from featx.stages import stage_names as stage_names

# public name -> the module that defines it
_HOME = {
    "Backbone": "backbones",
    "has_weights": "backbones",
    "list_backbones": "backbones",
    "load_backbone": "backbones",
    "FeatxError": "errors",
    "extract": "extraction",
    "Features": "features",
    "load_features": "features",
    "Finding": "findings",
    "Findings": "findings",
    "FreezeReport": "freezing",
    "assert_frozen": "freezing",
    "freeze": "freezing",
    "freeze_report": "freezing",
    "param_groups": "freezing",
    "unfreeze": "freezing",
    "remove_head": "heads",
    "replace_head": "heads",
    "feature_map": "layers",
    "RegressionReport": "metrics",
    "Report": "metrics",
    "ThresholdChoice": "metrics",
    "choose_threshold": "metrics",
    "evaluate": "metrics",
    "evaluate_regression": "metrics",
    "FeatureExtractor": "probes",
    "KNNProbe": "probes",
    "LinearProbe": "probes",
    "few_label_accuracy": "probes",
    "ShapeTrace": "shapes",
    "check_shape": "shape_checks",
    "trace_shapes": "shapes",
    "stage_names": "stages",
}
_SUBMODULES = ("datasets", "images", "metrics", "pitfalls", "plots", "study")

__all__ = ["__version__", *_HOME, *_SUBMODULES]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"featx.{_HOME[name]}"), name)
    if name in _SUBMODULES:
        return import_module(f"featx.{name}")
    raise AttributeError(f"module 'featx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
