"""Backbones load with what belongs to them."""

from __future__ import annotations

import copy
import hashlib
import http.server
import importlib.util
import io
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.client import RemoteDisconnected
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import (
    ResNet18_Weights,
    SqueezeNet1_1_Weights,
    VisionTransformer,
    ViT_H_14_Weights,
    alexnet,
    densenet121,
    googlenet,
    inception_v3,
    resnet18,
    squeezenet1_1,
)

import featx
from featx.backbones import _in_channels


def test_list_names_glyphnet_first_and_torchvisions_classifiers():
    names = featx.list_backbones()
    assert names[0] == "glyphnet"
    assert {"resnet18", "vit_b_16", "convnext_tiny", "inception_v3"} <= set(names)
    assert not [name for name in names if "segmentation" in name or "rcnn" in name]


def test_glyphnet_is_the_same_each_time_and_needs_no_network(offline):
    code = "import featx; print(featx.load_backbone('glyphnet').weights_id)"
    assert offline(["-c", code]).stdout.strip() == featx.load_backbone("glyphnet").weights_id


def test_weights_id_follows_the_content():
    backbone = featx.load_backbone("glyphnet")
    before = backbone.weights_id
    backbone.model.bn1.running_mean[0] += 1
    assert len(before) == 16
    assert backbone.weights_id != before


def test_random_weights_follow_the_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return featx.load_backbone("glyphnet", weights=None).weights_id

    assert draw(0) == draw(0) != draw(1)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file(tmp_path, suffix):
    source = resnet18(weights=None)
    file = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), file)
    backbone = featx.load_backbone("resnet18", weights=file)
    assert torch.equal(backbone.model.conv1.weight, source.conv1.weight)
    assert (backbone.num_features, backbone.in_channels) == (512, 3)
    assert not backbone.model.training


def test_default_weights_take_torchvisions_road(tmp_path, monkeypatch):
    """A small stand-in under the right name in TORCH_HOME is found and checked, as a real one is."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    source = resnet18(weights=None)
    assert not featx.has_weights("resnet18")
    torch.save(source.state_dict(), folder / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    assert featx.has_weights("resnet18")
    assert not featx.has_weights("resnet50")
    assert featx.has_weights("glyphnet")
    with pytest.raises(featx.FeatxError, match="got 'resnet'"):
        featx.has_weights("resnet")
    with pytest.raises(featx.FeatxError, match="got None"):
        featx.has_weights(None)
    for weights in ("default", "IMAGENET1K_V1", ResNet18_Weights.IMAGENET1K_V1):
        backbone = featx.load_backbone("resnet18", weights=weights)
        assert torch.equal(backbone.model.fc.weight, source.fc.weight)
        assert repr(backbone.preprocess) == repr(ResNet18_Weights.DEFAULT.transforms())


@pytest.mark.parametrize(
    "failure",
    [
        URLError("no route"),
        TimeoutError("timed out"),
        HTTPError("http://x/y", 503, "Service Unavailable", None, None),  # type: ignore[arg-type]
        RemoteDisconnected("closed"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_no_network_says_where_to_put_the_file(tmp_path, monkeypatch, failure):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise failure

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(
        featx.FeatxError, match=r"resnet18-.*\.pth into .*checkpoints.*glyphnet"
    ) as error:
        featx.load_backbone("resnet18")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81",), "Close matches: resnet18"),
        (("resnet18", "IMAGENET"), "one of default, IMAGENET1K_V1, the path of"),
        (("glyphnet", "IMAGENET1K_V1"), "Expected weights of glyphnet: one of default,"),
        (("resnet18", "missing.pth"), "there is none at"),
        (("resnet18", Path("epoch=3.ckpt")), "there is none at"),
        (("resnet18", "~nosuchuser"), "Expected weights of resnet18"),
        (("resnet18", "~nosuchuser/a.pth"), "there is none at .*~nosuchuser/a.pth"),
        (("resnet18", "x" * 5000), "Expected weights of resnet18"),  # too long for a path
        (("resnet18", 7), r"Expected weights of resnet18.*got 7"),
        (("resnet50", ResNet18_Weights.DEFAULT), "Expected weights of resnet50"),
    ],
)
def test_wrong_names_are_told(arguments, message):
    with pytest.raises(featx.FeatxError, match=message):
        featx.load_backbone(*arguments)


@pytest.mark.parametrize("content", ["other model", "not a state dict", "text", "empty", "code"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_wrong_file_is_told(tmp_path, content, suffix):
    file = tmp_path / f"mine{suffix}"
    if content == "other model" and suffix == ".safetensors":
        save_file(alexnet(weights=None).state_dict(), file)
    elif content in ("other model", "not a state dict", "code") and suffix == ".pth":
        state = {
            "other model": alexnet(weights=None).state_dict(),
            "not a state dict": [1, 2],
            "code": resnet18(weights=None),
        }
        torch.save(state[content], file)
    else:
        file.write_text("" if content == "empty" else "hello")
    with pytest.raises(featx.FeatxError, match=r"Expected .*mine.* to hold a state dict"):
        featx.load_backbone("resnet18", weights=file)


# --- the real road ---------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve bytes as torchvision's SqueezeNet weights, by HTTP; return ``serve(content, name, cut=0)``."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    content, behaviour = {}, {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = content[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - behaviour["cut"]])
            self.wfile.flush()
            time.sleep(behaviour["sleep"])

        def log_message(self, *args):
            pass

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    entry = SqueezeNet1_1_Weights.DEFAULT

    def serve(body, name, cut=0, sleep=0.0):
        content[f"/{name}"] = body
        behaviour.update(cut=cut, sleep=sleep)
        url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
        monkeypatch.setattr(entry.value, "url", url)
        return tmp_path / "home" / "hub" / "checkpoints" / name

    yield serve
    server.shutdown()
    server.server_close()


def squeezenet_bytes() -> tuple[bytes, str]:
    buffer = io.BytesIO()
    torch.save(squeezenet1_1(weights=None).state_dict(), buffer)
    body = buffer.getvalue()
    return body, f"squeezenet-{hashlib.sha256(body).hexdigest()[:8]}.pth"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_download_shows_progress_and_is_kept(served, capsys, monkeypatch, terminal):
    monkeypatch.setattr("featx.torchvision_models.can_draw", lambda: terminal)
    body, name = squeezenet_bytes()
    file = served(body, name)
    first = featx.load_backbone("squeezenet1_1")
    told = capsys.readouterr()
    assert "Downloading" in told.out
    assert ("100%" in told.err) == ("\r" in told.err) == terminal
    assert file.read_bytes() == body
    assert featx.load_backbone("squeezenet1_1").weights_id == first.weights_id
    assert "Downloading" not in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["changed", "cut short", "silent"])
def test_a_download_that_went_wrong_is_refused_and_not_kept(served, monkeypatch, fault):
    body, name = squeezenet_bytes()
    monkeypatch.setattr("featx.torchvision_models._patience.__wrapped__.__defaults__", (0.3,))
    if fault == "changed":
        file = served(body[:-1] + bytes([body[-1] ^ 1]), name)
    else:
        file = served(body, name, cut=1000, sleep=2.0 if fault == "silent" else 0.0)
    with pytest.raises(featx.FeatxError, match=f"Could not get .*Put the file {name}.*glyphnet"):
        featx.load_backbone("squeezenet1_1")
    assert list(file.parent.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_in_a_download_leaves_nothing_and_the_next_one_is_whole(served):
    """In a process of its own, as a terminal stops one; the server falls silent before the end."""
    body, name = squeezenet_bytes()
    file = served(body, name, cut=1000, sleep=60.0)
    code = (
        "import sys; from torchvision.models import SqueezeNet1_1_Weights as weights; "
        "import featx.cli as cli; weights.DEFAULT.value.url = sys.argv.pop(1); cli.main()"
    )
    url = SqueezeNet1_1_Weights.DEFAULT.url
    images = file.parents[3] / "images" / "one"
    images.mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(images / "red.png")
    command = ["extract", str(images.parent), "--backbone", "squeezenet1_1"]
    command += ["--out", str(file.parents[3] / "features")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, url, *command], stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not list(file.parent.glob("*")) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(file.parent.glob("*"))  # half of it is there
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again" in told
    assert "Traceback" not in told
    assert list(file.parent.glob("*")) == []
    served(body, name)
    featx.load_backbone("squeezenet1_1")
    assert file.read_bytes() == body


@pytest.mark.parametrize("content", [b"", b"half a pickle", "other"])
def test_a_damaged_file_in_the_cache_is_named(served, content):
    _, name = squeezenet_bytes()
    file = served(b"", name)
    file.parent.mkdir(parents=True)
    if content == "other":
        torch.save(alexnet(weights=None, num_classes=2).state_dict(), file)
    else:
        file.write_bytes(content)
    with pytest.raises(
        featx.FeatxError, match=rf"{re.escape(str(file))}.*Delete it and load again"
    ):
        featx.load_backbone("squeezenet1_1")


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))  # no folder can be made in a file
    with pytest.raises(featx.FeatxError, match="Set the environment variable TORCH_HOME"):
        featx.load_backbone("squeezenet1_1")


def test_a_file_with_the_name_of_known_weights_gets_their_transform_and_size(tmp_path, monkeypatch):
    """A small stand-in for ViT-H: torchvision's builder makes it at 518 pixels, as these weights are."""

    def small(weights=None, progress=True, image_size=224, **options):
        if weights is not None:
            image_size = weights.meta["min_size"][0]
        model = VisionTransformer(image_size, 14, 1, 1, 8, 8)
        if weights is not None:
            model.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
        return model

    entry = ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1
    monkeypatch.setattr(
        "torchvision.models.get_model", lambda name, weights=None, **o: small(weights, **o)
    )
    file = tmp_path / entry.url.rsplit("/", 1)[-1]
    torch.save(VisionTransformer(518, 14, 1, 1, 8, 8).state_dict(), file)
    backbone = featx.load_backbone("vit_h_14", weights=file)
    assert repr(backbone.preprocess) == repr(entry.transforms())
    assert backbone.features(backbone.preprocess(torch.zeros(1, 3, 30, 30))).shape == (1, 8)
    assert featx.load_backbone("vit_h_14", weights=None).preprocess.crop_size == [224]


@pytest.mark.parametrize("kind", ["fine-tuned", "checkpoint", "other model"])
def test_ones_own_file_under_the_name_of_known_weights_is_read_and_never_to_be_deleted(
    tmp_path, kind
):
    entry = ResNet18_Weights.IMAGENET1K_V1
    file = tmp_path / entry.url.rsplit("/", 1)[-1]
    source = alexnet(weights=None) if kind == "other model" else resnet18(num_classes=7)
    state = source.state_dict()
    torch.save({"epoch": 3, "state_dict": state} if kind == "checkpoint" else state, file)
    if kind == "other model":
        with pytest.raises(featx.FeatxError, match="it does not load") as raised:
            featx.load_backbone("resnet18", weights=file)
        assert "Delete" not in str(raised.value)
        return
    backbone = featx.load_backbone("resnet18", weights=file)
    assert torch.equal(backbone.model.fc.weight, source.fc.weight)
    assert repr(backbone.preprocess) == repr(entry.transforms())


def test_old_names_of_layers_in_a_known_file_are_torchvisions_business(tmp_path):
    state = densenet121(weights=None).state_dict()
    state = {
        key: tensor for key, tensor in state.items() if "num_batches" not in key
    }  # later names
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", k): v for k, v in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "densenet121-a639ec97.pth")
    backbone = featx.load_backbone("densenet121", weights=tmp_path / "densenet121-a639ec97.pth")
    assert torch.equal(backbone.model.features.conv0.weight, state["features.conv0.weight"])


# --- files of every kind ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {"optimizer": {"state": {0: torch.ones(2)}}, "model": s},
        lambda s: {
            "state_dict": {"loss.weight": torch.ones(2)} | {f"net.{k}": v for k, v in s.items()}
        },
        lambda s: (
            {"n_averaged": torch.tensor(3)} | {f"module._orig_mod.{k}": v for k, v in s.items()}
        ),
    ],
    ids=["DataParallel", "checkpoint", "with optimizer", "Lightning", "averaged and compiled"],
)
def test_a_checkpoint_is_unwrapped(tmp_path, wrap):
    source = squeezenet1_1(weights=None, num_classes=5)  # fine-tuned: other classes, too
    torch.save(wrap(source.state_dict()), tmp_path / "mine.pth")
    model = featx.load_backbone("squeezenet1_1", weights=tmp_path / "mine.pth").model
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "name", ["model_best.pth.tar", "epoch=3.ckpt", "pytorch_model.bin", "W.PTH", "weights"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_checkpoint_may_have_any_name(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    source = squeezenet1_1(weights=None, num_classes=5)
    torch.save(source.state_dict(), name)
    model = featx.load_backbone("squeezenet1_1", weights=kind(name)).model
    assert torch.equal(model.classifier[1].weight, source.classifier[1].weight)


def test_safetensors_may_be_written_in_capitals(tmp_path):
    source = squeezenet1_1(weights=None, num_classes=5)
    save_file(source.state_dict(), tmp_path / "W.SAFETENSORS")
    model = featx.load_backbone("squeezenet1_1", weights=tmp_path / "W.SAFETENSORS").model
    assert torch.equal(model.classifier[1].weight, source.classifier[1].weight)


def test_the_word_default_is_not_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("default").write_text("no weights")
    expected = featx.load_backbone("glyphnet", weights=None).num_features
    assert featx.load_backbone("glyphnet").num_features == expected


def test_a_file_saved_without_its_head_gives_a_model_without_one(tmp_path):
    source = resnet18(weights=None)
    featx.remove_head(source)
    torch.save(source.state_dict(), tmp_path / "body.pth")
    backbone = featx.load_backbone("resnet18", weights=tmp_path / "body.pth")
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(backbone.model(x), backbone.features(x))
    assert backbone.num_features == 512


@pytest.mark.parametrize("build", [googlenet, inception_v3])
@pytest.mark.parametrize("aux", [True, False])
def test_auxiliary_heads_come_and_go_with_the_file(tmp_path, build, aux):
    source = build(weights=None, aux_logits=aux, init_weights=False, num_classes=4)
    torch.save(source.state_dict(), tmp_path / "mine.pth")
    model = featx.load_backbone(build.__name__, weights=tmp_path / "mine.pth").model
    assert list(model.state_dict()) == list(source.state_dict())
    assert model.aux_logits is aux
    size = 299 if build is inception_v3 else 224
    assert model(torch.zeros(1, 3, size, size)).shape == (1, 4)


# --- any module ------------------------------------------------------------------------------------


class Net(nn.Module):
    """Everything a dry run could disturb: modes, a counter, random numbers."""

    def __init__(self, head: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Dropout())
        self.register_buffer("calls", torch.zeros(()))
        self.fc = nn.Linear(6, 3) if head else None

    def forward(self, x):
        self.calls += 1
        x = self.body(x) + 0 * torch.rand(1)
        return x if self.fc is None else self.fc(x.mean((2, 3)))


def no_change(x: torch.Tensor) -> torch.Tensor:
    return x


@pytest.mark.parametrize("head", [True, False])
def test_any_module_is_a_backbone_and_the_dry_run_leaves_no_trace(head):
    model = Net(head).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    backbone = featx.Backbone.from_module(model, no_change)
    assert (backbone.name, backbone.num_features, backbone.in_channels) == ("Net", 6, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not model.training
    x = torch.rand(4, 1, 9, 9)
    torch.testing.assert_close(backbone.features(x), model.body(x).mean((2, 3)))


def test_a_layer_by_name_and_sizes_by_hand():
    backbone = featx.Backbone.from_module(Net(), no_change, layer="body.0", name="mine")
    x = torch.rand(2, 1, 9, 9)
    expected = backbone.model.body[0](x).mean((2, 3))
    torch.testing.assert_close(backbone.features(x), expected)
    given = featx.Backbone.from_module(Net(), no_change, num_features=7)
    with pytest.raises(featx.FeatxError, match="Expected 7 features of Net, got 6"):
        given.features(x)


def test_sizes_may_be_numpys_whole_numbers():
    sizes = {"in_channels": np.int64(1), "num_features": np.int64(6)}
    backbone = featx.Backbone.from_module(Net(), no_change, **sizes)
    assert backbone.features(torch.rand(2, 1, 9, 9)).shape == (2, 6)
    with pytest.raises(featx.FeatxError, match=r"Expected num_features.*got True"):
        featx.Backbone.from_module(Net(), no_change, num_features=True)


def test_channels_are_those_of_the_first_convolution():
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.places = nn.Parameter(torch.zeros(1, 14, 14, 6))  # stands before all layers
            self.conv = nn.Conv2d(4, 6, 3, groups=2)

    assert _in_channels(Placed()) == 4
    assert _in_channels(nn.Linear(2, 2)) == 3


@pytest.mark.parametrize("more", [(), ("features",), ([1, 2], {})])
def test_a_model_may_return_more_than_its_scores(more):
    """Features are what the head takes in; of a model without a head the first that it returns."""

    class Several(Net):
        def forward(self, x):
            return (super().forward(x), *more)

    for head in (True, False):
        model = Several(head)
        backbone = featx.Backbone.from_module(model, no_change)
        x = torch.rand(4, 1, 9, 9)
        assert backbone.num_features == 6
        torch.testing.assert_close(backbone.features(x), model.body(x).mean((2, 3)))


def test_of_a_model_without_a_head_the_first_tensor_is_taken():
    class Gated(Wrong):
        def __init__(self):
            super().__init__(lambda x: (self.conv(x) * self.gate(x[:, 0, 0, :8]).mean(), x))
            self.conv, self.gate = nn.Conv2d(3, 8, 3), nn.Linear(8, 1)

    model = Gated()
    x = torch.rand(2, 3, 9, 9)
    backbone = featx.Backbone.from_module(model, no_change)
    torch.testing.assert_close(backbone.features(x), model(x)[0].mean((2, 3)))


def test_an_embedding_network_that_ends_in_a_convolution_is_read_whole_when_told():
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 9, 1))
    x = torch.rand(2, 1, 9, 9)
    taken_for_a_head = featx.Backbone.from_module(model, no_change)
    torch.testing.assert_close(taken_for_a_head.features(x), model[:2](x).mean((2, 3)))
    whole = featx.Backbone.from_module(model, no_change, layer="")
    torch.testing.assert_close(whole.features(x), model(x).mean((2, 3)))


def test_the_features_are_those_of_the_head_wherever_it_is_registered():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.conv = nn.Linear(8, 4), nn.Conv2d(1, 8, 3)
            self.gate = nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8), nn.Sigmoid())

        def forward(self, x):
            x = self.conv(x).mean((2, 3))
            return self.fc(x * self.gate(x))

    model = Gated()
    backbone = featx.Backbone.from_module(model, no_change)
    x = torch.rand(2, 1, 9, 9)
    with torch.no_grad():
        assert torch.equal(model.fc(backbone.features(x)), model(x))


def test_a_linear_layer_in_the_middle_is_no_head():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 8, 3), nn.Linear(8, 1)

        def forward(self, x):
            x = self.conv(x)
            return x * self.gate(x.mean((2, 3)))[..., None, None]

    model = Gate()
    backbone = featx.Backbone.from_module(model, no_change)
    x = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(backbone.features(x), model(x).mean((2, 3)))


@pytest.mark.parametrize(
    "head", [nn.Identity, lambda: nn.Sequential(nn.Linear(512, 9), nn.Linear(9, 2))]
)
def test_features_stay_the_same_whatever_stands_in_the_heads_place(head):
    backbone = featx.Backbone.from_module(resnet18(weights=None), no_change)
    x = torch.rand(2, 3, 64, 64)
    before = backbone.features(x)
    backbone.model.fc = head()
    assert torch.equal(backbone.features(x), before)


class Wrong(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b: b(Wrong(lambda x: {"y": x}), no_change), r"\(N, C, H, W\).* got dict"),
        (
            lambda b: b(Wrong(lambda x: x[:, 0]), no_change),
            r"shape \(1, 224, 224\). Say pooling=",
        ),
        (lambda b: b(Net(), no_change, in_channels=3), "dry run failed: .*channels"),
        (lambda b: b(Net(), None), "Expected preprocess to be a function"),
        (lambda b: b(len, no_change), "Expected model to be a torch module"),
        (lambda b: b(Net(), no_change, layer="bdy"), "got 'bdy'. Close matches: body"),
        (lambda b: b(Net(), no_change, layer=5), "a layer of this Net, got 5. Known names: "),
        (lambda b: b(Net(), no_change, layer=["body"]), r"a layer of this Net, got \['body'\]"),
        (lambda b: b(Net(), no_change, num_features=0), "Expected num_features"),
    ],
)
def test_a_module_that_does_not_fit_is_told(make, message):
    with pytest.raises(featx.FeatxError, match=message):
        make(featx.Backbone.from_module)


def test_no_hook_is_left_behind_even_when_the_model_raises():
    backbone = featx.Backbone.from_module(Net(), no_change)
    with pytest.raises(RuntimeError):
        backbone.features(torch.rand(1, 5, 9, 9))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.model.modules())


# --- timm ------------------------------------------------------------------------------------------


def test_without_timm_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(featx.FeatxError, match=r"pip install 'featx\[timm\]'"):
        featx.load_backbone("timm/resnet10t")
    monkeypatch.setattr("featx.timm_models.find_spec", lambda name: None)
    assert not any(name.startswith("timm/") for name in featx.list_backbones())


needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="needs timm: pip install 'featx[timm]'"
)


@needs_timm
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("timm/resnet10",), "Close matches: timm/resnet10t"),
        (("vit_tiny_patch16_224",), "Close matches: timm/vit_tiny_patch16_224"),
        (("timm/resnet10t", "c4_in1k"), "one of default, c3_in1k.*got 'c4_in1k'"),
        (("timm/resnet10t.x", None), "one of default, c3_in1k.*got 'x'"),
        (("timm/resnet10t", ResNet18_Weights.DEFAULT), "Expected weights of timm/resnet10t"),
    ],
)
def test_wrong_timm_names_are_told(arguments, message):
    with pytest.raises(featx.FeatxError, match=message):
        featx.load_backbone(*arguments)


@needs_timm
@pytest.mark.parametrize("weights", ["default", "c3_in1k"])
def test_timm_without_a_network_names_the_file(monkeypatch, weights):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    monkeypatch.setattr("featx.timm_models._check_hub", lambda config: None)
    with pytest.raises(
        featx.FeatxError,
        match=r"no route.*model.safetensors of timm/resnet10t\.c3.*weights=.*glyphnet",
    ):
        featx.load_backbone("timm/resnet10t", weights)


@needs_timm
@pytest.mark.parametrize("weights", [7, ("x",), ResNet18_Weights.DEFAULT, Path("epoch=3.ckpt")])
def test_what_names_no_weights_of_timm_is_refused_not_ignored(monkeypatch, weights):
    monkeypatch.setattr("timm.create_model", lambda *a, **k: pytest.fail("built all the same"))
    with pytest.raises(featx.FeatxError, match=r"Expected weights of timm/resnet10t|there is none"):
        featx.load_backbone("timm/resnet10t", weights)


@needs_timm
def test_timm_without_a_network_gives_up_at_once(monkeypatch):
    """The hub's own client tries a dozen times before it does."""

    def no_route(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("socket.create_connection", no_route)
    monkeypatch.setattr("featx.timm_models.getproxies", dict)
    monkeypatch.setattr("timm.create_model", lambda *a, **k: pytest.fail("tried all the same"))
    with pytest.raises(featx.FeatxError, match=r"no route to host.*resnet10t\.c3.*glyphnet"):
        featx.load_backbone("timm/resnet10t")


@needs_timm
def test_a_timm_model_in_a_wrapper_gives_its_features():
    import timm

    model = timm.create_model("swin_tiny_patch4_window7_224").eval()
    backbone = featx.Backbone.from_module(nn.Sequential(nn.Identity(), model), no_change)
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(
            backbone.features(x), model.forward_head(model.forward_features(x), True)
        )
    assert backbone.num_features == 768


@needs_timm
def test_a_timm_model_takes_a_fine_tuned_file(tmp_path):
    import timm

    source = timm.create_model("resnet10t", num_classes=4)
    save_file(source.state_dict(), tmp_path / "mine.safetensors")
    model = featx.load_backbone("timm/resnet10t", weights=tmp_path / "mine.safetensors").model
    assert torch.equal(model.fc.weight, source.fc.weight)


@needs_timm
@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "resnet10t", "eva02_tiny_patch14_224", "vit_base_patch16_siglip_224"],
)
def test_timms_preprocessing_is_timms_own_in_numbers(name):
    """Against timm's own transform of a PIL image: within two grey levels, on average half of one."""
    import timm
    from torchvision.transforms.functional import to_pil_image

    coarse = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0))
    image = nn.functional.interpolate(coarse[None], (300, 400), mode="bilinear")[0]
    image = (image * 255).to(torch.uint8)
    config = timm.data.resolve_data_config(
        {}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
    )
    expected = timm.data.create_transform(**config)(to_pil_image(image))
    preprocess = featx.timm_models._timm_transforms(config)
    level = 1 / 255 / min(config["std"])
    for given in (image, image[None], image / 255):
        x = preprocess(given).reshape(expected.shape)
        assert (x - expected).abs().max() < 2.1 * level
        assert (x - expected).abs().mean() < 0.5 * level
