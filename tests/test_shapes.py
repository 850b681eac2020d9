"""Shapes: every call is written down, nothing of the model changes, errors name layer and cause."""

from __future__ import annotations

import copy
import random
import re
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

import featx
from featx.freezing import freeze
from featx.glyphnet import GlyphNet
from featx.shape_checks import check_shape
from featx.shapes import trace_shapes
from tests.helpers import small_resnet

Pair = namedtuple("Pair", "first second")


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Restless(nn.Module):
    """Does in forward all that a trace has to undo."""

    def __init__(self, error: BaseException | None = None):
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.unused = nn.Linear(4, 2)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last", torch.full((3,), float("nan")))
        self.outputs: list[torch.Tensor] = []
        self.calls, self.error = 0, error

    def forward(self, x):
        self.count += 1
        self.last = x
        self.last_seen = x
        self.calls += 1
        x = self.norm(self.shared(self.shared(x)))
        self.outputs.append(x)
        self.unused.train()
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        if self.error:
            raise self.error
        return {"x": x, "more": [x, (x, None)], "pair": Pair(x, "word")}


def everything(model: nn.Module) -> dict:
    """Describe all that must stay: by value where it can be changed in place, else by identity."""
    found = {"order": [*model.state_dict()]}
    for name, module in model.named_modules():
        found[name, "mode"] = module.training
        found[name, "attributes"] = {key: id(value) for key, value in vars(module).items()}
        found[name, "hooks"] = {
            key: list(value) for key, value in vars(module).items() if "hooks" in key and value
        }
        found[name, "lists"] = [len(v) for v in vars(module).values() if isinstance(v, list)]
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        bits = tensor.detach().reshape(-1).view(torch.uint8).tolist()
        found[name] = (id(tensor), bits, tensor.requires_grad, id(tensor.grad))
    return found


def randomness() -> tuple:
    numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
    return torch.get_rng_state().tolist(), numpy, random.getstate()


def small_vit() -> nn.Module:
    return models.VisionTransformer(32, 16, 2, 2, 16, 32, num_classes=5)


FAMILIES = {
    "resnet": (small_resnet, (2, 3, 64, 64), (2, 10)),
    "vit": (small_vit, (2, 3, 32, 32), (2, 5)),
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=7), (1, 3, 64, 64), (1, 7)),
    "mobilenet": (lambda: models.mobilenet_v3_small(num_classes=7), (1, 3, 64, 64), (1, 7)),
    "shufflenet": (lambda: models.shufflenet_v2_x0_5(num_classes=7), (1, 3, 64, 64), (1, 7)),
    "densenet": (
        lambda: models.DenseNet(4, (1, 1), 8, num_classes=7),
        (1, 3, 64, 64),
        (1, 7),
    ),
    "glyphnet": (GlyphNet, (3, 1, 32, 32), (3, 52)),
}


def test_resnet_rows_are_what_pytorch_computes():
    model = small_resnet().eval()
    x, seen = torch.rand(2, 3, 64, 64), []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda m, a, out, name=name: seen.append((name, out.shape)))
    model(x)
    expected = sorted(seen)
    trace = trace_shapes(model, x)
    assert sorted((row.name, row.shape) for row in trace) == expected
    assert [row.name for row in trace][:3] == ["", "conv1", "bn1"], "in order of execution"
    assert trace["layer1"].type == "Sequential"
    assert (trace["layer1.0.conv1"].depth, trace[0].depth) == (3, 0)
    assert [row.name for row in trace[1:3]] == ["conv1", "bn1"]
    assert trace[-1] == list(trace)[-1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("state", ["train", "eval", "frozen"])
def test_nothing_changes_in_any_family(family, state):
    build, shape, out = FAMILIES[family]
    model = build().train(state != "eval")
    if state == "frozen":
        freeze(model).train()
    before, states = everything(model), randomness()
    trace = trace_shapes(model, shape)
    assert trace[0].shape == out
    assert everything(model) == before
    assert randomness() == states
    assert {row.name: row.mode for row in trace} == {
        name: "train" if module.training else "eval"
        for name, module in model.named_modules()
        if name in {row.name for row in trace}
    }
    own = sum(
        p.numel() for name in trace.not_called for p in model.get_submodule(name).parameters()
    )
    assert sum(row.parameters for row in trace) + own == trace.parameters
    assert trace.parameters == sum(p.numel() for p in model.parameters())
    assert trace.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt(), SystemExit()])
def test_a_restless_model_is_left_as_it_was(error):
    model = Restless(error).train()
    model.norm.eval()
    model.unused.eval()
    model.register_forward_hook(lambda *_: None)
    model.shared.weight.grad = torch.ones(4, 4)
    x = torch.rand(5, 4)
    kept = x.clone()
    before, states = everything(model), randomness()
    if error is None:
        trace_shapes(model, x)
    else:
        expected = featx.FeatxError if isinstance(error, ValueError) else type(error)
        with pytest.raises(expected):
            trace_shapes(model, x)
    assert everything(model) == before
    assert randomness() == states
    assert torch.equal(x, kept)


class Hoarder(nn.Module):
    """Keeps what it saw, in containers of every kind."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.last = deque([0], maxlen=3)
        self.count = Counter(calls=1)
        self.by_name = defaultdict(list, old=[1])
        self.ordered = OrderedDict(b=1, a=2)
        self.nested = {"deep": [[]], "more": {"set": {0}}}
        self.pair = ([], torch.zeros(2))
        self.array = np.zeros(2)
        self.sealed = np.zeros(2)
        self.sealed.setflags(write=False)
        self.circle: list = [1]
        self.circle.append(self.circle)
        self.torch = torch.Generator().manual_seed(0)
        self.numpy = np.random.default_rng(0)
        self.python = random.Random(0)

    def forward(self, x):
        self.last.append(self.count["calls"])
        self.count["calls"] += 1
        self.by_name["new"].append(2)
        self.by_name["old"].append(2)
        self.ordered.move_to_end("b")
        self.nested["deep"][0].append(x)
        self.nested["more"]["set"].add(1)
        self.pair[0].append(x)
        self.pair[1].add_(1)
        self.array += 1
        self.circle.append(2)
        return (
            self.layer(x)
            + torch.rand(4, generator=self.torch)
            + self.numpy.random()
            + (self.python.random())
        )


def test_what_a_model_keeps_in_containers_arrays_and_generators_is_as_it_was():
    def kept(model):
        texts = {name: repr(value) for name, value in vars(model).items() if name[0] != "_"}
        states = model.torch.get_state().tolist(), model.numpy.bit_generator.state
        return texts, *states, model.python.getstate()

    model = Hoarder()
    before, inner = kept(model), model.nested["deep"][0]
    for _ in range(2):
        trace_shapes(model, (1, 4))
        assert kept(model) == before
    assert model.nested["deep"][0] is inner
    model(torch.zeros(1, 4))
    after = kept(model)
    assert all(new != old for new, old in zip(after, before, strict=True)), "the model does change"


def test_hooks_that_belong_to_the_computation_take_part():
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, args, out: torch.cat([out, out], 1))
    assert trace_shapes(model, (2, 4))["0"].shape == (2, 6)
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))).train()
    before = everything(model)
    trace_shapes(model, (2, 4))
    assert everything(model) == before


def test_the_forward_runs_in_eval_mode_and_without_gradients():
    seen = []

    class Looks(nn.Linear):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    model = freeze(nn.Sequential(Looks(2, 2), Looks(2, 2))).train()
    trace_shapes(model, (1, 2))
    assert seen == [(False, False)] * 2
    assert torch.is_grad_enabled()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_scripted_part_is_run_and_left_in_its_mode_and_a_scripted_model_is_named():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    model = nn.Sequential(scripted, nn.Linear(2, 1)).train()
    trace = trace_shapes(model, (1, 3))
    assert [(row.name, row.shape) for row in trace] == [("", (1, 1)), ("1", (1, 1))]
    assert all(module.training for module in model.modules())
    with pytest.raises(featx.FeatxError, match=r"compiled by torch\.jit\.script"):
        trace_shapes(scripted, (1, 3))


def test_nested_outputs_shared_layers_and_what_is_not_called():
    trace = trace_shapes(Restless(), (5, 4))
    assert trace[0].shape == {
        "x": (5, 4),
        "more": [(5, 4), [(5, 4), None]],
        "pair": {"first": (5, 4), "second": "str"},
    }
    calls = [(row.call, row.parameters) for row in trace if row.name == "shared"]
    assert calls == [(1, 20), (2, 0)], "a second call does not count the parameters again"
    assert trace.not_called == ("unused",)
    assert "shared (call 2)" in str(trace)
    with pytest.raises(featx.FeatxError, match=r"'unused': this model's forward does not call it"):
        trace["unused"]
    with pytest.raises(featx.FeatxError, match=r"got 'shred'. Close matches: shared"):
        trace["shred"]


def test_a_module_may_return_none_and_tied_parameters_count_once():
    class Silent(nn.Module):
        def forward(self, x):
            return None

    assert trace_shapes(Silent(), (1, 2))[0].shape is None
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    trace = trace_shapes(tied, (1, 4))
    assert [row.parameters for row in trace] == [0, 16, 0]
    assert trace.parameters == 16


def test_the_batch_is_not_written_into():
    x = torch.tensor([[-1.0, 2.0]])
    trace_shapes(nn.Sequential(nn.ReLU(inplace=True)), x)
    assert x.tolist() == [[-1.0, 2.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_zeros_take_the_dtype_of_the_model(dtype):
    trace = trace_shapes(nn.Linear(3, 2).to(dtype), (4, 3))
    assert trace[0].shape == (4, 2)


def test_an_embedding_gets_indices():
    model = nn.Sequential(nn.Embedding(10, 6), nn.LSTM(6, 8))
    assert trace_shapes(model, (4, 7))["1"].shape == [(4, 7, 8), [(1, 7, 8), (1, 7, 8)]]


def test_on_the_meta_device_nothing_is_computed_and_the_model_stays():
    with torch.device("meta"):
        huge = models.vit_h_14()
    assert trace_shapes(huge, (2, 3, 224, 224))["heads"].shape == (2, 1000)
    model = small_resnet().train()
    before = everything(model)
    assert trace_shapes(model, (8, 3, 64, 64), device="meta")["layer4"].shape == (8, 512, 2, 2)
    assert everything(model) == before


def test_batches_as_tuples_and_dicts():
    model = nn.Bilinear(2, 3, 4)
    a, b = torch.zeros(5, 2), torch.zeros(5, 3)
    assert trace_shapes(model, (a, b))[0].shape == (5, 4)
    trace = trace_shapes(model, {"input1": a, "input2": b})
    assert (trace[0].shape, trace.input_shape) == ((5, 4), {"input1": (5, 2), "input2": (5, 3)})


def test_a_backbone_is_traced_by_its_model():
    assert trace_shapes(featx.load_backbone("glyphnet"), (1, 1, 32, 32))["layer4"].shape == (
        1,
        256,
        4,
        4,
    )


def test_a_compiled_model_is_traced_layer_by_layer():
    model = torch.compile(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    assert [row.name for row in trace_shapes(model, (1, 3))] == ["", "0", "1"]


def test_text_and_html_say_the_same_and_html_is_escaped():
    class Odd(nn.Linear):
        pass

    Odd.__name__ = "A<b>&"
    model = nn.Sequential(nn.Sequential(Odd(3, 2)), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    trace = trace_shapes(model, (1, 3))
    lines = str(trace).splitlines()
    assert re.fullmatch(r"    0 +A<b>& +\(1, 2\) +8 +no +train", lines[4])
    assert re.fullmatch(r"  1 +Linear +\(1, 2\) +6 +yes +train", lines[5])
    assert "14 parameters, 6 trainable" in lines[-1]
    html = trace._repr_html_()
    assert "<caption>" in html
    assert html.count("scope='col'") == 6
    assert "A&lt;b&gt;&amp;" in html
    assert "A<b>" not in html


def test_the_picture_tells_channels_from_places_where_an_image_is_no_square():
    """A map with as many channels as rows: 8 of 8 x 12 are fewer than 16 of as many places."""
    model = nn.Sequential(nn.Conv2d(1, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1))
    trace = trace_shapes(model, (1, 1, 32, 48))
    ax = trace.plot()
    blocks = [bar for bars in ax.containers for bar in bars.patches]
    assert [shape for _, shape in trace.stages()] == [
        (1, 1, 32, 48),
        (1, 8, 8, 12),
        (1, 16, 8, 12),
    ]
    assert blocks[1].get_width() < blocks[2].get_width()
    assert blocks[1].get_height() == blocks[2].get_height()
    plt.close(ax.figure)


def test_stages_sum_up_what_the_picture_shows():
    stages = dict(trace_shapes(models.vit_b_16(), (1, 3, 224, 224), device="meta").stages())
    name = "encoder.layers.encoder_layer_0 … encoder_layer_11, encoder.ln"
    assert stages[name] == (1, 197, 768)
    stages = trace_shapes(small_resnet(), (1, 3, 64, 64)).stages()
    assert [name for name, _ in stages] == [
        "input",
        "conv1, bn1, relu",
        "maxpool",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
        "avgpool",
        "fc",
    ]


def test_plot_draws_into_the_axes_given():
    _, ax = plt.subplots()
    assert trace_shapes(GlyphNet(), (1, 1, 32, 32)).plot(ax) is ax
    assert "layer4 256 x 4 x 4" in featx.plots.alt_text(ax)
    plt.close("all")


def flattening_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 2))


IMAGES = (4, 3, 64, 64)
REFUSED = {
    "grayscale": (
        small_resnet,
        (4, 1, 64, 64),
        "conv1 (Conv2d) expected 3 channels, got 1",
        "expand",
    ),
    "rgba": (small_resnet, (4, 4, 64, 64), "conv1 (Conv2d) expected 3 channels, got 4", "x[:, :3]"),
    "colour": (
        GlyphNet,
        (4, 3, 32, 32),
        "conv1 (Conv2d) expected 1 channel, got 3",
        "keepdim=True",
    ),
    "last": (small_resnet, (4, 64, 64, 3), "got 64 in", "x.permute(0, 3, 1, 2)"),
    "one, last": (small_resnet, (64, 64, 3), "got 64 in", "x.permute(2, 0, 1)[None]"),
    "no batch": (small_resnet, (3, 64, 64), "bn1 (BatchNorm2d) expected 4 dimensions", "x[None]"),
    "no batch, flat": (flattening_net, (3, 32, 32), "3 (Linear) expected 7200", "x[None]"),
    "no channels": (
        GlyphNet,
        (4, 32, 32),
        "conv1 (Conv2d) expected 1 channel, got 4",
        "x[:, None]",
    ),
    "2-D": (
        small_resnet,
        (4, 12288),
        "conv1 (Conv2d) expected 4 dimensions",
        "x.reshape(N, C, H, W)",
    ),
    "5-D": (small_resnet, (1, 4, 3, 64, 64), "conv1 (Conv2d) expected 4 dim", "x.flatten(0, 1)"),
    "uint8": (
        small_resnet,
        torch.zeros(IMAGES, dtype=torch.uint8),
        "conv1 (Conv2d) expected float32, got uint8",
        "x.float() / 255",
    ),
    "float64": (
        small_resnet,
        torch.zeros(IMAGES, dtype=torch.float64),
        "expected float32, got float64",
        "x.to(torch.float32)",
    ),
    "device": (
        small_resnet,
        torch.zeros(IMAGES, device="meta"),
        "(BatchNorm2d) expected a tensor on cpu, got one on meta",
        'x.to("cpu")',
    ),
    "size, flat": (
        flattening_net,
        IMAGES,
        "3 (Linear) expected 7200 features, got 30752",
        "height",
    ),
    "ViT size": (
        small_vit,
        IMAGES,
        "VisionTransformer expected images of 32 x 32 pixels, got 64 x 64",
        "Resize",
    ),
    "ViT last": (small_vit, (4, 32, 32, 3), "expected images of 32 x 32", "x.permute(0, 3, 1, 2)"),
    "ViT no batch": (small_vit, (3, 32, 32), "expected 4 dimensions", "x[None]"),
    "too small": (
        lambda: models.vgg11(num_classes=2).features,
        (1, 3, 16, 16),
        "20 (MaxPool2d) expected at least 2 x 2 pixels, got 1 x 1",
        "too small",
    ),
    "kernel": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 7)),
        (1, 3, 5, 5),
        "at least 7 x 7",
        "too small",
    ),
    "norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(16)),
        IMAGES,
        "1 (BatchNorm2d) expected 16 channels, got 8",
        "The layer before gives 8",
    ),
    "unflattened": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Linear(8 * 64 * 64, 2)),
        IMAGES,
        "1 (Linear) expected 32768 features, got 64",
        "nn.Flatten()",
    ),
    "unpooled": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Linear(8, 2)),
        IMAGES,
        "1 (Linear) expected 8 features",
        "x.mean((2, 3))",
    ),
    "swapped": (lambda: nn.Linear(784, 2), (784, 4), "Linear expected 784 features, got 4", "x.T"),
    "flat, colour": (
        lambda: nn.Linear(784, 2),
        (4, 3, 28, 28),
        "Linear expected 784 features, got 28",
        "x.mean(1).flatten(1)",
    ),
    "flattened, colour": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 2)),
        (4, 3, 28, 28),
        "1 (Linear) expected 784 features, got 2352",
        "x.mean(1, keepdim=True)",
    ),
    "flat, one": (
        lambda: nn.Linear(784, 2),
        (28, 28),
        "Linear expected 784 features, got 28",
        "x.reshape(1, -1)",
    ),
    "norm of another kind": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm1d(8)),
        IMAGES,
        "1 (BatchNorm1d) expected 3 dimensions",
        "BatchNorm1d stands where the layer before needs BatchNorm2d.",
    ),
    "norm of rows": (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm2d(6)),
        (4, 8),
        "1 (BatchNorm2d) expected 4 dimensions",
        "BatchNorm2d stands where the layer before needs BatchNorm1d.",
    ),
    "wide as the channels": (
        lambda: nn.Conv2d(64, 8, 3),
        (4, 3, 48, 64),
        "Conv2d expected 64 channels, got 3",
        "made for another model",
    ),
    "last, many channels": (
        lambda: nn.Conv2d(64, 8, 3),
        (4, 7, 7, 64),
        "Conv2d expected 64 channels, got 7",
        "x.permute(0, 3, 1, 2)",
    ),
    "layer norm": (
        lambda: nn.LayerNorm(8),
        (2, 9),
        "LayerNorm expected the last dim",
        "another size",
    ),
    "words": (
        lambda: nn.Embedding(5, 2),
        torch.tensor([[7]]),
        "Embedding expected indices from 0 to 4, got 7 to 7",
        "vocabulary",
    ),
}


@pytest.mark.parametrize(
    ("case", "step"),
    [
        ("swapped", lambda x: x.T),
        ("flat, colour", lambda x: x.mean(1).flatten(1)),
        ("flattened, colour", lambda x: x.mean(1, keepdim=True)),
        ("flat, one", lambda x: x.reshape(1, -1)),
        ("last, many channels", lambda x: x.permute(0, 3, 1, 2)),
    ],
)
def test_the_step_named_in_a_refusal_mends_the_batch(case, step):
    build, shape, _, _ = REFUSED[case]
    assert trace_shapes(build(), step(torch.zeros(shape)))


@pytest.mark.parametrize("error", [TypeError("no"), AttributeError("no")])
def test_an_error_in_the_code_is_not_blamed_on_the_batch(error):
    with pytest.raises(featx.FeatxError, match=rf"{type(error).__name__}, no\.$"):
        trace_shapes(Restless(error), (5, 4))


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_batch_names_layer_expected_got_and_cause(case):
    build, data, said, cause = REFUSED[case]
    model = build()
    before = everything(model)
    with pytest.raises(featx.FeatxError) as caught:
        trace_shapes(model, data)
    message = str(caught.value)
    assert said in message
    assert cause in message
    assert "\n" not in message
    assert isinstance(caught.value.__cause__, Exception)
    assert everything(model) == before


def test_an_error_of_the_users_own_code_names_the_module_it_came_from():
    class Fallback(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(9, 1), nn.Linear(4, 1)

        def forward(self, x):
            try:
                return self.first(x)
            except RuntimeError:
                return self.second(x)

    trace = trace_shapes(Fallback(), (2, 4))
    assert [row.name for row in trace] == ["", "first", "second"]
    assert trace["second"].shape == (2, 1), "an error that the model handles is no error"

    with pytest.raises(featx.FeatxError, match=r"^Restless could not take .* ValueError, broken"):
        trace_shapes(nn.Sequential(Restless(ValueError("broken")))[0], (5, 4))


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (nn.ReLU(), (4, -1), "Expected the shape of a batch"),
        (nn.ReLU(), "4 3", "Expected the shape of a batch"),
        (nn.ReLU(), (), "Expected the shape of a batch"),
        (nn.ReLU(), np.zeros((2, 3)), "torch.from_numpy"),
        ("resnet18", (1, 2), "Expected an nn.Module or a backbone, got str"),
        (nn.LazyLinear(3), (1, 2), "Run the model once before"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_wrong_arguments_are_named(model, data, message):
    with pytest.raises(featx.FeatxError, match=re.escape(message)):
        trace_shapes(model, data)


def test_an_unknown_device_is_named():
    with pytest.raises(featx.FeatxError, match="Expected a device that this machine has, got"):
        trace_shapes(nn.ReLU(), (1, 2), device="gpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_random_state_stays_and_the_model_is_not_moved():
    model = nn.Sequential(Restless())
    state = torch.cuda.get_rng_state()

    class Draws(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    trace = trace_shapes(nn.Sequential(nn.Linear(4, 4), Draws()), (2, 4), device="cuda")
    assert trace[0].shape == (2, 4)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert next(model.parameters()).device.type == "cpu"


# --- check_shape -----------------------------------------------------------------------------------

SHAPES = st.lists(st.integers(0, 6), min_size=1, max_size=5).map(tuple)


@st.composite
def shape_and_spec(draw):
    """Draw a shape, and a description of it that is true."""
    shape = draw(SHAPES)
    dims = [draw(st.sampled_from([size, None, f"n{size}"])) for size in shape]
    if draw(st.booleans()):
        start, stop = sorted(draw(st.tuples(*[st.integers(0, len(shape))] * 2)))
        dims[start:stop] = ["..."]
    return shape, dims


@given(shape_and_spec())
def test_a_true_description_gives_back_the_very_object(case):
    shape, dims = case
    for x in (torch.zeros(shape), np.zeros(shape)):
        assert check_shape(x, tuple(dims)) is x
        if None not in dims:
            assert check_shape(x, " ".join(map(str, dims))) is x


@given(SHAPES, st.data())
def test_a_false_size_or_number_of_dimensions_raises(shape, data):
    at = data.draw(st.integers(0, len(shape) - 1))
    wrong = [*shape[:at], shape[at] + 7, *shape[at + 1 :]]
    for spec in (tuple(wrong), (*shape, None), ("same", *shape, "...", 99)):
        with pytest.raises(featx.FeatxError, match="Expected the shape") as caught:
            check_shape(np.zeros(shape), spec)
        assert f"got {shape}" in str(caught.value)


MENDED = [
    ((512,), "batch 512", "batch dimension is missing"),
    ((4,), "batch 1", "dimension of the columns is missing"),
    ((4,), "batch 4", "batch dimension is missing"),
    ((3, 32, 32), "batch 3 height width", "batch dimension is missing"),
    ((4, 32, 32, 3), "batch 3 height width", "channels are last"),
    ((4, 3, 32, 32), "batch height width 3", "channels are first"),
    ((32, 32, 3), "batch 3 height width", "channels are last"),
    ((32, 32, 3), "3 height width", "channels are last"),
    ((4, 28, 28), "batch 1 28 28", "dimension of the channels is missing"),
    ((512, 4), "batch 512", "swapped"),
    ((4, 512, 1, 1), "batch 512", "not flattened"),
    ((4, 512, 7, 7), "batch 512", "feature map; pool"),
    ((4, 7, 7, 512), "batch 512", "feature map with its channels last; pool"),
    ((4, 512, 7, 7), "batch 25088", "not flattened"),
    ((4, 197, 768), "batch 768", "tokens"),
    ((4, 1, 512), "batch 512", "dimension too many"),
    ((1, 4, 512), "4 512", "dimension too many"),
    ((4, 1, 32, 32), "batch 3 height width", "grayscale"),
    ((4, 4, 32, 32), "batch 3 height width", "RGBA"),
    ((4, 3, 32, 32), "batch 1 height width", "colour"),
]


@pytest.mark.parametrize("make", [torch.zeros, np.zeros])
@pytest.mark.parametrize(("shape", "spec", "cause"), MENDED)
def test_the_step_that_the_message_names_mends_the_shape(make, shape, spec, cause):
    x = make(shape)
    with pytest.raises(featx.FeatxError, match=cause) as caught:
        check_shape(x, spec)
    mended = eval(str(caught.value).rpartition(": ")[2], {"x": x, "np": np})
    check_shape(mended, spec)


def test_what_no_step_mends_is_said_all_the_same():
    def message(x, spec):
        with pytest.raises(featx.FeatxError) as caught:
            check_shape(x, spec)
        return str(caught.value)

    assert "featx.remove_head(model)" in message(torch.zeros(4, 1000), "batch 512")
    assert message(np.zeros((4, 5)), "n n").endswith("n is both 4 and 5.")
    assert message(np.zeros((4, 5)), (None, 6)).endswith(
        "(any, 6), got (4, 5). Dimension 1 is 5, not 6."
    )
    assert message(np.zeros(5), "a b c").endswith("There is 1 dimension, not 3.")
    assert message([1, 2, 3], "batch 3").endswith("np.asarray(x)[None]")
    assert "rows differ in length" in message([[1], [2, 3]], "a b")
    assert "got str" in message("abc", "a")
    assert "got NoneType" in message(None, "a")


@pytest.mark.parametrize(
    "spec", ["", "batch,512", (None, -1), (None, 2.0), "... a ...", 512, (True,)]
)
def test_a_description_that_cannot_be_read_is_named(spec):
    with pytest.raises(featx.FeatxError, match=re.escape(repr(spec))):
        check_shape(np.zeros((2, 2)), spec)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["linear", "norm", "dropout", "relu"]), max_size=5), st.booleans())
def test_any_stack_of_layers_is_left_as_it_was(kinds, train):
    made = {
        "linear": lambda: nn.Linear(4, 4),
        "norm": lambda: nn.BatchNorm1d(4),
        "dropout": nn.Dropout,
        "relu": lambda: nn.ReLU(inplace=True),
    }
    model = nn.Sequential(*[made[kind]() for kind in kinds]).train(train)
    before, states = everything(model), randomness()
    trace = trace_shapes(model, (3, 4))
    assert [row.shape for row in trace] == [(3, 4)] * (1 + len(kinds))
    assert everything(model) == before
    assert randomness() == states
    assert copy.deepcopy(model)(torch.zeros(3, 4)).shape == (3, 4)


def test_a_buffer_whose_numbers_do_not_lie_side_by_side_stays():
    model = nn.BatchNorm1d(3).train()
    model.register_buffer("running_mean", torch.arange(6.0)[::2])
    assert trace_shapes(model, (4, 3))[0].shape == (4, 3)
    assert model.running_mean.tolist() == [0, 2, 4]
