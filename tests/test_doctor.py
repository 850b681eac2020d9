"""The doctor: each thing that can be missing is seen, and has a fix; nothing raises."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import json
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import torch
import torchvision
from rich.console import Console

import featx
from featx import doctor, glyphnet
from featx.doctor import Check, diagnose, folders, packages, show_diagnosis


def look(monkeypatch, name: str) -> Check:
    """Run one of the checks, through the public function."""
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "_CHECKS", {name: doctor._CHECKS[name]})
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
    assert (
        hashlib.sha256(glyphnet.WEIGHTS_FILE.read_bytes()).hexdigest() == packages.GLYPHNET_SHA256
    )


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


@pytest.mark.parametrize(
    ("torch_", "torchvision_", "asks", "found"),
    [
        ("2.9.0", "0.29.2", "torch (==2.14.0)", "is built for torch ==2.14.0"),
        ("2.9.0", "0.29.2", "torch>=2.14.0; python_version>'3'", "is built for torch >=2.14.0"),
        ("2.15.0+cpu", "0.29.2+cu128", "torch==2.15.0", "built for different devices"),
    ],
)
def test_torch_and_torchvision_of_different_releases(
    monkeypatch, torch_, torchvision_, asks, found
):
    versions = {"torch": torch_, "torchvision": torchvision_}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy", "torch-xla==1; x", asks])
    check = look(monkeypatch, "torch")
    assert (check.status, found in check.found) == ("problem", True)
    assert f"torch {torch_}, torchvision {torchvision_}" in check.found
    assert "--force-reinstall torch torchvision" in check.fix


def test_the_tags_of_ones_own_builds_are_no_devices(monkeypatch):
    tagged = {"torch": "2.15.0+git1a2b3c4", "torchvision": "0.30.0+d5e6f70"}
    monkeypatch.setattr(metadata, "version", tagged.__getitem__)
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch"])
    assert look(monkeypatch, "torch").status == "ok"


@pytest.mark.parametrize(
    ("cuda", "hip", "operators", "found"),
    [
        ("12.8", None, False, "torch for GPUs and torchvision not"),
        (None, "6.4", False, "torch for GPUs and torchvision not"),
        (None, None, True, "torchvision for GPUs and torch not"),
        ("12.8", None, True, ""),
        (None, "6.4", True, ""),
        (None, None, False, ""),
    ],
)
def test_builds_for_different_devices_whose_versions_do_not_say_so(
    monkeypatch, cuda, hip, operators, found
):
    monkeypatch.setattr(metadata, "version", {"torch": "2.15.0", "torchvision": "0.30.0"}.get)
    monkeypatch.setattr(metadata, "requires", lambda name: [])
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: operators)
    check = look(monkeypatch, "torch")
    assert (check.status, found in check.found) == ("problem" if found else "ok", True)
    assert ("--force-reinstall torch torchvision" in check.fix) == bool(found)


def test_a_pair_that_torchvision_asks_for(monkeypatch):
    release = metadata.version("torch").partition("+")[0]
    for asks in (f"torch (=={release})", "torch (>=2.6,<99)", "torch"):
        monkeypatch.setattr(metadata, "requires", lambda name, asks=asks: [asks])
        assert look(monkeypatch, "torch").status == "ok"


def test_a_library_of_torch_that_does_not_load(monkeypatch):
    def nms(*_):
        raise OSError("[WinError 126] The specified module could not be found")

    monkeypatch.setattr(torchvision.ops, "nms", nms)
    assert "--force-reinstall" in look(monkeypatch, "torch").fix
    monkeypatch.setattr(sys, "platform", "win32")
    check = look(monkeypatch, "torch")
    assert (check.status, "Visual C++ Redistributable" in check.fix) == ("problem", True)


def test_without_torch_there_is_one_problem_and_everything_else_is_looked_at(monkeypatch):
    missing(monkeypatch, "torch")
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it raises
    checks = {check.name: check for check in diagnose()}
    problems = [check.name for check in checks.values() if check.status == "problem"]
    assert problems == ["torch", "packages"]  # both say it
    assert checks["device"].found == "not looked at: torch does not load"
    assert checks["this folder"].status == "ok"


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


class Gpu:
    """A GPU that says what it is told to; `monkeypatch` puts it into torch."""

    name, total_memory = "Some GPU", 8 * 2**30

    def __init__(self, monkeypatch, *, there=True, free=7 * 2**30, raises="", says=""):
        def full(*_, **options):
            if raises:
                raise RuntimeError(raises)
            return torch.ones(4, 4) * 8  # its square is 256 everywhere

        def init():
            raise RuntimeError(says)

        class Square:
            def __matmul__(self, other):
                return torch.tensor([256.0])

        monkeypatch.setattr(torch.version, "cuda", "12.8")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: self)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, self.total_memory))
        monkeypatch.setattr(torch.cuda, "init", init)
        if there:
            monkeypatch.setattr(torch, "full", full if raises else lambda *_, **__: Square())


def test_a_gpu_that_works(monkeypatch):
    Gpu(monkeypatch)
    check = look(monkeypatch, "device")
    assert (check.status, check.found) == ("ok", "CUDA: Some GPU, 8 GB")


def test_a_gpu_that_cannot_compute(monkeypatch):
    Gpu(monkeypatch, raises="CUDA error: no kernel image is available")
    check = look(monkeypatch, "device")
    assert check.status == "problem"
    assert check.found.startswith("CUDA: Some GPU, 8 GB, but it cannot compute")
    assert "device='cpu'" in check.fix


@pytest.mark.parametrize(
    ("gpu", "status", "found"),
    [
        ({"free": 100 * 2**20}, "warning", "but only 0.1 GB of it are free"),
        ({"raises": "CUDA error: out of memory"}, "problem", "but its memory is full"),
        ({"raises": "CUDA out of memory. Tried to allocate 20 MiB"}, "problem", "memory is full"),
    ],
)
def test_a_gpu_whose_memory_others_hold(monkeypatch, gpu, status, found):
    Gpu(monkeypatch, **gpu)
    check = look(monkeypatch, "device")
    assert (check.status, found in check.found) == (status, True)
    assert "nvidia-smi" in check.fix
    assert "device='cpu'" in check.fix


def test_an_old_driver(monkeypatch):
    said = (
        "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU"
    )
    Gpu(monkeypatch, there=False, says=said)
    check = look(monkeypatch, "device")
    assert (check.status, check.found) == (
        "warning",
        "the GPU's driver is too old: it knows CUDA up to 11.4, this torch wants 12.8",
    )
    assert "Update the driver" in check.fix
    assert "CUDA 11.4 or older" in check.fix
    monkeypatch.setattr(sys, "platform", "win32")
    assert "ubuntu" not in look(monkeypatch, "device").fix


def test_no_gpu_is_no_fault_and_one_that_is_hidden_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    Gpu(monkeypatch, there=False, says="Found no NVIDIA driver on your system. Please check …")
    check = look(monkeypatch, "device")
    assert (check.status, check.found) == ("ok", "CPU only; all lessons run on it")
    Gpu(monkeypatch, there=False, says="No CUDA GPUs are available")
    check = look(monkeypatch, "device")
    assert (check.status, "No CUDA GPUs are available" in check.found) == ("warning", True)
    assert "CUDA_VISIBLE_DEVICES" in check.fix


def test_a_gpu_that_torch_is_not_built_for(monkeypatch):
    Gpu(monkeypatch, there=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    check = look(monkeypatch, "device")
    assert (check.status, "built without CUDA" in check.found) == ("warning", True)
    assert "Install a torch build for CUDA" in check.fix


def test_an_old_processor_and_one_of_which_torch_says_little(monkeypatch):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"}, raising=False
    )
    check = look(monkeypatch, "CPU")
    assert (check.status, "lacks AVX2" in check.found) == ("warning", True)
    known = {"architecture": "x86_64", "avx2": True, "amx_tile": True, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    check = look(monkeypatch, "CPU")
    assert "AMX" in check.found.partition("lacks")[2], "extract would not use it either"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    check = look(monkeypatch, "CPU")
    assert (check.status, "torch uses" in check.found) == ("ok", True)


def test_little_memory(monkeypatch):
    memory = psutil.virtual_memory()._replace(available=2**29)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    check = look(monkeypatch, "memory")
    assert (check.status, "batch_size=8" in check.fix) == ("warning", True)


@pytest.mark.parametrize(("free", "status"), [(2**29, "warning"), (0, "problem"), (2**33, "ok")])
def test_a_full_disk(monkeypatch, free, status):
    usage = shutil.disk_usage(".")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    check = look(monkeypatch, "disk")
    assert check.status == status
    assert check.found.startswith(f"{free / 2**30:.1f} GB free (this folder)")
    assert ("Free some space" in check.fix) == (status != "ok")


def test_the_disk_is_looked_at_where_a_folder_is_gone(monkeypatch, tmp_path):
    def gone() -> Path:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setitem(folders.PLACES, "this folder", (gone, ""))
    check = look(monkeypatch, "disk")
    assert check.status != "problem"
    assert "(this folder)" not in check.found


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


def test_no_chromium_is_a_note_for_who_runs_the_tests(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for platform_, how in (("linux", "apt install"), ("darwin", "brew"), ("win32", "PATH")):
        monkeypatch.setattr(sys, "platform", platform_)
        check = look(monkeypatch, "Chromium")
        assert (check.status, how in check.fix) == ("warning", True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check = look(monkeypatch, "Chromium")
    assert (check.status, check.fix) == ("ok", "")


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


@pytest.mark.parametrize("name", list(folders.PLACES))
@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "a folder of your own"),
        (OSError(errno.ENOSPC, "No space left on device"), "Free some space there"),
    ],
)
def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path, name, error, fix):
    def refuse(dir):
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    check = look(monkeypatch, name)
    assert (check.status, error.strerror in check.found) == ("problem", True)
    assert fix in check.fix


def test_a_variable_is_set_as_the_system_sets_it(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEATX_DATA_DIR", str(tmp_path / "file" / "below"))
    for platform_, how in (
        ("linux", "export FEATX_DATA_DIR=~/featx"),
        ("darwin", "export FEATX_DATA_DIR=~/featx"),
        ("win32", '$env:FEATX_DATA_DIR = "$HOME\\featx"'),
    ):
        monkeypatch.setattr(sys, "platform", platform_)
        check = look(monkeypatch, "progress folder")
        assert (check.status, how in check.fix) == ("problem", True)


def test_no_network_and_no_weights(monkeypatch, tmp_path):
    def unreachable(self, address):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with monkeypatch.context() as offline:
        offline.setattr(socket.socket, "connect", unreachable)
        check = look(monkeypatch, "weights")
        assert (check.status, "only GlyphNet's are here" in check.found) == ("warning", True)
        assert str(tmp_path) in check.fix
        assert "resnet18" in check.fix
        file = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
        (tmp_path / "hub" / "checkpoints" / file).write_bytes(b"")
        check = look(monkeypatch, "weights")
        assert (check.status, "GlyphNet's and resnet18" in check.found) == ("ok", True)
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: None)
    assert "downloaded on first use" in look(monkeypatch, "weights").found


WIDGETS = "@jupyter-widgets/jupyterlab-manager"


@pytest.fixture
def jupyter_folders(monkeypatch, tmp_path) -> Path:
    """An environment of Jupyter's own, with both extensions; returns the folder of its settings."""
    paths = pytest.importorskip("jupyterlab_server.config")
    from jupyter_core import paths as core

    for name in (WIDGETS, "@jupyter/nbgrader"):
        (tmp_path / "labextensions" / name).mkdir(parents=True)
        package = {"name": name, "version": "1", "jupyterlab": {"_build": {"load": "x.js"}}}
        (tmp_path / "labextensions" / name / "package.json").write_text(json.dumps(package))
    monkeypatch.setattr(core, "jupyter_path", lambda *_: [str(tmp_path / "labextensions")])
    monkeypatch.setattr(paths, "SYSTEM_CONFIG_PATH", [str(tmp_path / "system")])
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "user"))
    (tmp_path / "user" / "labconfig").mkdir(parents=True)
    return tmp_path


def test_the_extensions_of_jupyterlab_are_on(monkeypatch, jupyter_folders):
    assert look(monkeypatch, "JupyterLab").status == "ok"


@pytest.mark.parametrize(
    ("name", "package", "status"),
    [(WIDGETS, "jupyterlab_widgets", "problem"), ("@jupyter/nbgrader", "nbgrader", "warning")],
)
def test_an_extension_that_is_missing(monkeypatch, jupyter_folders, name, package, status):
    shutil.rmtree(jupyter_folders / "labextensions" / name)
    check = look(monkeypatch, "JupyterLab")
    assert (check.status, f"{name} is missing" in check.found) == (status, True)
    assert check.fix.endswith(f"--no-deps {package}.")


@pytest.mark.parametrize("switched_off", [WIDGETS, f"{WIDGETS}:base-2.0"])
def test_an_extension_that_is_switched_off(monkeypatch, jupyter_folders, switched_off):
    config = jupyter_folders / "user" / "labconfig" / "page_config.json"
    config.write_text(json.dumps({"disabledExtensions": {switched_off: True}}))
    check = look(monkeypatch, "JupyterLab")
    assert (check.status, "is switched off" in check.found) == ("problem", True)
    assert check.fix == f"Switch it on: jupyter labextension enable --level=user {switched_off}."


def test_an_extension_that_cannot_be_read_stops_nothing(monkeypatch, jupyter_folders):
    (jupyter_folders / "labextensions" / WIDGETS / "package.json").write_text("{")
    check = look(monkeypatch, "JupyterLab")
    assert check.status == "problem"
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
                patch.setattr(subprocess, "run", lambda *_, done=done, **__: done)
            assert look(monkeypatch, "Jupyter").status == status


def test_no_jupyter_is_no_problem(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("Jupyter", "JupyterLab"):
        check = look(monkeypatch, name)
        assert (check.status, check.fix) == ("ok", "")
        assert "pip install 'featx[course]'" in check.found


def test_a_check_that_breaks_is_itself_reported_and_the_others_go_on(monkeypatch):
    def breaks():
        raise ZeroDivisionError("odd machine")

    monkeypatch.setattr(doctor, "_CHECKS", {"odd": breaks, "Python": packages.python})
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
        doctor, "_CHECKS", {"Python": lambda: (console.print("x"), packages.python())[1]}
    )
    assert [check.status for check in diagnose(console)] == ["ok"]
    assert "Looking at: Python" in out.getvalue()
