"""Exercise: labels from the nearest training features, with cosine similarity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from featx.study.exercises import Exercise
from featx.study.exercises._plain import numbers, shape_of, shown, was_changed
from featx.study.verdicts import Check, Verdict, weigh

NUM_TRAIN, NUM_QUERIES, NUM_FEATURES = 80, 36, 12


def knn_predict(
    train_features: torch.Tensor, train_labels: torch.Tensor, queries: torch.Tensor, k: int
) -> torch.Tensor:
    """Return for each query (M, D) the label that most of its k nearest training features have.

    Nearest are the rows of `train_features` (N, D) with the greatest cosine similarity.
    """
    ### BEGIN SOLUTION
    known = nn.functional.normalize(train_features, dim=1)
    similarity = nn.functional.normalize(queries, dim=1) @ known.T
    nearest = similarity.topk(k, dim=1).indices
    return train_labels[nearest].mode(dim=1).values
    ### END SOLUTION


def euclid_for_cosine(
    train_features: torch.Tensor, train_labels: torch.Tensor, queries: torch.Tensor, k: int
) -> torch.Tensor:
    nearest = torch.cdist(queries, train_features).topk(k, dim=1, largest=False).indices
    return train_labels[nearest].mode(dim=1).values


def dot_for_cosine(
    train_features: torch.Tensor, train_labels: torch.Tensor, queries: torch.Tensor, k: int
) -> torch.Tensor:
    nearest = (queries @ train_features.T).topk(k, dim=1).indices
    return train_labels[nearest].mode(dim=1).values


def farthest_for_nearest(
    train_features: torch.Tensor, train_labels: torch.Tensor, queries: torch.Tensor, k: int
) -> torch.Tensor:
    known = nn.functional.normalize(train_features, dim=1)
    distance = 1 - nn.functional.normalize(queries, dim=1) @ known.T
    return train_labels[distance.topk(k, dim=1).indices].mode(dim=1).values


def rows_for_labels(
    train_features: torch.Tensor, train_labels: torch.Tensor, queries: torch.Tensor, k: int
) -> torch.Tensor:
    known = nn.functional.normalize(train_features, dim=1)
    similarity = nn.functional.normalize(queries, dim=1) @ known.T
    return similarity.topk(k, dim=1).indices.mode(dim=1).values


def averages_labels(
    train_features: torch.Tensor, train_labels: torch.Tensor, queries: torch.Tensor, k: int
) -> torch.Tensor:
    known = nn.functional.normalize(train_features, dim=1)
    similarity = nn.functional.normalize(queries, dim=1) @ known.T
    votes = train_labels[similarity.topk(k, dim=1).indices]
    return votes.float().mean(dim=1).round().long()


def first_neighbour_only(
    train_features: torch.Tensor, train_labels: torch.Tensor, queries: torch.Tensor, k: int
) -> torch.Tensor:
    known = nn.functional.normalize(train_features, dim=1)
    similarity = nn.functional.normalize(queries, dim=1) @ known.T
    return train_labels[similarity.topk(k, dim=1).indices[:, 0]]


def observe(function: Any, seed: int) -> dict[str, Any]:
    given = _inputs(seed)
    features, labels, queries = (tensor.clone() for tensor in given[:3])
    returned = function(features, labels, queries, given[3])
    changed = [
        was_changed(now, old)
        for now, old in zip((features, labels, queries), given[:3], strict=True)
    ]
    return {
        "shown": shown(returned),
        "shape": shape_of(returned),
        "values": numbers(returned) if shape_of(returned) == [NUM_QUERIES] else None,
        "changed": any(changed),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    features, labels, queries, k = _inputs(seed)
    answers = _answers(features, labels, queries, k)
    shape, m = seen["shape"], NUM_QUERIES
    values = None if seen["values"] is None else np.array(seen["values"])
    given = [
        name
        for name, answer in answers.items()
        if values is not None and np.allclose(values, answer, atol=1e-3)
    ]
    right = "right" in given
    share = 0.0 if values is None else float(np.mean(values == answers["right"]))
    strange = [] if values is None else [v for v in values.tolist() if v not in labels.tolist()]
    averaged = bool({"averages-labels", "averages-unrounded"} & set(given))
    voted = right or bool({"euclid", "dot", "farthest"} & set(given))
    neighbours = right or averaged or "first" in given
    whole = f"{share:.0%} of your labels are right"
    return weigh(
        [
            Check(
                shape != [m, k],
                0,
                "neighbours-do-not-vote",
                f"You returned {seen['shown']}: {k} numbers for each query. Expected one label for each: "
                "the one that most of the neighbours have. `mode(dim=1)` finds it.",
            ),
            Check(
                values is not None,
                0,
                "not-one-label-each",
                f"You returned {seen['shown']}. Expected `({m},)`: one label for each of {m} queries.",
            ),
            Check(
                right or not averaged,
                0,
                "averages-labels",
                "You averaged the labels of the neighbours. Labels are names of classes: two neighbours of class 2 "
                "and one of class 8 do not make class 4. Let them vote: the most frequent label wins.",
            ),
            Check(
                right or not strange,
                0,
                "rows-for-labels",
                f"{len(strange)} of {m} answers are no label at all, such as `{(strange or [0])[0]:g}`. `topk` "
                "and `argsort` give *positions* in the training set. Look the labels up there: "
                "`train_labels[nearest]`.",
            ),
            Check(
                right or "farthest" not in given,
                0,
                "farthest-for-nearest",
                f"{whole}: your neighbours are the *least* alike. `topk` takes the largest values. That is right "
                "for a similarity; for a distance it needs `largest=False`.",
            ),
            Check(
                right or "euclid" not in given,
                0,
                "euclid-for-cosine",
                f"{whole}: you took the Euclidean distance of the features as they are, in which the length "
                "of a row counts. Cosine similarity compares directions: scale each row to length 1 first.",
            ),
            Check(
                right or "dot" not in given,
                0,
                "dot-for-cosine",
                f"{whole}: you took the dot product of the features as they are, so long training rows are near "
                "to everything. Cosine similarity is the dot product of rows of length 1: "
                "`nn.functional.normalize(..., dim=1)`.",
            ),
            Check(
                right or "columns" not in given,
                0,
                "normalises-columns",
                f"{whole}: you scaled each *feature* to length 1, over all images. Cosine similarity needs each "
                "row, that is each image, of length 1: `dim=1`.",
            ),
            Check(
                right or "first" not in given,
                0,
                "first-neighbour-only",
                f"{whole}: only the nearest neighbour decided, and the other {k - 1} had no vote. One wrong label "
                "or odd image then decides alone. Take the most frequent label among all `k`.",
            ),
            Check(
                neighbours,
                1,
                "wrong-neighbours",
                f"{whole}. Expected the label that most of the {k} rows with the greatest cosine similarity have. "
                "Compute the similarities `(M, N)`, take the `k` greatest of each row, look up their labels.",
                right="the neighbours are the right ones",
            ),
            Check(
                voted,
                1,
                "neighbours-do-not-vote",
                "The most frequent label of the neighbours must win.",
                right="the neighbours vote",
            ),
            Check(
                right,
                1,
                "wrong-labels",
                f"{whole}.",
                right="the labels are right",
            ),
            Check(
                right and not seen["changed"],
                1,
                "changes-its-input",
                "The labels are right, but you changed the given tensors. Features are cached for others too: make "
                "a new tensor, and do not write into the old one with `/=` or `out=`.",
            ),
        ],
        praise=f"All {m} labels are right: rows of length 1, {k} neighbours for each query, one vote each. "
        "No training was needed, so kNN is a quick test of features.",
    )


def _answers(
    features: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, k: int
) -> dict[str, np.ndarray]:
    """Return what the right way and some wrong ways give."""
    sklearn = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    cosine = nn.functional.cosine_similarity(queries[:, None], features[None], dim=2)
    columns = nn.functional.normalize(queries, dim=0) @ nn.functional.normalize(features, dim=0).T
    mean = labels[cosine.topk(k, dim=1).indices].double().mean(1)

    def vote(similarity: torch.Tensor, count: int = k) -> np.ndarray:
        return labels[similarity.topk(count, dim=1).indices].mode(dim=1).values.numpy()

    return {
        "right": sklearn.fit(features.numpy(), labels.numpy()).predict(queries.numpy()),
        "euclid": vote(-torch.cdist(queries, features)),
        "dot": vote(queries @ features.T),
        "columns": vote(columns),
        "farthest": vote(-cosine),
        "first": vote(cosine, 1),
        "averages-labels": mean.round().numpy(),
        "averages-unrounded": mean.numpy(),
    }


def _inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Make features whose lengths say nothing, and queries on which right and wrong ways differ."""
    draw = np.random.default_rng(seed)
    k = 5 + 2 * (seed % 3)
    names = np.sort(draw.choice(np.arange(1, 20), 3, replace=False))
    centres = draw.normal(size=(3, NUM_FEATURES))

    def rows(count: int) -> tuple[torch.Tensor, np.ndarray]:
        kinds = draw.permutation(np.arange(count) % 3)
        made = centres[kinds] + 1.3 * draw.normal(size=(count, NUM_FEATURES))
        made *= np.exp(draw.normal(size=(count, 1)))
        return torch.tensor(made, dtype=torch.float32), kinds

    features, kinds = rows(NUM_TRAIN)
    labels = torch.tensor(names[kinds])
    queries, _ = rows(600)
    cosine = nn.functional.cosine_similarity(queries[:, None], features[None], dim=2)
    best = cosine.topk(k + 1, dim=1)
    votes = labels[best.indices[:, :k]]
    counts = torch.stack([(votes == name).sum(1) for name in names.tolist()], 1).sort(1).values
    # No two labels share the first place, and no rounding decides who is a neighbour.
    clear = (counts[:, -1] > counts[:, -2]) & (best.values[:, -2] - best.values[:, -1] > 1e-3)
    queries = queries[clear]
    answers = _answers(features, labels, queries, k)
    chosen: list[int] = []
    for name, answer in answers.items():
        differs = np.flatnonzero(np.abs(answer - answers["right"]) > 1e-3)
        chosen += differs[:4].tolist() if name != "right" else []
    chosen = list(dict.fromkeys([*chosen, *range(len(queries))]))[:NUM_QUERIES]
    return features, labels, queries[draw.permutation(chosen)], k


EXERCISE = Exercise(
    id="knn-predict",
    lesson=5,
    title="Predict with the nearest neighbours",
    points=4,
    prompt="""
Features are good when images of one class lie near to each other. Write
`knn_predict(train_features, train_labels, queries, k)`: for each query, find the `k` training features with
the greatest **cosine similarity**, and predict the label that most of them have. Each neighbour has one vote.

`train_features` is `(N, D)`, `train_labels` is `(N,)`, `queries` is `(M, D)`. Return a tensor `(M,)` of labels.
Labels are whole numbers, but not always 0, 1, 2. You need not care for ties. Do not change the tensors.
""".strip(),
    hints=(
        "The cosine similarity of two rows is their dot product once both have length 1. "
        "`nn.functional.normalize(..., dim=1)` gives rows of length 1.",
        "`queries @ train_features.T` of such rows is `(M, N)`. Which `k` positions of each row do you want? "
        "See `topk`.",
        "`train_labels[nearest]` looks the labels up, `(M, k)`. The most frequent one of a row is "
        "`.mode(dim=1).values`.",
    ),
    reference=knn_predict,
    mutants={
        "euclid-for-cosine": euclid_for_cosine,
        "dot-for-cosine": dot_for_cosine,
        "farthest-for-nearest": farthest_for_nearest,
        "rows-for-labels": rows_for_labels,
        "averages-labels": averages_labels,
        "first-neighbour-only": first_neighbour_only,
    },
    visible_test="""
train_features = torch.tensor([[1.0, 0.0], [2.0, 0.1], [5.0, 0.3], [0.0, 1.0], [0.1, 3.0], [0.2, 9.0]])
train_labels = torch.tensor([3, 3, 3, 8, 8, 8])
labels = knn_predict(train_features, train_labels, torch.tensor([[9.0, 1.0], [0.1, 0.5]]), 3)
assert labels is not None, "knn_predict returned nothing yet"
assert list(labels) == [3, 8], f"expected the labels 3 and 8, got {labels}"
""".strip(),
    observer=observe,
    judger=judge,
)
