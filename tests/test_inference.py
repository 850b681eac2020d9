"""Faster is never otherwise: every setting gives the same features, or is not taken."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import featx
from featx import extraction, inference
from featx.backbones import Backbone
from featx.extraction import extract
from featx.inference import Settings, choose, forward, same_features
from featx.layers import LayerReader
from featx.machine import cores, has_compiler

from .test_architectures import SMALL

CPU = torch.device("cpu")


@pytest.fixture
def fast(monkeypatch):
    """No job is too small to be tried, and the processor has bfloat16: slowly, if it has to imitate it."""
    monkeypatch.setattr(inference, "LIGHT", 0)
    monkeypatch.setattr(inference, "WORTH_TRYING", (0, 0))
    monkeypatch.setattr(inference, "bfloat16_instructions", lambda device: "AVX512-BF16")


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    """Eight crops of two photographs."""
    draw = np.random.default_rng(0)
    crops = []
    for number in range(8):
        photo = load_sample_images().images[number % 2]
        top, left = draw.integers(0, 200), draw.integers(0, 400)
        crops.append(torch.tensor(photo[top : top + 224, left : left + 224]).permute(2, 0, 1))
    return torch.stack(crops)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(
    "name", [n if n == "resnet18" else pytest.param(n, marks=pytest.mark.slow) for n in SMALL]
)
def test_each_family_is_fast_and_the_same(name, photos, fast):
    torch.manual_seed(0)
    backbone = featx.load_backbone(name, weights=None)
    before = copy.deepcopy(backbone.model.state_dict())
    quick = extract(backbone, photos, progress=False)
    assert quick.plan.precision == "bfloat16", quick.plan.notes
    assert quick.plan.notes == []
    has_norm = any(isinstance(m, nn.BatchNorm2d) for m in backbone.model.modules())
    assert ("BatchNorm folded" in quick.plan.settings) == has_norm
    for key, tensor in backbone.model.state_dict().items():
        assert torch.equal(tensor, before[key]), "the model is not touched"
        assert tensor.stride() == before[key].stride(), "nor laid out otherwise"
    with torch.inference_mode():
        plain = backbone.features(backbone.preprocess(photos)).numpy()
    assert cosines(quick.X, plain).min() > 0.999


def test_a_probe_scores_the_same(fast, digits):
    backbone = featx.load_backbone("glyphnet")
    quick = extract(backbone, digits, progress=False)
    assert "bfloat16, channels_last, BatchNorm folded" in quick.plan.settings
    with torch.inference_mode():
        plain = backbone.features(backbone.preprocess(digits.images)).numpy()
    assert cosines(quick.X, plain).min() > 0.999
    y = digits.labels.numpy()
    scores = [
        LogisticRegression(C=0.01, max_iter=500).fit(X[:900], y[:900]).score(X[900:], y[900:])
        for X in (quick.X, plain)
    ]
    assert abs(scores[0] - scores[1]) <= 0.005


def test_small_jobs_are_done_as_the_model_is(digits):
    backbone = featx.load_backbone("glyphnet")
    for data in (
        digits,
        DataLoader(TensorDataset(digits.images), batch_size=64),
    ):
        plan = extract(backbone, data, progress=False).plan
        assert (plan.precision, plan.settings, plan.notes) == ("float32", "float32", [])


def test_in_a_small_job_each_image_goes_through_the_model_once(digits):
    backbone = featx.load_backbone("glyphnet")
    seen = []
    backbone.model.conv1.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    extract(backbone, digits.images[:600], progress=False)
    assert sum(seen) == 600
    assert len(backbone.model.conv1._forward_hooks) == 1


def test_every_layer_is_read_as_before(fast, digits):
    """Folding moves a BatchNorm into its convolution: who asks for that convolution gets it unfolded."""
    torch.manual_seed(0)
    backbone = featx.load_backbone("resnet18", weights=None)
    for module in backbone.model.modules():
        if isinstance(module, nn.BatchNorm2d):  # what is 0 and 1 at first would not show
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    layers = ["conv1", "bn1", "layer1.0.conv2", "layer2", "features"]
    options = {"layers": layers, "progress": False}
    quick = extract(backbone, digits.images[:8], precision="float32", **options)
    assert quick.plan.settings == "float32, channels_last, BatchNorm folded"
    reader = LayerReader(backbone, layers)
    with torch.inference_mode():
        x = backbone.preprocess(digits.images[:8].expand(-1, 3, -1, -1))
        plain = reader(x)
    for layer in layers:
        expected = plain[layer].numpy()
        assert np.allclose(quick.layers[layer], expected, atol=1e-4 * np.abs(expected).max()), layer
    mean = extract(backbone, digits.images[:8], pooling="mean", progress=False)
    assert cosines(mean.X, plain["features"].numpy()).min() > 0.999


def test_the_precision_of_a_cache_does_not_depend_on_how_many_images_there_are(photos, tmp_path):
    backbone = featx.load_backbone("resnet18", weights=None)
    many = extract(backbone, photos, cache_dir=tmp_path, progress=False)
    few = extract(backbone, photos[:3], cache_dir=tmp_path, progress=False)
    assert many.plan.computed == 8
    assert few.plan.computed == 0
    assert np.array_equal(few.X, many.X[:3])


def test_what_is_read_before_a_batchnorm_is_not_normalised(fast, digits):
    class Stem(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
            self.norm = nn.BatchNorm2d(8)
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.1, 9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.stem(x)).mean((2, 3))

    backbone = wrapped(Stem())
    images = digits.images[:20]
    features = extract(backbone, images, layers="stem", precision="float32", progress=False)
    with torch.inference_mode():
        plain = LayerReader(backbone, "stem")(backbone.preprocess(images))["stem"].numpy()
    assert np.allclose(features.X, plain, atol=1e-4)
    handle = backbone.model.stem[2].register_forward_hook(
        lambda module, args, output: output * torch.tensor([0, 1] * 4).view(1, 8, 1, 1)
    )
    features = extract(backbone, images, precision="float32", progress=False)
    assert np.allclose(features.X, plain_features(backbone, images), atol=1e-4), "hooks count"
    handle.remove()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_interrupted_run_comes_out_the_same(fast, digits, tmp_path, count):
    backbone = featx.load_backbone("glyphnet")
    options = {"batch_size": 16, "progress": False}
    whole = extract(backbone, digits.images[:60], cache_dir=tmp_path / "whole", **options)
    assert whole.plan.precision == "bfloat16"

    class Stop(BaseException):
        pass

    really = extraction.View.commit
    calls = []

    def stop(self, *arguments):
        calls.append(arguments)
        if len(calls) > count:
            raise Stop
        really(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction.View, "commit", stop)
        with pytest.raises(Stop):
            extract(backbone, digits.images[:60], cache_dir=tmp_path / "cut", **options)
    rest = extract(backbone, digits.images[:60], cache_dir=tmp_path / "cut", **options)
    assert rest.plan.computed == 60 - 16 * count, "resuming costs the batch that was cut"
    assert np.array_equal(rest.X, whole.X)


# --- what does not work is not taken, and the plan says so ----------------------------------------


class Small(nn.Module):
    """A network that tests can bend."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.between(self.norm(self.conv(x))))

    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu().flatten(1)


class Viewing(Small):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), -1)  # no view of this form where channels lie side by side


class Coarse(Small):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) * 1e-3 + 1  # bfloat16 keeps nothing of what tells images apart


class TooManyForMe(Small):
    most = 4

    def between(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x.flatten(1)


def wrapped(model: nn.Module) -> Backbone:
    return Backbone.from_module(model, lambda x: nn.functional.interpolate(x.float() / 255, 32))


def plain_features(backbone: Backbone, images: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return backbone.features(backbone.preprocess(images)).numpy()


def test_a_model_that_needs_its_layout_keeps_it(fast, digits):
    backbone = wrapped(Viewing())
    features = extract(backbone, digits.images[:20], progress=False)
    assert features.plan.settings == "bfloat16"
    assert "channels_last" in features.plan.notes[0]
    assert "RuntimeError" in features.plan.notes[0]
    assert features.plan.notes[0] in features.plan.explain()
    assert cosines(features.X, plain_features(backbone, digits.images[:20])).min() > 0.999


def test_what_bfloat16_cannot_tell_apart_is_computed_in_float32(fast, digits):
    backbone = wrapped(Coarse())
    features = extract(backbone, digits.images[:20], progress=False)
    assert features.plan.precision == "float32"
    assert any("differ so little" in note for note in features.plan.notes)
    plain = plain_features(backbone, digits.images[:20])
    assert np.allclose(features.X, plain, atol=1e-6)


def test_images_that_do_not_differ_prove_nothing(fast, digits):
    """The first batch is one image, or black ones, as films begin."""
    backbone = wrapped(Coarse())
    for images, data in (
        (digits.images[:20], digits.images[:20]),
        (digits.images[:20], TensorDataset(digits.images[:20])),
        (digits.images[:20], [(image, 0) for image in digits.images[:20]]),
        (digits.images[:20] * (torch.arange(20) > 9).view(-1, 1, 1, 1), None),
    ):
        if isinstance(data, list):
            data = DataLoader(data, batch_size=1)
        data = images if data is None else data
        features = extract(backbone, data, batch_size=1, progress=False)
        assert features.plan.precision == "float32"
        assert np.allclose(features.X, plain_features(backbone, images), atol=1e-6)


def test_a_named_precision_is_no_licence(fast, digits, monkeypatch):
    """Autocast and folding may fail in float32 too: whatever gives other features is not taken."""
    really = inference._copy

    def wrong(reader, settings):
        model = really(reader, settings)
        model.conv.weight.mul_(torch.tensor([1.0, -1.0] * 4).view(8, 1, 1, 1))
        return model

    monkeypatch.setattr(inference, "_copy", wrong)
    backbone = wrapped(Small())
    features = extract(backbone, digits.images[:20], precision="float32", progress=False)
    assert features.plan.settings == "float32"
    assert "would differ" in features.plan.notes[0]
    assert np.allclose(features.X, plain_features(backbone, digits.images[:20]), atol=1e-5)


def test_who_asks_for_a_precision_gets_it(fast, digits):
    plan = extract(wrapped(Coarse()), digits.images[:20], precision="bfloat16", progress=False).plan
    assert plan.precision == "bfloat16"
    plan = extract(wrapped(Small()), digits.images[:20], precision="float32", progress=False).plan
    assert plan.settings == "float32, channels_last, BatchNorm folded"


def test_a_processor_without_bfloat16_is_told(fast, digits, monkeypatch):
    monkeypatch.setattr(inference, "bfloat16_instructions", lambda device: "")
    features = extract(wrapped(Small()), digits.images[:20], progress=False)
    assert features.plan.settings == "float32, channels_last, BatchNorm folded"
    assert features.plan.notes == ["float32: this processor has no instructions for bfloat16."]


def test_without_memory_for_a_copy_the_model_runs_as_it_is(fast, digits, monkeypatch):
    monkeypatch.setattr(inference, "free_memory", lambda device: 1000)
    plan = extract(wrapped(Small()), digits.images[:20], progress=False).plan
    assert plan.settings == "bfloat16"
    assert "no memory" in plan.notes[0]


def test_batches_are_smaller_where_memory_is_short(monkeypatch, digits):
    backbone = featx.load_backbone("resnet18", weights=None)
    monkeypatch.setattr(extraction, "free_memory", lambda device: 2**30)
    assert extract(backbone, digits.images[:2], progress=False).plan.batch_size == 8
    monkeypatch.setattr(extraction, "free_memory", lambda device: 0)
    assert extract(backbone, digits.images[:2], progress=False).plan.batch_size == 1


@pytest.mark.parametrize("cache", [False, True])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(digits, cache, tmp_path):
    model = TooManyForMe()
    backbone = wrapped(model)
    images = digits.images[:30]
    features = extract(
        backbone,
        images,
        batch_size=10,
        cache_dir=tmp_path if cache else None,
        progress=False,
    )
    assert features.plan.batch_size == 2
    assert features.plan.notes == [
        "10 images at a time did not fit into the memory of cpu: 5.",
        "5 images at a time did not fit into the memory of cpu: 2.",
    ]
    assert np.allclose(features.X, plain_features(wrapped(Viewing()), images), atol=1e-5)
    model.most = 0
    with pytest.raises(featx.FeatxError, match=r"not even one of \(1, \d+, \d+\) does\. Use a"):
        extract(backbone, images, progress=False)


# --- compiling -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(
    not has_compiler(CPU), reason="torch.compile needs a C++ compiler: sudo apt install g++"
)
def test_a_compiled_model_gives_the_same(digits, tmp_path):
    backbone = featx.load_backbone("glyphnet")
    images = digits.images[:44]
    for precision in ("float32", "bfloat16"):
        options = {"precision": precision, "progress": False, "batch_size": 16}
        compiled = extract(backbone, images, compile=True, cache_dir=tmp_path, **options)
        assert compiled.plan.settings == f"{precision}, channels_last, BatchNorm folded, compiled"
        assert compiled.plan.notes == []
        plain = plain_features(backbone, images)
        assert cosines(compiled.X, plain).min() > (0.999 if precision == "bfloat16" else 0.999999)
        again = extract(backbone, images, compile=True, **options)
        assert np.array_equal(again.X, compiled.X), (
            "the same bits, and a last batch that is smaller"
        )


def test_what_cannot_be_compiled_is_run_without(digits, monkeypatch):
    backbone = wrapped(Small())
    images = digits.images[:20]
    plain = plain_features(backbone, images)

    def compiled_by(compiler, **options):
        monkeypatch.setattr(torch, "compile", compiler)
        features = extract(backbone, images, compile=True, progress=False, **options)
        return features, " ".join(features.plan.notes)

    def fails(model, **_):
        def run(x):
            raise RuntimeError("no such instruction. And more.")

        return run

    monkeypatch.setattr(inference, "has_compiler", lambda device: True)
    features, notes = compiled_by(fails, precision="float32")
    assert "Not compiled: torch.compile raises RuntimeError: no such instruction" in notes
    assert np.allclose(features.X, plain, atol=1e-5)
    features, notes = compiled_by(
        lambda model, **_: lambda x: model(x) * 0 + 1, precision="float32"
    )
    assert "Not compiled: features would differ (cosine" in notes
    assert np.allclose(features.X, plain, atol=1e-5)
    _, notes = compiled_by(fails, layers="conv")
    assert "Not compiled: only the features of the last layer" in notes
    monkeypatch.setattr(inference, "has_compiler", lambda device: False)
    _, notes = compiled_by(fails)
    assert "Not compiled: torch.compile finds no C++ compiler (install g++)." in notes


def test_a_compiled_model_that_fails_later_is_run_without(digits, monkeypatch):
    """Another program took the memory: smaller batches would be filled up in vain."""
    sizes = []

    def compiler(model, **_):
        def run(x):
            sizes.append(len(x))
            if len(sizes) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return model(x)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(inference, "has_compiler", lambda device: True)
    backbone = wrapped(Small())
    images = digits.images[:44]
    features = extract(
        backbone, images, compile=True, precision="float32", batch_size=16, progress=False
    )
    assert sizes == [16, 16, 16]
    assert features.plan.notes == ["Compiled no longer: OutOfMemoryError: CUDA out of memory"]
    assert np.allclose(features.X, plain_features(backbone, images), atol=1e-5)


def test_it_is_compiled_for_the_size_that_the_cache_has(digits, monkeypatch, tmp_path):
    sizes = []
    monkeypatch.setattr(
        torch, "compile", lambda model, **_: lambda x: sizes.append(len(x)) or model(x)
    )
    monkeypatch.setattr(inference, "has_compiler", lambda device: True)
    backbone = wrapped(Small())
    options = {"compile": True, "cache_dir": tmp_path, "progress": False}
    whole = extract(backbone, digits.images[:44], batch_size=16, **options)
    (journal,) = tmp_path.rglob("journal-0.jsonl")
    for seal in tmp_path.rglob("seal.json"):
        seal.unlink()
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join(lines[:2]) + b"\n")
    X = np.array(whole.X)
    sizes.clear()
    rest = extract(backbone, digits.images[:44], batch_size=64, **options)
    assert rest.plan.computed == 28
    assert sizes == [16, 16]
    assert np.array_equal(rest.X, X)


def test_a_trial_that_breaks_is_told(fast, digits, monkeypatch):
    def broken(*_):
        raise KeyError("what")

    monkeypatch.setattr(inference, "bfloat16_instructions", broken)
    features = extract(wrapped(Small()), digits.images[:20], progress=False)
    assert features.plan.notes == ["The model is run as it is: KeyError: 'what'."]


def test_a_compiler_is_found_by_its_name_or_by_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "")
    assert not has_compiler(CPU)
    other = tmp_path / "my-compiler"
    other.touch(mode=0o755)
    monkeypatch.setenv("CXX", "my-compiler -O2")
    assert has_compiler(CPU)
    monkeypatch.delenv("CXX")
    other.rename(tmp_path / "clang++")
    assert has_compiler(CPU)


def test_long_jobs_are_compiled_where_that_pays(fast, monkeypatch):
    backbone = featx.load_backbone("glyphnet")
    reader, x = LayerReader(backbone), backbone.preprocess(torch.rand(4, 1, 32, 32))
    monkeypatch.setattr(inference, "has_compiler", lambda device: True)

    def compiled(count: int | None, **options) -> bool:
        with torch.inference_mode():
            return choose(reader, x, count=count, **options)[0].compiled

    assert not compiled(10_000_000), "AVX512-BF16 alone gains too little"
    monkeypatch.setattr(inference, "bfloat16_instructions", lambda device: "AMX")
    assert compiled(10_000_000)
    assert not compiled(10_000_000, compile=False)
    assert not compiled(1000)
    assert not compiled(None), "nobody knows whether it pays"


# --- small things ----------------------------------------------------------------------------------


def test_same_features_says_what_is_wrong():
    right = {"a": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    assert same_features(right, right) == ""
    assert "cosine 0.0" in same_features({"a": right["a"].flip(1)}, right)
    assert "finite" in same_features({"a": right["a"] / 0}, right)
    black = {"a": torch.zeros(2, 2)}
    assert same_features(black, black) == "", "no direction is no difference"
    assert same_features({"a": right["a"] * 1e-30}, {"a": right["a"] * 1e-30}) == ""
    assert "cosine 0.0" in same_features(black, right)
    assert "is not finite" in same_features(right, {"a": right["a"] / 0})
    same = {"a": torch.ones(2, 2)}
    assert "do not differ" in same_features({"a": same["a"] * 1.001}, same)


class Stream(IterableDataset):
    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __iter__(self):
        return iter(self.images)


def test_a_stream_is_as_fast(fast, digits):
    backbone = featx.load_backbone("glyphnet")
    streamed = extract(backbone, Stream(digits.images[:40]), batch_size=16, progress=False)
    assert streamed.plan.precision == "bfloat16"
    whole = extract(backbone, digits.images[:40], batch_size=16, progress=False)
    assert np.array_equal(streamed.X, whole.X)


def test_settings_that_change_nothing_run_the_model_itself():
    model = Small().eval()
    reader = LayerReader(wrapped(model))
    ran = []
    model.conv.register_forward_hook(lambda *_: ran.append(1))
    x = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        forward(reader, Settings())(x)
        assert ran == [1]
        assert str(Settings("bfloat16", True, True, True, True)) == (
            "bfloat16 weights, channels_last, BatchNorm folded, compiled"
        )


@pytest.mark.parametrize(
    ("said", "expected"),
    [("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("max 100000", 8), ("", 8)],
)
def test_no_more_cores_are_counted_than_a_container_may_use(said, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("featx.machine._CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(8), raising=False)
    assert cores() == 8
    (tmp_path / "cpu.max").write_text(f"{said}\n")
    assert cores() == expected
