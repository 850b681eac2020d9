"""Whether bubblewrap, which keeps submissions away from a teacher's files, works on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys

from featx.wording import first_line

__all__ = ["bubblewrap_fault", "where_it_exists"]

#: Seconds for it to run nothing.
TRY = 10.0

_INSTALL = "Install it (Debian and Ubuntu: sudo apt install bubblewrap; Fedora: sudo dnf install bubblewrap)"
_ALLOW = (
    "Allow user namespaces (sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, "
    "kernel.unprivileged_userns_clone=1 on Debian; in a container, from its host)"
)


def where_it_exists() -> str:
    """Return where bubblewrap can be had, as seen from a system that has none; empty on Linux."""
    places = {"linux": "", "win32": "in the Windows Subsystem for Linux"}
    return places.get(sys.platform, "on Linux only")


def bubblewrap_fault() -> tuple[str, str]:
    """Run nothing in bubblewrap.

    Returns
    -------
    fault : str
        What is wrong, to stand after "bubblewrap"; empty where nothing is.
    fix : str
        What to do about it, without a full stop.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "is not installed", _INSTALL
    command = [bwrap, "--unshare-all", "--ro-bind", "/", "/", "--die-with-parent", "--", "true"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TRY, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        said = first_line(error)
    else:
        if not ran.returncode:
            return "", ""
        said = first_line(ran.stderr if ran.stderr.strip() else f"exit status {ran.returncode}")
    return f"does not start: {said}", _ALLOW
