"""What the checks count as too much: the limits that can be moved, as data."""

from __future__ import annotations

__all__ = ["THRESHOLDS"]

#: What the checks count as too much. Override with ``check_split(..., thresholds={...})`` and so on.
THRESHOLDS: dict[str, float] = {
    # check_split
    "same_features": 1e-5,  # relative: float32 in another batch differs by about 1e-6
    "false_alarms": 0.003,  # part of the test rows that chance may flag; see featx.pitfalls.duplicates
    "false_alarms_features": 0.001,  # the same for the search by features
    "calibration_rows": 2000,  # training rows looked at for the threshold
    # check_fit
    "gap": 0.10,  # training accuracy above validation's by more: overfitting
    "loss_ratio": 2.0,  # validation loss above so many times the training loss, and
    "loss_gap": 0.10,  # by more than this: overfitting
    "low_accuracy": 0.60,  # training accuracy below, when nobody says what guessing scores
    "margin": 0.10,  # no more than this above guessing: underfitting
    "drop": 0.02,  # accuracy lost since the best epoch
    "rise": 0.10,  # loss gained since the best epoch, as a part of the best
    "ahead": 0.03,  # validation accuracy above training's
    "loss_ahead": 0.10,  # validation loss below training's, as a part of that
    "fall": 0.02,  # a loss that fell by less than this part has not fallen
    "noise": 3.0,  # so many times the noise between epochs is no noise
    # check_imbalance
    "ratio": 3.0,  # rows of the largest class over those of the smallest
    "rare": 10,  # rows: a share measured on 10 has a standard error of up to 0.16
    # check_preprocessing
    "beyond": 0.04,  # outside the range by more than this part of it: not from rounding or resizing
    "bright": 1.0,  # the batch's mean is above; inverted ink has 1.1
    "dark": -1.6,  # or below; all black is -2 for photographs
    "std_low": 0.15,  # its standard deviation is below
    "std_high": 2.0,  # or above
    "blue_above_red": 0.10,  # mean of blue above red's, pixels of 0-1
}
