"""Whether bubblewrap, which keeps submissions away from a teacher's files, works on this machine."""

from __future__ import annotations

import subprocess

from featx.wording import first_line

__all__ = ["bubblewrap_fault"]

#: Seconds for it to run nothing.
TRY = 10.0


def bubblewrap_fault(bwrap: str) -> str:
    """Run nothing in bubblewrap.

    Parameters
    ----------
    bwrap
        Its file.

    Returns
    -------
    str
        What goes wrong, in its own words; empty where nothing does.
    """
    command = [bwrap, "--unshare-all", "--ro-bind", "/", "/", "--die-with-parent", "--", "true"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TRY, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return first_line(error)
    if not ran.returncode:
        return ""
    return first_line(ran.stderr if ran.stderr.strip() else f"exit status {ran.returncode}")
