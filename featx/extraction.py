"""Images become features: one forward pass each, nothing trained, order kept."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.backbones import Backbone
from featx.datasets import SkippedFile
from featx.errors import FeatxError, whole_number
from featx.features import Features, Plan
from featx.fingerprint import code_of, describe
from featx.inference import PRECISIONS, Forward, Settings, choose, forward
from featx.layers import LayerReader
from featx.machine import cores, free_memory, out_of_memory
from featx.modules import bits_of, check_device, home, in_eval_mode, no_backbone
from featx.processes import Group, join_group
from featx.progress import progress_bar
from featx.shapes import trace_shapes
from featx.sources import Batch, Scan, Source, open_source, prepare_images
from featx.store import Recipe, View
from featx.wording import first_line, named_line

__all__ = ["extract"]

#: Images that settings are tried on.
TRIED = 4


def extract(
    backbone: Backbone,
    data: Any,
    *,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
    batch_size: int | str = "auto",
    device: str | torch.device = "auto",
    precision: str = "auto",
    num_workers: int | str = "auto",
    compile: bool | str = "auto",
    cache_dir: str | Path | None = None,
    on_error: str = "skip",
    progress: bool = True,
) -> Features:
    """Run each image through the frozen backbone once and keep its features.

    The model is used in eval mode and without gradients, and is left as it was found: modes and device
    are given back. The backbone's own preprocessing is applied here, so the images must come without.

    Large jobs go as fast as the machine allows: in bfloat16 where it has instructions for that, with
    BatchNorm folded, and so on. This is tried on a few of the images first, and taken only where the
    features stay the same but for rounding (cosine of 0.999 and more). ``features.plan.explain()`` says
    what was done, which limit binds, and what would change it.

    Parameters
    ----------
    backbone
        From `featx.load_backbone` or `Backbone.from_module`.
    data
        A folder of images (one sub-folder a class, or flat); a list of image files; a torch `Dataset` or
        `DataLoader` of images or of ``(image, label)``; a list of Pillow images; or an array or tensor of
        images ``(N, H, W)`` or ``(N, C, H, W)``: uint8 0-255 or float 0-1, **not** preprocessed. One
        colour image alone is ``x[None]``.
    layers
        Names of layers to read, as ``model.named_modules()`` has them; `featx.trace_shapes` shows them.
        ``"features"``, the default, is what the head takes in. (Where a module has that very name, as in
        VGG, name the last layer in it.) Feature maps are averaged over their places.
    pooling
        How the tokens of a ViT become one row: ``"cls"`` takes the class token, ``"mean"`` the mean of the
        others. Must be named for layers that return tokens. Without `layers` it is applied to the last
        feature map or tokens before the head.
    batch_size
        Images in one forward pass (a `DataLoader` keeps its own). ``"auto"``: 256 for models that take at
        most 64 x 64 pixels and on a GPU, else 32; fewer where memory is short.
    device
        ``"auto"`` takes a GPU when there is one, else any name that `torch.device` knows.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float16"``. ``"auto"``: bfloat16 where that is quicker and gives
        the same features, else float32; float32 for small jobs. The result is float32 in any case.
    num_workers
        Processes that read images. ``"auto"``: some for many files and a model on a GPU, else none. In
        each of them your `Dataset` is used at once. With none, files are read and preprocessed by several
        threads; preprocessing that draws random numbers is called for one image after the other.
    compile
        Whether the model goes through `torch.compile`, which takes up to a minute. ``"auto"``: for jobs so
        long that it pays.
    cache_dir
        A folder to keep features in. What it holds is never computed again: after a crash the work goes on
        where it stopped, and of changed data only the new images are computed. `X` is then a memory map,
        and memory does not grow with N. Data that differs each time it is read (shuffled, augmented)
        cannot be cached. A folder is known again by reading its files; a `Dataset` by reading its images.
        Delete the folder when you like. Under ``torchrun`` each process does its share.
    on_error
        ``"skip"`` leaves files out that are no readable images and names them in ``features.skipped``;
        ``"raise"`` raises on the first one.
    progress
        Show how far it is, on stderr.

    Returns
    -------
    Features
        ``X`` float32 ``(N, D)``, ``y`` ``(N,)`` or None, and where each row came from.

    Raises
    ------
    FeatxError
        When the data holds no images, or they are out of range or preprocessed already; when an option is
        not known, the device is not there, or the cache cannot be written.

    Examples
    --------
    >>> import featx
    >>> digits = featx.datasets.load_digits()
    >>> features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    >>> features.X.shape, features.X.dtype, features.y[:3].tolist()
    ((1797, 256), dtype('float32'), [0, 1, 2])
    """
    if not isinstance(backbone, Backbone):
        raise no_backbone(backbone)
    _check_options(batch_size, precision, compile, on_error, cache_dir)
    group = Group() if cache_dir is None else join_group()
    target = _device(device)
    reader = LayerReader(backbone, layers, pooling)
    prepare = partial(
        prepare_images, preprocess=backbone.preprocess, in_channels=backbone.in_channels
    )
    size, in_turn = _look_at(prepare, backbone.in_channels)
    if batch_size == "auto":
        # the same for all processes: it says which images a stream yields together
        batch_size = group.from_first(lambda: _batch_size(size, target))
    source = open_source(data, int(batch_size))
    plan = Plan(
        str(target),
        precision,
        source.batch_size or int(batch_size),
        source.workers(num_workers, target, prepare),
        source.threads,
        cores=cores(),
    )
    job = _Job(
        backbone,
        reader,
        prepare,
        source,
        plan,
        target,
        compile,
        in_turn,
        on_error,
        progress and group.is_first,
    )
    for file in source.skipped:
        job.refuse({file.path: file.reason})
    with _in_use(backbone.model, target):
        found = (
            _to_memory(job)
            if cache_dir is None
            else _to_store(job, Path(cache_dir).expanduser(), group)
        )
    plan.images = len(found.rows)
    return Features(
        found.arrays[reader.names[-1]],
        found.labels,
        found.arrays,
        None if source.paths is None else [source.paths[row] for row in found.rows],
        source.class_names,
        [*source.skipped, *(SkippedFile(source.name(r), why) for r, why in found.broken.items())],
        plan,
        job.meta(),
    )


@dataclass(eq=False)
class _Job:
    """One call of `extract`."""

    backbone: Backbone
    reader: LayerReader
    prepare: Callable[[torch.Tensor], torch.Tensor]
    source: Source
    plan: Plan
    target: torch.device
    compile: bool | str
    in_turn: bool
    on_error: str
    show: bool
    forward: Forward | None = None

    def meta(self) -> dict[str, Any]:
        """Say what the features are of; once the settings are chosen."""
        return {
            **describe(self.backbone),
            "layers": self.reader.names,
            "pooling": self.reader.pooling,
            "pooled_from_map": self.reader.from_map,
            "precision": self.plan.precision,
        }

    def choose(self, x: torch.Tensor, count: int | None, keep: bool) -> tuple[Settings, list[str]]:
        """Choose how the model is run: tried on some of these preprocessed images."""
        some = x[:: max(1, len(x) // TRIED)][:TRIED]
        asked = self.plan.precision
        try:
            with torch.inference_mode():
                return choose(
                    self.reader,
                    some.to(self.target),
                    precision=asked,
                    count=count,
                    keep=keep,
                    compile=self.compile,
                )
        except Exception as error:
            # as it is, then; if it does not run so either, that is told when it is used
            return Settings("float32" if asked == "auto" else asked), [_as_it_is(error)]

    def use(self, settings: Settings) -> None:
        """Run the model with these settings from now on."""
        notes, size = self.plan.notes, self.plan.batch_size
        try:
            self.forward = forward(self.reader, settings, size, notes.append)
        except Exception as error:  # it worked a moment ago: there is no memory left for the copy
            settings = Settings(settings.precision)
            self.forward = forward(self.reader, settings)
            notes.append(_as_it_is(error))
        self.plan.precision, self.plan.settings = settings.precision, str(settings)

    def refuse(self, broken: dict[str, str]) -> None:
        """Raise for what is no readable image, if that was asked for."""
        if broken and self.on_error == "raise":
            name, reason = next(iter(broken.items()))
            raise FeatxError(
                f"Expected readable images only, got {name}: {reason}. Mend or remove it."
            )

    def compute(self, images: torch.Tensor, prepared: bool) -> dict[str, np.ndarray]:
        """Return layer -> features, float32 ``(n, D)``."""
        with torch.inference_mode():
            parts = self._in_parts(images, prepared)
        rows = {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}
        for layer, values in rows.items():
            if not np.isfinite(values).all():
                raise FeatxError(
                    f"Expected finite features, but {layer} of {self.backbone.name} in "
                    f"{self.plan.precision} gives NaN or infinity. "
                    + (
                        "Look for them in the model's weights."
                        if self.plan.precision == "float32"
                        else 'Use precision="float32".'
                    )
                )
        return rows

    def _in_parts(self, images: torch.Tensor, prepared: bool) -> list[dict[str, np.ndarray]]:
        """Run the model on as many images at a time as fit into memory."""
        parts, at, step = [], 0, min(len(images), self.plan.batch_size)
        while at < len(images):
            some = images[at : at + step]
            try:
                x = some.to(self.target)
                x = x if prepared else self.prepare(x)
                if self.forward is None:
                    settings, self.plan.notes[:] = self.choose(x, self.source.about, keep=False)
                    self.use(settings)
                assert self.forward is not None
                outputs = self.forward(x)
                parts.append({layer: out.float().cpu().numpy() for layer, out in outputs.items()})
                at += len(some)
                continue
            except Exception as error:  # a model of the user's own may raise anything
                if len(some) == 1 or not out_of_memory(error):
                    raise self._explained(error, some, prepared) from error
            # outside of "except", for the traceback there holds what the memory is full of
            step = len(some) // 2
            self.plan.batch_size = step
            self.plan.notes.append(
                f"{len(some)} images at a time did not fit into the memory of {self.plan.device}: {step}."
            )
        return parts

    def _explained(self, error: Exception, x: torch.Tensor, prepared: bool) -> Exception:
        """Say in one sentence what went wrong in the forward pass, where that can be told."""
        if isinstance(error, FeatxError):
            return error
        if out_of_memory(error):
            return FeatxError(
                f"Expected an image that fits into the memory of {self.plan.device}, but not even one of "
                f"{tuple(x.shape[1:])} does. Use a smaller backbone, or close other programs."
            )
        try:
            x = self.prepare(x.to(self.target)) if not prepared else x.to(self.target)
            trace_shapes(self.backbone.model, x[:1])  # names the layer
        except FeatxError as named:
            return named
        return FeatxError(
            f"Expected {self.backbone.name} to compute features of {tuple(x.shape)}, but it raised "
            f"{named_line(error)}. Try backbone.features(x) on its own."
        )

    def run(
        self, chunks: Sequence[Sequence[int]], total: int | None, *, digests: bool = False
    ) -> Iterator[tuple[Batch, Callable[[np.ndarray], dict[str, np.ndarray]]]]:
        """Yield batches, and a function that computes the features of some of a batch's images."""
        seconds = self.plan.seconds
        batches = self.source.batches(
            chunks,
            self.prepare,
            num_workers=self.plan.num_workers,
            digests=digests,
            in_turn=self.in_turn,
        )
        with progress_bar("extract", total, show=self.show) as advance:
            while True:
                start = time.perf_counter()
                batch = next(batches, None)
                seconds["read"] += time.perf_counter() - start
                if batch is None:
                    return
                self.plan.reading += batch.seconds
                self.refuse({self.source.name(r): why for r, why in batch.broken.items()})

                def features(wanted: np.ndarray, batch: Batch = batch) -> dict[str, np.ndarray]:
                    start = time.perf_counter()
                    some = batch.images if wanted.all() else batch.images[torch.from_numpy(wanted)]
                    rows = self.compute(some, batch.prepared)
                    self.plan.computed += len(some)
                    seconds["model"] += time.perf_counter() - start
                    return rows

                yield batch, features
                advance(len(batch.rows) + len(batch.broken))


@dataclass(frozen=True, eq=False)
class _Found:
    """Features of the readable images, and which these are."""

    arrays: dict[str, np.ndarray]
    labels: np.ndarray | None
    rows: list[int]
    broken: dict[int, str]


# --- without a cache ------------------------------------------------------------------------------


def _to_memory(job: _Job) -> _Found:
    count = job.source.count
    if job.source.stands_still and not job.in_turn and (count or 0) > job.plan.batch_size:
        settings, job.plan.notes[:] = _choose_for(job, count or 0)
        job.use(settings)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in job.reader.names}
    whole: dict[str, np.ndarray] = {}
    rows: list[int] = []
    labels: dict[int, Any] = dict(enumerate(job.source.labels or []))
    broken: dict[int, str] = {}
    for batch, features in job.run(_chunks(count or 0, job.plan.batch_size), count):
        broken |= batch.broken
        if not len(batch.rows):
            continue
        for layer, values in features(np.ones(len(batch.rows), bool)).items():
            if count is None:
                parts[layer].append(values)
                continue
            if layer not in whole:  # one array from the start: the peak is not twice the result
                whole[layer] = np.empty((count, values.shape[1]), np.float32)
            whole[layer][len(rows) : len(rows) + len(values)] = values
        rows += batch.rows.tolist()
        labels |= batch.labels
    _check_any(job, len(rows), broken)
    arrays = (
        {layer: np.concatenate(values) for layer, values in parts.items()}
        if count is None
        else {layer: whole[layer][: len(rows)] for layer in job.reader.names}
    )
    return _Found(arrays, _labels(labels, rows), rows, broken)


# --- with one -------------------------------------------------------------------------------------


def _to_store(job: _Job, cache_dir: Path, group: Group) -> _Found:
    scan = group.from_first(
        lambda: job.source.scan(num_workers=job.plan.num_workers, show=job.show)
    )
    _check_any(job, len(scan.digests) - len(scan.broken), scan.broken)
    settings, job.plan.notes[:] = group.from_first(
        lambda: _choose_for(job, len(scan.digests), scan.broken, keep=True)
    )
    job.use(replace(settings, compiled=False))  # for one image; compiling is for those to come
    canary, preprocessing = group.from_first(lambda: _canary(job, scan))
    key = {**job.meta(), "preprocessing": preprocessing}
    widths = {layer: len(row) for layer, row in canary.items()}
    tolerance = 0.001 if job.plan.precision == "float32" else 0.02
    recipe = group.from_first(lambda: Recipe(cache_dir, job.backbone.name, key, canary, tolerance))
    left_behind: list[View] = []
    unreadable = dict(scan.broken)  # and what this machine cannot read, now
    while True:
        known = group.from_first(recipe.broken)
        broken = dict(unreadable)
        for row, digest in enumerate(map(bytes, scan.digests)):
            if row not in broken and digest in known:
                broken[row] = known[digest]
        job.refuse({job.source.name(row): why for row, why in broken.items()})
        rows = np.setdiff1d(np.arange(len(scan.digests)), list(broken))
        _check_any(job, len(rows), broken)
        view = recipe.view(scan.digests[rows], widths)
        if group.from_first(lambda view=view: _is_complete(view)):
            break
        with ExitStack() as lock:
            group.from_first(lambda view=view, lock=lock: _lock(view, lock))
            if group.from_first(lambda known=known: recipe.broken() != known):
                continue  # another process has found out more in the meantime
            _fill(job, group, scan, rows, view, settings)
            found = group.from_first(lambda view=view: _broken_rows(view, recipe))
            unreadable |= {int(rows[row]): why for row, why in found.items()}
            if found:
                left_behind.append(view)
    if group.is_first:
        for old in left_behind:  # its rows are in the view without the broken images now
            old.remove()
    arrays = view.arrays()
    return _Found(
        {layer: arrays[layer] for layer in job.reader.names},
        _labels(scan.labels, rows.tolist()),
        rows.tolist(),
        dict(sorted(broken.items())),
    )


def _is_complete(view: View) -> bool:
    view.verify()
    return view.complete


def _lock(view: View, lock: ExitStack) -> None:
    lock.enter_context(view.locked())


def _broken_rows(view: View, recipe: Recipe) -> dict[int, str]:
    """Return what turned out to be no image, and remember it where that will not change."""
    view.verify()
    for_ever = {
        bytes(view.digests[row]): why
        for row, why in view.broken.items()
        if not why.startswith("too large")  # for this machine and its limits
    }
    if for_ever:
        recipe.add_broken(for_ever)
    return view.broken


def _fill(
    job: _Job, group: Group, scan: Scan, rows: np.ndarray, view: View, settings: Settings
) -> None:
    """Compute the rows that the view lacks: each process of the group some of its chunks."""

    def prepare() -> tuple[int, np.ndarray]:
        return view.prepare(job.plan.batch_size), view.done

    def work() -> None:
        if not mine:
            return
        wanted = [
            rows[np.arange(each.start, each.stop)[~view.done[each.start : each.stop]]].tolist()
            for each in mine.values()
        ]
        total = sum(map(len, wanted)) if scan.batches is None else len(rows)
        for batch, features in job.run(wanted, total, digests=True):
            _check_unchanged(job, scan, batch)
            at = np.searchsorted(rows, batch.rows)
            broken = {int(np.searchsorted(rows, row)): why for row, why in batch.broken.items()}
            first = min([*at.tolist(), *broken])
            own = mine.get(int(starts[np.searchsorted(starts, first, "right") - 1]))
            if own is None:  # a DataLoader yields the others' batches too
                continue
            missing = ~view.done[at]
            if view.done[own.start : own.stop].sum() + missing.sum() + len(broken) < len(own):
                raise FeatxError(
                    f"Expected the images {own.start} to {own.stop - 1} in one batch, as when the data was "
                    f"looked through, got {len(at) + len(broken)} of them. Name a batch_size, so that it is "
                    "the same each time and in each process."
                )
            if missing.any():
                values = features(missing)
                start = time.perf_counter()
                view.write(at[missing], values)
                job.plan.seconds["write"] += time.perf_counter() - start
            view.commit(own.start, own.stop, broken, group.rank)

    with closing(view):
        chunk, view.done = group.from_first(prepare)
        job.plan.batch_size = chunk
        job.use(settings)  # with that size: it is compiled for it
        chunks = scan.batches if scan.batches is not None else _chunks(len(rows), chunk)
        todo = [each for each in chunks if not view.done[each.start : each.stop].all()]
        mine = {each.start: each for each in todo[group.rank :: group.size]}
        starts = np.array([each.start for each in chunks])
        group.together(work)


def _check_unchanged(job: _Job, scan: Scan, batch: Batch) -> None:
    for row, digest in batch.digests.items():
        if row >= len(scan.digests) or bytes(scan.digests[row]) != digest:
            raise FeatxError(
                f"Expected the same images each time the data is read, but {job.source.name(row)} has "
                "changed since a moment ago. A cache needs data that stands still: leave out shuffling "
                "and random augmentation, or cache_dir. If a file was being written, run again: it goes "
                "on where it stopped."
            )


def _choose_for(
    job: _Job, count: int, broken: Collection[int] = (), keep: bool = False
) -> tuple[Settings, list[str]]:
    """Choose how the model is run, by images from all over the data."""
    batch = job.source.some(job.prepare, TRIED, broken, count)
    if batch is None:
        return Settings(), []  # there is nothing to run it on
    with torch.inference_mode():
        x = batch.images if batch.prepared else job.prepare(batch.images)
    return job.choose(x, count, keep)


def _canary(job: _Job, scan: Scan) -> tuple[dict[str, np.ndarray], str]:
    """Run one fixed image through: layer -> features ``(D,)``, and what the preprocessing does.

    The name of a function does not say what it does, so the preprocessing is known by its code and by what
    it makes of two images of different sizes.
    """
    try:
        return _run_noise(job, [(224, 224), (96, 160)])
    except FeatxError:
        # Perhaps nothing resizes, and the model takes another size: that of the data.
        some = job.source.some(job.prepare, 1, scan.broken, len(scan.digests))
        if some is None:
            raise
        return _run_noise(job, [tuple(some.images.shape[-2:])])


def _run_noise(job: _Job, sizes: list[tuple]) -> tuple[dict[str, np.ndarray], str]:
    generator = torch.Generator().manual_seed(0)
    seen = hashlib.sha256(repr(code_of(job.backbone.preprocess)).encode())
    prepared = []
    for size in sizes:
        shape = (1, job.backbone.in_channels, *size)
        image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        x = job.prepare(image)
        if not torch.equal(x, job.prepare(image)):
            raise _random("preprocessing")
        seen.update(f"{x.dtype} {tuple(x.shape)}".encode())
        seen.update(bits_of(x.cpu()).numpy().data)
        prepared.append(x)
    rows = job.compute(prepared[0], True)
    before = _random_states()
    again = job.compute(prepared[0], True)
    # Noise that is averaged over a feature map nearly vanishes: who draws random numbers must give the same
    # bits. Who draws none may round otherwise the second time, as GPUs do.
    rtol, atol = (1e-2, 1e-8) if _random_states() == before else (0, 0)
    if any(not np.allclose(rows[layer], again[layer], rtol, atol) for layer in rows):
        raise _random("a model")
    return {layer: values[0] for layer, values in rows.items()}, seen.hexdigest()[:16]


def _random_states() -> list[bytes]:
    """Return the states of the generators that a model may draw from, to see whether it did."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    numpy = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global one
    return [
        *(state.numpy().tobytes() for state in (torch.get_rng_state(), *cuda)),
        pickle.dumps(random.getstate()),
        numpy,
    ]


def _random(what: str) -> FeatxError:
    return FeatxError(
        f"Expected {what} that gives the same each time, got random numbers in it. With cache_dir one draw "
        "would be frozen for good: leave the random part out."
    )


# --- small things ---------------------------------------------------------------------------------


def _chunks(count: int, size: int) -> list[range]:
    return [range(i, min(i + size, count)) for i in range(0, count, size)]


def _labels(labels: dict[int, Any], rows: list[int]) -> np.ndarray | None:
    """Return the labels of the rows ``(N,)``; None where the data has none."""
    if not labels:
        return None
    missing = next((row for row in rows if row not in labels), None)
    if missing is not None:
        raise FeatxError(
            f"Expected a label for each image or for none, got none for image {missing}. Let the dataset "
            "give (image, label) each time."
        )
    try:
        y = np.asarray([np.asarray(labels[row]) for row in rows])
    except ValueError:
        y = np.empty(0, object)
    if y.dtype.kind not in "biufU":
        raise FeatxError(
            "Expected labels that are numbers, names, or arrays of numbers of one shape, got "
            f"{labels[rows[0]]!r} and the like. Let the dataset give (image, label)."
        )
    return y


def _check_any(job: _Job, readable: int, broken: dict[int, str]) -> None:
    if readable:
        return
    row = next(iter(broken), None)
    raise FeatxError(
        "Expected at least one image, got data of length 0. Check how they were chosen."
        if row is None
        else f"Expected at least one readable image, got {len(broken)} that are not, such as "
        f"{job.source.name(row)}: {broken[row]}. Pass others, or mend these."
    )


def _check_options(
    batch_size: Any, precision: Any, compile: Any, on_error: Any, cache_dir: Any
) -> None:
    if batch_size != "auto":
        whole_number(batch_size, "batch_size", beside='"auto"')
    if precision not in ("auto", *PRECISIONS):
        known = ", ".join(f'"{each}"' for each in PRECISIONS)
        raise FeatxError(f'Expected precision to be "auto", {known}, got {precision!r}.')
    if compile not in ("auto", True, False):
        raise FeatxError(f'Expected compile to be "auto", True or False, got {compile!r}.')
    if on_error not in ("skip", "raise"):
        raise FeatxError(f'Expected on_error to be "skip" or "raise", got {on_error!r}.')
    if not isinstance(cache_dir, (str, Path, NoneType)):
        raise FeatxError(
            f"Expected cache_dir to be the path of a folder or None, got {cache_dir!r}."
        )


def _look_at(
    prepare: Callable[[torch.Tensor], torch.Tensor], in_channels: int
) -> tuple[tuple[int, ...] | None, bool]:
    """Return the size of preprocessed images, if that is known; and whether random numbers are drawn."""
    before = _random_states()
    with torch.random.fork_rng(devices=[]):
        try:
            size = tuple(prepare(torch.zeros(1, in_channels, 224, 224)).shape[-2:])
        except Exception:  # preprocessing that takes images of one size only
            return None, True
        return size, _random_states() != before


def _batch_size(size: tuple[int, ...] | None, target: torch.device) -> int:
    if size is None:
        return 32
    pixels = math.prod(size)
    most = 256 if pixels <= 64 * 64 or target.type == "cuda" else 32
    # What a model's first layers make of an image takes the most room: about 25 MB for 224 x 224 pixels.
    fitting = free_memory(target) // 4 // (512 * pixels)
    while most > max(1, fitting):
        most //= 2
    return most


def _as_it_is(error: Exception) -> str:
    return f"The model is run as it is: {named_line(error, 80)}."


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        rank = os.environ.get(
            "LOCAL_RANK", torch.cuda.current_device()
        )  # under torchrun one for each
        return torch.device("cuda", int(rank) % torch.cuda.device_count())
    return check_device(device, 'Use device="auto", which picks one, or "cpu".')


@contextmanager
def _in_use(model: nn.Module, target: torch.device) -> Iterator[None]:
    """Bring the model into eval mode on `target`, and back to where and how it was."""
    before = home(model)
    with in_eval_mode(model):
        try:
            try:
                model.to(target)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                raise FeatxError(
                    f"Expected room for the model in the memory of {target}, but other programs hold it: "
                    f'{first_line(error)}. Close them (nvidia-smi lists them), or use device="cpu".'
                ) from error
            yield
        finally:
            model.to(before)
