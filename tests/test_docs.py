"""The pages of the book say what the code says."""

from __future__ import annotations

import re
import runpy
from importlib import import_module

import featx


def test_the_reference_names_every_public_name(root):
    page = (root / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^(?:   |\.\. py:data:: featx\.)([\w.]+)$", page, re.MULTILINE)
    modules = ("datasets", "metrics", "pitfalls", "plots", "study")
    top = set(featx.__all__) - {"__version__", "images", *modules}
    # What featx itself has under the same name stands there once.
    below = {f"{m}.{name}" for m in modules for name in import_module(f"featx.{m}").__all__}
    # Of reading images the rest is for featx's own modules.
    below |= {"images.UnreadableImage", "images.read_image", "images.to_rgb_tensor"}
    assert "images" in featx.__all__
    wanted = top | {name for name in below if name.partition(".")[2] not in top}
    assert sorted(named) == sorted(wanted)


def test_the_picture_of_the_house_follows_the_rules(root):
    house = runpy.run_path(str(root / "docs" / "house.py"))
    drawn = house["draw"]()
    assert house["PICTURE"].read_text(encoding="utf-8") == drawn, "run: python docs/house.py"
    for storey in house["storeys"]()[0]:
        assert all(f">{module}</text>" in drawn for module in storey)
