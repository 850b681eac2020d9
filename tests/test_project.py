"""The repository keeps its own rules: pins, sizes, no addresses, commands that pass options on."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import featx


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    """Every file that git knows and that is there."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    )
    return [root / name for name in listed.stdout.splitlines() if (root / name).is_file()]


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_the_core_is_all_but_what_needs_the_course(root):
    """A new module is of the core, unless this list has it: else the contract would not look at it."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    (core,) = (c["source_modules"] for c in contracts["contracts"] if c["type"] == "forbidden")
    course = {"__main__", "cli", "doctor", "grading", "lab", "study"}
    modules = {module.name for module in pkgutil.iter_modules(featx.__path__)}
    assert sorted(core) == sorted(f"featx.{name}" for name in modules - course)


def canonical(name: str) -> str:
    """Spell a package as all tools compare it: pre_commit is pre-commit."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    return {canonical(re.match(r"[\w.-]+", each).group()) for each in requirements}


def pins(root: Path) -> dict[str, str]:
    lines = (root / "constraints.txt").read_text().splitlines()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def test_constraints_are_names_and_versions_only(root):
    for line in (root / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[\w.-]+==[\w.!]+", line), line


def test_every_dependency_is_pinned_and_has_a_range(root, project):
    extras = project["optional-dependencies"]
    assert set(extras) == {"course", "scale", "timm", "book", "dev"}
    wanted = [*project["dependencies"], *(each for extra in extras.values() for each in extra)]
    assert names(wanted) <= set(pins(root))
    assert all(">=" in requirement for requirement in wanted)


def test_torch_and_torchvision_are_a_pair(root):
    """torch 2.N goes with torchvision 0.(N + 14), and the patch numbers of a release may differ."""
    torch, torchvision = (pins(root)[name].split(".") for name in ("torch", "torchvision"))
    assert int(torchvision[1]) == int(torch[1]) + 14
    import torchvision.ops  # a pair that does not match dies here: torchvision::nms does not exist

    assert torchvision.ops.nms


def test_no_address_of_a_registry_and_no_path_of_a_machine(files):
    # written in pieces, so that this file passes too
    forbidden = re.compile(
        "|".join(
            [
                "pypi" + r"\.org",
                "python" + "hosted",
                "index" + "-url https?:",
                "/ro" + "ot/",
                "/wo" + "rk/",
                "registry" + r"\.npm",
            ]
        )
    )
    for file in files:
        if file.suffix not in (".safetensors", ".png"):
            found = forbidden.search(file.read_text(encoding="utf-8"))
            assert not found, f"{file}: {found.group() if found else ''}"


def test_no_large_file(files):
    assert not [file for file in files if file.stat().st_size > 5_000_000]


def test_make_passes_options_on(root):
    def dry(*arguments: str) -> str:
        done = subprocess.run(
            ["make", "--dry-run", "--assume-old=.venv/.ready", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert "-m featx lab --port 8899 --no-browser --x=y" in dry(
        "lab", "PORT=8899", "LAB_FLAGS=--no-browser --x=y"
    )
    assert re.search(r"-m featx lab\s*$", dry("lab"), re.MULTILINE)
    assert "pytest -n auto --cov --cov-report=term -k freeze" in dry("test", "TEST_FLAGS=-k freeze")


#: Stands for Python and pip: `-m venv DIR` puts it there, `-m pip freeze` says what the test wants.
PYTHON = """#!/bin/sh
case "$3" in
    freeze) printf '%b' "$FROZEN"; exit "$STATUS";;
    install) ;;
    *) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
esac
"""


@pytest.mark.parametrize(
    ("frozen", "status", "pins"),
    [
        ("numpy==2.5\\ntorch==2.15.0+cpu\\nmine @ file:///x\\n", 0, "numpy==2.5\ntorch==2.15.0\n"),
        ("numpy==2.5\\n", 1, None),
        ("", 0, None),
    ],
)
def test_new_pins_come_whole_or_the_old_ones_stay(root, tmp_path, frozen, status, pins):
    (tmp_path / "constraints.txt").write_text("old==1\n")
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "-f", root / "Makefile", "constraints", f"PYTHON={python}"],
        cwd=tmp_path,
        env={**os.environ, "FROZEN": frozen, "STATUS": str(status)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (pins is not None), done.stderr
    assert (tmp_path / "constraints.txt").read_text() == (pins or "old==1\n")


def test_an_old_python_is_told_in_one_sentence(root, tmp_path):
    done = subprocess.run(
        ["make", "install", "PYTHON=", f"VENV={tmp_path}/venv"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "featx needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()
