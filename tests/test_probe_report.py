"""`featx probe`: one page that stands alone, honest numbers, and errors with a way out."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

import featx
from featx.features import Features
from featx.probe_report import probe_report, show_probe_report


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves features and returns the folder."""

    def save(**changes):
        rng = np.random.default_rng(0)
        y = np.arange(90) % 3
        X = (rng.normal(size=(3, 6))[y] * 3 + rng.normal(size=(90, 6))).astype(np.float32)
        features = Features(
            X,
            y,
            paths=[f"photos/{i}.png" for i in range(90)],
            class_names=("cat", "dog", "<b>bird</b>"),
            meta={"backbone": "glyphnet"},
        )
        return replace(features, **changes).save(tmp_path / "features")

    return save


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.addresses = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v]


def test_the_page_stands_alone_and_is_readable(saved):
    found = probe_report(saved())
    text = found.path.read_text()
    page = Page(text)
    assert found.path.name == "report.html"
    assert page.tags.count("h1") == 1
    assert page.tags.count("table") == page.tags.count("caption") >= 2
    assert len(page.images) == 4  # confusion, reliability, path of C, features
    assert all(len(image["alt"]) > 40 for image in page.images)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "://" not in text
    assert "<b>bird" not in text  # class names are text, whatever they hold
    assert "&lt;b&gt;bird" in text
    assert found.report.headline in text


def test_numbers_are_of_rows_kept_back(saved):
    """Labels that mean nothing: only a leak could score well."""
    X = np.random.default_rng(1).normal(size=(90, 200)).astype(np.float32)
    found = probe_report(saved(X=X))
    assert (found.train_rows, found.test_rows) == (68, 22)
    assert min(found.report.support) >= 7
    assert found.report.accuracy < 0.65
    assert found.report.verdict == "bad"


def test_same_seed_same_report(saved):
    folder = saved(X=np.random.default_rng(1).normal(size=(90, 4)).astype(np.float32))
    first, again, other = (probe_report(folder, seed=s).report.confusion for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_wrong_label_is_named_by_its_path(saved):
    y = np.arange(90) % 3
    folders = {}
    for i in (0, 3, 6, 9, 12):  # cats in the folder of dogs: some are sure to be tested
        y[i] = 1
        folders[f"photos/{i}.png"] = "dog"
    found = probe_report(saved(y=y), test_size=0.5)
    named = {image.name: image for image in found.mistakes}
    assert named.keys() & folders
    for name in named.keys() & folders:
        assert (named[name].true, named[name].predicted) == ("dog", "cat")
    sure = [image.probability for image in found.mistakes]
    assert sure == sorted(sure, reverse=True)
    assert found.mistakes[0].name in found.path.read_text()


def test_it_is_shown_in_a_terminal(saved, tmp_path):
    found = probe_report(saved(), tmp_path / "new" / "out.html")
    console = Console(file=io.StringIO(), width=100)
    show_probe_report(found, console)
    text = console.file.getvalue()
    assert f"Verdict: {found.report.verdict}" in text
    assert f"{found.report.accuracy:.3f}" in text
    assert f"{found.knn_accuracy:.3f}" in text
    assert str(found.path) in text


def test_json_holds_everything_for_programs(saved, tmp_path):
    found = probe_report(saved(), tmp_path / "report.json")
    said = json.loads((tmp_path / "report.json").read_text())
    assert said == json.loads(json.dumps(found.to_dict()))
    assert said["report"]["accuracy"] == found.report.accuracy
    assert said["report"]["intervals"]["accuracy"]
    assert said["train_rows"] == 68


def test_the_same_image_in_both_parts_is_said(saved, capsys):
    """Every row is there twice: whatever the split, copies lie on both sides."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(45, 6)).astype(np.float32)
    found = probe_report(saved(X=np.concatenate([half, half]), paths=None))
    assert "exact_duplicates" in found.pitfalls
    text = found.path.read_text()
    assert text.index("Before you believe the numbers") < text.index("Verdict")
    show_probe_report(found, Console(width=100))
    assert found.pitfalls["exact_duplicates"].message[:30] in capsys.readouterr().out
    clean = probe_report(saved())
    assert "exact_duplicates" not in clean.pitfalls
    assert "Before you believe" not in clean.path.read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y": None}, "features with labels.*sub-folder of its own"),
        ({"y": np.zeros(90, int)}, "at least two classes, got 90 of cat only"),
        ({"y": np.append(np.zeros(89, int), 1)}, "two images of each class.*got one of dog"),
    ],
)
def test_labels_that_nothing_can_be_learned_from_are_told(saved, changes, words):
    with pytest.raises(featx.FeatxError, match=words):
        probe_report(saved(**changes))


def test_a_folder_without_features_and_one_without_room_are_told(saved, tmp_path):
    with pytest.raises(featx.FeatxError, match="featx extract"):
        probe_report(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(featx.FeatxError, match="Choose another one"):
        probe_report(saved(), tmp_path / "file" / "report.html")
    with pytest.raises(featx.FeatxError, match=r"ends in \.html or \.json, got 'report\.pdf'"):
        probe_report(saved(), tmp_path / "report.pdf")
    with pytest.raises(featx.FeatxError, match="test_size"):
        probe_report(saved(), test_size=1.5)


@pytest.mark.parametrize(
    ("counts", "test_size"), [((30, 30, 2), 0.25), ((98, 2), 0.1), ((98, 2), 0.9), ((2, 2, 5), 0.5)]
)
def test_each_class_is_learned_and_tested(saved, counts, test_size):
    """A rare class must not fall out of a part; what was asked for stays as large."""
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.random.default_rng(0).normal(size=(len(y), 6)).astype(np.float32)
    for seed in range(3):
        folder = saved(X=X, y=y, paths=None, class_names=())
        page = folder / "report.json"  # no pictures
        report = probe_report(folder, page, test_size=test_size, seed=seed).report
        train = np.array(counts) - report.support
        assert min(report.support) >= 1
        assert min(train) >= 1
        assert sum(report.support) == max(round(len(y) * test_size), len(counts))


def test_labels_that_conflict_are_told_by_their_names(saved):
    """Every row is there twice, as a cat and as a dog; a label without a name says its number."""
    half = np.random.default_rng(0).normal(size=(45, 6)).astype(np.float32)
    y = np.repeat([1, 5], 45)
    folder = saved(X=np.concatenate([half, half]), y=y, paths=None, class_names=("cat", "dog"))
    message = probe_report(folder).pitfalls["exact_duplicates"].message
    assert "are dog and 5" in message or "are 5 and dog" in message


def test_a_name_with_a_line_break_stays_on_its_line(saved):
    rng = np.random.default_rng(1)
    folder = saved(
        X=rng.normal(size=(90, 6)).astype(np.float32),
        paths=[f"photos/{i}\nof\udce9.png" for i in range(90)],
    )
    console = Console(file=io.StringIO(), width=100)
    found = probe_report(folder)
    show_probe_report(found, console)
    assert "\\nof\\udce9.png is" in console.file.getvalue()
    assert "\\nof\\udce9.png" in found.path.read_text()


def test_two_images_a_class_and_very_many_classes_are_enough(saved):
    y = np.arange(90) // 2
    found = probe_report(saved(y=y, class_names=tuple(f"class {i}" for i in range(45)), paths=None))
    assert (found.train_rows, found.test_rows) == (45, 45)
    assert found.C == 1
    assert len(Page(found.path.read_text()).images) == 3  # no path was walked
    assert found.mistakes[0].name.startswith("row ")
