"""What spoils results in silence: leaks, overfitting, imbalance, wrong preprocessing; each a check.

A check returns `featx.Findings`, and prints nothing. The limits that can be moved are data: `THRESHOLDS`.
"""

from featx.pitfalls.classes import check_imbalance
from featx.pitfalls.fits import check_fit
from featx.pitfalls.leaks import LeakComparison, compare_leak
from featx.pitfalls.limits import THRESHOLDS
from featx.pitfalls.preprocessing import check_preprocessing
from featx.pitfalls.splits import check_split

__all__ = [
    "THRESHOLDS",
    "LeakComparison",
    "check_fit",
    "check_imbalance",
    "check_preprocessing",
    "check_split",
    "compare_leak",
]
