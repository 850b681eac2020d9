"""Features on disk: nothing stale is ever served, nothing finished is lost, whatever happens."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

import featx
from featx import sources, store
from featx.extraction import extract
from featx.fingerprint import code_of


@pytest.fixture(scope="module")
def backbone():
    return featx.load_backbone("glyphnet")


@pytest.fixture(scope="module")
def images(digits) -> torch.Tensor:
    return digits.images[:60]


@pytest.fixture
def folder(tmp_path, digits) -> Path:
    """Forty digits as PNG files in two class folders."""
    for i in range(40):
        path = (
            tmp_path / "images" / ("even" if digits.labels[i] % 2 == 0 else "odd") / f"{i:03}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[i, 0].numpy()).save(path)
    return tmp_path / "images"


def cached(backbone, data, cache: Path, **options):
    return extract(backbone, data, cache_dir=cache, progress=False, **{"batch_size": 8, **options})


def files_of(cache: Path) -> list[Path]:
    return sorted(
        p for p in cache.rglob("*") if p.is_file() and p.suffix in (".npy", ".json", ".jsonl")
    )


def test_what_is_there_is_not_computed_again(backbone, images, tmp_path):
    first = cached(backbone, images, tmp_path)
    second = cached(backbone, images, tmp_path)
    assert (first.plan.computed, second.plan.computed) == (60, 0)
    assert isinstance(second.X, np.memmap)
    assert np.array_equal(first.X, second.X)
    assert np.allclose(second.X, extract(backbone, images, progress=False).X, atol=1e-5)
    with pytest.raises(ValueError, match="read-only"):
        second.X[0] = 0


def test_of_changed_data_only_the_new_images_are_computed(backbone, folder, tmp_path):
    cache = tmp_path / "cache"
    before = cached(backbone, folder, cache)
    assert before.plan.computed == 40

    (folder / "odd" / "001.png").unlink()  # removed
    after = cached(backbone, folder, cache)
    assert (after.plan.computed, len(after)) == (0, 39)

    Image.new("L", (8, 8), 77).save(folder / "even" / "000.png")  # changed, under the same name
    after = cached(backbone, folder, cache)
    assert after.plan.computed == 1
    changed = next(i for i, path in enumerate(after.paths) if path.endswith("000.png"))
    assert not np.allclose(after.X[changed], before.X[changed])

    Image.new("L", (8, 8), 99).save(folder / "odd" / "new.png")  # added
    after = cached(backbone, folder, cache)
    assert (after.plan.computed, len(after)) == (1, 40)
    plain = extract(backbone, folder, progress=False)
    assert after.paths == plain.paths
    assert np.array_equal(after.y, plain.y)
    assert np.allclose(after.X, plain.X, atol=1e-5)


def test_a_renamed_file_costs_nothing_and_finds_its_row(backbone, folder, tmp_path):
    cached(backbone, folder, tmp_path / "cache")
    (folder / "odd" / "001.png").rename(folder / "odd" / "zzz.png")
    after = cached(backbone, folder, tmp_path / "cache")
    assert after.plan.computed == 0
    assert after.paths[-1].endswith("zzz.png")
    assert np.allclose(after.X, extract(backbone, folder, progress=False).X, atol=1e-5)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=25), max_size=4))
def test_any_selection_in_any_order_gets_its_own_rows(backbone, digits, tmp_path_factory, requests):
    cache = tmp_path_factory.mktemp("cache")
    plain = extract(backbone, digits.images[:30], progress=False).X
    seen: set[int] = set()
    for rows in requests:
        features = cached(backbone, digits.images[rows], cache, batch_size=4)
        assert np.allclose(features.X, plain[rows], atol=1e-5)
        assert features.plan.computed <= len([row for row in rows if row not in seen])
        seen |= set(rows)


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "empty", "delete"])
def test_a_damaged_file_is_never_served(backbone, images, tmp_path, damage):
    whole = tmp_path / "whole"
    expected = np.array(cached(backbone, images, whole).X)
    draw = random.Random(damage)
    for path in files_of(whole):
        for _ in range(3):
            cache = tmp_path / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            shutil.copytree(whole, cache)
            spoil(cache / path.relative_to(whole), damage, draw)
            features = cached(backbone, images, cache)
            assert np.array_equal(features.X, expected), (path.name, damage)
            assert cached(backbone, images, cache).plan.computed == 0, "not mended"


def spoil(path: Path, damage: str, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    at = draw.randrange(len(content))
    if damage == "flip":
        content[at] ^= 1 << draw.randrange(8)
    elif damage == "truncate":
        del content[at:]
    elif damage == "append":
        content += b"more"
    elif damage == "empty":
        content.clear()
    path.write_bytes(content)
    if damage == "delete":
        path.unlink()


def test_a_flipped_bit_costs_one_chunk_only(backbone, images, tmp_path):
    cached(backbone, images, tmp_path)
    rows = next(tmp_path.rglob("features.npy"))
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    assert cached(backbone, images, tmp_path).plan.computed == 4  # 60 = 7 chunks of 8, and 4
    rows.write_bytes(rows.read_bytes()[:-5000])  # five rows of 256 numbers
    assert cached(backbone, images, tmp_path).plan.computed == 12


def test_a_damaged_note_of_a_broken_image_serves_no_row_for_it(
    backbone, folder, tmp_path, monkeypatch
):
    """Until the list of broken content is written, only the journal knows; each of its bits may flip."""
    (folder / "odd" / "003.png").write_bytes(b"no image")
    expected = cached(backbone, folder, tmp_path / "whole")

    def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(store.Recipe, "add_broken", crash)
        with pytest.raises(Crash):
            cached(backbone, folder, tmp_path / "begun")
    journal = next((tmp_path / "begun").rglob("journal-0.jsonl"))
    content = journal.read_bytes()
    line = content.index(b'"broken"')
    for at in range(line, line + 20, 2):
        cache = tmp_path / f"cache {at}"
        shutil.copytree(tmp_path / "begun", cache)
        flipped = bytearray(content)
        flipped[at] ^= 1
        (cache / journal.relative_to(tmp_path / "begun")).write_bytes(flipped)
        features = cached(backbone, folder, cache)
        assert features.paths == expected.paths
        assert np.array_equal(features.X, expected.X)


def test_a_sealed_cache_is_not_read_again_and_the_seal_breaks_when_anybody_writes(
    backbone, images, tmp_path, monkeypatch
):
    X = np.array(cached(backbone, images, tmp_path).X)
    deadline = time.monotonic() + 30
    while not list(tmp_path.rglob("seal.json")):  # once the clock of the file system has moved on
        assert time.monotonic() < deadline
        cached(backbone, images, tmp_path)
    read = []
    really = store.View._sums
    monkeypatch.setattr(
        store.View, "_sums", lambda self, *rows: read.append(rows) or really(self, *rows)
    )
    assert cached(backbone, images, tmp_path).plan.computed == 0
    assert read == []
    (path,) = tmp_path.rglob("features.npy")
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nothing had been
    again = cached(backbone, images, tmp_path)
    assert read
    assert again.plan.computed == 4
    assert np.array_equal(again.X, X)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no file system in memory here")
def test_a_file_system_that_keeps_no_time_gets_no_seal(backbone, images):
    """In memory, what is written through a map leaves no trace: there every row is read."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        X = np.array(cached(backbone, images, Path(folder)).X)
        time.sleep(0.05)
        cached(backbone, images, Path(folder))
        (path,) = Path(folder).rglob("features.npy")
        written = np.load(path, mmap_mode="r+")
        written[0, 0] += written[0, 0] + 99
        written.flush()
        del written
        assert np.array_equal(cached(backbone, images, Path(folder)).X, X)


def test_a_batch_that_is_a_part_of_what_was_looked_through_vouches_for_nothing(
    backbone, digits, tmp_path, monkeypatch
):
    """As where two processes have another batch size each, for their memory's sake."""
    really = sources.Source.scan
    monkeypatch.setattr(
        sources.Source, "scan", lambda *a, **k: replace(really(*a, **k), batches=[range(40)])
    )
    loader = DataLoader(TensorDataset(digits.images[:40]), batch_size=20)
    with pytest.raises(featx.FeatxError, match=r"0 to 39 in one batch.*got 20 of them"):
        cached(backbone, loader, tmp_path)


def test_a_damaged_neighbour_harms_nobody(backbone, images, tmp_path):
    cached(backbone, images[:20], tmp_path)
    items = next(tmp_path.rglob("items.npy"))
    content = items.read_bytes()
    for number, damaged in enumerate([b"", content[:50], content[:-3], b"x" + content[1:]]):
        items.write_bytes(damaged)
        rows = list(range(10 + number, 60))
        features = cached(backbone, images[rows], tmp_path)
        assert np.allclose(features.X, extract(backbone, images[rows], progress=False).X, atol=1e-5)


def test_processes_that_begin_at_once_share_one_recipe(tmp_path, monkeypatch):
    """While one writes it down, another must not take it for damaged and make one of its own."""
    really = store.write_atomically

    def slowly(path, content):
        time.sleep(0.05)
        really(path, content)

    monkeypatch.setattr(store, "write_atomically", slowly)
    canary = {"features": np.ones(4, np.float32)}

    def make(number: int) -> Path:
        time.sleep(0.02 * number)
        return store.Recipe(tmp_path / "cache", "net", {}, canary, 0.001).folder

    with ThreadPoolExecutor(6) as pool:
        folders = set(pool.map(make, range(6)))
    assert list((tmp_path / "cache").iterdir()) == list(folders)


def test_a_recipe_survives_the_loss_of_one_of_its_copies(backbone, images, tmp_path):
    cached(backbone, images, tmp_path)
    meta = next(tmp_path.glob("*/meta.json"))
    for damaged in (b"", b"{}", meta.read_bytes().replace(b"float32", b"float16")):
        meta.write_bytes(damaged)
        assert cached(backbone, images, tmp_path).plan.computed == 0
        assert json.loads(meta.read_bytes())["key"]["precision"] == "float32", "not mended"
    for copy in tmp_path.glob("*/meta*.json"):
        copy.unlink()
    assert cached(backbone, images, tmp_path).plan.computed == 60, (
        "nobody knows whose rows these are"
    )


# --- what the key covers --------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


class Edited(Net):
    """The same modules and weights, another way through them."""

    def forward(self, x):
        return self.fc(torch.tanh(self.conv(x)).mean((2, 3)))


def halved(x):
    return x.float() / 510


def whole(x):
    return x.float() / 255


def test_everything_that_changes_the_features_is_in_the_key(images, tmp_path):
    torch.manual_seed(0)
    net, edited = Net(), Edited()
    edited.load_state_dict(net.state_dict())
    edited.__class__.__name__ = "Net"  # as an edited notebook cell has it
    wrap = featx.Backbone.from_module
    cases = {
        "plain": (wrap(net, whole, in_channels=1), {}),
        "preprocessing": (wrap(net, halved, in_channels=1), {}),
        "forward": (wrap(edited, whole, in_channels=1), {}),
        "layers": (wrap(net, whole, in_channels=1), {"layers": ["conv"]}),
        "precision": (wrap(net, whole, in_channels=1), {"precision": "bfloat16"}),
    }
    torch.manual_seed(1)
    cases["weights"] = (wrap(Net(), whole, in_channels=1), {})
    for _ in range(2):  # the second time all are there side by side
        for name, (backbone, options) in cases.items():
            features = cached(backbone, images, tmp_path, **options)
            plain = extract(backbone, images, progress=False, **options)
            assert np.allclose(features.X, plain.X, atol=1e-6), name
    assert (
        len(
            {
                features.X.tobytes()
                for features in (cached(b, images, tmp_path, **o) for b, o in cases.values())
            }
        )
        == 6
    )
    assert all(cached(b, images, tmp_path, **o).plan.computed == 0 for b, o in cases.values())


def test_the_code_of_a_function_does_not_hang_on_the_order_of_a_set():
    """The order of a set of strings is another one in each process; that of 0 and 8 can be chosen."""
    code = (lambda x: x in {0, 8}).__code__
    one, other = (
        code.replace(co_consts=(*(c for c in code.co_consts if c != {0, 8}), frozenset(order)))
        for order in ([0, 8], [8, 0])
    )
    assert repr(one.co_consts) != repr(other.co_consts)
    assert code_of(one) == code_of(other) != code_of((lambda x: x in {0, 9}).__code__)
    assert code_of(lambda x: x in {0, 8}) != code_of(lambda x: x in {"0", "8"})


class Scaled(Net):
    """Behaves by an attribute that is no weight, and only for dark images."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, x):
        return super().forward(
            x * torch.where(x.mean((1, 2, 3), keepdim=True) < 0.4, self.factor, 1.0)
        )


def test_an_attribute_that_only_dark_images_feel_is_in_the_key(images, tmp_path):
    net = Scaled()
    backbone = featx.Backbone.from_module(net, whole, in_channels=1)
    cached(backbone, images, tmp_path)
    net.factor = 3.0
    features = cached(backbone, images, tmp_path)
    assert features.plan.computed == 60
    assert np.allclose(features.X, extract(backbone, images, progress=False).X, atol=1e-6)


def test_a_branch_of_preprocessing_that_noise_does_not_take_is_in_the_key(images, tmp_path):
    def first(x):
        return x.float() / (255 if x.float().mean() > 100 else 300)

    def second(x):
        return x.float() / (255 if x.float().mean() > 100 else 400)

    torch.manual_seed(0)
    net = Net()
    for preprocess in (first, second):
        backbone = featx.Backbone.from_module(net, preprocess, in_channels=1)
        assert cached(backbone, images, tmp_path).plan.computed == 60


def test_pooling_the_map_is_not_pooling_the_features(tmp_path, images):
    keys = []
    backbone = featx.load_backbone("glyphnet")
    for options in ({"pooling": "mean"}, {"pooling": "mean", "layers": "features"}):
        cached(backbone, images, tmp_path, **options)
        keys.append(len(list(tmp_path.glob("glyphnet-*"))))
    assert keys == [1, 2]


def test_layers_whose_names_look_alike_do_not_meet_in_one_file(images, tmp_path):
    net = Net()
    net.parts = torch.nn.ModuleDict({n: torch.nn.Conv2d(1, 4, 3) for n in ("a b", "a_b", "A_b")})
    net.forward = lambda x: net.fc(sum(part(x) for part in net.parts.values()).mean((2, 3)))
    backbone = featx.Backbone.from_module(net, whole, in_channels=1)
    layers = [f"parts.{name}" for name in net.parts]
    features = cached(backbone, images, tmp_path, layers=layers)
    plain = extract(backbone, images, layers=layers, progress=False)
    for layer in layers:
        assert np.allclose(features.layers[layer], plain.layers[layer], atol=1e-6), layer
    names = [path.name.lower() for path in tmp_path.rglob("parts*.npy")]
    assert len(set(names)) == 3


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
def test_a_model_with_random_numbers_is_refused(images, tmp_path, source):
    """However small: pooling averages noise away, to within what a GPU's rounding would do."""
    draw = {
        "torch": torch.rand_like,
        "numpy": lambda x: torch.from_numpy(np.random.rand(*x.shape)).float(),  # noqa: NPY002
        "python": lambda x: torch.full_like(x, random.random()),
    }[source]

    class Noisy(Net):
        def forward(self, x):
            return super().forward(x + 1e-3 * draw(x))

    backbone = featx.Backbone.from_module(Noisy(), whole, in_channels=1)
    with pytest.raises(featx.FeatxError, match="Expected a model that gives the same each time"):
        cached(backbone, images, tmp_path)


def test_a_model_that_draws_numbers_and_uses_none_is_welcome(images, tmp_path):
    class Drawing(Net):
        def forward(self, x):
            torch.rand(3)
            return super().forward(x)

    backbone = featx.Backbone.from_module(Drawing(), whole, in_channels=1)
    assert len(cached(backbone, images, tmp_path)) == 60


def test_versions_are_in_the_key(backbone, images, tmp_path, monkeypatch):
    cached(backbone, images, tmp_path)
    monkeypatch.setattr("PIL.__version__", "next")
    assert cached(backbone, images, tmp_path).plan.computed == 60


def test_a_batch_size_is_no_part_of_the_key(backbone, images, tmp_path):
    cached(backbone, images, tmp_path, batch_size=8)
    assert cached(backbone, images, tmp_path, batch_size=13).plan.computed == 0


class Augmented(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, row):
        return torch.rand(1, 8, 8), row


def test_data_that_does_not_stand_still_is_refused(backbone, images, tmp_path):
    moving = {
        "shuffled": DataLoader(TensorDataset(images), batch_size=8, shuffle=True),
        "augmented": Augmented(),
    }
    for data in moving.values():
        with pytest.raises(featx.FeatxError, match="leave out shuffling and random augmentation"):
            cached(backbone, data, tmp_path)
    random_crop = featx.Backbone.from_module(
        Net(), lambda x: torch.rand(len(x), 1, 8, 8), in_channels=1
    )
    with pytest.raises(featx.FeatxError, match="preprocessing that gives the same each time"):
        cached(random_crop, images, tmp_path)


def test_loaders_and_datasets_are_known_again_by_their_content(backbone, images, digits, tmp_path):
    labels = digits.labels[:60]
    sources = [
        TensorDataset(images, labels),
        DataLoader(TensorDataset(images, labels), batch_size=7),
        featx.datasets.LabelledImages(images, labels, digits.class_names),
    ]
    computed = []
    for source in sources:
        features = cached(backbone, source, tmp_path)
        assert np.array_equal(features.y, labels)
        computed.append(features.plan.computed)
    assert computed == [60, 0, 0]


# --- broken images --------------------------------------------------------------------------------


def test_broken_images_are_named_and_tried_once(backbone, folder, tmp_path):
    whole = (folder / "odd" / "003.png").read_bytes()
    (folder / "odd" / "003.png").write_bytes(whole[:-30])
    (folder / "even" / "empty.png").write_bytes(b"")
    cache = tmp_path / "cache"
    plain = extract(backbone, folder, progress=False)
    for computed in (39, 0):
        features = cached(backbone, folder, cache)
        assert features.plan.computed == computed
        assert {Path(file.path).name for file in features.skipped} == {"003.png", "empty.png"}
        assert all(file.reason for file in features.skipped)
        assert features.paths == plain.paths
        assert np.allclose(features.X, plain.X, atol=1e-5)
    with pytest.raises(featx.FeatxError, match=r"empty\.png|003\.png"):
        cached(backbone, folder, cache, on_error="raise")

    (folder / "odd" / "003.png").write_bytes(whole)  # mended
    features = cached(backbone, folder, cache)
    assert features.plan.computed == 1
    assert np.allclose(features.X, extract(backbone, folder, progress=False).X, atol=1e-5)


def test_the_first_broken_image_raises_if_asked_and_the_work_so_far_stays(
    backbone, folder, tmp_path
):
    last = sorted((folder / "odd").iterdir())[-1]
    content = last.read_bytes()
    last.write_bytes(content[:-30])
    with pytest.raises(featx.FeatxError, match=last.name):
        cached(backbone, folder, tmp_path / "cache", on_error="raise")
    last.write_bytes(content)
    assert cached(backbone, folder, tmp_path / "cache").plan.computed == 8  # its own chunk


def test_what_is_too_large_today_is_tried_again_tomorrow(backbone, folder, tmp_path, monkeypatch):
    Image.new("L", (60, 60), 9).save(folder / "odd" / "large.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        for computed in (40, 0):
            features = cached(backbone, folder, tmp_path / "cache")
            assert [Path(file.path).name for file in features.skipped] == ["large.png"]
            assert features.plan.computed == computed
    features = cached(backbone, folder, tmp_path / "cache")
    assert (len(features), features.plan.computed) == (41, 1)


def test_a_model_of_one_size_is_cached_though_the_first_file_is_broken(folder, tmp_path):
    (folder / "even" / "!.png").write_bytes(b"no image")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.ReLU())
    backbone = featx.Backbone.from_module(net, whole, in_channels=1, layer="2", num_features=5)
    features = cached(backbone, folder, tmp_path / "cache")
    assert np.allclose(features.X, extract(backbone, folder, progress=False).X, atol=1e-6)
    assert features.X.shape == (40, 5)


def test_a_file_that_changes_while_it_is_read_stops_the_run_and_not_the_next(
    backbone, folder, tmp_path, monkeypatch
):
    last = sorted(folder.rglob("*.png"))[-1]
    really_write = store.View.write

    def write(self, *arguments):
        Image.new("L", (8, 8), 50).save(last)  # while the first chunk is on its way
        really_write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store.View, "write", write)
        with pytest.raises(featx.FeatxError, match=f"{last.name} has changed since a moment ago"):
            cached(backbone, folder, tmp_path / "cache")
    features = cached(backbone, folder, tmp_path / "cache")
    assert features.plan.computed == 8, "all but the last chunk was kept"
    assert np.allclose(features.X, extract(backbone, folder, progress=False).X, atol=1e-5)


def test_a_loader_goes_on_where_it_stopped(backbone, images, tmp_path, monkeypatch):
    loader = DataLoader(TensorDataset(images, torch.arange(60)), batch_size=7)
    whole_run = cached(backbone, loader, tmp_path / "whole")
    really_commit = store.View.commit

    def commit(self, start, *arguments):
        if start == 28:
            raise Crash
        really_commit(self, start, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store.View, "commit", commit)
        with pytest.raises(Crash):
            cached(backbone, loader, tmp_path / "cache")
    features = cached(backbone, loader, tmp_path / "cache")
    assert features.plan.computed == 32
    assert np.array_equal(features.X, whole_run.X)
    assert features.y.tolist() == list(range(60))


def test_no_row_of_a_broken_image_is_taken_over(backbone, folder, tmp_path, monkeypatch):
    """A view that stopped before its broken image was put on the list gives its other rows only."""
    (folder / "even" / "000.png").write_bytes(b"no image")
    with monkeypatch.context() as patch:
        patch.setattr(store.Recipe, "add_broken", lambda *_: (_ for _ in ()).throw(Crash()))
        with pytest.raises(Crash):
            cached(backbone, folder, tmp_path / "cache")
    (folder / "odd" / "001.png").unlink()  # another view
    features = cached(backbone, folder, tmp_path / "cache")
    assert features.plan.computed == 0
    assert [Path(file.path).name for file in features.skipped] == ["000.png"]
    assert np.allclose(features.X, extract(backbone, folder, progress=False).X, atol=1e-5)
    assert len(list(tmp_path.rglob("features.npy"))) <= 2


@pytest.mark.parametrize("at", ["verify", "arrays"])
def test_a_neighbour_that_is_removed_while_it_is_read_harms_nobody(
    backbone, images, tmp_path, monkeypatch, at
):
    cached(backbone, images[:20], tmp_path)
    there = next(tmp_path.rglob("items.npy")).parent
    read = getattr(store.View, at)

    def remove_and_read(view):
        if view.folder == there:
            view.remove()
        return read(view)

    monkeypatch.setattr(store.View, at, remove_and_read)
    features = cached(backbone, images[10:], tmp_path)
    assert not there.exists()
    assert np.allclose(features.X, extract(backbone, images[10:], progress=False).X, atol=1e-5)


# --- crashes, several processes, bad disks --------------------------------------------------------


class Crash(BaseException):
    """Nothing in the code catches this, as nothing catches a power cut."""


def test_a_crash_in_the_middle_of_any_write_costs_no_more_than_a_chunk(
    backbone, folder, tmp_path, monkeypatch
):
    """Each write in turn is cut in half, and the program ends there; then it runs again."""
    (folder / "odd" / "003.png").write_bytes(b"no image")
    expected = cached(backbone, folder, tmp_path / "whole", batch_size=16)
    really_write = store._write_all
    calls = {"left": 0}

    def cut_short(file, data):
        calls["left"] -= 1
        if calls["left"] == 0:
            really_write(file, memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
            raise Crash
        really_write(file, data)

    for number in itertools.count(1):
        cache = tmp_path / f"cache {number}"
        calls["left"] = number
        monkeypatch.setattr(store, "_write_all", cut_short)
        try:
            cached(backbone, folder, cache, batch_size=16)
        except Crash:
            monkeypatch.setattr(store, "_write_all", really_write)
            again = cached(backbone, folder, cache, batch_size=16)
            assert np.array_equal(again.X, expected.X), number
            assert again.paths == expected.paths
        else:
            break  # it came to its end: every write had its turn
    assert number > 12
    assert again.plan.computed == 0, "after the last write nothing is left to compute"


WORK = """
import multiprocessing
from featx import load_backbone
multiprocessing.set_start_method(None, force=True)  # for its readers: the platform's own again
from featx.extraction import extract
features = extract(load_backbone("glyphnet"), folder, cache_dir=cache, batch_size=4, num_workers=workers,
                   progress=False)
with open(f"{cache}/computed", "a") as file:
    print(features.plan.computed, len(features), file=file)
"""


@pytest.fixture(scope="module")
def start() -> Callable[..., BaseProcess]:
    """Start a process that extracts. It is forked by one that has imported torch: ten seconds less."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["featx.extraction", "featx.backbones"])

    def start(folder: Path, cache: Path, workers: int = 0):
        names = {"folder": str(folder), "cache": str(cache), "workers": workers}
        process = context.Process(target=exec, args=(WORK, names))
        process.start()
        return process

    ready = context.Process(target=print)
    ready.start()
    ready.join()
    return start


@pytest.fixture(scope="module")
def many(tmp_path_factory, digits) -> Path:
    """Six hundred digits as PNG files, a few of them broken. Nobody changes them."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(600):
        path = folder / f"{i:03}.png"
        Image.fromarray(digits.images[i, 0].numpy()).save(path)
        if i % 200 == 77:
            path.write_bytes(path.read_bytes()[:50])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_any_moment_it_goes_on_and_comes_out_the_same(
    backbone, start, many, tmp_path, workers
):
    cache = tmp_path / "cache"
    draw = random.Random(workers)

    def lines() -> int:
        return sum(len(path.read_bytes().splitlines()) for path in cache.rglob("journal-*.jsonl"))

    counts = []
    for number in range(6):
        before = lines()
        process = start(many, cache, workers)
        # Every other kill hits the work, however slow the machine is.
        while number % 2 and process.is_alive() and lines() == before:
            process.join(0.005)
        process.join(draw.uniform(0, 0.3 if number % 2 else 1.0))
        process.kill()
        process.join()
        counts.append(lines())
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    features = cached(backbone, many, cache, batch_size=4)
    whole = cached(backbone, many, tmp_path / "whole", batch_size=4)
    assert np.array_equal(features.X, whole.X)
    assert features.paths == whole.paths
    assert len(features.skipped) == 3
    assert len(set(counts)) > 1, "no kill hit the work"
    assert features.plan.computed < 597, "nothing was kept"


@pytest.mark.slow
def test_two_processes_share_the_work_of_one(backbone, start, many, tmp_path):
    cache = tmp_path / "cache"
    both = [start(many, cache), start(many, cache)]
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    told = [line.split() for line in (cache / "computed").read_text().splitlines()]
    assert [rows for _, rows in told] == ["597"] * 2
    assert sum(int(computed) for computed, _ in told) == 597
    features = cached(backbone, many, cache)
    assert features.plan.computed == 0
    assert np.allclose(features.X, extract(backbone, many, progress=False).X, atol=1e-5)


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *run, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


GROUP = """
import os, sys, torch, featx
from torch.utils.data import DataLoader, TensorDataset
from featx.extraction import extract
folder, cache = sys.argv[1:3]
def say(*words):  # in one piece: two processes write to one pipe
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
digits = featx.datasets.load_digits()
images = TensorDataset(digits.images[:300], digits.labels[:300])
kinds = {"folder": folder, "dataset": images, "loader": DataLoader(images, batch_size=7)}
backbone = featx.load_backbone("glyphnet")
for kind, data in kinds.items():
    features = extract(backbone, data, cache_dir=f"{cache}/{kind}", batch_size=4, progress=False)
    say("computed", kind, features.plan.computed, len(features))
if os.environ["RANK"] == "0":
    open(f"{cache}/file", "w").close()
try:
    extract(backbone, images, cache_dir=f"{cache}/file", progress=False)
except featx.FeatxError as error:
    say("refused", os.environ["RANK"], error)
if os.environ.get("RANK") == "1":  # what is wrong in one process only is told in all
    backbone.model.forward = lambda x: {}["nothing"]
try:
    extract(backbone, digits.images[300:400], cache_dir=f"{cache}/wrong", batch_size=4, progress=False)
except featx.FeatxError as error:
    say("told", os.environ["RANK"], error)
"""


@pytest.mark.slow
def test_under_torchrun_two_processes_give_the_store_of_one(backbone, many, digits, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(GROUP)
    cache = tmp_path / "cache"
    done = torchrun(script, many, cache)
    images = TensorDataset(digits.images[:300], digits.labels[:300])
    loader = DataLoader(images, batch_size=7)
    for kind, data, rows in (
        ("folder", many, 597),
        ("dataset", images, 300),
        ("loader", loader, 300),
    ):
        told = [line.split()[2:] for line in done.stdout.splitlines() if f"computed {kind}" in line]
        computed = [int(count) for count, _ in told]
        assert [total for _, total in told] == [str(rows)] * 2, done.stderr
        assert sum(computed) == rows
        assert min(computed) > rows / 3, "one process did it all"
        together = cached(backbone, data, cache / kind, batch_size=4)
        alone = cached(backbone, data, tmp_path / "alone" / kind, batch_size=4)
        assert together.plan.computed == 0
        assert np.array_equal(together.X, alone.X)
        assert together.paths == alone.paths
        assert together.y is None or np.array_equal(together.y, alone.y)
        stores = [
            {path.relative_to(place).as_posix() for path in place.rglob("*.npy")}
            for place in (cache / kind, tmp_path / "alone" / kind)
        ]
        assert stores[0] == stores[1]
    for rank in (0, 1):
        assert re.search(rf"refused {rank} .*Choose another cache_dir", done.stdout), done.stdout
        assert re.search(rf"told {rank} .*KeyError.*'nothing'", done.stdout), done.stdout
    assert done.returncode == 0, done.stderr


def in_a_sandbox(script: str, *arguments: object, mounts: list) -> subprocess.CompletedProcess[str]:
    command = ["bwrap", "--dev-bind", "/", "/", *mounts, "--die-with-parent", "--", sys.executable]
    return subprocess.run(
        [str(word) for word in (*command, "-c", script, *arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


SANDBOXED = """
import os, sys, featx
from featx.extraction import extract
backbone = featx.load_backbone("glyphnet")
def run(folder, cache):
    try:
        features = extract(backbone, folder, cache_dir=cache, batch_size=4, progress=False)
        print(features.plan.computed, len(features))
    except featx.FeatxError as error:
        print("told:", error)
"""

FULL = """
many, small = sys.argv[1:]
with open(f"{small}/other", "wb") as file:
    file.write(bytes(900_000))
run(many, small)
os.remove(f"{small}/other")
run(many, small)
"""


@pytest.mark.slow
def test_a_full_disk_is_told_and_harms_nothing(offline, many, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    disk = ["--size", "1400000", "--tmpfs", small]
    done = in_a_sandbox(SANDBOXED + FULL, many, small, mounts=disk)
    full, again = done.stdout.splitlines()
    assert "the disk is full" in full
    assert "it goes on where it stopped" in full
    assert again.split()[1] == "597", "with room again the same call comes to its end"


@pytest.mark.slow
def test_a_read_only_folder_serves_what_it_has(offline, folder, many, tmp_path):
    cache = tmp_path / "cache"
    cached(featx.load_backbone("glyphnet"), folder, cache)
    script = SANDBOXED + "for folder in sys.argv[2:]: run(folder, sys.argv[1])"
    mounts = ["--ro-bind", cache, cache]
    done = in_a_sandbox(script, cache, folder, many, mounts=mounts)
    served, refused = done.stdout.splitlines()
    assert served == "0 40"
    assert "told: Expected a folder to write features to" in refused
    assert "Read-only file system" in refused


MEMORY = """
import resource, sys, torch, featx
from featx.extraction import extract
class Wide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(20_000, 2)
    def forward(self, x):
        return self.fc(x.mean((1, 2, 3))[:, None].expand(-1, 20_000))
class Data(torch.utils.data.Dataset):
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, row):
        return torch.full((1, 8, 8), row % 251, dtype=torch.uint8) + row // 251
backbone = featx.Backbone.from_module(Wide(), lambda x: x.float() / 255, in_channels=1)
for count in map(int, sys.argv[2:]):
    X = extract(backbone, Data(count), cache_dir=f"{sys.argv[1]}/{count}", progress=False).X
    print(X.shape[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    counts = 200, 4000  # 16 MB and 320 MB of features
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), *map(str, counts)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, peaks = zip(*[map(int, line.split()) for line in done.stdout.splitlines()], strict=True)
    assert rows == counts
    assert peaks[1] - peaks[0] < 60, peaks


def test_meta_json_says_what_the_folder_holds(backbone, images, tmp_path):
    cached(backbone, images, tmp_path)
    recipe = json.loads(next(tmp_path.glob("*/meta.json")).read_text())["key"]
    assert recipe["backbone"] == "glyphnet"
    assert recipe["weights_id"] == backbone.weights_id
    assert recipe["precision"] == "float32"
    assert {"torch", "torchvision", "PIL", "featx"} <= recipe["versions"].keys()
    assert os.access(next(tmp_path.glob("*/*/features.npy")), os.R_OK)
