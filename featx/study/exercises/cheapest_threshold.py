"""Exercise: the threshold on validation scores whose errors cost least."""

from __future__ import annotations

from typing import Any

import torch

from featx.study.exercises import Exercise
from featx.study.exercises._plain import number, shown
from featx.study.exercises._scores import best_cuts, near, scored_rows, total_cost
from featx.study.verdicts import Check, Verdict, weigh


def cheapest_threshold(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> float:
    """Return the threshold with the least total cost; `scores >= threshold` are called positive.

    `scores` and `labels` (1 is positive, 0 negative) are 1-D tensors of the validation rows.
    """
    ### BEGIN SOLUTION
    best, least = 0.0, float("inf")
    for threshold in scores.tolist():
        positive = scores >= threshold
        fp = (positive & (labels == 0)).sum().item()
        fn = (~positive & (labels == 1)).sum().item()
        cost = cost_fp * fp + cost_fn * fn
        if cost < least:
            best, least = threshold, cost
    return best
    ### END SOLUTION


def costs_swapped(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> float:
    costs = {}
    for threshold in scores.tolist():
        positive = scores >= threshold
        fp = (positive & (labels == 0)).sum().item()
        fn = (~positive & (labels == 1)).sum().item()
        costs[threshold] = cost_fn * fp + cost_fp * fn
    return min(costs, key=costs.__getitem__)


def best_accuracy(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> float:
    accuracies = {
        threshold: ((scores >= threshold).long() == labels).float().mean().item()
        for threshold in scores.tolist()
    }
    return max(accuracies, key=accuracies.__getitem__)


def always_half(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> float:
    return 0.5


def ratio_of_costs(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> float:
    return cost_fp / (cost_fp + cost_fn)


def cost_for_threshold(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> float:
    costs = []
    for threshold in scores.tolist():
        positive = scores >= threshold
        fp = (positive & (labels == 0)).sum().item()
        fn = (~positive & (labels == 1)).sum().item()
        costs.append(cost_fp * fp + cost_fn * fn)
    return min(costs)


def boundary_left_out(
    scores: torch.Tensor, labels: torch.Tensor, cost_fp: float, cost_fn: float
) -> float:
    costs = {}
    for threshold in scores.tolist():
        positive = scores > threshold
        fp = (positive & (labels == 0)).sum().item()
        fn = (~positive & (labels == 1)).sum().item()
        costs[threshold] = cost_fp * fp + cost_fn * fn
    return min(costs, key=costs.__getitem__)


def observe(function: Any, seed: int) -> dict[str, Any]:
    scores, labels, dear, cheap = _inputs(seed)
    returned = [
        function(scores.clone(), labels.clone(), *costs) for costs in ((cheap, dear), (dear, cheap))
    ]
    return {
        "shown": [shown(value) for value in returned],
        "miss_is_dear": number(returned[0]),
        "alarm_is_dear": number(returned[1]),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    scores, labels, dear, cheap = _inputs(seed)
    first, second = seen["miss_is_dear"], seen["alarm_is_dear"]

    def paid(cut: float | None, fp: float, fn: float) -> float:
        return float("inf") if cut is None else total_cost(scores, labels, cut, fp, fn)

    least, cuts = best_cuts(scores, labels, cheap, dear)
    least_second, _ = best_cuts(scores, labels, dear, cheap)
    right = paid(first, cheap, dear) <= least + 1e-9
    right_second = paid(second, dear, cheap) <= least_second + 1e-9
    both = right and right_second
    answers = int((scores >= first).sum()) if first is not None else 0
    below = [int((scores >= cut).sum()) + 1 for cut in cuts]
    what = (
        f"You returned {seen['shown'][0]} for `cost_fp={cheap:g}`, `cost_fn={dear:g}`: its errors "
        f"cost {paid(first, cheap, dear):g} together, the least is {least:g}."
    )
    swapped = (
        paid(first, dear, cheap) <= least_second + 1e-9
        and paid(second, cheap, dear) <= least + 1e-9
    )
    fewest, _ = best_cuts(scores, labels, 1, 1)
    equal = first == second and paid(first, 1, 1) <= fewest
    return weigh(
        [
            Check(
                first is not None,
                0,
                "not-a-number",
                f"You returned {seen['shown'][0]}. Expected one number, the threshold.",
            ),
            Check(
                both or not near(first, least),
                0,
                "cost-for-threshold",
                f"You returned {seen['shown'][0]}: this is the least *cost*. Expected the threshold that "
                "reaches it. Keep the threshold of the best cost, not only the cost.",
            ),
            Check(
                both or not swapped,
                0,
                "costs-the-wrong-way-round",
                f"{what} You gave the costs the wrong way round. A false positive (label 0, called "
                "positive) costs `cost_fp`; a miss (label 1, called negative) costs `cost_fn`.",
            ),
            Check(
                both or not (near(first, 0.5) and near(second, 0.5)),
                0,
                "half-is-neutral",
                f"{what} 0.5 knows nothing of what the errors cost. Try the scores as thresholds and "
                "compare the costs.",
            ),
            Check(
                both or not equal,
                0,
                "errors-cost-the-same",
                f"{what} This threshold makes the *fewest* errors, so all errors counted alike. Give each "
                "kind of error its own cost, then add.",
            ),
            Check(
                both or not near(first, cheap / (cheap + dear)),
                0,
                "ratio-of-costs",
                f"{what} `cost_fp / (cost_fp + cost_fn)` is right only when a score of 0.2 really means "
                "'positive in 20 % of cases'. Scores of a probe seldom do, so measure on the validation "
                "rows.",
            ),
            Check(
                both or not (not right and answers in below),
                0,
                "boundary-left-out",
                f"{what} One row too many is called positive. `scores >= threshold` is positive here, so "
                "the row *at* the threshold counts too; you left it out with `>`.",
            ),
            Check(
                right,
                2,
                "not-the-cheapest",
                f"{what} For each threshold count the false positives and the misses, and add "
                "`cost_fp * fp + cost_fn * fn`.",
                right="with dear misses the threshold is right",
            ),
            Check(
                right_second,
                2,
                "not-the-cheapest",
                f"You returned {seen['shown'][1]} for `cost_fp={dear:g}`, `cost_fn={cheap:g}`: its errors "
                f"cost {paid(second, dear, cheap):g} together, the least is {least_second:g}.",
                right="with dear false alarms the threshold is right",
            ),
        ],
        praise=f"When misses are dear, `{cuts[0]:.3f}` is cheapest, as in a medical test; when false "
        "alarms are dear, as in a spam filter, it is much higher. The scores are the same. Now use the "
        "threshold, unchanged, on the test rows.",
    )


def _inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """Draw scores for which every common wrong threshold costs more than the right one."""
    dear, cheap = 9.0 + seed % 4, 2.0
    for attempt in range(200):
        scores, labels = scored_rows(1000 * seed + attempt)
        settled = True
        for fp, fn in ((cheap, dear), (dear, cheap)):
            least, cuts = best_cuts(scores, labels, fp, fn)
            _, even = best_cuts(scores, labels, 1, 1)
            _, swapped = best_cuts(scores, labels, fn, fp)
            others = [0.5, 0.0, fp / (fp + fn), *even, *swapped]
            settled &= max(cuts) <= float(scores.max())
            settled &= all(total_cost(scores, labels, t, fp, fn) > least for t in others)
        if settled:
            return scores, labels, dear, cheap
    return (*scored_rows(seed), dear, cheap)


EXERCISE = Exercise(
    id="cheapest-threshold",
    lesson=8,
    title="The threshold that costs least",
    points=5,
    prompt="""
A missed illness costs more than a false alarm; in a spam filter it is the other way round. Write
`cheapest_threshold(scores, labels, cost_fp, cost_fn)`. `scores` and `labels` are 1-D tensors of the
validation rows; label 1 is positive, 0 is negative.

A row is called positive when `score >= threshold`. Each false positive costs `cost_fp`, each false
negative (a miss) costs `cost_fn`, and right answers cost nothing. Return a threshold with the least
total cost. If several are equally cheap, any of them is right.
""".strip(),
    hints=(
        "Nothing changes between two neighbouring scores, so it is enough to try each score.",
        "For one threshold: `positive = scores >= threshold`. How many of these have label 0? How many "
        "of the others have label 1?",
        "Keep two things in the loop: the least cost so far, and the threshold it came from.",
    ),
    reference=cheapest_threshold,
    mutants={
        "costs-the-wrong-way-round": costs_swapped,
        "errors-cost-the-same": best_accuracy,
        "half-is-neutral": always_half,
        "ratio-of-costs": ratio_of_costs,
        "cost-for-threshold": cost_for_threshold,
        "boundary-left-out": boundary_left_out,
    },
    visible_test="""
scores = torch.tensor([0.9, 0.8, 0.3, 0.2, 0.1])
labels = torch.tensor([1, 0, 1, 0, 0])
threshold = cheapest_threshold(scores, labels, 1.0, 10.0)
assert threshold is not None, "cheapest_threshold returned nothing yet"
assert 0.2 < threshold <= 0.3001, f"a miss costs 10, so both positives count; got {threshold}"
""".strip(),
    observer=observe,
    judger=judge,
)
