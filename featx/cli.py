"""`featx …` on the command line: a thin layer over the library.

Heavy modules are imported inside the commands, so that ``featx --help`` answers at once.
Exit status: 0 done, 1 the work found a problem, 2 wrong use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from featx import __version__
from featx.errors import FeatxError

__all__ = ["app", "main"]

app = typer.Typer(
    name="featx",
    help="The feature extraction strategy in PyTorch: learn it, teach it, use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
assignment = typer.Typer(
    help="Build the nbgrader assignments, or check them.", no_args_is_help=True
)
app.add_typer(assignment, name="assignment")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"featx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the two pictures.")] = Path("featx-demo"),
) -> None:
    """Take the one-minute tour: few labels, three kinds of features, a verdict. No network."""
    from featx.demo import run_demo, show_demo

    console = Console()
    show_demo(run_demo(out, console), console)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option(help="Work on a copy of the lessons here; nothing of yours is overwritten."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on.")] = None,
) -> None:
    """Open JupyterLab on the lessons. Further options go to JupyterLab as they are."""
    from featx.lab import lessons_folder, serve

    serve(lessons_folder(folder), port, context.args)


@contextmanager
def _course_extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise FeatxError(
            f"Expected the course tools, but {error.name} is not installed. Install them with: "
            "pip install 'featx[course]'"
        ) from error


CourseDir = Annotated[Path, typer.Option(help="The nbgrader course.")]


@assignment.command()
def build(
    name: Annotated[str, typer.Argument(help="Its name in assignments.toml.")],
    course_dir: CourseDir = Path("autograders"),
) -> None:
    """Write the assignment's source notebook from its questions and exercises."""
    with _course_extra():
        from featx.grading.assignments import build_assignment

    typer.echo(f"Wrote {build_assignment(name, course_dir)}")


@assignment.command()
def check(
    name: Annotated[str, typer.Argument(help="Its name in assignments.toml.")],
    course_dir: CourseDir = Path("autograders"),
) -> None:
    """Say whether the source notebook still is what `build` would write."""
    with _course_extra():
        from featx.grading.assignments import check_assignment

    check_assignment(name, course_dir)
    typer.echo(f"{name} is up to date.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one sentence on stderr and an exit status.

    Parameters
    ----------
    arguments
        By default what came after ``featx``.
    """
    try:
        app(args=arguments)
    except FeatxError as error:
        console = Console(stderr=True, soft_wrap=True)  # one line: a path in it can be copied
        console.print(f"featx: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_status)
