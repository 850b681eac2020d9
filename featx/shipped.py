"""What the repository has beside the package and a wheel carries inside: found, and copied out."""

from __future__ import annotations

from pathlib import Path

from featx.errors import FeatxError
from featx.files import write_atomically

__all__ = ["JUPYTERLAB_SETTINGS", "copy_out", "shipped_folder"]

#: The folder of settings that `featx lab` starts JupyterLab with.
JUPYTERLAB_SETTINGS = Path(__file__).with_name("_jupyterlab")


def shipped_folder(name: str, file: str) -> tuple[Path, bool]:
    """Find a folder of the repository, or its copy in an installed wheel.

    Parameters
    ----------
    name
        Its name in the repository, such as ``"lessons"``; in a wheel it is ``featx/_lessons``, as
        pyproject.toml says.
    file
        A file that is in it: another folder may have the same name.

    Returns
    -------
    folder : pathlib.Path
        The folder.
    in_repository : bool
        True for the repository's own, which its user may work in; False for the copy.

    Raises
    ------
    FeatxError
        When there is neither.

    Examples
    --------
    >>> folder, _ = shipped_folder("lessons", "00_start_here.ipynb")
    >>> (folder / "00_start_here.ipynb").is_file()
    True
    """
    package = Path(__file__).parent
    places = {package.parent / name: True, package / f"_{name}": False}
    for folder, in_repository in places.items():
        if (folder / file).is_file():
            return folder, in_repository
    raise FeatxError(
        f"Expected the {name} in {' or '.join(map(str, places))}, and found neither. Install featx again."
    )


def copy_out(content: bytes, path: Path) -> bool:
    """Write a file, unless there is one: what its user has changed stays.

    Parameters
    ----------
    content
        What is to be in it.
    path
        Where. The folders above it are made.

    Returns
    -------
    bool
        Whether it was written. It is there whole or not at all, also after Ctrl-C.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return True
