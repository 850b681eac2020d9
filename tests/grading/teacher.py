"""Commands as a teacher types them in the folder of a course, and the names that cells leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import featx
from featx.study.exercises import SETUP


def python(course: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS…`` in the course, such as ``-m nbgrader autograde ps1``; it must end well."""
    environment = os.environ | {
        # nbgrader calls alembic by its bare name
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(Path(featx.__file__).parents[1]),
        "IPYTHONDIR": str(course / ".ipython"),
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=course,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def namespace_of(source: str) -> dict:
    """Run the cell that an exercise begins with, then this one, and return their names."""
    namespace: dict = {}
    exec(f"{SETUP}\n{source}", namespace)
    return namespace
