"""Numbers with a verdict: what scikit-learn computes, and what it means.

Which values are good and which are bad is data: `THRESHOLDS`.
"""

from featx.metrics.classification import evaluate
from featx.metrics.ratings import THRESHOLDS, verdict_of
from featx.metrics.regression import evaluate_regression
from featx.metrics.reports import RegressionReport, Report
from featx.metrics.thresholds import ThresholdChoice, choose_threshold

__all__ = [
    "THRESHOLDS",
    "RegressionReport",
    "Report",
    "ThresholdChoice",
    "choose_threshold",
    "evaluate",
    "evaluate_regression",
    "verdict_of",
]
