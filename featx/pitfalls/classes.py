"""How many rows each class has, and what that means for a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.arrays import as_numpy
from featx.errors import FeatxError
from featx.findings import Finding, Findings, with_overrides
from featx.metrics.predictions import read_labels
from featx.pitfalls.limits import THRESHOLDS

__all__ = ["check_imbalance"]


def check_imbalance(
    y: Any, *, labels: Sequence[Any] | None = None, thresholds: Mapping[str, float] | None = None
) -> Findings:
    """Count the classes, and say what a skew means for the score.

    Parameters
    ----------
    y
        Labels ``(N,)``: numbers or names.
    labels
        All labels that there should be.
    thresholds : dict, optional
        Other values for `featx.pitfalls.THRESHOLDS`.

    Returns
    -------
    Findings
        ``missing_class`` (in `labels`, not in `y`), ``one_class``, ``imbalance`` (with the accuracy of
        always answering the largest class), ``rare_class``.

    Raises
    ------
    FeatxError
        When `y` is no list of labels, or holds one that is not in `labels`.

    Examples
    --------
    >>> found = check_imbalance(["mail"] * 96 + ["fraud"] * 4)
    >>> found.codes, found["imbalance"].numbers["majority_accuracy"]
    (['imbalance', 'rare_class'], 0.96)
    """
    limit = with_overrides(thresholds, THRESHOLDS)
    values = read_labels(y, "y")
    classes, counts = np.unique(values, return_counts=True)
    rows = dict(zip(classes.tolist(), counts.tolist(), strict=True))
    found = []
    if labels is not None:
        known = as_numpy(labels).tolist()
        unknown = [label for label in rows if label not in known]
        if unknown:
            raise FeatxError(
                f"Expected labels among {known}, got {unknown[0]!r}, too. Pass labels as they stand in y."
            )
        missing = [label for label in known if label not in rows]
        if missing:
            found.append(
                Finding(
                    "missing_class",
                    f"No row has the label {_listed(missing)}.",
                    "Collect rows of it, or split by class (stratify=y); nothing can be said about it.",
                    {"labels": missing},
                )
            )
    most, least = max(rows, key=lambda c: rows[c]), min(rows, key=lambda c: rows[c])
    majority, ratio = rows[most] / len(values), rows[most] / rows[least]
    numbers = {"counts": rows, "ratio": ratio, "majority": most, "majority_accuracy": majority}
    if len(rows) == 1:
        found.append(
            Finding(
                "one_class",
                f"All {len(values)} rows have the label {most!r}.",
                "A classifier needs two classes at least. See how the labels were read.",
                numbers,
            )
        )
    elif ratio >= limit["ratio"]:
        found.append(
            Finding(
                "imbalance",
                f"Class {most!r} has {rows[most]} rows, class {least!r} {rows[least]}: {ratio:.1f} to 1. "
                f"Always answering {most!r} scores an accuracy of {majority:.2f}.",
                "Judge by balanced accuracy, recall and average precision, hold accuracy against that "
                "number, and try class_weight='balanced'.",
                {**numbers, "limit": limit["ratio"]},
            )
        )
    rare = [label for label in rows if rows[label] < limit["rare"]]
    if rare:
        shown = ", ".join(f"{label!r} ({rows[label]})" for label in rare[:5])
        more = ", …" if len(rare) > 5 else ""
        few = min(rows[label] for label in rare)
        found.append(
            Finding(
                "rare_class",
                f"Classes with fewer than {limit['rare']:g} rows: {shown}{more}. A recall measured on {few} "
                f"rows moves by {1 / few:.2f} with each of them.",
                "Collect more, merge classes, or use cross-validation and give an interval.",
                {"labels": rare, "counts": {label: rows[label] for label in rare}},
            )
        )
    return Findings(found)


def _listed(labels: list) -> str:
    return ", ".join(repr(label) for label in labels[:5]) + (", …" if len(labels) > 5 else "")
