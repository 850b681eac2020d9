"""One image file becomes one RGB tensor, or is named with the reason why it cannot."""

from __future__ import annotations

import contextlib
import functools
import io
import mimetypes
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps

from featx.errors import FeatxError

__all__ = [
    "UnreadableImage",
    "check_image",
    "decode",
    "decode_image",
    "extensions",
    "file_problem",
    "os_reason",
    "printable",
    "read_bytes",
    "read_image",
    "silenced",
    "to_rgb_tensor",
]

# Raster formats that Pillow decodes by itself. EPS starts Ghostscript, and the formats without a
# signature (TGA, raw) take any file for an image, so these are not asked.
_SAFE = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF")

# A file larger than this is no photo; reading it would only fill the memory.
_MAX_BYTES = 2**31

# What to do about a reason, known by a part of it.
_WAYS_OUT = {
    "no such file": "Check the path.",
    "no permission": "Give yourself the right to read it.",
    "a kind of image": "Save it as PNG or JPEG.",
    " pixels from ": "Scale the pixels to 0-255 and save it as uint8.",
    " pixels (limit": "Shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it.",
}

_ORIENTATION = 0x0112  # the EXIF tag
_PHOTOMETRIC = 262  # the TIFF tag; 0 means that white is stored as zero


class UnreadableImage(FeatxError):
    """A file that cannot become an image; `reason` says why in a short phrase.

    Attributes
    ----------
    reason : str
        For example ``"zero bytes"``, ``"not an image"`` or ``"truncated JPEG"``.
    """

    def __init__(self, message: str, reason: str = "not readable") -> None:
        super().__init__(message)
        self.reason = reason


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """Read an image file as the RGB pixels that a viewer shows.

    Parameters
    ----------
    path
        A JPEG, PNG, GIF, TIFF, WebP, BMP, PPM, JPEG 2000 or AVIF file. What the file is, is read
        from its content, not from its name.

    Returns
    -------
    torch.Tensor
        uint8 0-255, ``(3, H, W)``, RGB.

    Raises
    ------
    UnreadableImage
        The file is missing, not an image, broken, or too large; ``.reason`` says which.

    Notes
    -----
    * The EXIF orientation is applied. Of several frames or pages the first is read.
    * Transparent pixels are composited on white.
    * 16-bit pixels become 8-bit ones by their high byte, so no tone is clipped. Float pixels
      must lie in 0-1.
    * ICC profiles are ignored: the numbers in the file are taken for sRGB, as torchvision does.
    * An image that Pillow would refuse as a decompression bomb, with more pixels than twice
      ``PIL.Image.MAX_IMAGE_PIXELS``, is too large; up to there no warning is given.
    * A JPEG whose compressed bytes were changed while its end is in place decodes without an
      error in libjpeg, and so here.
    * Pillow's warnings about odd files are kept quiet. Python keeps its warning filters for the
      whole process, so decode in several processes rather than in several threads.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "grey.png"
    ...     Image.new("L", (4, 3), 128).save(path)
    ...     image = read_image(path)
    >>> image.shape, image.dtype, image[:, 0, 0].tolist()
    (torch.Size([3, 3, 4]), torch.uint8, [128, 128, 128])
    """
    return decode_image(read_bytes(path), os.fspath(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file's bytes, to hash or to decode them.

    Parameters
    ----------
    path
        A regular file, or a link to one.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    UnreadableImage
        The file is missing, no regular file (a pipe would block forever), not permitted, or
        larger than 2 GiB.

    Examples
    --------
    >>> read_bytes("nowhere.png")
    Traceback (most recent call last):
    featx.images.UnreadableImage: Expected an image file, got nowhere.png: no such file. ...
    """
    problem = file_problem(path)
    if not problem:
        try:
            return Path(path).read_bytes()
        except (OSError, MemoryError) as error:
            problem = os_reason(error)
    raise _unreadable(os.fspath(path), problem)


def decode_image(data: bytes, name: str) -> torch.Tensor:
    """Decode the bytes of an image file; `read_image` for bytes that are already read.

    Parameters
    ----------
    data
        The whole file.
    name
        What to call the file in errors.

    Returns
    -------
    torch.Tensor
        uint8 0-255, ``(3, H, W)``, RGB.

    Raises
    ------
    UnreadableImage
        As `read_image`.

    Examples
    --------
    >>> decode_image(b"hello", "letter.jpg")
    Traceback (most recent call last):
    featx.images.UnreadableImage: Expected an image file, got letter.jpg: not an image. ...
    """
    with silenced():
        return decode(data, name)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep Pillow's warnings about odd files quiet. What is silenced is so in all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(data: bytes, name: str) -> torch.Tensor:
    """Decode as `decode_image` does, for several threads at once, within one `silenced`.

    Parameters
    ----------
    data
        What the file holds.
    name
        What to call it in a message.

    Returns
    -------
    torch.Tensor
        As of `decode_image`.

    Raises
    ------
    UnreadableImage
        When it is no image, or a damaged one.

    Examples
    --------
    >>> with silenced():
    ...     decode(b"", "empty.jpg")
    Traceback (most recent call last):
    featx.images.UnreadableImage: Expected an image file, got empty.jpg: zero bytes. ...
    """
    if not data:
        raise _unreadable(name, "zero bytes")
    kind = None
    # Whatever a broken file makes Pillow's plugins throw (OSError, SyntaxError, struct.error,
    # ZeroDivisionError, …), it is the file that is at fault, and the batch must go on.
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            kind = image.format
            if kind in ("JPEG", "MPO") and not _jpeg_ends(data):
                raise OSError("truncated")
            white_is_zero = _white_is_zero(image)
            image.load()
            pixels = to_rgb_tensor(_upright(image))
    except UnreadableImage as error:
        raise _unreadable(name, error.reason) from None
    except Exception as error:
        raise _unreadable(name, _decode_phrase(error, data, kind, name)) from error
    return 255 - pixels if white_is_zero else pixels


def check_image(path: str | os.PathLike[str]) -> None:
    """Look into a file's header whether it is an image, without decoding it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UnreadableImage
        It is not.

    Examples
    --------
    >>> check_image("nowhere.png")
    Traceback (most recent call last):
    featx.images.UnreadableImage: Expected an image file, got nowhere.png: no such file. ...
    """
    problem = file_problem(path)
    if not problem:
        try:
            with Path(path).open("rb") as file:
                problem = _header_problem(file, os.fspath(path))
        except OSError as error:
            problem = os_reason(error)
    if problem:
        raise _unreadable(os.fspath(path), problem)


def to_rgb_tensor(image: Image.Image) -> torch.Tensor:
    """Turn a PIL image of any mode into RGB pixels.

    Parameters
    ----------
    image
        Its pixels are taken as they are: an EXIF orientation still to be applied is a matter of
        the file, for `read_image` or ``PIL.ImageOps.exif_transpose``.

    Returns
    -------
    torch.Tensor
        uint8 0-255, ``(3, H, W)``, RGB. Transparent pixels are composited on white; 16-bit pixels
        are scaled, and so are float pixels in 0-1.

    Raises
    ------
    UnreadableImage
        The pixels have no scale that is known: float pixels beyond 0-1, integer pixels beyond
        16 bits.

    Examples
    --------
    >>> to_rgb_tensor(Image.new("RGBA", (2, 1), (255, 0, 0, 0)))[:, 0, 0].tolist()
    [255, 255, 255]
    """
    if not all(image.size):
        raise _unreadable("a PIL image", "{} x {} pixels".format(*image.size))
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        if image.mode == "La":  # Pillow leads from here to LA only
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


@functools.cache
def extensions() -> frozenset[str]:
    """Return the file name extensions of the formats that are read.

    Returns
    -------
    frozenset of str
        In small letters, with the dot.

    Examples
    --------
    >>> ".jpg" in extensions(), ".eps" in extensions()
    (True, False)
    """
    allowed = {*_formats(), "MPO"}  # MPO: several JPEGs in one file; Pillow opens it as JPEG
    return frozenset(
        extension
        for extension, format_ in Image.registered_extensions().items()
        if format_ in allowed
    )


def file_problem(path: str | os.PathLike[str]) -> str:
    """Say why a path is no file that can be read.

    Parameters
    ----------
    path
        Where to look. The file is not opened.

    Returns
    -------
    str
        A short phrase, empty where all is well.

    Examples
    --------
    >>> file_problem("nowhere.png"), file_problem(".")
    ('no such file', 'a folder')
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        gone = isinstance(error, FileNotFoundError)
        return "a broken link" if gone and Path(path).is_symlink() else os_reason(error)
    if stat.S_ISDIR(status.st_mode):
        return "a folder"
    if not stat.S_ISREG(status.st_mode):
        return "neither a file nor a folder"
    if not os.access(path, os.R_OK):
        return "no permission"
    if status.st_size > _MAX_BYTES:
        return f"too large: {status.st_size} bytes (limit {_MAX_BYTES})"
    return ""


def os_reason(error: Exception) -> str:
    """Say in a few words what the operating system objects to.

    Parameters
    ----------
    error
        What opening or reading a file or folder raised.

    Returns
    -------
    str
        A short phrase.

    Examples
    --------
    >>> os_reason(PermissionError(13, "Permission denied"))
    'no permission'
    """
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    return (getattr(error, "strerror", None) or str(error)).lower()


def printable(name: str | os.PathLike[str]) -> str:
    r"""Return a file name that can be printed on one line, whatever bytes it is made of.

    Parameters
    ----------
    name
        A name or path; it may hold line breaks, or bytes that are not UTF-8.

    Returns
    -------
    str
        The same, with what cannot be printed written as an escape.

    Examples
    --------
    >>> print(printable("two\nlines.jpg"), printable("café.jpg"), printable("caf\udce9.jpg"))
    two\nlines.jpg café.jpg caf\udce9.jpg
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in os.fsdecode(name)
    )


def _header_problem(file: BinaryIO, name: str) -> str:
    with silenced():
        try:
            Image.open(file, formats=_formats())
        except Image.DecompressionBombError:
            pass  # an image, though too large; decoding it says so with its size
        except Exception:  # as in decode_image
            return _not_an_image(name)
    return ""


def _not_an_image(name: str) -> str:
    """Tell a picture of a kind that is not read, such as HEIC or SVG, from any other file."""
    extension = Path(name).suffix.lower()
    kind, _ = mimetypes.guess_type(f"_{extension}", strict=False)
    if kind and kind.startswith("image/") and extension not in extensions():
        return f"a kind of image that is not read ({printable(extension)})"
    return "not an image"


def _unreadable(name: str, reason: str) -> UnreadableImage:
    way_out = next(
        (way for part, way in _WAYS_OUT.items() if part in reason), "Replace it or leave it out."
    )
    return UnreadableImage(
        f"Expected an image file, got {printable(name)}: {reason}. {way_out}", reason
    )


def _decode_phrase(error: Exception, data: bytes, kind: str | None, name: str) -> str:
    """Say what is wrong with an image that Pillow did not decode."""
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(data)
    kind = kind or _claimed_format(data)
    if kind is None:
        return _not_an_image(name)
    return f"{'truncated' if 'truncated' in str(error).lower() else 'broken'} {kind}"


def _claimed_format(data: bytes) -> str | None:
    """Name the format whose signature the file bears, whatever follows it."""
    for name in _formats():
        _, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16]) is True:
            return name
    return None


def _too_large(data: bytes) -> str:
    size = "too many pixels"
    # Image.open gives no size with its refusal. The plugin alone does, unless it refuses by itself.
    with contextlib.suppress(Exception):
        plugin, _ = Image.OPEN[_claimed_format(data) or ""]
        with plugin(io.BytesIO(data), "") as image:
            size = "{} x {} pixels".format(*image.size)
    return f"too large: {size} (limit {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels)"


@functools.cache
def _formats() -> tuple[str, ...]:
    """List the safe formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _SAFE if name in Image.OPEN)


def _jpeg_ends(data: bytes) -> bool:
    """Whether the end marker follows the pixels, or the file is too odd to tell.

    A download that broke off in a file of full size leaves zeros at its end. libjpeg takes them
    for grey pixels.
    """
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1 : at + 2]
        if marker == b"\xda":  # start of scan: the pixels, in which no marker can occur
            return data.find(b"\xff\xd9", at) > 0
        at += 1 if marker == b"\xff" else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF stores white as zero and Pillow leaves it so: it turns 8-bit pixels only."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith(("I", "F")) and tags.get(_PHOTOMETRIC) == 0


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; EXIF data that is broken must not cost a good image."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:
        return image


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit and float pixels to 0-255; Pillow's own `convert` would clip them."""
    values = np.asarray(image)
    if image.mode == "F":
        kind, highest, scaled = "float", 1, values * 255 + 0.5
    else:
        # The high byte is what Pillow keeps of a 16-bit RGB image too.
        kind, highest, scaled = "integer", 65535, values >> 8
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= highest):  # NaN is neither
        raise _unreadable(
            "a PIL image", f"{kind} pixels from {low:g} to {high:g} (expected 0 to {highest})"
        )
    eight = Image.fromarray(scaled.astype(np.uint8))
    see_through = image.info.get("transparency")  # the one grey value that is transparent
    if isinstance(see_through, int):
        eight.putalpha(Image.fromarray((values != see_through).astype(np.uint8) * 255))
    return eight
