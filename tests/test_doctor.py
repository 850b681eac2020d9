"""The doctor: each thing that can be missing is seen, and has a fix; nothing raises."""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import pytest
import torch
import torchvision
from rich.console import Console

import featx
from featx import doctor, glyphnet
from featx.doctor import Check, diagnose, show_diagnosis


def look(monkeypatch, name: str) -> Check:
    """Run one of the checks, through the public function."""
    monkeypatch.setattr(doctor, "_CHECKS", {name: doctor._CHECKS[name]})
    (check,) = diagnose()
    return check


def missing(monkeypatch, *packages: str, old: str | None = None) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in packages:
            if old:
                return old
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)


def test_here_everything_that_is_needed_is_found_and_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "not" / "yet"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks = {check.name: check for check in diagnose()}
    problems = [check for check in checks.values() if check.status == "problem"]
    assert not problems
    assert f"torch {metadata.version('torch')}" in checks["torch"].found
    assert featx.__version__ in checks["featx"].found
    assert checks["GlyphNet"].found == "embedded weights are intact, 256 features"
    assert str(tmp_path) in checks["weights folder"].found
    assert all(check.fix for check in checks.values() if check.status != "ok")
    assert list(tmp_path.iterdir()) == []


def test_the_known_hash_is_that_of_the_weights():
    assert hashlib.sha256(glyphnet.WEIGHTS_FILE.read_bytes()).hexdigest() == doctor.GLYPHNET_SHA256


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.1")
    check = look(monkeypatch, "Python")
    assert (check.status, check.fix) == (
        "problem",
        "Make an environment with Python 3.11 or newer.",
    )


@pytest.mark.parametrize(
    ("old", "found"), [(None, "numpy is missing"), ("1.26.4", "numpy 1.26.4 is older than 2.0")]
)
def test_a_package_that_is_missing_or_old(monkeypatch, old, found):
    missing(monkeypatch, "numpy", old=old)
    check = look(monkeypatch, "packages")
    assert (check.status, check.found) == ("problem", found)
    assert "pip install" in check.fix


@pytest.mark.parametrize("version", ["2", "2.0.0", "2.0rc1", "10.1"])
def test_a_version_that_is_new_enough(monkeypatch, version):
    missing(monkeypatch, "numpy", old=version)
    assert look(monkeypatch, "packages").status == "ok"


def test_torch_and_torchvision_that_do_not_match(monkeypatch):
    def nms(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", nms)
    check = look(monkeypatch, "torch")
    assert check.status == "problem"
    assert "torchvision::nms" in check.found
    assert "--force-reinstall torch torchvision" in check.fix


def test_no_torchvision(monkeypatch):
    missing(monkeypatch, "torchvision")
    check = look(monkeypatch, "torch")
    assert (check.status, check.found) == ("problem", "torchvision is missing")


@pytest.mark.parametrize("extra", ["course", "scale", "timm"])
def test_an_extra_that_is_not_installed_is_no_problem(monkeypatch, extra):
    missing(monkeypatch, "timm", "distributed", "nbgrader")
    check = look(monkeypatch, f"extra {extra}")
    assert (check.status, check.fix) == ("ok", "")
    assert f"pip install 'featx[{extra}]'" in check.found


def test_an_extra_that_is_too_old(monkeypatch):
    missing(monkeypatch, "timm", old="0.4.12")
    check = look(monkeypatch, "extra timm")
    assert (check.status, "timm 0.4.12 is older" in check.found) == ("warning", True)
    assert "pip install 'featx[timm]'" in check.fix


def test_a_gpu_that_cannot_compute(monkeypatch):
    class Properties:
        name, total_memory = "Some GPU", 8 * 2**30

    def full(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    monkeypatch.setattr(torch, "full", full)
    check = look(monkeypatch, "device")
    assert check.status == "problem"
    assert check.found.startswith("CUDA: Some GPU, 8 GB, but it cannot compute")
    assert "device='cpu'" in check.fix


def test_a_gpu_that_torch_cannot_see(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    check = look(monkeypatch, "device")
    assert (check.status, check.found) == (
        "warning",
        "a GPU driver is there, but torch cannot use it",
    )
    assert "CUDA" in check.fix


def test_an_old_processor_and_one_of_which_torch_says_little(monkeypatch):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"}, raising=False
    )
    check = look(monkeypatch, "CPU")
    assert (check.status, "lacks AVX2" in check.found) == ("warning", True)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    check = look(monkeypatch, "CPU")
    assert (check.status, "torch uses" in check.found) == ("ok", True)


def test_little_memory_and_a_full_disk(monkeypatch):
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: 2**15, raising=False)
    assert look(monkeypatch, "memory").status == "warning"
    monkeypatch.undo()
    usage = shutil.disk_usage(".")._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    check = look(monkeypatch, "disk")
    assert (check.status, check.found) == ("warning", "0.0 GB free in this folder")


def test_no_bubblewrap(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", "")
    check = look(monkeypatch, "sandbox")
    assert (check.status, check.found) == ("warning", "bubblewrap is not installed")
    assert "sudo apt install bubblewrap" in check.fix


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap exists on Linux only")
def test_a_bubblewrap_that_does_not_work(monkeypatch, tmp_path):
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = look(monkeypatch, "sandbox")
    assert (check.status, "No permissions" in check.found) == ("warning", True)
    assert "user namespaces" in check.fix


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_damaged_weights(monkeypatch, tmp_path, damage):
    file = tmp_path / "weights.safetensors"
    if damage == "flipped":
        content = bytearray(glyphnet.WEIGHTS_FILE.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    monkeypatch.setattr(glyphnet, "WEIGHTS_FILE", file)
    check = look(monkeypatch, "GlyphNet")
    assert check.status == "problem"
    assert "Install featx again" in check.fix


def test_a_weights_folder_that_cannot_be(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("TORCH_HOME", str(file / "torch"))
    check = look(monkeypatch, "weights folder")
    assert (check.status, "TORCH_HOME" in check.fix) == ("problem", True)


@pytest.mark.parametrize("name", ["this folder", "weights folder", "temp folder"])
def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path, name):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    check = look(monkeypatch, name)
    assert (check.status, "Permission denied" in check.found) == ("problem", True)
    assert check.fix


def test_a_kernel_that_is_missing_broken_or_elsewhere(monkeypatch):
    manager = pytest.importorskip("jupyter_client.kernelspec").KernelSpecManager
    from jupyter_client.kernelspec import KernelSpec, NoSuchKernel

    def refuse(self, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(manager, "get_kernel_spec", refuse)
    check = look(monkeypatch, "Jupyter")
    assert (check.status, check.found) == ("problem", "there is no kernel named python3")
    assert "ipykernel install" in check.fix
    for argv, done, status in [
        (["/no/such/python"], None, "problem"),
        ([sys.executable], subprocess.CompletedProcess([], 1, "", "No module named x"), "problem"),
        (["/other/bin/python"], subprocess.CompletedProcess([], 0, "7.0", ""), "warning"),
        (["python"], subprocess.CompletedProcess([], 0, "7.0", ""), "ok"),
    ]:
        monkeypatch.setattr(
            manager, "get_kernel_spec", lambda self, name, argv=argv: KernelSpec(argv=argv)
        )
        with monkeypatch.context() as patch:
            if done:
                patch.setattr(doctor.subprocess, "run", lambda *_, done=done, **__: done)
            assert look(monkeypatch, "Jupyter").status == status


def test_no_jupyter_is_no_problem(monkeypatch):
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    assert look(monkeypatch, "Jupyter").status == "ok"


def test_a_check_that_breaks_is_itself_reported_and_the_others_go_on(monkeypatch):
    def breaks():
        raise ZeroDivisionError("odd machine")

    monkeypatch.setattr(doctor, "_CHECKS", {"odd": breaks, "Python": doctor._CHECKS["Python"]})
    odd, python = diagnose()
    assert odd.status == "problem"
    assert odd.found == "this check failed: ZeroDivisionError: odd machine"
    assert python.status == "ok"


@pytest.mark.parametrize(
    ("statuses", "last"),
    [
        (["ok"], "Ready: all is well."),
        (["ok", "warning"], "Ready, with 1 warning."),
        (["problem", "warning", "problem"], "2 problems to fix, 1 warning."),
    ],
)
def test_the_table_says_status_and_fix_in_words_within_80_columns(statuses, last):
    checks = [
        Check(f"check {i}", s, f"[bold] {Path('/a') / ('long' * 30)}", "Do this." * (s != "ok"))
        for i, s in enumerate(statuses)
    ]
    out = io.StringIO()
    show_diagnosis(checks, Console(file=out, width=80))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[-1] == last
    assert "[bold]" in text, "what was found is no markup"
    assert text.count("Fix: Do this.") == sum(s != "ok" for s in statuses)
    assert all(status in text for status in statuses)


def test_it_says_what_it_is_looking_at(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    monkeypatch.setattr(
        doctor, "_CHECKS", {"Python": lambda: (console.print("x"), doctor._python())[1]}
    )
    assert [check.status for check in diagnose(console)] == ["ok"]
    assert "Looking at: Python" in out.getvalue()
