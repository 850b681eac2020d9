"""Wrong use, as a user meets it: each message says what was expected, what came, and what to do.

The tables hold what the user does, and words that the message must hold: part of the way out among them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Things

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18

import featx
from featx import datasets, pitfalls, plots, study
from featx.images import read_image


class Noise(Dataset):
    """Images that differ each time."""

    def __len__(self):
        return 8

    def __getitem__(self, row):
        return torch.rand(1, 8, 8)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Things:
    """What a user has at hand."""
    folder = tmp_path_factory.mktemp("errors")
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "read me.txt").write_text("no image")
    (folder / "file").write_text("a file, no folder")
    (folder / "mixed" / "cats").mkdir(parents=True)
    for name in ("mixed/top.png", "mixed/cats/one.png"):
        plots_image(folder / name)
    (folder / "weights.pth").write_bytes(b"no weights")
    torch.save({"path": folder}, folder / "code.pth")
    torch.save({"state_dict": {"other.weight": torch.zeros(2)}}, folder / "other.pth")
    backbone = featx.load_backbone("glyphnet")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 8)).astype(np.float32)
    y = np.repeat([0, 1], 20)
    features = featx.Features(X, y, class_names=("cat", "dog"))
    features.save(folder / "features")
    damaged = features.save(folder / "damaged")
    (damaged / "X.npy").write_bytes(b"")
    featx.Features(X).save(folder / "unlabelled")
    return Things(
        folder=folder,
        backbone=backbone,
        images=torch.rand(4, 1, 8, 8),
        X=X,
        y=y,
        features=features,
        model=resnet18(weights=None),
    )


def plots_image(path: Path) -> None:
    from PIL import Image

    Image.new("L", (8, 8)).save(path)


def extract(here: Things, data=None, **options):
    data = here.images if data is None else data
    return featx.extract(here.backbone, data, progress=False, **options)


def probe(here: Things, **options):
    return featx.LinearProbe(**options).fit(here.X, here.y)


IN_PYTHON: dict[str, tuple[Callable[[Things], object], str]] = {
    # --- backbones
    "a name with a typo": (lambda t: featx.load_backbone("resnet81"), "Close matches: resnet18"),
    "no name": (lambda t: featx.load_backbone(""), "Known names: glyphnet"),
    "None as a name": (lambda t: featx.load_backbone(None), r"featx.list_backbones\(\)"),
    "a model for a name": (lambda t: featx.load_backbone(t.model), "from_module"),
    "a name of timm with a typo": (
        lambda t: (
            pytest.importorskip("timm", reason="needs timm: pip install 'featx[timm]'"),
            featx.load_backbone("timm/resnet1018"),
        ),
        "Close matches: timm/resnet101",
    ),
    "weights of another name": (
        lambda t: featx.load_backbone("resnet18", weights="IMAGENET"),
        "one of default, IMAGENET1K_V1",
    ),
    "weights=True": (lambda t: featx.load_backbone("resnet18", weights=True), "None for random"),
    "a file of weights that is missing": (
        lambda t: featx.load_backbone("resnet18", weights="missing.pth"),
        "there is none at .*missing.pth. Check the path",
    ),
    "a folder for weights": (
        lambda t: featx.load_backbone("resnet18", weights=t.folder),
        "there is none at .*a folder",
    ),
    "a file that holds no weights": (
        lambda t: featx.load_backbone("glyphnet", weights=t.folder / "weights.pth"),
        r"torch.save\(model.state_dict\(\), …\).*did not write it, or not all of it",
    ),
    "a pickle that holds code": (
        lambda t: featx.load_backbone("glyphnet", weights=t.folder / "code.pth"),
        "it holds code, which would be run",
    ),
    "weights of another model": (
        lambda t: featx.load_backbone("glyphnet", weights=t.folder / "other.pth"),
        "no tensor in it has a name that glyphnet knows",
    ),
    "a name where a module belongs": (
        lambda t: featx.Backbone.from_module("resnet18", lambda x: x),
        r"from_module\(model, preprocess\)",
    ),
    "no layer of that name in a module": (
        lambda t: featx.Backbone.from_module(t.model, lambda x: x, layer="layer9"),
        "Close matches: layer4",
    ),
    # --- extraction
    "a plain model": (lambda t: featx.extract(t.model, t.images), "from_module"),
    "a folder that is not there": (lambda t: extract(t, "nowhere"), "Pass the folder that holds"),
    "an empty folder": (
        lambda t: extract(t, t.folder / "empty"),
        "an empty folder. Pass the folder",
    ),
    "a folder without images": (lambda t: extract(t, t.folder / "notes"), "read me.txt"),
    "a file for a folder": (lambda t: extract(t, t.folder / "file"), "Pass the folder"),
    "images beside class folders": (lambda t: extract(t, t.folder / "mixed"), "Move the first"),
    "an empty list": (lambda t: extract(t, []), "a folder, a list of files.*an empty list"),
    "no images in an array": (lambda t: extract(t, t.images[:0]), "Check how they were chosen"),
    "nothing": (lambda t: featx.extract(t.backbone, None), "a folder, a list of files"),
    "files that are missing": (lambda t: extract(t, ["a.png", "b.png"]), "Pass files that exist"),
    "integers": (lambda t: extract(t, torch.zeros(4, 1, 8, 8).long()), r"x.to\(torch.uint8\)"),
    "floats of 0-255": (lambda t: extract(t, t.images * 255), "Divide them by 255"),
    "normalised images": (lambda t: extract(t, t.images - 0.5), "before any normalisation"),
    "NaN in images": (lambda t: extract(t, t.images * torch.nan), "NaN.*Leave"),
    "channels last": (
        lambda t: extract(t, torch.rand(4, 8, 8, 3)),
        r"x.permute\(0, 3, 1, 2\)",
    ),
    "rows of pixels": (lambda t: extract(t, torch.rand(4, 64)), r"x.reshape\(N, H, W\)"),
    "names in an array": (
        lambda t: extract(t, np.array(["a", "b"])),
        "Expected an array of numbers",
    ),
    "a layer that is not there": (lambda t: extract(t, layers="layer9"), "Close matches: layer"),
    "a number for a layer": (lambda t: extract(t, layers=3), "featx.trace_shapes shows the names"),
    "a device that is none": (lambda t: extract(t, device="gpu"), "'gpu'. Use device=\"auto\""),
    "a device that is not there": (lambda t: extract(t, device="cuda:99"), 'device="auto"'),
    "an unknown precision": (lambda t: extract(t, precision="fp16"), '"float16"'),
    "batch size 0": (lambda t: extract(t, batch_size=0), "a whole number from 1"),
    "a word for a batch size": (lambda t: extract(t, batch_size="large"), '"auto"'),
    "workers below 0": (lambda t: extract(t, num_workers=-1), "a whole number from 0"),
    "another way to skip": (lambda t: extract(t, on_error="ignore"), '"skip" or "raise"'),
    "another pooling": (lambda t: extract(t, pooling="max"), '"cls" takes the class token'),
    "a cache in a file": (
        lambda t: extract(t, cache_dir=t.folder / "file" / "cache"),
        "Choose another cache_dir",
    ),
    "a number for a cache": (lambda t: extract(t, cache_dir=3), "the path of a folder or None"),
    "a cache of images that change": (
        lambda t: extract(t, Noise(), cache_dir=t.folder / "cache"),
        "leave out shuffling",
    ),
    "a DataLoader of text": (lambda t: extract(t, DataLoader(["a", "b"])), "a tensor of 0-255"),
    "features into a file": (lambda t: t.features.save(t.folder / "file"), "Choose another one"),
    "no features in a folder": (lambda t: featx.load_features(t.folder / "empty"), "featx extract"),
    "damaged features": (lambda t: featx.load_features(t.folder / "damaged"), "Extract again"),
    # --- probes
    "a single class": (lambda t: featx.LinearProbe().fit(t.X, t.y * 0), "tell classes apart"),
    "NaN in features": (lambda t: featx.LinearProbe().fit(t.X * np.nan, t.y), "NaN"),
    "feature maps for a probe": (lambda t: featx.LinearProbe().fit(t.X[:, :, None], t.y), "3"),
    "features of another width": (lambda t: probe(t).predict(t.X[:, 1:]), "7 features"),
    "C of 0": (lambda t: probe(t, C=0), 'above 0 or "path"'),
    "another task": (lambda t: probe(t, task="ranking"), '"classification" or "regression"'),
    "no neighbours": (lambda t: featx.KNNProbe(0).fit(t.X, t.y), "a whole number from 1"),
    "an extractor of no backbone": (
        lambda t: featx.FeatureExtractor("resnet81").fit(t.images),
        "Close matches: resnet18",
    ),
    # --- metrics
    "predictions of other rows": (lambda t: featx.evaluate(t.y, t.y[1:]), "the same rows"),
    "scores where labels belong": (lambda t: featx.evaluate(t.y, t.X[:, 0]), "pass y_score"),
    "names beside numbers": (
        lambda t: featx.evaluate(["cat", "dog"], [0, 1]),
        "all into names or all into numbers",
    ),
    "an unknown class": (
        lambda t: featx.evaluate([0, 1], [0, 2], labels=[0, 1]),
        "Name all classes with labels",
    ),
    "neither predictions nor scores": (lambda t: featx.evaluate(t.y), "Pass y_pred or y_score"),
    "no rows": (lambda t: featx.evaluate([], []), "Check how the rows were chosen"),
    "scores out of range": (
        lambda t: featx.evaluate(t.y, y_score=t.y * 3.0),
        "probabilities from 0 to 1",
    ),
    "scores of another shape": (
        lambda t: featx.evaluate(t.y, y_score=np.ones((40, 3)) / 3),
        r"of the shape \(40, 2\)",
    ),
    "a class that nobody has": (
        lambda t: featx.evaluate(t.y, t.y, positive="dog"),
        "Spell it as the labels do",
    ),
    "accuracy in per cent": (
        lambda t: featx.evaluate(t.y, t.y, train_accuracy=95),
        "Divide per cent by 100",
    ),
    "a threshold beside predictions": (
        lambda t: featx.evaluate(t.y, t.y, threshold=0.5),
        "y_score=…, threshold=…",
    ),
    "classes for a regression": (
        lambda t: featx.evaluate_regression(["a", "b"], ["a", "b"]),
        "featx.evaluate",
    ),
    "a floor that cannot be reached": (
        lambda t: featx.choose_threshold(t.y, np.roll(t.y, 20) * 1.0, min_precision=0.9),
        "Lower the floor",
    ),
    "a floor in per cent": (
        lambda t: featx.choose_threshold(t.y, t.y * 1.0, min_recall=95),
        "Divide per cent by 100",
    ),
    "a floor and costs": (
        lambda t: featx.choose_threshold(t.y, t.y * 1.0, min_recall=0.9, cost_fp=1, cost_fn=2),
        "Ask which error is worse",
    ),
    "nothing to choose by": (lambda t: featx.choose_threshold(t.y, t.y * 1.0), "Ask which error"),
    "a cost below 0": (
        lambda t: featx.choose_threshold(t.y, t.y * 1.0, cost_fp=-1, cost_fn=2),
        "Only their ratio matters",
    ),
    # --- heads, freezing, shapes
    "a head of no classes": (
        lambda t: featx.replace_head(t.model, 0),
        "whole number from 1",
    ),
    "a head where there is none": (
        lambda t: featx.replace_head(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), 2),
        "Load the model again",
    ),
    "a head of a name": (lambda t: featx.replace_head("resnet18", 2), "featx.load_backbone"),
    "a head of a backbone": (lambda t: featx.remove_head(t.backbone), "backbone.model"),
    "to freeze a name": (lambda t: featx.freeze("resnet18"), "featx.load_backbone"),
    "to keep an unknown part": (lambda t: featx.freeze(t.model, ["hed"]), "Close matches|Known"),
    "to unfreeze an unknown stage": (
        lambda t: featx.unfreeze(t.model, "layer5"),
        "Close matches: layer4",
    ),
    "a learning rate of 0": (lambda t: featx.param_groups(t.model, lr=0), "Try 0.001"),
    "nothing to train": (
        lambda t: featx.param_groups(featx.freeze(nn.Sequential(nn.Linear(2, 2)), [])),
        "Replace its head, or call featx.unfreeze",
    ),
    "nothing frozen": (
        lambda t: featx.assert_frozen(nn.Linear(2, 2)).__enter__(),
        "Call featx.freeze",
    ),
    "another shape": (lambda t: featx.check_shape(t.X, "batch 512"), r"got \(40, 8\)"),
    "a shape that is none": (lambda t: featx.check_shape(t.X, "batch -1"), '"batch 512"'),
    "a word to check": (lambda t: featx.check_shape("abc", "batch"), "features.X"),
    "an image without a batch": (
        lambda t: featx.trace_shapes(t.model, (3, 64, 64)),
        r"x\[None\] makes a batch of one",
    ),
    "grey images for a colour model": (
        lambda t: featx.trace_shapes(t.model, (1, 1, 64, 64)),
        "3 channels",
    ),
    "a name to trace": (lambda t: featx.trace_shapes("resnet18", (1, 3, 8, 8)), "load_backbone"),
    "a feature map of the head": (
        lambda t: featx.feature_map(t.backbone, t.images, "fc"),
        "keeps height and width apart",
    ),
    # --- pitfalls, data, pictures
    "two sizes of features": (
        lambda t: pitfalls.check_split(t.X, t.X[:, 1:]),
        "Extract both with the same backbone",
    ),
    "epochs of two lengths": (lambda t: pitfalls.check_fit([0.5, 0.6], [0.5]), "one of each"),
    "scores in per cent": (lambda t: pitfalls.check_fit(95, 90), "Divide per cent by 100"),
    "a model to check": (
        lambda t: pitfalls.check_preprocessing(t.model, t.images),
        "featx.load_backbone",
    ),
    "no labels": (lambda t: pitfalls.check_imbalance([]), "Check how the rows were chosen"),
    "an unknown limit": (
        lambda t: pitfalls.check_imbalance(t.y, thresholds={"rear": 3}),
        "Close matches|Known names",
    ),
    "one path for a list": (lambda t: datasets.image_paths("a.png"), r"Write \[path\]"),
    "labels for other paths": (
        lambda t: datasets.image_paths([t.folder / "mixed" / "top.png"], [0, 1]),
        "1 paths and 2 labels",
    ),
    "text for an image": (lambda t: read_image(t.folder / "notes" / "read me.txt"), "Replace it"),
    "points of three dimensions": (
        lambda t: plots.plot_features_2d(t.X, t.y),
        r"PCA\(2\).fit_transform",
    ),
    # --- study
    "a question with a typo": (lambda t: study.quiz("freeze-oder"), "Close matches: freeze-order"),
    "a number for a question": (lambda t: study.quiz(3), r"quiz\(lesson=3\)"),
    "an exercise with a typo": (lambda t: study.check("freeze-al", len), "Close matches|Known"),
    "what a function returned": (
        lambda t: study.check("freeze-all-but-head", 3),
        "without calling",
    ),
    "a lesson without questions": (lambda t: study.quiz(lesson=99), "There are questions for"),
    "an exam of a word": (lambda t: study.exam(seed="one"), "a whole number"),
}

ON_THE_COMMAND_LINE: dict[str, tuple[str, int, str]] = {
    "no such command": ("demoo", 2, "No such command 'demoo'"),
    "demo into a file": ("demo --out {folder}/file", 2, "Choose one with --out DIR"),
    "extract without a folder": ("extract", 2, "Missing argument '(?i:images)'"),
    "extract nowhere": ("extract nowhere --out {folder}/out", 2, "Pass the folder that holds"),
    "extract into the images": (
        "extract {folder}/mixed --out {folder}/mixed/out",
        2,
        "Expected a folder outside of",
    ),
    "extract with a word for a number": (
        "extract {folder}/mixed --out {folder}/out --batch-size many",
        2,
        "Invalid value for '--batch-size'.*integer",
    ),
    "extract with weights that are missing": (
        "extract {folder}/mixed/cats --out {folder}/out --weights missing.pth",
        2,
        "Check the path",
    ),
    "extract on no device": (
        "extract {folder}/mixed/cats --out {folder}/out --backbone glyphnet --device gpu",
        2,
        'device="auto"',
    ),
    "probe nowhere": ("probe nowhere", 2, "featx extract IMAGES --out nowhere"),
    "probe images": ("probe {folder}/mixed", 2, "featx extract IMAGES"),
    "probe without labels": ("probe {folder}/unlabelled", 2, "a sub-folder of its own"),
    "probe damaged features": ("probe {folder}/damaged", 2, "Extract again"),
    "probe on everything": ("probe {folder}/features --test-size 2", 2, "above 0 and below 1"),
    "probe into a PDF": ("probe {folder}/features --report x.pdf", 2, ".html or .json"),
    "quiz nonsense": ("quiz nonsense", 2, "Known names|Close matches"),
    "quiz of no lesson": ("quiz --lesson 99", 2, "There are questions for the lessons"),
    "quiz of two things": ("quiz freeze-order --lesson 3", 2, "leave out one of the two"),
    "review of nothing": ("review --limit 0", 2, "Invalid value for '--limit'.* 1"),
    "exam of a huge seed": (
        f"exam --seed {10**30}",
        2,
        "Expected the seed to be a whole number from -.* to 9.*at most 18 digits",
    ),
    "import of nothing": ("progress --import nowhere.json", 2, "Name the file"),
    "import of something else": (
        "progress --import {folder}/other.json",
        2,
        "featx progress --exp",
    ),
    "import of no text": ("progress --import {folder}/other.pth", 2, "it is not JSON"),
    "import of a folder": ("progress --import {folder}", 2, "featx progress --export"),
    "export to nowhere": ("progress --export {folder}/no/file.json", 2, "Name another file"),
    "two things with progress": ("progress --export a.json --reset", 2, "Give one of them"),
    "check of nothing": ("study check nowhere.yaml", 2, "a .yaml file, a .py file or a folder"),
    "check of an empty folder": ("study check {folder}/empty", 2, "YAML files or exercise modules"),
    "check of a broken file": ("study check {folder}/broken.yaml", 1, "1 thing to mend in"),
    "grade outside of a course": (
        "grade practice --course-dir {folder}/empty --sandbox none",
        2,
        "Expected the folder of an nbgrader course.* --course-dir",
    ),
    "grade an unknown assignment": ("grade practise --course-dir {course}", 2, "practice"),
    "grade nobody": (
        "grade practice --course-dir {course} --student nobody --sandbox none",
        2,
        "Known names: |Nobody has",
    ),
    "grade by no jobs": (
        "grade practice --sandbox none --jobs 0",
        2,
        "Invalid value for '--jobs'.* 1",
    ),
    "grade in a bubble": ("grade practice --sandbox bubble", 2, "auto, bwrap or none"),
    "grade with no time": (
        "grade practice --course-dir {course} --sandbox none --timeout 0",
        2,
        "above 0 for --timeout",
    ),
    "grade with no memory": (
        "grade practice --course-dir {course} --sandbox none --memory lots",
        2,
        "4GiB or 512MiB",
    ),
    "grade into a PDF": (
        "grade practice --course-dir {course} --sandbox none --report x.pdf",
        2,
        ".html or .json",
    ),
    "build an unknown assignment": (
        "assignment build practise --course-dir {course}",
        2,
        "Close matches: practice",
    ),
    "build outside of a course": (
        "assignment build practice --course-dir {folder}/empty",
        2,
        "assignments.toml",
    ),
    "build by class": (
        "assignment build practice --course-dir {course} --variant-by class",
        2,
        "--variant-by student",
    ),
    "lab in a file": ("lab --folder {folder}/file", 2, "Choose one with --folder DIR"),
    "lab on no port": ("lab --port 70000", 2, "Invalid value for '--port'.*65535"),
}

#: What a message never holds: names that begin with _, addresses of objects, traces.
INTERNALS = re.compile(r"Traceback|<class|<function|object at 0x|\b_[a-z]\w+\(|\\n")


def is_well_formed(message: str) -> None:
    assert re.search("[Ee]xpected|Could not", message), "what was expected"
    assert re.search(r"got|but|found|does not|cannot", message), "what came"
    assert re.search(r"[.?]$|: featx .+$", message), "whole sentences, or a command"
    assert "\n" not in message
    assert len(message) < 700
    assert not INTERNALS.search(message)


@pytest.mark.parametrize("what", IN_PYTHON)
def test_in_python(here, what, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    use, words = IN_PYTHON[what]
    with pytest.raises(featx.FeatxError) as told:
        use(here)
    message = str(told.value)
    assert re.search(words, message), message
    is_well_formed(message)


@pytest.fixture(scope="module")
def on_disk(here, root) -> Things:
    """Files for the command line."""
    (here.folder / "other.json").write_text(json.dumps({"a": 1}))
    (here.folder / "broken.yaml").write_text("lesson: [1\n")
    course = here.folder / "course"
    for name in ("source/practice", "submitted"):
        if (root / "autograders" / name).is_dir():
            shutil.copytree(root / "autograders" / name, course / name)
    for name in ("assignments.toml", "nbgrader_config.py"):
        shutil.copy(root / "autograders" / name, course)
    return Things(folder=here.folder, course=course)


@pytest.mark.parametrize("what", ON_THE_COMMAND_LINE)
def test_on_the_command_line(on_disk, command, what, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line, status, words = ON_THE_COMMAND_LINE[what]
    done = command(*(part.format(**vars(on_disk)) for part in line.split()))
    assert done.returncode == status, done.stderr
    told = " ".join(done.stderr.split())
    assert re.search(words, told), told
    assert not INTERNALS.search(told)
    if told.startswith("featx: "):  # else it is Typer's, in a box
        assert done.stderr.count("\n") == 1
        if status == 2:
            is_well_formed(told.removeprefix("featx: "))


def test_a_folder_that_is_no_course_is_left_as_it_is(command, tmp_path):
    assert command("grade", "practice", "--course-dir", tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (KeyboardInterrupt(), 130, r"^Stopped. Run the same command again: it begins anew\.$"),
        (OSError(28, "No space left on device", "x"), 1, "No space left on device.* make room"),
        (ZeroDivisionError("odd"), 1, "met ZeroDivisionError: odd. .*FEATX_TRACEBACK=1"),
    ],
)
def test_whatever_happens_it_ends_with_a_sentence(command, monkeypatch, raised, status, words):
    def fails(*_):
        raise raised

    monkeypatch.setattr("featx.demo.run_demo", fails)
    done = command("demo")
    assert done.returncode == status
    assert re.search(words, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    if status == 1:
        monkeypatch.setenv("FEATX_TRACEBACK", "1")
        with pytest.raises(type(raised)):
            command("demo")


def test_a_gpu_that_others_have_filled(here, monkeypatch):
    move = nn.Module.to

    def full(self, *where):
        monkeypatch.setattr(nn.Module, "to", move)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.\nMore …")

    monkeypatch.setattr(nn.Module, "to", full)
    with pytest.raises(
        featx.FeatxError, match=r'Expected room for the model .* device="cpu"'
    ) as told:
        extract(here)
    is_well_formed(str(told.value))
