"""What the page on scale shows is run, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


@pytest.mark.slow
def test_shards_are_extracted_and_read_as_the_page_shows(digits, tmp_path):
    for number in range(10):
        folder = tmp_path / "shards" / f"{number % 2:02}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[number, 0].numpy()).save(folder / f"{number}.png")
    (loop,) = blocks("bash")
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(["bash", "-ec", loop], env={**os.environ, "PATH": tools}, **options)
    assert done.returncode == 0, done.stderr
    read = blocks("python")[0]
    done = subprocess.run([sys.executable, "-c", read], **options)
    assert done.stdout == "10 rows of 256 features in 2 shards\n", done.stderr


def test_a_step_of_an_engine_takes_and_gives_a_batch(digits):
    names: dict = {}
    exec(blocks("python")[1], names)
    images = (
        digits.images[:6].expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    )  # as engines have them
    batch = {"path": np.array([f"{i}.png" for i in range(6)]), "image": images}
    given = names["Extract"]()(batch)
    assert sorted(given) == ["features", "path"]
    assert given["features"].shape == (6, 256)
