"""Exercise: from a feature map to features, by global average pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from featx.study.exercises import Exercise
from featx.study.exercises._plain import numbers, shape_of, shown, was_changed
from featx.study.verdicts import Check, Verdict, weigh


def pool_feature_map(feature_map: torch.Tensor) -> torch.Tensor:
    """Return the features (N, C) of a feature map (N, C, H, W): the mean over all places."""
    ### BEGIN SOLUTION
    return feature_map.mean(dim=(2, 3))
    ### END SOLUTION


def flattens_the_map(feature_map: torch.Tensor) -> torch.Tensor:
    return feature_map.flatten(1)


def max_for_average(feature_map: torch.Tensor) -> torch.Tensor:
    return feature_map.amax(dim=(2, 3))


def not_flattened(feature_map: torch.Tensor) -> torch.Tensor:
    return nn.AdaptiveAvgPool2d(1)(feature_map)


def averages_channels(feature_map: torch.Tensor) -> torch.Tensor:
    return feature_map.mean(dim=1).flatten(1)


def squeeze_drops_batch(feature_map: torch.Tensor) -> torch.Tensor:
    return nn.functional.adaptive_avg_pool2d(feature_map, 1).squeeze()


def map_size_is_fixed(feature_map: torch.Tensor) -> torch.Tensor:
    return nn.functional.avg_pool2d(feature_map, kernel_size=7).flatten(1)


def observe(function: Any, seed: int) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, given in _inputs(seed).items():
        feature_map = given.clone()
        returned = function(feature_map)
        seen[name] = {
            "shown": shown(returned),
            "shape": shape_of(returned),
            "values": numbers(returned),
            "changed": was_changed(feature_map, given),
        }
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    inputs = _inputs(seed)
    n, c, h, w = inputs["square"].shape
    square, one = seen["square"], seen["one"]
    right = {name: _same(seen[name], given.mean((2, 3))) for name, given in inputs.items()}
    in_order = right["square"] or _same(square, inputs["square"].mean((2, 3), keepdim=True))
    shape = square["shape"]
    expected = f"Expected `({n}, {c})`: one row for each image, one number for each channel."
    return weigh(
        [
            Check(
                shape != [n, c * h * w],
                0,
                "flatten-for-pooling",
                f"You returned {square['shown']}: every place of the map became a feature of its own, "
                f"{c * h * w} numbers an image. {expected} Pooling takes the mean over the places; "
                "`flatten` keeps them all.",
            ),
            Check(
                shape != [n, c, 1, 1],
                0,
                "not-flattened",
                f"You returned {square['shown']}: pooled already, but two dimensions of size 1 are left, "
                "and a linear head cannot take them. Only `flatten(1)` is missing.",
            ),
            Check(
                shape not in ([n, h * w], [n, h, w]),
                0,
                "channels-averaged-away",
                f"You returned {square['shown']}: you took the mean over the channels. The channels "
                f"*are* the features; average over height and width. {expected}",
            ),
            Check(
                shape == [n, c],
                0,
                "not-features",
                f"For a map of the shape `({n}, {c}, {h}, {w})` you returned {square['shown']}. {expected}",
            ),
            Check(
                not _same(square, inputs["square"].amax((2, 3))),
                0,
                "max-for-average",
                "The shape is right, but these are the largest values of each channel, not the means. "
                "The head of a ResNet has learned from means; give it what it knows.",
            ),
            Check(
                not any(s["changed"] for s in seen.values()),
                0,
                "changes-its-input",
                "Your function wrote into the feature map that it was given. Leave it as it is and "
                "return a new tensor.",
            ),
            Check(
                in_order and not square["changed"],
                2,
                "wrong-pooling",
                "The shape is right and the numbers are not. Each feature is the mean of one channel of "
                "one image over all its places.",
                right="the numbers are means over the places",
            ),
            Check(
                right["square"] and right["wide"],
                1,
                "map-size-is-fixed",
                f"For a map of {h} x {w} the means are right; for a map of another size you returned "
                f"{seen['wide']['shown']} with other numbers. The size of the map grows with the image: "
                "take it from the tensor, do not write it down.",
            ),
            Check(
                right["square"] and right["one"],
                1,
                "squeeze-drops-batch",
                f"For a batch of one image you returned {one['shown']}, expected `(1, {c})`. `squeeze()` "
                "removes every dimension of size 1, the batch too. Use `flatten(1)`, or name the "
                "dimensions.",
            ),
        ],
        praise=f"`({n}, {c}, {h}, {w})` became `({n}, {c})`: the mean over height and width, for any size "
        "of the map and for a batch of one. A bigger image gives a bigger map, but as many features.",
    )


def _same(seen: dict[str, Any], expected: torch.Tensor) -> bool:
    if seen["shape"] != list(expected.shape) or seen["values"] is None:
        return False
    values = torch.tensor(seen["values"], dtype=torch.float32)
    return torch.allclose(values, expected, rtol=1e-4, atol=1e-5)


def _inputs(seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    n, c = 3 + seed % 2, 5 + seed % 4

    def draw_map(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).relu()

    return {
        "square": draw_map(n, c, 7, 7),
        "wide": draw_map(n, c, 9 + seed % 2, 12),
        "one": draw_map(1, c, 7, 7),
    }


EXERCISE = Exercise(
    id="pool-feature-map",
    lesson=4,
    title="Pool a feature map into features",
    points=4,
    prompt="""
Write `pool_feature_map(feature_map)`. The last stage of a backbone gives a feature map `(N, C, H, W)`: for
each of `N` images `C` channels, each with a value at `H` times `W` places. Return the features `(N, C)`: for
each image and channel the **mean** over all places. This is *global average pooling*.

It must work for maps of any height and width and for a batch of a single image. Do not change the map.
""".strip(),
    hints=(
        "Which dimensions say *where* in the image? They are the ones that have to go.",
        "`mean` takes several dimensions at once, counted from 0.",
        "`nn.AdaptiveAvgPool2d(1)` works too, but leaves `(N, C, 1, 1)`. What does `squeeze()` do if N is 1?",
    ),
    reference=pool_feature_map,
    mutants={
        "flatten-for-pooling": flattens_the_map,
        "max-for-average": max_for_average,
        "not-flattened": not_flattened,
        "channels-averaged-away": averages_channels,
        "squeeze-drops-batch": squeeze_drops_batch,
        "map-size-is-fixed": map_size_is_fixed,
    },
    visible_test="""
features = pool_feature_map(torch.ones(2, 3, 7, 7) * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
assert isinstance(features, torch.Tensor), "pool_feature_map returned no tensor yet"
assert features.shape == (2, 3), f"expected the shape (2, 3), got {tuple(features.shape)}"
assert torch.allclose(features[0], torch.tensor([1.0, 2.0, 3.0])), f"got {features[0]}"
""".strip(),
    observer=observe,
    judger=judge,
)
