"""The command line and the package's surface, as a user meets them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.cli import main


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **options
    )


def loaded_after(code: str) -> set[str]:
    done = run("-c", f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "sklearn",
    "matplotlib",
    "IPython",
    "nbgrader",
    "pydantic",
}


def test_import_is_light():
    assert not loaded_after("import featx; dir(featx)") & HEAVY


def test_glyphnet_needs_torch_and_little_else():
    code = "import featx, torch; b = featx.load_backbone('glyphnet'); "
    code += "featx.extract(b, torch.zeros(4, 1, 8, 8), progress=False)"
    assert not loaded_after(code) & (HEAVY - {"torch", "numpy"} | {"scipy"})


def test_help_is_light():
    assert (
        not loaded_after(
            "from featx.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
        )
        & HEAVY
    )


def test_the_core_loads_without_jupyter():
    loaded = loaded_after(
        "import featx; [getattr(featx, n) for n in featx.__all__ if n != 'study']; import featx.demo"
    )
    assert not loaded & {"IPython", "ipywidgets", "ipykernel", "nbgrader", "nbformat", "dask"}


def test_every_public_name_loads_and_is_documented():
    for name in featx.__all__:
        value = getattr(featx, name)
        assert value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'extrakt'"):
        featx.extrakt  # noqa: B018


@pytest.mark.slow
def test_demo_without_network(offline, tmp_path):
    done = offline(["-m", "featx", "demo", "--out", tmp_path / "out"], env={"COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    assert not re.sub(r"(extract|linear probes): \d+ of .*\n", "", done.stderr)  # on a slow machine
    rows = {
        name: [float(x) for x in re.findall(r"(0\.\d+) ±", line)]
        for name in ("pixels", "random weights", "GlyphNet")
        for line in done.stdout.splitlines()
        if f"│ {name} " in line
    }
    assert len(rows) == 3
    for pixels, random, glyphnet in zip(*rows.values(), strict=True):
        assert glyphnet > pixels > random
    assert "Verdict: good." in done.stdout
    pictures = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in pictures] == ["accuracy_over_labels.png", "features_2d.png"]
    assert all(p.read_bytes()[:4] == b"\x89PNG" and p.stat().st_size > 20_000 for p in pictures)
    assert all(str(p) in done.stdout for p in pictures)


def test_wrong_use_is_one_sentence_and_status_2(command, tmp_path):
    (tmp_path / "file").write_text("")
    cases = [
        (["demo", "--out", tmp_path / "file"], "Choose one with --out DIR"),
        (["assignment", "build", "nosuch"], "nosuch"),
        (["assignment", "check", "practice", "--course-dir", tmp_path], "assignments.toml"),
        (["assignment", "check", "practice", "--course-dir", tmp_path / "file"], "cannot be read"),
        (["lab", "--folder", tmp_path / "file"], "Choose one with --folder DIR"),
        (["assignment", "init", tmp_path], "files of its own"),
        (["assignment", "init", tmp_path / "file"], "Not a directory"),
    ]
    for arguments, message in cases:
        done = command(*arguments)
        assert done.returncode == 2, arguments
        assert message in " ".join(done.stderr.split()), arguments
        assert done.stderr.count("\n") == 1, arguments
    # and as processes: an error of Typer's, and one of featx's
    for arguments, message in (
        (["demoo"], "No such command 'demoo'"),
        (["quiz", "freeze-oder"], "Close matches: freeze-order"),
    ):
        done = run("-m", "featx", *arguments)
        assert done.returncode == 2, arguments
        assert message in " ".join(done.stderr.split()), arguments
        assert "Traceback" not in done.stderr


def test_a_problem_that_was_looked_for_and_found_is_status_1(root, command, tmp_path):
    shutil.copytree(root / "autograders", tmp_path / "course")
    notebook = tmp_path / "course" / "source" / "practice" / "practice.ipynb"
    notebook.write_text(notebook.read_text() + " ")
    done = command("assignment", "check", "practice", "--course-dir", tmp_path / "course")
    assert done.returncode == 1
    assert "featx assignment build practice" in done.stderr
    done = command("assignment", "check", "--course-dir", tmp_path / "course")
    assert done.returncode == 1
    told = [line.split()[0] for line in done.stdout.splitlines()]
    assert told == ["ps1", "ps2", "ps3", "ps4", "ps5", "final"]
    assert done.stderr.count("featx assignment build") == 1
    (tmp_path / "course" / "source" / "ps3" / "ps3.ipynb").unlink()
    done = command("assignment", "check", "--course-dir", tmp_path / "course")
    assert [name in done.stderr for name in ("build practice", "build ps3")] == [True, True]


def test_version():
    assert run("-m", "featx", "--version").stdout == f"featx {featx.__version__}\n"


def test_lessons_are_copied_out_but_never_over_a_learners_changes(root, tmp_path, monkeypatch):
    from featx import lab, shipped

    assert lab.lessons_folder().samefile(root / "lessons")

    package = tmp_path / "site" / "featx"
    (package / "_lessons").mkdir(parents=True)
    (package / "_lessons" / "00_start_here.ipynb").write_text("new 00")
    (package / "_lessons" / "01.ipynb").write_text("new 01")
    monkeypatch.setattr(shipped, "__file__", str(package / "shipped.py"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "01.ipynb").write_text("my notes")
    assert lab.lessons_folder(mine) == mine
    assert (mine / "00_start_here.ipynb").read_text() == "new 00"
    assert (mine / "01.ipynb").read_text() == "my notes"

    (tmp_path / "file").write_text("")
    with pytest.raises(featx.FeatxError, match="--folder DIR"):
        lab.lessons_folder(tmp_path / "file")
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "empty" / "featx" / "shipped.py"))
    with pytest.raises(featx.FeatxError, match="found neither"):
        lab.lessons_folder(mine)


def test_two_that_copy_out_at_once_do_not_take_each_others_file(tmp_path, monkeypatch):
    from featx.shipped import copy_out

    file, write = tmp_path / "00.ipynb", Path.write_bytes

    def write_while_another_does(path, content):
        write(path, content)
        code = "import sys, pathlib, featx.shipped as s; s.copy_out(b'theirs', pathlib.Path(sys.argv[1]))"
        assert run("-c", code, str(file)).returncode == 0

    monkeypatch.setattr(Path, "write_bytes", write_while_another_does)
    copy_out(b"mine", file)
    assert file.read_bytes() in (b"mine", b"theirs")
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture(scope="module")
def photos(tmp_path_factory, digits):
    """Sixty digits in two class folders, a text and a broken image."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(60):
        path = folder / ("even" if digits.labels[i] % 2 == 0 else "odd") / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(digits.images[i, 0].numpy()).save(path)
    (folder / "odd" / "notes.txt").write_text("no image")
    (folder / "odd" / "half.png").write_bytes(path.read_bytes()[:40])
    return folder


@pytest.mark.slow
def test_from_a_folder_of_images_to_a_verdict_without_network(offline, command, photos, tmp_path):
    out = tmp_path / "features"
    arguments = ["extract", photos, "--backbone", "glyphnet", "--out", out]
    first = offline(["-m", "featx", *arguments])
    assert first.returncode == 0, first.stderr
    assert "features (60, 256) of glyphnet" in first.stdout
    assert "2 classes: even 30, odd 30" in first.stdout
    assert re.search(r"2 skipped.*notes\.txt: .*half\.png: ", first.stdout, re.DOTALL)
    assert "60 of 60 images computed" in first.stdout
    assert np.load(out / "X.npy").shape == (60, 256)
    again = command(*arguments)
    assert "0 of 60 images computed" in again.stdout

    report = offline(["-m", "featx", "probe", out], env={"COLUMNS": "100"})
    assert report.returncode == 0, report.stderr
    assert re.search(r"verdict", report.stdout, re.IGNORECASE)
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page, "a report needs no network"


def test_of_many_classes_a_dozen_are_counted(photos, command, tmp_path):
    images = sorted((photos / "even").glob("*.png"))
    for i in range(14):
        folder = tmp_path / "many" / f"c{i:02}"
        folder.mkdir(parents=True)
        shutil.copy(images[i], folder)
    shutil.copy(images[14], tmp_path / "many" / "c01" / "more.png")
    done = command(
        "extract", tmp_path / "many", "--backbone", "glyphnet", "--out", tmp_path / "features"
    )
    assert done.returncode == 0, done.stderr
    assert "14 classes: c00 1, c01 2, c02 1," in done.stdout
    assert "c11 1, …\n" in done.stdout
    assert "c12 1" not in done.stdout


def test_extract_and_probe_say_what_is_wrong_in_one_sentence(photos, tmp_path, capsys):
    out = str(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    glyphnet = ["--backbone", "glyphnet", "--out"]
    good = ["extract", str(photos), *glyphnet, out]
    cases = [
        (["extract", "nowhere", *glyphnet, out], "nowhere"),
        (["extract", str(tmp_path / "empty"), *glyphnet, out], "empty"),
        (
            ["extract", str(photos), "--backbone", "resnet81", "--out", out],
            "Close matches: resnet18",
        ),
        ([*good, "--device", "gpu"], "device that this machine has"),
        ([*good, "--layer", "layer9"], "Close matches: layer"),
        ([*good, "--batch-size", "0"], "Expected batch_size"),
        ([*good, "--on-error", "raise"], "notes.txt: not an image"),
        (["extract", str(photos), *glyphnet, str(tmp_path / "file")], "Choose another"),
        (["probe", str(tmp_path / "empty")], "featx extract"),
    ]
    for arguments, message in cases:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capsys.readouterr().err
        assert ended.value.code == 2, (arguments, told)
        assert message in " ".join(told.split()), (arguments, told)
        assert told.count("\n") == 1
    with pytest.raises(SystemExit) as ended:
        main(["extract", str(photos / "even"), *glyphnet, out])
    assert ended.value.code == 0
    with pytest.raises(SystemExit):
        main(["probe", out])
    assert "sub-folder" in capsys.readouterr().err


@pytest.mark.slow
def test_doctor_finds_this_machine_well_without_network(offline):
    done = offline(["-m", "featx", "doctor"], env={"COLUMNS": "100"})
    assert done.returncode == 0, done.stdout
    for check in ("Python", "torch", "GlyphNet", "sandbox"):
        assert check in done.stdout


@pytest.mark.slow
def test_ctrl_c_stops_an_extraction_and_the_same_command_goes_on(digits, command, tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(800):
        Image.fromarray(digits.images[i, 0].numpy()).save(tmp_path / "images" / f"{i:03}.png")
    arguments = ["extract", str(tmp_path / "images"), "--backbone", "glyphnet"]
    arguments += ["--batch-size", "2", "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, "-m", "featx", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(tmp_path.rglob("journal-0.jsonl")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "Stopped. Run the same command again: it goes on where it stopped.\n"
    again = command(*arguments)
    computed = int(re.search(r"(\d+) of 800 images computed", again.stdout).group(1))
    assert 0 < computed < 800
