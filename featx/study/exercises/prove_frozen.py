"""Exercise: prove what stayed frozen, with the state dict before and after."""

from __future__ import annotations

from typing import Any

import torch

from featx.study.exercises import Exercise
from featx.study.verdicts import Check, Verdict, weigh

#: 2 ** -20, a step that is exact in float32 and smaller than the tolerance of allclose.
TINY = 2.0**-20


def moved_entries(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    """Return the names of the entries whose values differ, parameters and buffers alike."""
    ### BEGIN SOLUTION
    return [name for name in before if not torch.equal(before[name], after[name])]
    ### END SOLUTION


def buffers_ignored(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    names = [name for name in before if name.endswith((".weight", ".bias"))]
    return [name for name in names if not torch.equal(before[name], after[name])]


def compares_objects(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in before if before[name] is not after[name]]


def compares_sums(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in before if before[name].sum() != after[name].sum()]


def allclose_hides(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in before if not torch.allclose(before[name], after[name])]


def names_what_stayed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in before if torch.equal(before[name], after[name])]


def every_number_must_move(
    before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]
) -> list[str]:
    return [name for name in before if (before[name] != after[name]).all()]


def observe(function: Any, seed: int) -> dict[str, Any]:
    before, after, _ = _states(seed)
    seen = _call(function, before, after)
    same = {name: tensor.clone() for name, tensor in before.items()}
    still = _call(function, before, same)
    return {"moved": seen, "still": still}


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    before, _, changes = _states(seed)
    names = seen["moved"]["names"]
    still = seen["still"]["names"]
    listed = names is not None
    named = set(names or [])
    buffers = {name for name in before if _is_buffer(name)}
    expected = set(changes)
    parameters_right = bool(named) and named - buffers == expected - buffers
    buffers_right = bool(named) and named & buffers == expected & buffers
    stayed = set(before) - expected
    swapped = {name for name, how in changes.items() if how == "swapped"}
    tiny = {name for name, how in changes.items() if how == "tiny"}
    one = {name for name, how in changes.items() if how == "one"}
    lost = sorted(expected - named)
    extra = sorted(named - expected)
    return weigh(
        [
            Check(
                listed,
                0,
                "not-names",
                f"You returned a {seen['moved']['type']}. Expected a list of names, such as "
                "`['fc.weight', 'fc.bias']`; it may be empty.",
            ),
            Check(
                not named or named != stayed,
                0,
                "names-what-stayed",
                f"You named the {len(named)} entries that stayed as they were. The question is which "
                "entries *moved*: turn the condition round.",
            ),
            Check(
                not (named == set(before) or still),
                0,
                "compares-objects",
                "You named entries that hold the same numbers as before, even between two equal state "
                "dicts. Two tensors are two objects whatever they hold: compare their values, with "
                "`torch.equal`.",
            ),
            Check(
                not (named and parameters_right) or bool(named & buffers),
                0,
                "buffers-ignored",
                f"You named {len(named)} parameters and no buffer, but {len(expected & buffers)} buffers "
                "moved. BatchNorm's running statistics change without gradients, and a frozen backbone "
                "with other statistics gives other features. Look at every entry.",
            ),
            Check(
                not named or not one or bool(named & one),
                0,
                "every-number-must-move",
                f"You missed `{(sorted(one) or ['-'])[0]}`, in which one number moved. An entry is as "
                "it was only when *every* number is: one difference is enough.",
            ),
            Check(
                not named or not swapped or swapped <= named,
                0,
                "compares-sums",
                f"You missed `{(sorted(swapped - named) or ['-'])[0]}`: its numbers changed, its sum did "
                "not. One summary number cannot prove that nothing moved; compare number by number.",
            ),
            Check(
                not named or not tiny or tiny <= named,
                0,
                "allclose-hides-small-steps",
                f"You missed `{(sorted(tiny - named) or ['-'])[0]}`, which moved by about a millionth. "
                "`allclose` forgives that, and one step with a small learning rate is no larger. Frozen "
                "means equal: use `torch.equal`.",
            ),
            Check(
                parameters_right,
                2,
                "entries-missed",
                f"You named {len(named)} entries: {len(lost)} that moved are missing and {len(extra)} that "
                "did not move are there. Compare the two tensors of each name.",
                right="the parameters that moved are named",
            ),
            Check(
                buffers_right,
                2,
                "buffers-ignored",
                f"The buffers are not right yet: {len(set(lost) & buffers)} that moved are missing.",
                right="the buffers that moved are named",
            ),
            Check(
                parameters_right and buffers_right and still == [],
                1,
                "entries-missed",
                "Between two equal state dicts nothing moved. Expected an empty list there.",
                right="where nothing moved nothing is named",
            ),
        ],
        praise="This is a proof: names, values, buffers too. One trap is left for whoever calls it: "
        "`model.state_dict()` shares memory with the model, so clone the tensors of `before`.",
    )


def _call(function: Any, before: dict, after: dict) -> dict[str, Any]:
    returned = function(
        {name: tensor.clone() for name, tensor in before.items()},
        {name: tensor.clone() for name, tensor in after.items()},
    )
    names = None
    if isinstance(returned, list | tuple | set | frozenset) and all(
        isinstance(name, str) for name in returned
    ):
        names = sorted(set(returned))
    return {"type": type(returned).__name__, "names": names}


def _is_buffer(name: str) -> bool:
    return name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")


def _states(seed: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
    """Return before, after, and what was done to each entry that moved."""
    draw = torch.Generator().manual_seed(seed)
    before: dict[str, torch.Tensor] = {}
    for stage in ("stem", "layer1", "layer2", "layer3"):
        # Multiples of 1/64 from 0.5 on: sums are exact, and a tiny step is far below 1e-5 of each.
        before[f"{stage}.conv.weight"] = _exact((4, 3, 3, 3), draw)
        for name in ("weight", "bias", "running_mean", "running_var"):
            before[f"{stage}.bn.{name}"] = _exact((4,), draw)
        before[f"{stage}.bn.num_batches_tracked"] = torch.tensor(100 + seed)
    before |= {"fc.weight": _exact((5, 4), draw), "fc.bias": _exact((5,), draw)}
    after = {name: tensor.clone() for name, tensor in before.items()}
    order = torch.randperm(4, generator=draw).tolist()
    first, second, third, fourth = (("stem", "layer1", "layer2", "layer3")[i] for i in order)
    changes = {"fc.weight": "all", "fc.bias": "all", f"{third}.bn.num_batches_tracked": "all"}
    changes |= {f"{third}.bn.running_mean": "all", f"{third}.bn.running_var": "all"}
    changes |= {f"{first}.conv.weight": "swapped", f"{second}.conv.weight": "tiny"}
    changes |= {f"{fourth}.conv.weight": "one"}
    for name, how in changes.items():
        flat = after[name].view(-1)
        if how == "all":
            flat += 1
        elif how == "one":
            flat[seed % 50] += 1
        elif how == "tiny":
            flat[seed % 50] += TINY
        else:
            # Two different numbers change places: the sum is as it was.
            other = int((flat != flat[0]).nonzero()[seed % 5])
            flat[[0, other]] = flat[[other, 0]].clone()
    return before, after, changes


def _exact(shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    return torch.randint(32, 128, shape, generator=draw).float() / 64


EXERCISE = Exercise(
    id="prove-frozen",
    lesson=3,
    title="Prove what stayed frozen",
    points=4,
    prompt="""
You froze a backbone, trained, and now want proof. Write `moved_entries(before, after)`. Both are state dicts
with the same names, from before and after the training. Return the list of the names whose values differ:
parameters *and* buffers, however small the difference. The order does not matter; nothing moved gives an
empty list.
""".strip(),
    hints=(
        "A state dict has parameters and buffers. Go through all its names.",
        "Two tensors may hold the same numbers and be two objects. What compares their numbers?",
        "`torch.equal(a, b)` is True when every number is the same; `allclose` forgives small steps.",
    ),
    reference=moved_entries,
    mutants={
        "buffers-ignored": buffers_ignored,
        "compares-objects": compares_objects,
        "compares-sums": compares_sums,
        "allclose-hides-small-steps": allclose_hides,
        "names-what-stayed": names_what_stayed,
        "every-number-must-move": every_number_must_move,
    },
    visible_test="""
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
with torch.no_grad():
    model[0].bias += 1
moved = moved_entries(before, model.state_dict())
assert moved is not None, "moved_entries returned nothing yet"
assert list(moved) == ["0.bias"], f"only 0.bias moved, got {moved}"
""".strip(),
    observer=observe,
    judger=judge,
)
