"""One file becomes one RGB tensor, or is named with the reason why not."""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from featx.errors import FeatxError
from featx.images import (
    UnreadableImage,
    decode_image,
    extensions,
    file_problem,
    printable,
    read_bytes,
    read_image,
    to_rgb_tensor,
)

RED, WHITE = [255, 0, 0], [255, 255, 255]
GENERATOR = np.random.default_rng(0)
NOISE = GENERATOR.integers(0, 256, (12, 16, 3), dtype=np.uint8)
SMOOTH = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)


def encode(image: Image.Image, format_: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> torch.Tensor:
    """(3, H, W) of an RGB image, by another way than the code under test."""
    return torch.tensor(np.asarray(image).tolist(), dtype=torch.uint8).movedim(-1, 0)


def reason_of(data: bytes, name: str = "photo.jpg") -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data, name)
    assert isinstance(caught.value, FeatxError)
    assert name in str(caught.value)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


def png_16_bit_rgb(values: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow reads and cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# --- the right pixels -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_modes_that_pillow_converts_rightly_give_pillows_pixels(mode):
    image = Image.fromarray(NOISE).convert(mode)
    assert torch.equal(to_rgb_tensor(image), pixels(image.convert("RGB")))


@pytest.mark.parametrize(
    ("format_", "mode"),
    [
        ("PNG", "RGB"),
        ("PNG", "L"),
        ("PNG", "1"),
        ("PNG", "P"),
        ("BMP", "RGB"),
        ("GIF", "P"),
        ("TIFF", "CMYK"),
        ("TIFF", "YCbCr"),
        ("PPM", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGB"),
    ],
)
def test_a_file_gives_the_pixels_that_pillow_gives(tmp_path, format_, mode):
    path = tmp_path / "image"  # no extension: the content tells what it is
    Image.fromarray(NOISE).convert(mode).save(path, format_)
    with Image.open(path) as image:
        expected = pixels(image.convert("RGB"))
    got = read_image(path)
    assert torch.equal(got, expected)
    assert got.dtype == torch.uint8
    assert got.shape == (3, 12, 16)
    assert got.is_contiguous()


@pytest.mark.parametrize(("codec", "format_"), [("jpg_2000", "JPEG2000"), ("avif", "AVIF")])
def test_newer_formats_are_read_where_pillow_has_them(codec, format_):
    if not features.check(codec):
        pytest.skip(f"this Pillow has no {format_}")
    decoded = decode_image(encode(Image.fromarray(SMOOTH), format_), "photo")
    assert (decoded.int() - pixels(Image.fromarray(SMOOTH)).int()).abs().max() < 32


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "RGBa", "La"])
def test_transparent_pixels_become_white_and_opaque_ones_stay(mode):
    rgba = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    image = rgba.convert({"RGBa": "RGBA", "La": "LA"}.get(mode, mode)).convert(mode)
    left, right = to_rgb_tensor(image)[:, 0].T.tolist()
    assert left == WHITE
    assert right == [0, 0, 0]


def test_half_transparent_red_becomes_pink():
    tensor = decode_image(encode(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG"), "a.png")
    assert tensor[:, 0, 0].tolist() == [255, 127, 127]


def test_an_opaque_alpha_channel_changes_nothing():
    image = Image.fromarray(NOISE).convert("RGBA")
    assert torch.equal(decode_image(encode(image, "PNG"), "a.png"), pixels(Image.fromarray(NOISE)))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
def test_the_one_colour_that_a_png_declares_transparent_becomes_white(mode):
    dark = {"1": 0, "L": 0, "RGB": (0, 0, 0), "I;16": 1000}[mode]
    image = Image.new(mode, (2, 1), {"1": 1, "L": 9, "RGB": (9, 9, 9), "I;16": 2560}[mode])
    image.putpixel((0, 0), dark)
    data = encode(image, "PNG", transparency=dark)
    left, right = decode_image(data, "a.png")[:, 0].T.tolist()
    assert left == WHITE
    assert right == ([255] * 3 if mode == "1" else [9, 9, 9] if mode != "I;16" else [10] * 3)


def test_transparent_gif_and_palette_png_become_white():
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    for format_ in ("GIF", "PNG"):
        tensor = decode_image(encode(image, format_, transparency=0), "a")
        assert tensor[:, 0].T.tolist() == [WHITE, RED]


def test_cmyk_jpegs_of_adobe_are_not_shown_inverted():
    paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    data = encode(paper, "JPEG", quality=100)
    assert b"Adobe" in data
    assert decode_image(data, "a.jpg").min() > 250


def test_lab_becomes_rgb():
    image = Image.new("LAB", (1, 1), (255, 128, 128))
    assert to_rgb_tensor(image)[:, 0, 0].tolist() == pytest.approx(WHITE, abs=1)
    red = decode_image(encode(Image.new("LAB", (1, 1), (136, 208, 195)), "TIFF"), "a.tif")
    assert red[:, 0, 0].tolist() == pytest.approx(RED, abs=12)


@pytest.mark.parametrize(
    ("mode", "format_"),
    [
        *((mode, None) for mode in ("I;16", "I;16B", "I;16L", "I")),
        *((mode, "TIFF") for mode in ("I;16", "I;16B", "I;16L", "I")),
        ("I;16", "PNG"),
    ],
)
def test_16_bit_grey_is_scaled_not_clipped(mode, format_):
    values = np.array([[0, 255, 256, 32768, 65535]])
    stored = {"I;16B": ">u2", "I": "<i4"}.get(mode, "<u2")
    image = Image.frombytes(mode, (5, 1), values.astype(stored).tobytes())
    tensor = decode_image(encode(image, format_), "a") if format_ else to_rgb_tensor(image)
    assert tensor[:, 0].tolist() == [[0, 0, 1, 128, 255]] * 3


def test_16_bit_grey_and_16_bit_rgb_give_the_same_pixels():
    values = GENERATOR.integers(0, 65536, (9, 7), dtype=np.uint16)
    grey = decode_image(encode(Image.fromarray(values), "PNG"), "grey.png")
    rgb = decode_image(png_16_bit_rgb(np.stack([values] * 3, axis=-1)), "rgb.png")
    assert torch.equal(grey, rgb)
    assert torch.equal(grey[0], torch.from_numpy((values // 256).astype(np.uint8)))


def test_8_bits_stored_as_16_come_back_exactly():
    wide = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    assert torch.equal(decode_image(encode(wide, "TIFF"), "a.tif")[0], torch.tensor(NOISE[..., 0]))


def test_16_bit_tiff_that_stores_white_as_zero_is_not_shown_as_a_negative():
    values = np.array([[0, 65535]], dtype=np.uint16)
    data = encode(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert decode_image(data, "scan.tif")[0, 0].tolist() == [255, 0]
    grey = encode(Image.fromarray(np.array([[0, 255]], np.uint8)), "TIFF", tiffinfo={262: 0})
    with Image.open(io.BytesIO(grey)) as image:
        assert torch.equal(decode_image(grey, "scan.tif"), pixels(image.convert("RGB")))


def test_float_tiff_in_0_1_is_scaled():
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert decode_image(encode(image, "TIFF"), "a.tif")[0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.float32([[-3, 1200]]), "float pixels from -3 to 1200 (expected 0 to 1)"),
        (np.float32([[0, np.nan]]), "float pixels from nan to nan (expected 0 to 1)"),
        (np.float32([[0, np.inf]]), "float pixels from 0 to inf (expected 0 to 1)"),
        (np.int32([[-5, 7]]), "integer pixels from -5 to 7 (expected 0 to 65535)"),
        (np.int32([[0, 70000]]), "integer pixels from 0 to 70000 (expected 0 to 65535)"),
    ],
)
def test_pixels_of_unknown_scale_are_named_with_their_range(values, reason):
    assert reason_of(encode(Image.fromarray(values), "TIFF"), "depth.tif") == reason


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP"])
def test_the_exif_orientation_is_applied(orientation, format_):
    image = Image.fromarray(NOISE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format_ == "WEBP" else {}
    upright = copy.copy(image)
    upright.getexif()[0x0112] = orientation
    expected = pixels(ImageOps.exif_transpose(upright))
    got = decode_image(encode(image, format_, exif=exif, **options), "photo")
    assert torch.equal(got, expected)
    assert got.shape == ((3, 16, 12) if orientation > 4 else (3, 12, 16))


def test_orientation_6_means_turned_a_quarter_clockwise():
    image = Image.new("RGB", (32, 16), "white")
    image.paste("black", (0, 0, 8, 8))  # top left
    exif = Image.Exif()
    exif[0x0112] = 6
    got = decode_image(encode(image, "JPEG", exif=exif), "phone.jpg")
    assert got.shape == (3, 32, 16)
    assert got[0, 2, -3] < 50  # now top right
    assert got[0, 2, 2] > 200


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(NOISE), "PNG", exif=exif)
    assert torch.equal(decode_image(data, "a.png"), pixels(Image.fromarray(NOISE)))


@given(garbage=st.binary(max_size=200))
@example(garbage=b"")
@example(garbage=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
@example(garbage=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\xff\xff\xff\xff\0\0\0\0")
def test_corrupt_exif_does_not_cost_a_good_image(garbage):
    image = Image.fromarray(NOISE)
    for format_ in ("JPEG", "PNG", "WEBP"):
        plain = decode_image(encode(image, format_), "a")
        odd = decode_image(encode(image, format_, exif=b"Exif\0\0" + garbage), "a")
        # What looks like an orientation may turn the image; its pixels stay.
        assert torch.equal(odd.flatten().sort().values, plain.flatten().sort().values)


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "MPO", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_read(format_):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], format_, save_all=True, append_images=frames[1:])
    got = decode_image(data, "a")
    assert got.shape == (3, 8, 8)
    assert got[:, 0, 0].tolist() == pytest.approx(RED, abs=3)


def test_an_icc_profile_is_ignored():
    image = Image.fromarray(NOISE)
    data = encode(image, "PNG", icc_profile=b"not a profile")
    assert torch.equal(decode_image(data, "a.png"), pixels(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_very_small_and_very_long_images_are_read(size):
    got = decode_image(encode(Image.new("RGB", size, "red"), "PNG"), "a.png")
    assert got.shape == (3, size[1], size[0])


def test_pil_images_are_taken_as_they_are():
    image = Image.fromarray(NOISE)
    image.getexif()[0x0112] = 6
    tensor = to_rgb_tensor(image)
    assert tensor.shape == (3, 12, 16)
    tensor.zero_()  # its own memory, not the image's
    assert np.array_equal(np.asarray(image), NOISE)


# --- files that are no image, or a broken one ---------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.jpg", "zero bytes"),
        (b"just text", "a.jpg", "not an image"),
        (b"\0" * 5000, "a.png", "not an image"),
        (b"just text", "phone.heic", "a kind of image that is not read (.heic)"),
        (b"<svg/>", "drawing.SVG", "a kind of image that is not read (.svg)"),
        (b"\x89PNG\r\n\x1a\n", "a.png", "broken PNG"),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "a.tif", "broken TIFF"),
        (b"\xff\xd8\xff\xe0 and no more", "a.jpg", "truncated JPEG"),
    ],
)
def test_what_is_no_image_is_named_with_its_reason(data, name, reason):
    assert reason_of(data, name) == reason


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.4, 0.8, -2, -1])
def test_a_truncated_jpeg_is_named_and_gives_no_half_grey_image(progressive, kept):
    data = encode(Image.fromarray(SMOOTH), "JPEG", progressive=progressive)
    cut = data[: int(len(data) * kept) if kept > 0 else kept]
    assert reason_of(cut) == "truncated JPEG"


def test_a_jpeg_whose_download_broke_off_in_zeros_is_truncated():
    data = encode(Image.fromarray(NOISE).resize((200, 200)), "JPEG")
    assert reason_of(data[: len(data) // 2] + b"\0" * 10 * len(data)) == "truncated JPEG"


def test_a_jpeg_with_bytes_after_its_end_is_whole():
    data = encode(Image.fromarray(NOISE), "JPEG")
    assert torch.equal(decode_image(data + b"\0" * 100, "a"), decode_image(data, "a"))


def test_fill_bytes_between_jpeg_segments_are_allowed():
    data = encode(Image.fromarray(NOISE).resize((200, 200)), "JPEG")
    filled = data[:2] + b"\xff" + data[2:]
    assert torch.equal(decode_image(filled, "a"), decode_image(data, "a"))
    broken_off = filled[: len(data) // 2] + b"\0" * 10 * len(data)
    assert reason_of(broken_off) == "truncated JPEG"


@pytest.mark.parametrize("format_", ["PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_other_formats_cut_in_half_are_named_with_their_format(format_):
    data = encode(Image.fromarray(NOISE).resize((64, 64)), format_)
    assert reason_of(data[: len(data) // 2]) in (f"truncated {format_}", f"broken {format_}")


def test_one_rule_says_what_is_too_large(monkeypatch):
    data = encode(Image.new("L", (40, 30)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert decode_image(data, "a.png").shape == (3, 30, 40)  # Pillow alone would warn here
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    assert reason_of(data) == "too large: 40 x 30 pixels (limit 1198 pixels)"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_image(data, "a.png").shape == (3, 30, 40)


@pytest.mark.parametrize(
    ("data", "name", "way_out"),
    [
        (b"<svg/>", "drawing.svg", "Save it as PNG or JPEG."),
        (b"text", "notes.jpg", "Replace it or leave it out."),
        (encode(Image.new("F", (2, 2), 9), "TIFF"), "a.tif", "save it as uint8."),
        (encode(Image.new("1", (200, 100)), "GIF"), "a.gif", "raise PIL.Image.MAX_IMAGE_PIXELS"),
    ],
)
def test_the_error_says_the_way_out(monkeypatch, data, name, way_out):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data, name)
    assert way_out in str(caught.value)


def test_a_decompression_bomb_is_refused_before_it_goes_off():
    bomb = bytearray(encode(Image.new("1", (8, 8)), "PNG"))
    bomb[16:24] = struct.pack(">II", 30000, 30000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    assert reason_of(bytes(bomb)).startswith("too large: 30000 x 30000 pixels (limit ")


def test_eps_is_never_opened():
    eps = encode(Image.new("RGB", (8, 8)), "EPS")
    assert reason_of(eps, "drawing.eps") == "not an image"
    assert ".eps" not in extensions()
    assert {".jpg", ".jpeg", ".png", ".gif", ".tif", ".webp", ".bmp", ".mpo"} <= extensions()


def test_a_pil_image_without_pixels_is_named():
    with pytest.raises(UnreadableImage, match="0 x 5 pixels"):
        to_rgb_tensor(Image.new("RGB", (0, 5)))


def test_memory_that_runs_out_is_the_images_fault(monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", full)
    assert reason_of(encode(Image.fromarray(NOISE), "PNG")) == "too large for the memory"


def test_the_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(UnreadableImage("the message", "zero bytes")))
    assert (str(error), error.reason) == ("the message", "zero bytes")
    assert str(UnreadableImage("the message")) == "the message"  # how torch raises it again


# --- the way to the bytes -----------------------------------------------------------------------


def test_reading_says_what_is_in_the_way(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    reasons = {
        "gone.png": "no such file",
        "link.png": "a broken link",
        ".": "a folder",
        "pipe.png": "neither a file nor a folder",
        "nul\0.png": "embedded null byte",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadableImage) as caught:
            read_image(tmp_path / name)
        assert caught.value.reason == reason
    assert "levels of symbolic links" in file_problem(tmp_path / "loop.png")


def test_a_file_that_must_not_be_read_is_named(tmp_path, monkeypatch):
    # Root may read everything, so the system's answer is set here.
    path = tmp_path / "a.png"
    Image.fromarray(NOISE).save(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        with pytest.raises(UnreadableImage, match="no permission") as caught:
            read_bytes(path)
    assert caught.value.reason == "no permission"

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(UnreadableImage) as caught:
        read_bytes(path)
    assert caught.value.reason == "no permission"


def test_a_file_of_many_gigabytes_is_not_read_into_memory(tmp_path):
    path = tmp_path / "disk.png"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)  # sparse: takes no space
    with pytest.raises(UnreadableImage, match="too large: 2147483649 bytes"):
        read_bytes(path)


@given(st.text(st.characters(), max_size=20))
@example("caf\udce9.jpg")
@example("two\nlines\x1b[31m.jpg")
def test_any_name_can_be_printed_on_one_line(name):
    shown = printable(name)
    assert shown.isprintable()
    shown.encode("utf-8")
    if name.isprintable():
        assert shown == name


# --- whatever is thrown at it -------------------------------------------------------------------

SMALL = Image.fromarray(NOISE)
SEEDS = [
    encode(SMALL, "PNG"),
    encode(SMALL.convert("P"), "PNG", transparency=3),
    encode(SMALL.convert("LA"), "PNG"),
    encode(SMALL, "JPEG"),
    encode(SMALL, "JPEG", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    encode(SMALL.convert("CMYK"), "JPEG"),
    encode(SMALL, "MPO", save_all=True, append_images=[SMALL]),
    encode(SMALL, "GIF"),
    encode(SMALL, "GIF", save_all=True, append_images=[ImageOps.invert(SMALL)]),
    encode(SMALL, "TIFF"),
    encode(SMALL, "TIFF", compression="tiff_lzw"),
    encode(SMALL.convert("L").convert("F"), "TIFF"),
    encode(SMALL, "WEBP"),
    encode(SMALL, "WEBP", lossless=True),
    encode(SMALL, "BMP"),
    encode(SMALL.convert("P"), "BMP"),
    encode(SMALL, "PPM"),
]


@st.composite
def broken_files(draw) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    where = st.integers(0, len(data) - 1)
    for at, byte in draw(st.lists(st.tuples(where, st.integers(0, 255)), max_size=8)):
        data[at] = byte
    if draw(st.booleans()):
        start, end = sorted((draw(where), draw(where)))
        del data[start:end]
    return bytes(data[: draw(where)] if draw(st.booleans()) else data)


@given(data=broken_files())
@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_bytes_crash_it(data, monkeypatch):
    # A broken header may claim any size; the limit keeps this test's memory small.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            tensor = decode_image(data, "fuzz")
        except UnreadableImage:
            pass
        else:
            assert tensor.dtype == torch.uint8
            assert tensor.ndim == 3
            assert tensor.shape[0] == 3
            assert tensor.numel() > 0
    assert not said
