"""Exercise: test images that are in the training set too, mirrored ones included."""

from __future__ import annotations

from typing import Any

import torch

from featx.study.exercises import Exercise
from featx.study.exercises._plain import shown
from featx.study.exercises._splits import row_numbers
from featx.study.verdicts import Check, Verdict, weigh

SIZE = 10


def copies_across_split(train: torch.Tensor, test: torch.Tensor) -> list[int]:
    """Return the indexes of the test images that are in `train` too, as they are or mirrored.

    Both are uint8 tensors of the shape (number of images, 3, height, width).
    """
    ### BEGIN SOLUTION
    both = torch.cat([train, train.flip(-1)])
    return [i for i, image in enumerate(test) if (both == image).flatten(1).all(dim=1).any()]
    ### END SOLUTION


def mirrored_missed(train: torch.Tensor, test: torch.Tensor) -> list[int]:
    return [i for i, image in enumerate(test) if any(torch.equal(image, t) for t in train)]


def compares_means(train: torch.Tensor, test: torch.Tensor) -> list[int]:
    means = train.float().mean(dim=(1, 2, 3))
    return [i for i, image in enumerate(test) if (means - image.float().mean()).abs().min() < 1e-3]


def same_place_only(train: torch.Tensor, test: torch.Tensor) -> list[int]:
    pairs = enumerate(zip(train, test, strict=False))
    return [i for i, (a, b) in pairs if torch.equal(a, b) or torch.equal(a.flip(-1), b)]


def names_train_rows(train: torch.Tensor, test: torch.Tensor) -> list[int]:
    both = torch.cat([test, test.flip(-1)])
    return [i for i, image in enumerate(train) if (both == image).flatten(1).all(dim=1).any()]


def tolerance_too_wide(train: torch.Tensor, test: torch.Tensor) -> list[int]:
    both = torch.cat([train, train.flip(-1)]).float() / 255
    return [
        i
        for i, image in enumerate(test.float() / 255)
        if any(torch.allclose(image, t, atol=0.05) for t in both)
    ]


def upside_down(train: torch.Tensor, test: torch.Tensor) -> list[int]:
    both = torch.cat([train, train.flip(-2)])
    return [i for i, image in enumerate(test) if (both == image).flatten(1).all(dim=1).any()]


def observe(function: Any, seed: int) -> dict[str, Any]:
    train, test, _ = _images(seed)
    seen = {"split": _call(function, train, test)}
    seen["clean"] = _call(function, train, test[sorted(_strangers(seed))])
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    train, test, kinds = _images(seed)
    named = seen["split"]["indexes"]
    found = set(named or [])
    of = {kind: {i for i, k in kinds.items() if k == kind} for kind in set(kinds.values())}
    exact, mirrored = of["exact"], of["mirrored"]
    expected = exact | mirrored
    extra = found - expected
    honest = bool(found) and not (found & _strangers(seed)) and max(found) < len(test)
    what = f"You named {len(found)} of {len(test)} test images"
    place = {i for i in expected if _same(train[i], test[i])}
    rows = {
        j for j, image in enumerate(train) if any(_same(image, test[i]) for i in range(len(test)))
    }
    return weigh(
        [
            Check(
                named is not None,
                0,
                "not-indexes",
                f"You returned {seen['split']['shown']}. Expected a list of whole numbers, the indexes of "
                "test images, such as `[0, 4]`; it may be empty.",
            ),
            Check(
                found == expected or found != rows,
                0,
                "names-train-rows",
                f"You named {len(found)} *training* images that have a copy in the test set. The test images "
                "are to be named, so that they can be left out of the score: let the index run over "
                "`test`.",
            ),
            Check(
                not (found & of["stranger"]),
                0,
                "one-equal-pixel-is-enough",
                f"{what}, among them images that look like no training image. *Every* pixel has to be "
                "equal, `.all()`; `.any()`, and `image in train` too, ask for one equal pixel.",
            ),
            Check(
                not (found & of["shuffled"]),
                0,
                "same-mean-same-image",
                f"{what}, among them images whose pixels have the same mean as a training image, but "
                "stand elsewhere. One summary number says little: compare pixel by pixel.",
            ),
            Check(
                not (found & of["near"]),
                0,
                "tolerance-too-wide",
                f"{what}, among them some that differ from a training image in a few pixels. A copy is "
                "equal in every pixel here; uint8 numbers are exact, so no tolerance is needed.",
            ),
            Check(
                not (found & of["upside_down"]),
                0,
                "turned-upside-down",
                f"{what}, among them images that stand on their head. Mirrored means left and right "
                "change places: of (3, height, width) that is the *last* dimension.",
            ),
            Check(
                found == expected or not found or found != place,
                0,
                "same-place-only",
                f"{what}, only those whose copy stands at the same index in `train`. The two sets are in "
                "orders of their own: compare each test image with *all* training images.",
            ),
            Check(
                not (exact and found == exact),
                0,
                "only-exact-copies-leak",
                f"{what}, all exact copies and no mirrored one; {len(mirrored)} are missing. Who augments "
                "with flips has trained on the mirrored image too, so it leaks as well.",
            ),
            Check(
                honest and found & exact == exact,
                2,
                "copies-missed",
                f"{what}; {len(exact - found)} of {len(exact)} exact copies are missing, {len(extra)} "
                "named ones are no copies.",
                right="the exact copies are found",
            ),
            Check(
                honest and found & mirrored == mirrored,
                2,
                "only-exact-copies-leak",
                f"{what}; {len(mirrored - found)} of {len(mirrored)} mirrored copies are missing. Mirror "
                "the images of one set, left and right, and compare once more.",
                right="the mirrored copies are found",
            ),
            Check(
                honest and bool(found & expected) and not extra,
                2,
                "no-copies-named",
                f"{what}; {len(extra)} of them are no copies. Every pixel has to be equal.",
                right="nothing else is named",
            ),
            Check(
                found == expected and len(named or []) == len(found),
                1,
                "named-twice",
                "You named some test image more than once: it may have two copies in `train`, but it is "
                "one test image. Name each once.",
            ),
            Check(
                found == expected and seen["clean"]["indexes"] == [],
                1,
                "no-copies-named",
                f"Where no test image has a copy you returned {seen['clean']['shown']}. Expected an "
                "empty list.",
            ),
        ],
        praise=f"{len(expected)} of {len(test)} test images had been trained on. Leave them out and measure "
        "again. Copies that were cropped, resized or saved as JPEG anew are not equal in every pixel: find "
        "these by the distance of their features.",
    )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one, other) or torch.equal(one.flip(-1), other)


def _call(function: Any, train: torch.Tensor, test: torch.Tensor) -> dict[str, Any]:
    returned = function(train.clone(), test.clone())
    rows = row_numbers(returned)
    below = rows is not None and min(rows, default=0) < 0
    return {"shown": shown(returned), "indexes": None if below else rows}


def _strangers(seed: int) -> set[int]:
    return {i for i, kind in _images(seed)[2].items() if kind == "stranger"}


def _images(seed: int) -> tuple[torch.Tensor, torch.Tensor, dict[int, str]]:
    """Return the training images, the test images, and of which kind each test image is."""
    draw = torch.Generator().manual_seed(seed)
    train = torch.randint(0, 256, (17 + seed % 4, 3, SIZE, SIZE), generator=draw, dtype=torch.uint8)
    kinds = ["exact"] * (3 + seed % 2) + ["mirrored"] * 3 + ["near", "near", "shuffled"]
    kinds += ["shuffled", "upside_down", "upside_down"] + ["stranger"] * 2
    order = torch.randperm(len(kinds), generator=draw).tolist()
    kinds = [kinds[i] for i in order]
    # no copy in its own place but one, and a training set that has one of its images twice
    sources = [(i + 2 + seed % 3) % (len(train) - 1) for i in range(len(kinds))]
    same = kinds.index("exact")
    if same in sources:
        sources[sources.index(same)] = sources[same]
    sources[same] = same
    images = []
    for kind, source in zip(kinds, sources, strict=True):
        image = train[source].clone()
        if kind == "mirrored":
            image = image.flip(-1)
        elif kind == "upside_down":
            image = image.flip(-2)
        elif kind == "shuffled":
            image = image.roll((2, 3), (-2, -1))
        elif kind == "near":
            image[0, :2, :2] = image[0, :2, :2] ^ 3
        elif kind == "stranger":
            image = torch.randint(0, 256, image.shape, generator=draw, dtype=torch.uint8)
        images.append(image.contiguous())
    train[-1] = train[sources[kinds.index("exact")]]
    return train, torch.stack(images), dict(enumerate(kinds))


EXERCISE = Exercise(
    id="copies-across-split",
    lesson=9,
    title="Test images that were trained on",
    points=4,
    prompt="""
Folders of images collected from the web hold copies, and a random split puts some of them on both sides. Write
`copies_across_split(train, test)`. Both are uint8 tensors of the shape `(number of images, 3, height,
width)`; the two numbers of images may differ.

Return a list with the index of each test image that is in `train` too, at any place: equal in *every* pixel,
either as it is or mirrored (left and right change places). Name each index once; the order does not matter.
Without copies the list is empty.
""".strip(),
    hints=(
        "Take one test image. How do you compare it with *all* training images?",
        "`torch.equal(a, b)` is True when every pixel is the same.",
        "`image.flip(-1)` mirrors an image: width is the last dimension. What else has to be compared?",
    ),
    reference=copies_across_split,
    mutants={
        "only-exact-copies-leak": mirrored_missed,
        "same-mean-same-image": compares_means,
        "same-place-only": same_place_only,
        "names-train-rows": names_train_rows,
        "tolerance-too-wide": tolerance_too_wide,
        "turned-upside-down": upside_down,
    },
    visible_test="""
train = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).reshape(2, 3, 2, 2)
test = torch.stack([train[1], train[0] + 100])
copies = copies_across_split(train, test)
assert copies is not None, "copies_across_split returned nothing yet"
assert list(copies) == [0], f"test image 0 is training image 1, got {copies}"
""".strip(),
    observer=observe,
    judger=judge,
)
