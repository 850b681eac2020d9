"""Checks of the folders that featx writes to: access, room, and the weights in them."""

from __future__ import annotations

import errno
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from featx.wording import first_line

__all__ = ["PLACES", "disk", "weights", "write_access"]

GB = 2**30


def _downloads() -> Path:
    from featx.machine import downloads_folder

    return downloads_folder()


def _progress() -> Path:
    from featx.study.folders import progress_folder

    return progress_folder()


#: What for -> where it is, and the environment variable that names another place.
PLACES: dict[str, tuple[Callable[[], Path], str]] = {
    "this folder": (Path.cwd, ""),
    "weights folder": (_downloads, "TORCH_HOME"),
    "progress folder": (_progress, "FEATX_DATA_DIR"),
    "temp folder": (
        lambda: Path(tempfile.gettempdir()),
        "TEMP" if sys.platform == "win32" else "TMPDIR",
    ),
}


def write_access(name: str) -> Callable[[], tuple[str, str, str]]:
    """Return the check whether one of `PLACES` can be written to."""
    where, variable = PLACES[name]

    def look() -> tuple[str, str, str]:
        try:
            folder = where()
            with tempfile.TemporaryFile(dir=_existing(folder)) as file:
                file.write(bytes(4096))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            fix = f"Free some space there. Or: {_other(variable)}" if full else _other(variable)
            return "problem", f"cannot write: {first_line(error)}", fix
        return "ok", f"can write to {folder}", ""

    return look


def _existing(folder: Path) -> Path:
    """Return the nearest folder that is there: what does not exist yet is made in it on first use."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _other(variable: str) -> str:
    if not variable:
        return "Go to a folder of your own: cd ~."
    if sys.platform == "win32":  # PowerShell
        return f'Name a folder of your own: $env:{variable} = "$HOME\\featx".'
    return f"Name a folder of your own: mkdir -p ~/featx && export {variable}=~/featx."


def disk() -> tuple[str, str, str]:
    """Look whether there is room in each of `PLACES`; those on one disk count once."""
    free: dict[int, tuple[float, str]] = {}
    for name, (where, _) in PLACES.items():
        try:
            folder = _existing(where())
            free.setdefault(folder.stat().st_dev, (shutil.disk_usage(folder).free / GB, name))
        except OSError:  # the check of write access tells of it
            continue
    found = ", ".join(f"{room:.1f} GB free ({name})" for room, name in free.values())
    least = min((room for room, _ in free.values()), default=1.0)
    if least >= 1:
        return "ok", found, ""
    fix = (
        "Free some space (pip cache purge often gives gigabytes back): a cache of features takes about 2 kB "
        "an image, weights 50 to 500 MB."
    )
    return "problem" if least < 0.05 else "warning", found, fix


def weights() -> tuple[str, str, str]:
    """Look which weights are here, and whether others could be brought."""
    from featx.torchvision_models import is_downloaded, torchvision_names

    names = [name for name in torchvision_names() if is_downloaded(name)]
    here = f"GlyphNet's and {', '.join(names)}" if names else "GlyphNet's"
    if _has_network():
        return "ok", f"{here} are here; others are downloaded on first use", ""
    if names:
        return "ok", f"{here} are here; there is no network for others", ""
    fix = (
        "The lessons need no others. For photographs call featx.load_backbone('resnet18') where there is a "
        f"network, and copy the .pth file from there into {_downloads()}, or pass its path as weights=…"
    )
    return "warning", f"only {here} are here, and there is no network for others", fix


def _has_network() -> bool:
    """Tell whether this machine knows a way out; nothing is sent to find that out.

    To connect a datagram socket only asks the system for a route. The addresses are those that are set
    aside for examples in documentation (RFC 5737, RFC 3849).
    """
    for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as route:
                route.connect((address, 443))
                return True
        except OSError:
            continue
    return False
