"""The wheel, as one who has no repository meets it: what is in it, and every command it promises."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from urllib.error import URLError

import pytest

import featx
from featx.study.bank import load_question
from tests.helpers import free_port

pytestmark = pytest.mark.slow


def run(*arguments: str | Path, **options) -> str:
    """Run a command, which must end well, and return what it printed."""
    done = subprocess.run(
        [str(each) for each in arguments],
        **{"capture_output": True, "text": True, "timeout": 300, **options},
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(root, tmp_path_factory) -> Path:
    """A folder with the sdist and the wheel, built with no network."""
    folder = tmp_path_factory.mktemp("dist")
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "sdist",
        "-t",
        "wheel",
        "-d",
        folder,
        cwd=root,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def contents(wheel: Path) -> dict[str, int]:
    """Name -> checksum of each file."""
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def test_it_holds_the_package_the_lessons_and_the_course_and_nothing_else(root, wheel):
    listed = run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=root
    ).splitlines()
    there = [name for name in listed if (root / name).is_file()]
    expected = {name for name in there if name.startswith("featx/")}
    expected |= {f"featx/_{name}" for name in there if name.startswith("lessons/")}
    expected |= {
        f"featx/_autograders/{name}" for name in ("assignments.toml", "nbgrader_config.py")
    }
    names = set(contents(wheel))
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert names >= {
        "featx/py.typed",
        "featx/glyphnet/weights.safetensors",
        "featx/_jupyterlab/overrides.json",
        "featx/_lessons/00_start_here.ipynb",
        "featx/_lessons/12_final_test.ipynb",
        f"featx-{featx.__version__}.dist-info/licenses/LICENSE",
    }
    assert any(name.startswith("featx/study/bank/") and name.endswith(".yaml") for name in names)
    assert any(name.startswith("featx/study/exercises/") for name in names)
    assert wheel.stat().st_size <= 8 * 2**20


def test_it_says_on_which_pythons_it_runs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"featx-{featx.__version__}.dist-info/METADATA").decode()
    metadata = Parser().parsestr(text)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    told = {
        each.rpartition(" ")[2] for each in metadata.get_all("Classifier") if "Python :: 3." in each
    }
    assert told == {"3.11", "3.12", "3.13", "3.14"}


def test_the_sdist_gives_the_same_wheel_whatever_work_left_lying_about(dist, wheel, tmp_path):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    for litter in (
        "lessons/.ipynb_checkpoints/01-checkpoint.ipynb",
        "lessons/.jupyter_ystore.db",
        "lessons/featx-demo/features_2d.png",
        "autograders/gradebook.db",
        "featx/__pycache__/cli.cpython-311.pyc",
    ):
        (unpacked / litter).parent.mkdir(exist_ok=True)
        (unpacked / litter).write_text("litter")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--no-build-isolation", "--wheel-dir", tmp_path / "again", unpacked)
    (again,) = (tmp_path / "again").iterdir()
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


@dataclass(frozen=True)
class User:
    """Somebody who has installed the wheel, and has nothing else of featx.

    Attributes
    ----------
    bin
        Of the environment: python and featx.
    folder
        Where commands are typed.
    environment
        What they see of ours.
    """

    bin: Path
    folder: Path
    environment: dict[str, str]

    def featx(self, *arguments: str, typed: str = "", folder: str = "") -> str:
        """Run ``featx ARGUMENTS…`` in a folder of the user's, and return what it printed."""
        return self._run("featx", arguments, typed, folder)

    def python(self, *arguments: str, folder: str = "") -> str:
        """Run ``python ARGUMENTS…`` likewise."""
        return self._run("python", arguments, "", folder)

    def _run(self, program: str, arguments: tuple[str, ...], typed: str, folder: str) -> str:
        options = {"cwd": self.folder / folder, "env": self.environment, "input": typed}
        return run(self.bin / program, *arguments, **options)


@pytest.fixture(scope="module")
def user(wheel, tmp_path_factory) -> User:
    """Install the wheel into an environment that has our packages, but not our featx."""
    home = tmp_path_factory.mktemp("user")
    venv, folder = home / "venv", home / "work"
    folder.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    # A folder that a .pth file names is searched for packages, but its own .pth files, by which our
    # environment finds the repository, are not read.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "ours.pth").write_text("\n".join(sorted(ours)))
    for name in ("share", "etc"):  # JupyterLab's pages and settings
        if Path(sys.prefix, name).is_dir():
            (venv / name).symlink_to(Path(sys.prefix, name))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, "--no-index", "--no-deps", "--ignore-installed", wheel)
    environment = {
        # nbgrader calls alembic by its bare name: it is ours
        "PATH": os.pathsep.join([str(venv / "bin"), str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(home / "empty"),
        "LANG": "C.UTF-8",
        "COLUMNS": "120",
    }
    (home / "empty").mkdir()
    return User(venv / "bin", folder, environment)


def test_the_featx_that_runs_is_the_wheel(root, user):
    found = Path(user.python("-c", "import featx; print(featx.__file__)").strip())
    assert found.is_relative_to(user.folder.parent)
    assert not found.is_relative_to(root)
    assert user.featx("--version") == f"featx {featx.__version__}\n"


def test_demo_and_doctor(user):
    assert "Verdict: good." in user.featx("demo")
    assert (user.folder / "featx-demo" / "features_2d.png").is_file()
    told = user.featx("doctor")
    assert all(word in told for word in ("torch", "GlyphNet", "sandbox"))


def test_quiz(user):
    question = load_question("freeze-order")
    wrong = next(iter(question.wrong_answers))
    assert "1 of 1 right" in user.featx("quiz", "freeze-order", typed=f"{question.key}\n")
    assert "0 of 1 right" in user.featx("quiz", "freeze-order", typed=f"{wrong}\n\n")
    assert "2 answers" in user.featx("progress", "--export", "answers.json")


@contextmanager
def lab(user: User) -> Iterator[set[str]]:
    """Run `featx lab`; the names that its page of files shows."""
    port = free_port()
    log = user.folder.parent / "lab.log"
    command = ["lab", "--port", str(port), "--no-browser", "--IdentityProvider.token=t"]
    with log.open("w") as out:
        server = subprocess.Popen(
            [user.bin / "featx", *command],
            cwd=user.folder,
            env=user.environment,
            stdout=out,
            stderr=out,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, log.read_text()
            try:
                page = urllib.request.urlopen(f"{address}/lab/tree/00_start_here.ipynb?token=t")
                break
            except URLError:
                time.sleep(0.2)
        assert page.status == 200
        assert b"jupyter-config-data" in page.read()
        listed = json.load(urllib.request.urlopen(f"{address}/api/contents?token=t"))
        yield {each["name"] for each in listed["content"]}
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            server.kill()


def test_lab_copies_the_lessons_out_and_never_over_a_change(root, user):
    lessons = {path.name for path in (root / "lessons").glob("*.ipynb")}
    mine = user.folder / "featx-lessons"
    with lab(user) as shown:
        assert shown == lessons
    for name in lessons:
        assert (mine / name).read_bytes() == (root / "lessons" / name).read_bytes()
    (mine / "01_why_extract_features.ipynb").write_text("changed")
    (mine / "02_pretrained_backbones.ipynb").unlink()
    with lab(user) as shown:
        assert shown == lessons
    assert (mine / "01_why_extract_features.ipynb").read_text() == "changed"


def test_a_course_is_made_tried_and_graded(root, bwrap, user):
    told = user.featx("assignment", "init", "course")
    course = user.folder / "course"
    for command in ("featx assignment sample practice", "featx grade practice"):
        assert f"{command} --course-dir course\n" in told
    ours = root / "autograders"
    notebooks = sorted(path.relative_to(ours) for path in (ours / "source").rglob("*.ipynb"))
    for name in ("assignments.toml", "nbgrader_config.py", *notebooks):
        assert (course / name).read_bytes() == (ours / name).read_bytes(), name
    assert not list((course / "submitted").iterdir())

    options = ["--course-dir", "course"]
    user.featx("assignment", "sample", "practice", *options, "--students", "2")
    user.featx("grade", "practice", *options, "--report", "report.json")
    report = json.loads((user.folder / "report.json").read_text())
    assert [each["points"] for each in report["students"]] == [26, 0]
    user.python("-m", "nbgrader", "generate_assignment", "practice", "--force", folder="course")
    assert (course / "release" / "practice" / "practice.ipynb").is_file()
