"""What the README tells a reader to type works as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

#: What cannot be run here, and what runs it instead. Everything else in the README is run.
ELSEWHERE = {
    r"make lab": "tests/test_project.py looks at what it calls, tests/browser/test_lab.py runs that",
    r"make test": "it is what runs this",
    r"make book": "tests/browser/test_book.py builds the site",
    r"py -m venv .*|\.venv\\Scripts\\.*": "Windows",
    r"python3 -m venv .*|.*pip install .*": "tests/test_wheel.py installs; here there is no network",
    r"source .*": "the test's PATH has the programs",
    r"python bench/.*|python -m tests\..*": "minutes, on an idle machine; they are looked for",
}


def blocks(root: Path, language: str) -> list[str]:
    """Return the README's fenced blocks of a language."""
    fenced = re.findall(r"^```(.*)\n([\s\S]*?)^```", (root / "README.md").read_text(), re.MULTILINE)
    return [block for named, block in fenced if named == language]


def commands(root: Path) -> list[str]:
    lines = "".join(blocks(root, "")).splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def test_it_names_targets_and_files_that_exist(root):
    readme = (root / "README.md").read_text()
    targets = set(re.findall(r"^make (\w+)", readme, re.MULTILINE))
    assert {"lab", "test"} <= targets
    makefile = (root / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (root / link).exists(), link


def test_benchmarks_that_it_names_are_there(root):
    named = re.findall(r"`python (bench/\w+\.py)([^`]*)`", (root / "README.md").read_text())
    assert named
    for script, options in named:
        source = (root / script).read_text()
        words = [each for each in options.split() if not each.isdigit()]
        assert all(f'"{each}"' in source for each in words), options


def test_tests_that_it_names_are_there(root):
    named = re.findall(r"`pytest (\S+)`", (root / "README.md").read_text())
    assert named
    assert all((root / each).exists() for each in named)


def test_the_python_runs(root):
    snippets = blocks(root, "python")
    assert len(snippets) >= 2
    space: dict = {}
    for snippet in snippets:
        exec(snippet, space)
    assert not space["model"].bn1.training


@pytest.mark.slow
def test_every_command_runs(root, tmp_path, bwrap):
    told = commands(root)
    here = [line for line in told if not any(re.fullmatch(each, line) for each in ELSEWHERE)]
    assert {line.split()[-1] for line in here if line.startswith("nbgrader")}
    assert len(here) > 8
    photos = load_sample_images().images
    for number in range(24):
        top, left = np.random.default_rng(number).integers(0, 300, 2)
        file = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photos[number % 2][top : top + 96, left : left + 96]).save(file)
    # two of the sample class: the rest takes longer and is graded in tests/grading
    shutil.copytree(
        root / "autograders",
        tmp_path / "autograders",
        ignore=lambda folder, names: (
            sorted(names)[2:] if Path(folder).name == "submitted" else ["gradebook.db"]
        ),
    )
    script = "\n".join(here).replace(".venv/bin/python -m featx", "featx")
    script = script.replace("resnet18", "glyphnet")  # its weights would come from the network
    # Enter alone skips a question
    start = f'set -eux\nfeatx() {{ yes "" | "{sys.executable}" -m featx "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", start + script],
        cwd=tmp_path,
        env=os.environ
        | {
            "HOME": str(tmp_path / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr + done.stdout
    assert (tmp_path / "features" / "report.html").exists()
    assert (tmp_path / "autograders" / "grades.csv").exists()
