"""Exercise: MSE, MAE and R² of a regression head whose output has a column too many."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn import metrics
from torch import nn

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number, shown
from featx.study.exercises._scores import near
from featx.study.verdicts import Check, Verdict, weigh

NAMES = ("mse", "mae", "r2")


def regression_report(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    """Return {"mse": ..., "mae": ..., "r2": ...}, three plain numbers.

    `targets` has the shape (N,). `predictions` is the output of `nn.Linear(D, 1)`: (N, 1).
    """
    ### BEGIN SOLUTION
    errors = predictions.reshape(-1) - targets
    mse = errors.square().mean()
    of_the_mean = (targets - targets.mean()).square().mean()
    r2 = 1 - mse / of_the_mean
    return {"mse": mse.item(), "mae": errors.abs().mean().item(), "r2": r2.item()}
    ### END SOLUTION


def broadcasts(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    mse = nn.functional.mse_loss(predictions, targets)
    mae = nn.functional.l1_loss(predictions, targets)
    r2 = 1 - mse / targets.var(correction=0)
    return {"mse": mse.item(), "mae": mae.item(), "r2": r2.item()}


def swaps_r2(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    predicted, true = predictions.flatten().numpy(), targets.numpy()
    return {
        "mse": mean_squared_error(predicted, true),
        "mae": mean_absolute_error(predicted, true),
        "r2": r2_score(predicted, true),
    }


def squares_correlation(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    predictions = predictions.squeeze(1)
    errors = predictions - targets
    r = torch.corrcoef(torch.stack([targets, predictions]))[0, 1]
    mse, mae = errors.square().mean().item(), errors.abs().mean().item()
    return {"mse": mse, "mae": mae, "r2": (r**2).item()}


def takes_the_root(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    errors = predictions.squeeze(1) - targets
    mse = errors.square().mean()
    r2 = 1 - mse / targets.var(correction=0)
    return {"mse": mse.sqrt().item(), "mae": errors.abs().mean().item(), "r2": r2.item()}


def keeps_the_sign(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    errors = predictions.squeeze(1) - targets
    mse = errors.square().mean()
    r2 = 1 - mse / targets.var(correction=0)
    return {"mse": mse.item(), "mae": errors.mean().item(), "r2": r2.item()}


def unbiased_variance(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    errors = predictions.squeeze(1) - targets
    mse = errors.square().mean()
    r2 = 1 - mse / targets.var()
    return {"mse": mse.item(), "mae": errors.abs().mean().item(), "r2": r2.item()}


def observe(function: Any, seed: int) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, (targets, predictions) in _inputs(seed).items():
        returned = function(targets.clone(), predictions.clone())
        is_dict = isinstance(returned, dict)
        seen[name] = {
            "what": shown(returned),
            "keys": [str(key) for key in returned][:8] if is_dict else None,
            "values": {key: number(returned.get(key)) if is_dict else None for key in NAMES},
            "shown": {key: shown(returned.get(key)) if is_dict else "" for key in NAMES},
        }
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    cases = _inputs(seed)
    targets, predictions = cases["usual"]
    usual, far = seen["usual"], seen["far"]
    got, said = usual["values"], usual["shown"]
    expected, expected_far = _expected(*cases["usual"]), _expected(*cases["far"])
    right = {key: near(got[key], expected[key]) for key in NAMES}
    right_far = all(near(far["values"][key], expected_far[key]) for key in NAMES)
    complete = all(got[key] is not None for key in NAMES)

    crossed = predictions.double() - targets.double()
    pairs = float(crossed.square().mean())
    var = float(targets.double().var(correction=0))
    flat = predictions.flatten().double().numpy()
    wrong_r2 = {
        "crossed": (1 - pairs / var, 1 - len(targets) * pairs / var),
        "swapped": (float(metrics.r2_score(flat, targets.numpy())),),
        "square": (float(np.corrcoef(flat, targets.numpy())[0, 1] ** 2),),
        "unbiased": (1 - expected["mse"] / float(targets.double().var()),),
    }
    signed = float((flat - targets.double().numpy()).mean())

    def is_not(key: str, *values: float) -> bool:
        return right[key] or not any(near(got[key], value) for value in values)

    missing = [f"`{key}`" for key in NAMES if got[key] is None]
    if usual["keys"] is None:
        what = f"You returned {usual['what']}."
    else:
        what = f"No finite number is under {' and '.join(missing)} in what you returned."
    n = len(targets)
    return weigh(
        [
            Check(
                complete,
                0,
                "not-a-report",
                f"{what} Expected a dict with three single numbers, "
                '`{"mse": ..., "mae": ..., "r2": ...}`.',
            ),
            Check(
                is_not("mse", pairs)
                and is_not("mae", float(crossed.abs().mean()))
                and is_not("r2", *wrong_r2["crossed"]),
                0,
                "broadcasts-column",
                f"Your `mse` is {said['mse']}, your `r2` {said['r2']}; expected "
                f"`{expected['mse']:.4g}` and `{expected['r2']:.4g}`. `(N, 1)` minus `(N,)` is "
                f"`(N, N)`: each prediction was compared with all {n} targets. PyTorch raises no "
                "error, and `mse_loss` only warns. Give both the same shape first.",
            ),
            Check(
                is_not("mse", expected["mse"] ** 0.5),
                0,
                "root-for-mse",
                f"Your `mse` is {said['mse']}, the root of `{expected['mse']:.4g}`. That is the RMSE. "
                "It has the unit of the targets and is good to read, but the MSE is the mean of the "
                "squares, without the root.",
            ),
            Check(
                is_not("mae", signed, -signed, abs(signed)),
                0,
                "errors-cancel",
                f"Your `mae` is {said['mae']}, expected `{expected['mae']:.4g}`. Errors above and below "
                "the target cancelled each other. Take `abs()` of each error first, then the mean.",
            ),
            Check(
                is_not("r2", *wrong_r2["swapped"]),
                0,
                "r2-arguments-swapped",
                f"Your `r2` is {said['r2']}, expected `{expected['r2']:.4g}`: targets and predictions "
                "changed places. MSE and MAE do not notice that, but R² divides by the spread of the "
                "*targets*. scikit-learn wants them first: `r2_score(targets, predictions)`.",
            ),
            Check(
                is_not("r2", *wrong_r2["square"]),
                0,
                "r2-is-a-square",
                f"Your `r2` is {said['r2']}, the squared correlation; expected `{expected['r2']:.4g}`. "
                "A correlation stays high when all predictions are 30 too large. R² is 1 minus the MSE "
                "over the MSE of always predicting the mean, and it can be below 0.",
            ),
            Check(
                is_not("r2", *wrong_r2["unbiased"]),
                0,
                "variance-divides-by-n-minus-1",
                f"Your `r2` is {said['r2']}, expected `{expected['r2']:.4g}`. `torch.var` divides by "
                "`N - 1`, and your MSE by `N`. Use `correction=0`, or two sums in place of two means.",
            ),
            Check(
                right["mse"],
                1,
                "wrong-mse",
                f"Your `mse` is {said['mse']}, expected `{expected['mse']:.4g}`: the mean of the {n} "
                "squared errors.",
                right="the MSE",
            ),
            Check(
                right["mae"],
                1,
                "wrong-mae",
                f"Your `mae` is {said['mae']}, expected `{expected['mae']:.4g}`: the mean of the {n} "
                "errors, each without its sign.",
                right="the MAE",
            ),
            Check(
                right["r2"],
                2,
                "wrong-r2",
                f"Your `r2` is {said['r2']}, expected `{expected['r2']:.4g}`: 1 minus the MSE over the "
                "MSE of always predicting the mean of the targets.",
                right="R²",
            ),
            Check(
                right_far,
                1,
                "r2-cut-at-zero",
                "For predictions that are all too high the report is not right: "
                + ", ".join(f"`{key}` {far['shown'][key]}" for key in NAMES)
                + f"; expected R² `{expected_far['r2']:.4g}`. A probe worse than the mean has R² below "
                "0, and the report must say so.",
                right="a probe worse than the mean",
            ),
        ],
        praise=f"All three are right. In the second test all predictions were too high: R² is "
        f"`{expected_far['r2']:.2g}`, although the order of the targets was found well. One number "
        "alone would have hidden that.",
    )


def _expected(targets: torch.Tensor, predictions: torch.Tensor) -> dict[str, float]:
    true, predicted = targets.double().numpy(), predictions.flatten().double().numpy()
    return {
        "mse": float(metrics.mean_squared_error(true, predicted)),
        "mae": float(metrics.mean_absolute_error(true, predicted)),
        "r2": float(metrics.r2_score(true, predicted)),
    }


def _inputs(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Ages of trees: predictions drawn towards the mean and a little too high, then far too high."""
    draw = np.random.default_rng(seed)
    n = 26 + seed % 7
    targets = draw.uniform(5, 60, n)
    usual = 0.7 * targets + 13 + draw.normal(0, 6, n)
    far = targets + 40 + draw.normal(0, 4, n)

    def column(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).unsqueeze(1)

    ages = torch.tensor(targets, dtype=torch.float32)
    return {"usual": (ages, column(usual)), "far": (ages, column(far))}


EXERCISE = Exercise(
    id="regression-report",
    lesson=6,
    title="MSE, MAE and R² of a regression head",
    points=4,
    prompt="""
A head `nn.Linear(D, 1)` on frozen features predicts the age of a tree. Its output has the shape `(N, 1)`; the
targets have the shape `(N,)`. Write `regression_report(targets, predictions)` and return a dict of three
plain numbers:

* `"mse"`, the mean squared error;
* `"mae"`, the mean absolute error;
* `"r2"`, which is 1 minus the MSE over the MSE of always predicting the mean of the targets.

The targets are float32 and not all the same. R² may be below 0.
""".strip(),
    hints=(
        "Look at shapes first: what is `(predictions - targets).shape`? Expected is `(N,)`.",
        "`errors = predictions.reshape(-1) - targets` is one error for each row. MSE and MAE are means "
        "of its squares and of its absolute values.",
        "Always predicting the mean has the MSE `(targets - targets.mean()).square().mean()`. Divide "
        "by that. `.item()` makes plain numbers.",
    ),
    reference=regression_report,
    mutants={
        "broadcasts-column": broadcasts,
        "r2-arguments-swapped": swaps_r2,
        "r2-is-a-square": squares_correlation,
        "root-for-mse": takes_the_root,
        "errors-cancel": keeps_the_sign,
        "variance-divides-by-n-minus-1": unbiased_variance,
    },
    visible_test="""
targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
predictions = torch.tensor([[1.0], [2.0], [3.0], [6.0]])
report = regression_report(targets, predictions)
assert report is not None, "regression_report returned nothing yet"
assert set(report) == {"mse", "mae", "r2"}, f"expected mse, mae and r2, got {sorted(report)}"
assert abs(report["mse"] - 1.0) < 1e-5, f"one error of 2 in 4 rows: MSE 1.0, got {report['mse']}"
assert abs(report["mae"] - 0.5) < 1e-5, f"one error of 2 in 4 rows: MAE 0.5, got {report['mae']}"
assert abs(report["r2"] - 0.2) < 1e-5, f"expected R2 0.2, got {report['r2']}"
""".strip(),
    observer=observe,
    judger=judge,
)
