"""GlyphNet, the embedded backbone: trained on rendered letters, never on a digit."""

from pathlib import Path

from featx.glyphnet.model import GlyphNet, preprocess

__all__ = ["MODEL_CARD", "WEIGHTS_FILE", "GlyphNet", "preprocess"]

#: The weights that travel with the package.
WEIGHTS_FILE = Path(__file__).with_name("weights.safetensors")

#: What was trained on what, for how long, and how well it transfers.
MODEL_CARD = Path(__file__).with_name("MODEL_CARD.md")
