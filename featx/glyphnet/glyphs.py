"""The training images: letters, and only letters, rendered from the fonts that matplotlib ships.

`render_letters` draws each letter of each font once. `Augment` makes endless variants of them on
the fly: thicker and thinner, slanted, stretched, bent, turned by quarters, and often as coarse as
8 x 8 pixels, the way a small scan looks.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import affine_grid, avg_pool2d, conv2d, grid_sample, interpolate

from featx.glyphnet.model import CLASSES, IMAGE_SIZE

__all__ = ["QUARTER_TURNS", "Augment", "letter_fonts", "letters_of", "render", "render_letters"]

#: Each letter counts as four classes in training, one for each quarter turn. More classes make
#: richer features, as Santoro et al. found for Omniglot (arXiv:1605.06065, section 4.2).
QUARTER_TURNS = 4

# Rendered glyphs are twice as large as the network's images, and leave a margin of an eighth.
_CANVAS = 2 * IMAGE_SIZE
_INK = _CANVAS * 3 // 4


def letter_fonts() -> list[Path]:
    """Find the fonts of matplotlib that hold all 52 letters under their own names.

    A font file names its glyphs. Where the glyph for "A" is called ``A``, it is the letter; in a
    symbol font it is called, say, ``bracketlefttp``.

    Returns
    -------
    list of pathlib.Path
        Sorted by name.

    Examples
    --------
    >>> "DejaVuSans.ttf" in [font.name for font in letter_fonts()]
    True
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [path for path in sorted(folder.glob("*.ttf")) if _has_all_letters(path)]


def _has_all_letters(path: Path) -> bool:
    font = FT2Font(str(path))  # older matplotlib takes no Path
    index = font.get_charmap()
    return all(
        ord(letter) in index and font.get_glyph_name(index[ord(letter)]) == letter
        for letter in CLASSES
    )


def letters_of(font: Path) -> Iterator[tuple[str, str]]:
    """Yield the characters of a font that are letters: ``(character, which letter it is)``.

    Beside the 52 letters themselves these are Unicode's styled letters (script, fraktur, double-struck
    and so on), which Unicode defines as "the letter in another font".

    Parameters
    ----------
    font
        One of `letter_fonts`.

    Examples
    --------
    >>> dict(letters_of(letter_fonts()[0]))["q"]
    'q'
    """
    for code in FT2Font(str(font)).get_charmap():
        character = chr(code)
        if character in CLASSES:
            yield character, character
        elif unicodedata.decomposition(character).startswith("<font>"):
            plain = unicodedata.normalize("NFKC", character)
            if plain in CLASSES:
                yield character, plain


def render(font: Path, character: str) -> np.ndarray:
    """Draw one character, bright on dark, its ink centred and scaled to three quarters of the image.

    Parameters
    ----------
    font
        A TrueType file.
    character
        What to draw.

    Returns
    -------
    numpy.ndarray
        uint8 ``(64, 64)``.

    Examples
    --------
    >>> image = render(letter_fonts()[0], "o")
    >>> image.shape, int(image.max())
    ((64, 64), 255)
    """
    face = ImageFont.truetype(str(font), size=96)
    left, top, right, bottom = face.getbbox(character)
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), character, font=face, fill=255)
    rows, columns = np.nonzero(np.asarray(image) > 32)
    ink = image.crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    scale = _INK / max(ink.size)
    ink = ink.resize(
        (max(3, round(ink.width * scale)), max(3, round(ink.height * scale))),
        Image.Resampling.LANCZOS,
    )
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(ink, ((_CANVAS - ink.width) // 2, (_CANVAS - ink.height) // 2))
    return np.array(canvas)


def render_letters() -> tuple[torch.Tensor, torch.Tensor]:
    """Draw all letters of all fonts; drawings that come out the same are kept once.

    Returns
    -------
    images : torch.Tensor
        uint8 ``(N, 64, 64)``, about 2500 of them.
    labels : torch.Tensor
        int64 ``(N,)``, places in `featx.glyphnet.model.CLASSES`.
    """
    images, labels = [], []
    for font in letter_fonts():
        for character, letter in letters_of(font):
            images.append(render(font, character))
            labels.append(CLASSES.index(letter))
    stack = np.stack(images)
    _, first = np.unique(stack.reshape(len(stack), -1), axis=0, return_index=True)
    kept = np.sort(first)
    return torch.from_numpy(stack[kept]), torch.tensor(labels)[kept]


class Augment:
    """Draws endless variants of the letters.

    Parameters
    ----------
    images, labels
        From `render_letters`.
    seed
        The same seed gives the same variants.
    """

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
        self.images = images.float().div(255)[:, None]
        self.labels = labels
        self.random = torch.Generator().manual_seed(seed)

    def batch(self, size: int, turned: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a batch.

        Parameters
        ----------
        size
            How many images.
        turned
            Turn each image by a random number of quarters.

        Returns
        -------
        images : torch.Tensor
            float32 ``(size, 1, 32, 32)``, pixels around 0-1.
        classes : torch.Tensor
            int64 ``(size,)``: ``52 * quarter turns + letter``.
        """
        chosen = torch.randint(len(self.images), (size,), generator=self.random)
        turns = torch.randint(QUARTER_TURNS, (size,), generator=self.random) * turned
        images = self._sample(self._thicken(self.images[chosen]), turns)
        return self._scan(images), self.labels[chosen] + len(CLASSES) * turns

    def _uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.random)

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.random)

    def _thicken(self, x: torch.Tensor) -> torch.Tensor:
        """Make strokes thicker or thinner: blur, then cut at a random level."""
        spread = self._uniform(1) * 2.2 + 0.6
        taps = torch.exp(-(torch.arange(-6.0, 7.0) ** 2) / (2 * spread**2))
        taps /= taps.sum()
        x = conv2d(x, taps.view(1, 1, 1, -1), padding=(0, 6))
        x = conv2d(x, taps.view(1, 1, -1, 1), padding=(6, 0))
        level = self._uniform(len(x), 1, 1, 1) * 0.4 + 0.15
        ground = torch.sigmoid(-level / 0.06)  # what no ink would become; it stays black
        return (torch.sigmoid((x - level) / 0.06) - ground) / (1 - ground)

    def _sample(self, x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        """Turn, slant, stretch, shift and bend, in one sampling from 64 to 32 pixels."""
        n = len(x)
        angle, slant = self._normal(n) * 0.17, self._normal(n) * 0.3
        # A grid of 0.75 just fits the ink. Handwriting is narrow, so is the mean width here.
        height = 0.75 * (1 + self._normal(n) * 0.08).clamp(0.8, 1.25)
        width = 0.75 * torch.exp(0.2 + self._normal(n) * 0.25)
        shift = self._normal(n, 2, 1) * 0.06
        cos, sin = angle.cos(), angle.sin()
        affine = torch.stack([cos * width, (slant - sin) * height, sin * width, cos * height], 1)
        grid = affine_grid(
            torch.cat([affine.view(n, 2, 2), shift], 2),
            [n, 1, IMAGE_SIZE, IMAGE_SIZE],
            align_corners=False,
        )
        knots = int(torch.randint(3, 6, (1,), generator=self.random))
        bend = interpolate(
            self._normal(n, 2, knots, knots),
            (IMAGE_SIZE, IMAGE_SIZE),
            mode="bicubic",
            align_corners=True,
        )
        grid = grid + bend.permute(0, 2, 3, 1) * (0.2 * self._uniform(n, 1, 1, 1))
        quarter = turns * (math.pi / 2)
        cos, sin = quarter.cos(), quarter.sin()
        turn = torch.stack([cos, sin, -sin, cos], 1).view(n, 1, 1, 2, 2)
        grid = (grid.unsqueeze(-2) @ turn).squeeze(-2)
        return grid_sample(x, grid, align_corners=False, padding_mode="zeros")

    def _scan(self, x: torch.Tensor) -> torch.Tensor:
        """Make most images as coarse as 8 x 8, then change contrast and add noise."""
        n = len(x)
        coarse = interpolate(
            avg_pool2d(x, 4), (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False
        )
        x = torch.where(self._uniform(n, 1, 1, 1) < 0.7, coarse, x)
        x = (x * (1 + 0.2 * self._normal(n, 1, 1, 1)).clamp(0.5, 1.5)).clamp(0, 1)
        return x + 0.03 * self._normal(*x.shape) * self._uniform(n, 1, 1, 1)
