"""Build the book: the lessons with what came out of them, and the pages around them, to be read in a browser.

    python docs/book.py

The lessons are executed, several at a time, and kept by a hash of what their outputs depend on; so a
second build executes only what has changed. Then Sphinx makes the pages. Nothing needs a network. (That is
why this is Sphinx and not Jupyter Book 2, which downloads its theme while it builds.)
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from sphinx.cmd.build import build_main

from featx.errors import FeatxError, ProblemFound, whole_number
from featx.files import replacing
from featx.progress import progress_bar, say
from featx.wording import first_line

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

#: The pages beside the lessons -> their places in the book. These are the places in the repository but for
#: the first two: so links between pages hold as they are.
PAGES = {
    "README.md": "index.md",
    "docs/lessons.md": "lessons/index.md",
    **{
        name: name
        for name in (
            "docs/scale.md",
            "docs/grading.md",
            "featx/study/README.md",
            "docs/api.md",
            "docs/architecture.md",
            "CONTRIBUTING.md",
            "featx/glyphnet/MODEL_CARD.md",
            "bench/README.md",
            "CHANGELOG.md",
        )
    },
}

#: Seconds that a cell may take.
LIMIT = 900

#: Folders of featx on which no lesson's output depends: what lessons import lies below them, and a test sees
#: that no lesson names them.
UNSEEN = ("doctor", "grading")

#: What computes, draws and shows in the lessons.
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "safetensors",
    "matplotlib",
    "fsrs",
    "rich",
    "ipython",
    "ipykernel",
    "pygments",
)

#: What stands in the header of the book, and in which order: title -> page.
CONTENTS = {
    "Lessons": "lessons/index",
    "Reference": "docs/api",
    "Many images": "docs/scale",
    "Teaching": "docs/grading",
    "Your own questions": "featx/study/README",
    "Architecture": "docs/architecture",
    "Contributing": "CONTRIBUTING",
    "GlyphNet": "featx/glyphnet/MODEL_CARD",
    "Benchmarks": "bench/README",
    "Changes": "CHANGELOG",
}

#: A page that is read has no kernel: what a cell says to a learner who runs it -> what it says here.
WORDS = {
    r"Stuck\? Change one `False` to `True` and run the cell\. Each further run shows the next hint\.": (
        "Stuck? Hints and solutions fold out below each exercise."
    ),
    # JupyterLab names a section as its heading stands there, Sphinx in small letters without marks.
    r"(?<=\.ipynb)#[\w?-]+": lambda found: found[0].lower().replace("?", ""),
}

#: Cells of which a reader needs less: what their source matches -> the tag that says so.
TAGS = {
    r"\Ashow_hint = False\n": "remove-cell",
    r"\A(from featx\.study import \w+\n+)?(quiz|flashcards|review|progress)\([^\n]*\)\Z": "remove-input",
}

NOTE = """\
:::{{note}}
On this page knobs turn and answers fold out. To change the code, run it, and have yours checked:
`make lab`, or take {{download}}`this notebook </notebooks/{name}.ipynb>` along.
:::"""

#: For a kernel: nothing of the builder's machine, or from a network, plays a part in what comes out.
QUIET = {
    "PYTHONPATH": str(DOCS),
    "OMP_NUM_THREADS": "1",  # two kernels with two threads each would fight over two cores
    "HF_HUB_OFFLINE": "1",
    **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9"),  # where nobody answers
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the book and print where it is; return the exit status."""
    options = _parse(arguments)
    lessons = sorted((ROOT / "lessons").glob("*.ipynb"))
    try:
        wanted = _chosen(lessons, options.lessons)
        jobs = whole_number(options.jobs, "--jobs")
        executed = execute_all(wanted, options.out / "executed", jobs)
    except FeatxError as error:
        say(str(error))
        return error.exit_status
    source, html = options.out / "source", options.out / "html"
    lay_out(source, {path: executed.get(path, path) for path in lessons})
    # -W: a warning is an error. Where one is not, conf.py says why.
    status = build_main(["-q", "-W", "--keep-going", "-c", str(DOCS), str(source), str(html)])
    if status == 0:
        print(html / "index.html")
    return status


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "book", help="where to")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="lessons at a time")
    parser.add_argument(
        "--lessons",
        nargs="+",
        metavar="NN",
        help="execute these only, such as 00 07; the others are shown without outputs",
    )
    options = parser.parse_args(arguments)
    options.out = options.out.resolve()
    return options


def _chosen(lessons: Sequence[Path], numbers: Sequence[str] | None) -> list[Path]:
    there = [path.stem[:2] for path in lessons]
    if unknown := set(numbers or ()) - set(there):
        raise FeatxError(
            f"Expected some of {' '.join(there)} for --lessons, got {' '.join(sorted(unknown))}. Give the "
            "numbers with which the files in lessons/ begin."
        )
    return [path for path in lessons if not numbers or path.stem[:2] in numbers]


def execute_all(lessons: Sequence[Path], kept: Path, jobs: int) -> dict[Path, Path]:
    """Execute lessons, those that are not kept from before.

    Parameters
    ----------
    lessons
        Notebooks.
    kept
        The folder for what came out, made where it is missing.
    jobs
        How many at a time.

    Returns
    -------
    dict
        Notebook -> the executed one.

    Raises
    ------
    ProblemFound
        When one does not run to its end.
    """
    kept.mkdir(parents=True, exist_ok=True)
    surroundings = _surroundings()
    made = {
        path: kept / f"{path.stem}-{_hash(surroundings, path.read_bytes())[:16]}.ipynb"
        for path in lessons
    }
    left = {path: nbformat.read(path, as_version=4) for path in lessons if not made[path].is_file()}
    cells = sum(len(notebook.cells) for notebook in left.values())
    stop = threading.Event()
    with progress_bar("lessons", cells, unit="cells") as advance, ThreadPoolExecutor(jobs) as pool:

        def run(path: Path) -> None:
            try:
                with _named(path.name):
                    whole = _execute(left[path], lambda: advance(1), stop)
            except BaseException:
                stop.set()
                raise
            if whole:
                with replacing(made[path]) as new:
                    nbformat.write(left[path], new)

        try:
            list(pool.map(run, left))
        finally:
            stop.set()  # after Ctrl-C the others end with their cell
    for old in kept.glob("*.ipynb"):
        if old.stem.rpartition("-")[0] in {p.stem for p in lessons} and old not in made.values():
            old.unlink()
    return made


def _surroundings() -> str:
    """Return a hash of what a lesson's outputs depend on beside itself: featx, Python and `PACKAGES`."""
    files = [
        path
        for path in sorted((ROOT / "featx").rglob("*"))
        if path.suffix in (".py", ".yaml", ".safetensors")
        and path.relative_to(ROOT / "featx").parts[0] not in UNSEEN
    ]
    versions = [f"{name} {version(name)}" for name in PACKAGES]
    contents = [path.read_bytes() for path in [DOCS / "reading.py", *files]]
    return _hash(sys.version, *versions, *contents)


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


@contextmanager
def _named(lesson: str) -> Iterator[None]:
    """Say of which lesson it is that something stops it, and what to do."""
    try:
        yield
    except CellExecutionError as error:
        raise ProblemFound(
            f"Expected {lesson} to run to its end, but a cell raised an error. Mend the cell:\n{error}"
        ) from error
    except CellTimeoutError as error:
        raise ProblemFound(
            f"Expected each cell of {lesson} to end within {LIMIT} s, but one did not. Try --jobs 1, which "
            "leaves it the whole machine; if that does not help, run the lesson in JupyterLab to see why."
        ) from error
    except RuntimeError as error:  # a kernel that died, also before it could run a cell
        raise ProblemFound(
            f"Expected {lesson} to run to its end, but its kernel failed: {first_line(error)}. If memory was "
            "short, try --jobs 1; else run the lesson in JupyterLab to see where it dies."
        ) from error


def _execute(
    notebook: nbformat.NotebookNode, done: Callable[[], None], stop: threading.Event
) -> bool:
    """Run a notebook where the study calls write what can be read; tell whether it ran to its end."""
    client = NotebookClient(notebook, timeout=LIMIT, kernel_name="python3")
    # log level 50: a kernel says on each start that its messages on this machine are not encrypted, and
    # shows a traceback of its own when it is stopped in a cell
    client.extra_arguments = ["--InteractiveShellApp.extensions=reading", "--log-level=50"]
    with tempfile.TemporaryDirectory() as folder:
        # No answer of the user's and no weights of theirs change what is shown.
        own = {name: f"{folder}/{name}" for name in ("FEATX_DATA_DIR", "TORCH_HOME", "HF_HOME")}
        env = {**os.environ, **QUIET, **own, "IPYTHONDIR": f"{folder}/ipython"}
        with client.setup_kernel(cwd=folder, env=env):
            for place, cell in enumerate(notebook.cells):
                if stop.is_set():
                    return False
                client.execute_cell(cell, place)
                done()
    return True


def lay_out(source: Path, lessons: dict[Path, Path]) -> None:
    """Lay the pages out for Sphinx, as they lie in the repository.

    Parameters
    ----------
    source
        The folder of the pages. What is unchanged is not written, so that Sphinx need not read it again.
    lessons
        Lesson -> the notebook to show for it, executed or not.
    """
    laid = {source / place: _page(name) for name, place in PAGES.items()}
    for path, shown in lessons.items():
        page = dressed(nbformat.read(shown, as_version=4), path.stem)
        laid[source / "lessons" / path.name] = nbformat.writes(page).encode()
        laid[source / "notebooks" / path.name] = path.read_bytes()
    for name, place in PAGES.items():
        for target in _linked_files(ROOT / name):
            file = (ROOT / name).parent / target
            # Without "..", so that it is known below as what it is.
            laid[Path(os.path.normpath(source / Path(place).parent / target))] = file.read_bytes()
    for path, data in laid.items():
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    # What is no longer there, and what Sphinx has generated: a page for each public name.
    for old in [path for path in source.rglob("*") if path.is_file() and path not in laid]:
        old.unlink()


def _page(name: str) -> bytes:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name == "README.md":
        entries = "\n".join(f"{title} <{page}>" for title, page in CONTENTS.items())
        text += f"\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
    return text.encode()


def _linked_files(page: Path) -> Iterator[str]:
    """Name the files that a page links or shows, and that are no pages themselves."""
    for target in re.findall(r"\]\(([^)#:\s]+)\)", page.read_text(encoding="utf-8")):
        if Path(target).suffix not in (".md", ".ipynb") and (page.parent / target).is_file():
            yield target


def dressed(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Make a notebook a page: alt text for its pictures, and nothing that needs a kernel."""
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.metadata.pop("widgets", None)
    cells = notebook.cells
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        if cell.cell_type == "markdown":
            for pattern, words in WORDS.items():
                cell.source = re.sub(pattern, words, cell.source)
            continue
        tags = [tag for pattern, tag in TAGS.items() if re.search(pattern, cell.source)]
        if cell.metadata.get("jupyter", {}).get("source_hidden") and not tags:
            tags = ["hide-input"]
        alt = _described(after.source) if after is not None else ""
        cell.metadata = nbformat.from_dict(
            {"tags": tags, "mystnb": {"image": {"alt": alt or f"A picture of {name}"}}}
        )
    title, rest = cells[0].source.split("\n", 1)
    cells[0].source = f"{title}\n\n{NOTE.format(name=name)}\n{rest}"
    return notebook


def _described(text: str) -> str:
    """Return the first sentence on the picture above; the whole description stands there to be read."""
    found = re.search(r'\*(The picture shows\b.*?[\w")`])[.:;][\s*]', text, re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"[`*]", "", found[1])) + "." if found else ""


if __name__ == "__main__":
    sys.exit(main())
