"""The linear probe: beside the end-to-end loop, and beside scikit-learn's logistic regression.

    python bench/probe.py [--only head path path-large path-threads fit] [--json FILE]

Side by side in one run, on the same data and draws. Ratios are the other's time over the probe's: above 1
the probe is faster.

* head: a head for the digits on GlyphNet, as tutorials train it (the frozen model runs in each of 20 epochs,
  Adam), beside features that are extracted once and a `LinearProbe` on them, extraction included; and with
  features that lie in a cache from an earlier run.
* path: all of the probe's 17 values of C beside scikit-learn's `LogisticRegressionCV` with the same values
  and folds, on the digits' features: as it comes; with a process for each core (and one thread in each, which
  may be much faster); and so with a tolerance at which its held-out losses are almost as good as the probe's.
  How far they are off is seen beside a tolerance a hundred times smaller: for all C, and for those whose loss
  is at most 1.2 times the least.
* path-large: the same for 50 000 made-up rows of 512 features in 100 classes, with one fold held out, beside
  scikit-learn as it comes, which with one fold is its fastest way. It takes scikit-learn half a minute on two
  cores, three times, and some minutes to be exact.
* path-threads: that path, where each thread takes blocks of rows of its own, beside the same with all threads
  at each product together; alone, and while another program keeps one core busy.
* fit: one fit beside `LogisticRegression`, for a few numbers of labels and values of C.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featx
from featx.probes import draw_rows

SHOTS = (1, 5, 10, 100)
REPEATS = 3


def timed(fit):
    """Return the best time of a few, and what was fitted last."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        fitted = fit()
        seconds.append(time.perf_counter() - start)
    return min(seconds), fitted


def seconds_of(work):
    """Run `work`; return the seconds that it took, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compare(
    title: str, ways: dict[str, Callable[[], dict[str, float]]], rounds: int
) -> dict[str, Any]:
    """Run ways in turn; print median times, how many times the first's, and the figures they return."""
    ran = [{name: seconds_of(way) for name, way in ways.items()} for _ in range(rounds)]
    seconds = {name: median(each[name][0] for each in ran) for name in ways}
    first = next(iter(seconds.values()))
    figures = {
        name: {"seconds": taken, "ratio": first / taken, **ran[-1][name][1]}
        for name, taken in seconds.items()
    }
    columns = list(next(iter(figures.values())))
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name, each in figures.items():
        print(f"| {name} | {' | '.join(f'{number:.4g}' for number in each.values())} |")
    print(flush=True)
    return figures


def head() -> dict[str, Any]:
    digits = featx.datasets.load_digits()
    backbone = featx.load_backbone("glyphnet")
    rows = np.random.default_rng(0).permutation(len(digits.images))
    train, test = rows[:1200], rows[1200:]
    x, y = backbone.preprocess(digits.images), digits.labels

    def tutorial() -> dict[str, float]:
        torch.manual_seed(0)
        model = deepcopy(backbone.model)
        for parameter in model.parameters():
            parameter.requires_grad = False
        model.fc = nn.Linear(backbone.num_features, 10)
        optimizer = torch.optim.Adam(model.fc.parameters(), lr=1e-2)
        loss = nn.CrossEntropyLoss()
        batches = DataLoader(TensorDataset(x[train], y[train]), batch_size=32, shuffle=True)
        for _ in range(20):
            for images, labels in batches:
                optimizer.zero_grad()
                loss(model(images), labels).backward()
                optimizer.step()
        with torch.no_grad():
            return {"accuracy": (model(x[test]).argmax(1) == y[test]).double().mean().item()}

    def probe(**how: Any) -> dict[str, float]:
        features = featx.extract(backbone, digits, progress=False, **how)
        fitted = featx.LinearProbe().fit(features.X[train], features.y[train])
        return {"accuracy": fitted.score(features.X[test], features.y[test])}

    with TemporaryDirectory() as cache:
        probe(cache_dir=cache)
        ways = {
            "20 epochs end to end": tutorial,
            "extract, then the probe": probe,
            "the same in bfloat16": partial(probe, precision="bfloat16"),
            "from the cache": partial(probe, cache_dir=cache),
        }
        return compare("A head for the digits", ways, 3)


def path_on(title: str, X, y, train, test, folds, ways) -> dict[str, Any]:
    values = featx.LinearProbe("path").fit(X[train[:200]], y[train[:200]]).path_["C"]
    mean, spread = X[train].mean(0), np.sqrt(X[train].var(0).sum() / 64)
    scaled = (X - mean) / spread

    def other(**how: Any) -> tuple[LogisticRegressionCV, np.ndarray]:
        fitted = LogisticRegressionCV(
            Cs=values, cv=folds, scoring="neg_log_loss", max_iter=10_000, **how
        )
        fitted.fit(scaled[train], y[train])
        scores: Any = fitted.scores_  # of each class, and all are the same
        scores = next(iter(scores.values())) if isinstance(scores, dict) else scores
        return fitted, -scores.mean(0)

    exact = other(tol=min(how.get("tol", 1e-4) for how in ways) / 100)[1]
    near = exact <= 1.2 * exact.min()

    def figures(fitted: Any, X, losses: np.ndarray) -> dict[str, float]:
        off = np.abs(losses / exact - 1)
        accuracy = float((fitted.predict(X[test]) == y[test]).mean())
        return {"accuracy": accuracy, "losses off": off.max(), "near the best": off[near].max()}

    def theirs(how: dict[str, Any]) -> dict[str, float]:
        fitted, losses = other(**how)
        return figures(fitted, scaled, losses)

    def ours() -> dict[str, float]:
        fitted = featx.LinearProbe("path", cv=folds).fit(X[train], y[train])
        return figures(fitted, X, fitted.path_["val_loss"])

    named = {
        f"LogisticRegressionCV({', '.join(f'{key}={each:g}' for key, each in how.items())})": partial(
            theirs, how
        )
        for how in ways
    }
    return compare(title, {**named, 'LinearProbe("path")': ours}, 3)


def path() -> dict[str, Any]:
    digits = featx.datasets.load_digits()
    features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    rows = np.random.default_rng(0).permutation(len(features))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    title = "The path on the digits, 1200 x 256, five folds"
    ways = ({}, {"n_jobs": -1}, {"n_jobs": -1, "tol": 5e-6})
    return path_on(title, features.X, features.y, rows[:1200], rows[1200:], folds, ways)


def large_rows() -> tuple[Any, ...]:
    """Make up rows, their classes, which to train on, which to test on, and one fold."""
    draw = np.random.default_rng(0)
    y = np.repeat(np.arange(100), 600)
    X = draw.normal(size=(100, 512))[y] * 0.12 + draw.normal(size=(len(y), 512))
    rows = draw.permutation(len(y))
    fold = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
    return X.astype(np.float32), y, rows[:50_000], rows[50_000:], fold


def path_large() -> dict[str, Any]:
    title = "The path on 50 000 x 512, 100 classes, one fold"
    return path_on(title, *large_rows(), ({},))


def path_threads() -> dict[str, Any]:
    X, y, train, test, fold = large_rows()

    def own() -> dict[str, float]:
        fitted = featx.LinearProbe("path", cv=fold).fit(X[train], y[train])
        return {"accuracy": fitted.score(X[test], y[test])}

    def shared() -> dict[str, float]:
        with patch("featx.probes.block_threads", lambda X: 1):
            return own()

    ways, figures = {"all threads at each product": shared, "a block for each thread": own}, {}
    for others in ("alone", "beside a busy program"):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if figures else None
        with busy or nullcontext():
            try:
                figures[others] = compare(f"The path on 50 000 x 512, {others}", ways, 3)
            finally:
                if busy:
                    busy.kill()
    return figures


def fit() -> list[dict[str, float]]:
    figures = []
    digits = featx.datasets.load_digits()
    features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    X, y = features.X, features.y
    print("\nOne fit\n")
    print(
        "| labels a class | C | probe | scikit-learn, tol 1e-4 | tol 1e-8 | ratio | ratio, tol 1e-8 |"
    )
    print("|---|---|---|---|---|---|---|")
    for shots in SHOTS:
        rows = draw_rows(y, shots, seed=0)
        test = np.setdiff1d(np.arange(len(y)), rows)
        for C in (1e-2, 1.0, 1e2):
            probe_time, probe = timed(lambda C=C, r=rows: featx.LinearProbe(C).fit(X[r], y[r]))
            scaled = ((X - probe.mean_) / probe.scale_).astype(np.float64)
            accuracy, ratio = [probe.score(X[test], y[test])], []
            for tol in (1e-4, 1e-8):
                other = LogisticRegression(C=C, tol=tol, max_iter=5000)
                seconds, other = timed(lambda m=other, Z=scaled, r=rows: m.fit(Z[r], y[r]))
                accuracy.append(other.score(scaled[test], y[test]))
                ratio.append(seconds / probe_time)
            cells = [*(f"{a:.3f}" for a in accuracy), *(f"{r:.2f}" for r in ratio)]
            print(f"| {shots} | {C:g} | {' | '.join(cells)} |")
            figures.append({"shots": shots, "C": C, "accuracy": accuracy, "ratio": ratio})
    return figures


PARTS = {
    "head": head,
    "path": path,
    "path-large": path_large,
    "path-threads": path_threads,
    "fit": fit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's, of what will be and of its largest C
    figures = {name: PARTS[name]() for name in chosen.only}
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
