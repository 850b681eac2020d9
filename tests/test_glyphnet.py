"""GlyphNet: what its weights are worth, and that no digit went into them."""

from __future__ import annotations

import re
import string

import numpy as np
import pytest
import torch
import typer
from matplotlib.ft2font import FT2Font
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.transforms.v2.functional import rgb_to_grayscale, to_dtype

import featx
from featx import glyphnet
from featx.glyphnet import glyphs
from featx.glyphnet import pretrain as training
from featx.glyphnet.model import CLASSES
from featx.glyphnet.pretrain import pretrain, save
from featx.pixels import as_grey

DUE = {1: 0.81, 5: 0.925, 10: 0.955}


def test_few_labels_are_enough(digits, glyphnet_features):
    X, y = glyphnet_features.X, glyphnet_features.y
    glyph = featx.few_label_accuracy(X, y, shots=tuple(DUE), seeds=range(5)).mean
    pixels = featx.few_label_accuracy(digits.images.flatten(1).numpy(), y, shots=tuple(DUE)).mean
    assert (glyph >= list(DUE.values())).all(), glyph
    assert (glyph > pixels + 0.04).all(), (glyph, pixels)


def test_the_result_does_not_hang_on_five_lucky_seeds(glyphnet_features):
    X, y = glyphnet_features.X, glyphnet_features.y
    glyph = featx.few_label_accuracy(X, y, shots=tuple(DUE), seeds=range(100, 120)).mean
    assert (glyph >= list(DUE.values())).all(), glyph


@pytest.fixture(scope="module")
def kinds(digits, glyphnet_features):
    torch.manual_seed(0)
    untrained = featx.load_backbone("glyphnet", weights=None)
    return {
        "pixels": digits.images.flatten(1).numpy() / np.float32(255),
        "random weights": featx.extract(untrained, digits, progress=False).X,
        "**GlyphNet**": glyphnet_features.X,
    }


def test_model_card_and_readme_state_what_is_measured(root, kinds, glyphnet_features):
    card, readme = glyphnet.MODEL_CARD.read_text(), (root / "README.md").read_text()
    for name, X in kinds.items():
        measured = featx.few_label_accuracy(X, glyphnet_features.y, shots=tuple(DUE)).mean.tolist()
        for text in (card, readme):
            row = re.search(rf"\| {re.escape(name)} \|(.*)\|", text)
            assert row, f"a row for {name}"
            stated = [float(cell) for cell in re.findall(r"\| (\d\.\d+)", "|" + row.group(1))]
            assert stated == pytest.approx(measured, abs=0.002), name
    with safe_open(glyphnet.WEIGHTS_FILE, "pt") as file:
        for name, fact in file.metadata().items():
            assert f"| {name} | {fact} |" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "probe", "draws"),
    [
        ("Linear probe", featx.LinearProbe(), 5),
        ("Over 50 draws", featx.LinearProbe(), 50),
        ("With scikit-learn's plain", LogisticRegression(max_iter=2000), 5),
    ],
)
def test_each_table_of_the_model_card_is_measured(kinds, glyphnet_features, title, probe, draws):
    _, _, below = glyphnet.MODEL_CARD.read_text().partition(f"\n{title}")
    for name, X in kinds.items():
        row = re.search(rf"\|[ *]*{name.strip('*')}[ *]*\|(.*)\|", below)
        assert row, f"a row for {name}"
        result = featx.few_label_accuracy(
            X, glyphnet_features.y, shots=tuple(DUE), seeds=range(draws), probe=probe
        )
        measured = np.stack([result.mean, result.std], axis=1).ravel()
        stated = [float(number) for number in re.findall(r"\d\.\d+", row[1])]
        assert stated == pytest.approx(measured, abs=0.003), name


def test_blocks_are_torchvisions():
    ours = glyphnet.GlyphNet().layer2[0]
    theirs = BasicBlock(
        32, 64, 2, nn.Sequential(nn.Conv2d(32, 64, 1, 2, bias=False), nn.BatchNorm2d(64))
    )
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 32, 8, 8)
    for mode in (True, False):
        assert torch.equal(ours.train(mode)(x), theirs.train(mode)(x))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.bool, torch.float16, torch.float64]
)
def test_grey_is_torchvisions_grey(dtype):
    pixels = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    if dtype == torch.bool:
        pixels = pixels.round()
    elif not dtype.is_floating_point:
        pixels *= torch.iinfo(dtype).max
    pixels = pixels.to(dtype)
    expected = rgb_to_grayscale(to_dtype(pixels, torch.float32, scale=True))
    assert torch.equal(as_grey(pixels), expected)
    assert torch.equal(as_grey(pixels[:, :1]), to_dtype(pixels[:, :1], torch.float32, scale=True))


def test_weights_are_small_and_fit():
    assert glyphnet.WEIGHTS_FILE.stat().st_size <= 4_000_000
    model = featx.load_backbone("glyphnet").model
    names = [name for name, _ in model.named_children()]
    stages = [name for name in names if name.startswith("layer")]
    assert names[0] == "conv1"
    assert names[-2:] == ["avgpool", "fc"]
    assert stages == ["layer1", "layer2", "layer3", "layer4"]


def test_head_reads_upright_letters(letters):
    backbone = featx.load_backbone("glyphnet")
    images, labels = glyphs.Augment(*letters, seed=99).batch(1000, turned=False)
    with torch.inference_mode():
        scores = backbone.model(backbone.preprocess(images.clamp(0, 1)))
    assert (scores.argmax(1) == labels).float().mean() > 0.6  # c and C, l and I look the same


@pytest.mark.parametrize("font", glyphs.letter_fonts(), ids=lambda font: font.stem)
def test_no_digit_is_among_the_training_glyphs(font):
    face = FT2Font(font)
    index = face.get_charmap()
    drawn = dict(glyphs.letters_of(font))
    assert set(drawn.values()) == set(CLASSES) == set(string.ascii_letters)
    # by character: none of them is a digit, or counts as one, in any script
    assert not [c for c in drawn if c.isdigit() or c.isnumeric()]
    # by the font's own names: each plain letter's glyph is called by that letter
    assert all(face.get_glyph_name(index[ord(c)]) == c for c in drawn if c in CLASSES)
    # by glyph: none is shared with a character that is a digit
    digits = {glyph for code, glyph in index.items() if chr(code).isnumeric()}
    assert digits
    assert not digits & {index[ord(c)] for c in drawn}
    # by picture: none looks the same as one of the font's digits, dot by dot
    as_digit = {glyphs.render(font, digit).tobytes() for digit in string.digits}
    assert not as_digit & {glyphs.render(font, c).tobytes() for c in drawn}


def test_training_images_are_those_renderings_and_no_others(letters):
    images, labels = letters
    rendered = {
        glyphs.render(font, character).tobytes()
        for font in glyphs.letter_fonts()
        for character, _ in glyphs.letters_of(font)
    }
    assert {image.numpy().tobytes() for image in images} == rendered
    assert len(images) > 2000
    assert labels.unique().tolist() == list(range(len(CLASSES)))


def test_handwritten_digits_are_not_among_the_training_images(digits, letters):
    """Not even close: no digit's nearest training image is the digit itself."""
    images, _ = letters
    coarse = torch.nn.functional.avg_pool2d(images[:, None].float(), 8).flatten(1) / 255
    distance = torch.cdist(digits.images.flatten(1) / 255, coarse)
    assert distance.min() > 0.5


def test_augmentation_follows_its_seed(letters):
    same, again = (glyphs.Augment(*letters, seed=3).batch(16) for _ in range(2))
    other = glyphs.Augment(*letters, seed=4).batch(16)
    assert torch.equal(same[0], again[0])
    assert torch.equal(same[1], again[1])
    assert not torch.equal(same[0], other[0])
    assert same[0].shape == (16, 1, 32, 32)
    assert same[1].max() >= len(CLASSES)  # some are turned


def test_a_quarter_turn_turns_the_image(letters):
    augment = glyphs.Augment(*letters, seed=0)
    still = torch.zeros(1, 1, 64, 64)
    still[..., :20, 28:36] = 1  # a bar at the top
    turned = augment._sample(still, torch.tensor([1]))[0, 0]
    rows, columns = torch.nonzero(turned > 0.5).float().mean(0)
    assert abs(rows - 16) < 6, "neither up nor down"
    assert abs(columns - 16) > 6, "but at one side"


@pytest.mark.slow
def test_pretraining_is_reproducible_and_learns(tmp_path, monkeypatch):
    # bfloat16 is slow where the processor has none: as few images as show it
    monkeypatch.setattr(training, "BATCH_SIZE", 32)
    monkeypatch.setattr(training, "MEASURED", 256)
    models = [pretrain(steps=4, seed=1, progress=False)[0] for _ in range(2)]
    for name, tensor in models[0].state_dict().items():
        assert torch.equal(tensor, models[1].state_dict()[name]), name
    fresh = glyphnet.GlyphNet()
    assert not torch.equal(models[0].conv1.weight, fresh.conv1.weight)
    save(models[0], tmp_path / "weights.safetensors", seed=1)
    loaded = featx.load_backbone("glyphnet", weights=tmp_path / "weights.safetensors").model
    assert torch.allclose(loaded.fc.weight, models[0].fc.weight, atol=1e-3)


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (
            KeyboardInterrupt(),
            130,
            "Stopped; .* is as it was. Run the same command again: it goes on",
        ),
        (OSError(28, "No space left on device"), 2, "No space left on device. Name another file"),
    ],
)
def test_pretraining_ends_with_a_sentence(tmp_path, monkeypatch, capsys, raised, status, said):
    def stopped(*_, **__):
        raise raised

    monkeypatch.setattr(training, "pretrain", stopped)
    with pytest.raises(typer.Exit) as ended:
        training._main(steps=4, out=tmp_path / "weights.safetensors")
    told = capsys.readouterr().err
    assert (ended.value.exit_code, told.count("\n")) == (status, 1)
    assert re.search(said, told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_pretraining_that_was_stopped_goes_on_and_comes_to_the_same_weights(
    tmp_path, monkeypatch, letters
):
    monkeypatch.setattr(training, "render_letters", lambda: letters)
    monkeypatch.setattr(training, "BATCH_SIZE", 8)
    monkeypatch.setattr(training, "MEASURED", 64)
    monkeypatch.setattr(training, "KEEP_EVERY", 2)
    kept = tmp_path / "kept"

    def run(**options):
        return pretrain(steps=4, seed=1, bf16=False, progress=False, **options)

    whole = run()
    batch, drawn = glyphs.Augment.batch, []

    def stopped_at_the_fourth(self, *arguments, **options):
        drawn.append(arguments)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return batch(self, *arguments, **options)

    monkeypatch.setattr(glyphs.Augment, "batch", stopped_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run(kept=kept)
    drawn.clear()
    again = run(kept=kept)
    assert len(drawn) == 3, "two steps of four, and what the accuracy is measured on"
    assert again.accuracy == whole.accuracy
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name

    drawn.clear()
    pretrain(steps=2, seed=2, bf16=False, progress=False, kept=kept)
    assert len(drawn) == 3, "what another run has left is of no use"
    kept.write_bytes(kept.read_bytes()[:1000])
    drawn.clear()
    pretrain(steps=2, seed=2, bf16=False, progress=False, kept=kept)
    assert len(drawn) == 3, "nor is a damaged file"


@pytest.mark.parametrize(
    "shape", [(8, 8), (5, 8, 8), (1, 8, 8), (3, 20, 30), (5, 1, 64, 64), (5, 3, 9, 9)]
)
def test_preprocess_takes_any_image(shape):
    as_bytes = torch.randint(0, 256, shape, dtype=torch.uint8)
    x = glyphnet.preprocess(as_bytes)
    assert x.shape[-3:] == (1, 32, 32)
    assert x.shape[:-3] == (() if len(shape) == 2 or shape[0] in (1, 3) else (5,))
    assert torch.allclose(x, glyphnet.preprocess(as_bytes / 255), atol=1e-5)


def test_preprocess_names_a_wrong_type_and_the_way_out():
    """Whole numbers of another type would turn black."""
    with pytest.raises(featx.FeatxError, match=r"got torch.int64. Say x.to\(torch.uint8\)"):
        glyphnet.preprocess(torch.full((5, 8, 8), 255))
    with pytest.raises(featx.FeatxError, match=r"Move the channels.*permute\(0, 3, 1, 2\)"):
        glyphnet.preprocess(torch.zeros(2, 8, 8, 3))


@pytest.mark.parametrize("shape", [(8,), (2, 2, 8, 8), (2, 8, 8, 3), (1, 1, 1, 8, 8), (2, 1, 0, 8)])
def test_preprocess_names_a_wrong_shape(shape):
    with pytest.raises(featx.FeatxError, match=re.escape(f"got the shape {tuple(shape)}")):
        glyphnet.preprocess(np.zeros(shape, dtype=np.float32))
    with pytest.raises(featx.FeatxError, match="got the shape"):
        glyphnet.preprocess(np.zeros(shape).tolist())
