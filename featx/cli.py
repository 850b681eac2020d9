"""`featx …` on the command line: a thin layer over the library.

Heavy modules are imported inside the commands, so that ``featx --help`` answers at once.
Exit status: 0 done, 1 the work found a problem, 2 wrong use.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from featx import __version__
from featx.errors import FeatxError, ProblemFound
from featx.study import REVIEW_LIMIT
from featx.wording import counted, named_line

__all__ = ["app", "main"]

MOST_CLASSES = 12  # counted in a line; of more the first


class _Stoppable(TyperGroup):
    """Ends a command that is stopped by Ctrl-C with a sentence, where it has none of its own."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Stopped. Run the same command again: it begins anew.", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="featx",
    cls=_Stoppable,
    help="The feature extraction strategy in PyTorch: learn it, teach it, use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
assignment = typer.Typer(
    help="Make a course, build its nbgrader assignments, check them.", no_args_is_help=True
)
app.add_typer(assignment, name="assignment")
study = typer.Typer(help="Write your own questions and exercises.", no_args_is_help=True)
app.add_typer(study, name="study")


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


@app.command()
def extract(
    images: Annotated[
        Path, typer.Argument(help="Folder of images: one sub-folder a class, or flat.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for X.npy, index.csv and meta.json; also keeps the cache.")
    ],
    backbone: Annotated[str, typer.Option(help="A name from featx.list_backbones().")] = "resnet18",
    weights: Annotated[
        str, typer.Option(help="Their name, a file, or 'none' for random ones.")
    ] = "default",
    layer: Annotated[
        list[str] | None, typer.Option(help="Read this layer; may be given several times.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="Tokens of a ViT: 'cls' or 'mean'.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in one forward pass.")] = None,
    device: Annotated[str, typer.Option(help="For example cpu, cuda or cuda:1.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes that read images.")] = None,
    on_error: Annotated[
        str, typer.Option(help="What to do about a file that is no image: 'skip' or 'raise'.")
    ] = "skip",
) -> None:
    """Extract features from a folder of images. Stopped at any moment, it goes on where it was."""
    import numpy as np

    from featx.backbones import load_backbone
    from featx.datasets import find_images
    from featx.extraction import extract as run
    from featx.processes import join_group

    if out.resolve().is_relative_to(images.resolve()):
        raise FeatxError(
            f"Expected a folder outside of {images} for the features, got {out}. What is in there counts as "
            "images."
        )
    if not images.is_dir():
        find_images(images)  # says what is wrong, before weights are downloaded
    is_first = join_group().is_first  # under torchrun one speaks and writes for all
    with _goes_on_when_run_again():
        features = run(
            load_backbone(backbone, weights=None if weights == "none" else weights),
            images,
            layers=layer,
            pooling=pooling,
            batch_size="auto" if batch_size is None else batch_size,
            device=device,
            precision=precision,
            num_workers="auto" if workers is None else workers,
            cache_dir=out / "cache",
            on_error=on_error,
        )
        if is_first:
            features.save(out)
    if not is_first:
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)  # [ ] in a path are its own
    console.print(f"{out / 'X.npy'}: features {features.X.shape} of {features.meta['backbone']}")
    if features.class_names and features.y is not None:
        names = features.class_names
        sizes = np.bincount(features.y, minlength=len(names)).tolist()
        counts = [f"{name} {size}" for name, size in zip(names, sizes, strict=True)]
        more = ", …" if len(counts) > MOST_CLASSES else ""
        console.print(
            f"{counted(len(counts), 'class', 'classes')}: {', '.join(counts[:MOST_CLASSES])}{more}"
        )
    if features.skipped:
        console.print(f"{len(features.skipped)} skipped, all named in {out / 'meta.json'}:")
        for file in features.skipped[:10]:
            console.print(f"  {file.path}: {file.reason}")
    if features.plan:
        console.print(features.plan.explain())
    if features.y is not None:
        console.print(f"Next: featx probe {out}")


@app.command()
def probe(
    features: Annotated[Path, typer.Argument(help="Folder that 'featx extract' wrote.")],
    report: Annotated[
        Path | None,
        typer.Option(
            help="Where to write it: .html or .json. By default report.html beside the features."
        ),
    ] = None,
    test_size: Annotated[float, typer.Option(help="Share of the images to test on.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Which images these are.")] = 0,
) -> None:
    """Fit a linear probe on features: a verdict, what stands out, pictures, a report."""
    from featx.probe_report import probe_report, show_probe_report

    console = Console()
    show_probe_report(
        probe_report(features, report, test_size=test_size, seed=seed, console=console), console
    )


@app.command()
def doctor() -> None:
    """Check this machine: versions, device, sandbox, write access, and how to fix what is missing."""
    from featx.doctor import diagnose, show_diagnosis

    console = Console()
    checks = diagnose(console)
    show_diagnosis(checks, console)
    if any(check.status == "problem" for check in checks):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option(help="Work on a copy of the lessons here; nothing of yours is overwritten."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to serve on; the next free one if it is taken."),
    ] = None,
) -> None:
    """Open JupyterLab on the lessons. Further options go to JupyterLab as they are."""
    from featx.lab import lessons_folder, serve
    from featx.study.deck import what_is_due
    from featx.study.record import open_progress

    if due := what_is_due(open_progress()):
        typer.echo(due)
    serve(lessons_folder(folder), port, context.args)


QuestionId = Annotated[str | None, typer.Argument(help="A question, such as freeze-order.")]
Lesson = Annotated[int | None, typer.Option(help="Those of this lesson that are not right yet.")]


@app.command()
def quiz(question: QuestionId = None, lesson: Lesson = None) -> None:
    """Answer questions: one, those of a lesson, or all that you have not answered right yet."""
    from featx.study.terminal import run_quiz

    _study(run_quiz, question, lesson)


@app.command()
def review(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = REVIEW_LIMIT,
) -> None:
    """See again what you missed, when it is due."""
    from featx.study.terminal import run_review

    _study(run_review, limit)


@app.command()
def exam(
    seed: Annotated[
        int | None,
        typer.Option(help="Which ten questions; by default those you have begun."),
    ] = None,
) -> None:
    """Take an exam: ten questions, no hints, a report on each concept at the end."""
    from featx.study.terminal import run_exam

    _study(run_exam, seed)


@app.command()
def progress(
    export: Annotated[Path | None, typer.Option(help="Write everything to this JSON file.")] = None,
    take_in: Annotated[
        Path | None, typer.Option("--import", help="Add what --export wrote elsewhere.")
    ] = None,
    reset: Annotated[
        bool, typer.Option(help="Begin anew; what was there is kept in a file of its own.")
    ] = False,
) -> None:
    """Show how far you are, what is due, and what you mixed up."""
    from featx.study.record import open_progress, read_export, write_export
    from featx.study.summary import summarise

    record = open_progress()
    console = Console(highlight=False)
    if sum([export is not None, take_in is not None, reset]) > 1:
        raise FeatxError(
            "Expected one of --export, --import and --reset, got more than one. Give one of them."
        )
    if export is not None:
        typer.echo(f"Wrote {counted(write_export(record, export), 'answer')} to {export}")
    elif take_in is not None:
        typer.echo(f"{record.take_in(read_export(take_in))} new answers from {take_in}")
    elif reset:
        kept = record.reset()
        typer.echo(f"Begun anew. The old file is kept: {kept}" if kept else "Nothing to reset.")
    else:
        console.print(summarise(record))
        if record.notices:
            raise typer.Exit(1)


def _study(run, *arguments: object) -> None:
    from featx.study.record import open_progress
    from featx.study.terminal import until_stopped

    if not until_stopped(run, Console(), open_progress(), *arguments):
        raise typer.Exit(130)


@study.command("check")
def check_study(
    path: Annotated[Path, typer.Argument(help="A YAML file, an exercise module, or a folder.")],
) -> None:
    """Say line by line what is missing or wrong in your own questions and exercises."""
    from featx.study.checking import check_path

    found = check_path(path, lambda line: typer.echo(line))
    if found:
        raise ProblemFound(f"{counted(found, 'thing')} to mend in {path}.")


@contextmanager
def _goes_on_when_run_again() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped. Run the same command again: it goes on where it stopped.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _course_extra() -> Iterator[None]:
    # jsonschema takes this where it is there, for a format that no notebook has, and it builds its grammar
    # anew each time: a third of what it costs to start `featx grade`.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        yield
    except ImportError as error:
        raise FeatxError(
            f"Expected the course tools, but {error.name} is not installed. Install them with: "
            "pip install 'featx[course]'"
        ) from error


def _usual_course() -> Path:
    """Return this folder where it is a course, else what the repository calls its own."""
    here = any(map(Path.is_file, map(Path, ("assignments.toml", "nbgrader_config.py"))))
    return Path() if here else Path("autograders")


CourseDir = Annotated[
    Path,
    typer.Option(
        default_factory=_usual_course,
        show_default="this folder where it is one, else autograders",
        help="The nbgrader course.",
    ),
]


def _in_course(course_dir: Path) -> str:
    """Return what a command that is shown needs beside its name to find the course."""
    return "" if course_dir == _usual_course() else f" --course-dir {shlex.quote(str(course_dir))}"


@assignment.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder: new, empty, or a course.")
    ],
) -> None:
    """Make an nbgrader course with featx's assignments; in one that is there, add what is missing."""
    with _goes_on_when_run_again():
        with _course_extra():
            from featx.grading.courses import init_course

        written = init_course(folder)
    if not written:
        typer.echo(f"Nothing is missing in {folder}; nothing was changed.")
        return
    course = _in_course(folder)
    typer.echo(f"Wrote to {folder}: {', '.join(map(str, written))}")
    typer.echo(f"Try it:         featx assignment sample practice{course}")
    typer.echo(f"                featx grade practice{course}")
    typer.echo(f"Make it yours:  edit {folder / 'assignments.toml'}")
    typer.echo(f"                featx assignment build practice{course}")
    typer.echo(
        f"Your class:     hands in to {folder / 'submitted'}/STUDENT/practice/practice.ipynb"
    )


@assignment.command()
def build(
    name: Annotated[str, typer.Argument(help="Its name in assignments.toml.")],
    course_dir: CourseDir,
    variant_by: Annotated[
        str | None,
        typer.Option(
            help="'student': also write for each a selection of their own, of equal value."
        ),
    ] = None,
    students: Annotated[
        str | None,
        typer.Option(
            help="A file with an id in each line, or ids with commas; by default those in the gradebook."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for OUT/STUDENT/NAME/NAME.ipynb; by default the course's variants/."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another one draws anew.")] = None,
) -> None:
    """Write the assignment's source notebook from its questions and exercises."""
    with _course_extra():
        from featx.grading.assignments import build_assignment

    if variant_by not in (None, "student"):
        raise FeatxError(
            f"Expected --variant-by student, got {variant_by!r}: there is nothing else to draw by."
        )
    if variant_by is None:
        if students is not None or out is not None or seed is not None:
            raise FeatxError(
                "Expected --variant-by student beside --students, --out and --seed, which are for the "
                "students' own notebooks. Add it, or leave these out."
            )
        typer.echo(f"Wrote {build_assignment(name, course_dir)}")
        return
    with _course_extra():
        from featx.grading.variants import build_variants, read_students

    ids = None if students is None else read_students(students)
    paths = build_variants(name, course_dir, ids, out, seed or 0)
    typer.echo(f"Wrote {build_assignment(name, course_dir)}")
    typer.echo(f"Wrote {len(paths)} notebooks, the first: {paths[0]}")


@assignment.command()
def check(
    course_dir: CourseDir,
    name: Annotated[
        str | None, typer.Argument(help="Its name in assignments.toml; by default all.")
    ] = None,
) -> None:
    """Say whether the source notebook still is what `build` would write."""
    with _course_extra():
        from featx.grading.assignments import check_assignment, list_assignments

    drifted = []
    for each in list_assignments(course_dir) if name is None else [name]:
        try:
            check_assignment(each, course_dir)
        except ProblemFound as problem:
            drifted.append(str(problem))
        else:
            typer.echo(f"{each} is up to date.")
    if drifted:
        raise ProblemFound("\n".join(drifted))


@assignment.command("sample")
def sample_class(
    name: Annotated[str, typer.Argument(help="Its name in assignments.toml.")],
    course_dir: CourseDir,
    students: Annotated[
        int | None,
        typer.Option(min=1, help="By default as many as it takes to make every mistake."),
    ] = None,
) -> None:
    """Hand in for a made-up class, every mistake known: to try an assignment before students do."""
    with _course_extra():
        from featx.grading.samples import make_class

    samples = make_class(name, course_dir, students)
    typer.echo(
        f"{len(samples)} students handed in {name}. Next: featx grade {name}{_in_course(course_dir)}"
    )


@app.command()
def grade(
    name: Annotated[str, typer.Argument(metavar="ASSIGNMENT", help="Its name in the course.")],
    course_dir: CourseDir,
    student: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be given several times.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Submissions at a time: one a core.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Run on a Dask cluster: tcp://HOST:8786.")
    ] = None,
    sandbox: Annotated[
        str, typer.Option(help="auto, bwrap, or none: unprotected, for submissions you trust.")
    ] = "auto",
    timeout: Annotated[float | None, typer.Option(help="Seconds for one cell.")] = None,
    memory: Annotated[str, typer.Option(help="For one submission, beyond torch itself.")] = "4GiB",
    regrade: Annotated[bool, typer.Option(help="Run what is known already as well.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only show which marks would change.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write a report: .html or .json.")] = None,
    watch: Annotated[
        bool, typer.Option(help="Stay, and grade what is handed in or changed, until Ctrl-C.")
    ] = False,
) -> None:
    """Grade all submissions of an assignment, each in a sandbox, and record them in the gradebook."""
    from featx.grading.sandbox import Sandbox

    with _goes_on_when_run_again(), ExitStack() as opened:
        # First: it imports torch while we import nbgrader. On a cluster each worker has its own.
        warm = None if scheduler else opened.enter_context(Sandbox(sandbox))
        with _course_extra():
            from featx.grading.terminal import grade_in_terminal

        found = grade_in_terminal(
            name,
            course_dir,
            students=student,
            jobs=jobs,
            sandbox=warm or sandbox,
            scheduler=scheduler,
            timeout=timeout,
            memory=memory,
            regrade=regrade,
            dry_run=dry_run,
            report=report,
            watch=watch,
            console=Console(),
        )
    if found:
        raise ProblemFound(found)


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
        _end_with(str(error), error.exit_status)
    except Exception as error:
        if os.environ.get("FEATX_TRACEBACK"):
            raise
        way_out = (
            "Give access or make room there, then run the same command again."
            if isinstance(error, OSError)
            else "Run it again with FEATX_TRACEBACK=1 in the environment, and report what that shows."
        )
        said = named_line(error)
        _end_with(f"Expected to come to an end, but met {said}. {way_out}", 1)


def _end_with(sentence: str, status: int) -> NoReturn:
    console = Console(stderr=True, soft_wrap=True)  # one line: a path in it can be copied
    console.print(f"featx: {sentence}", style="red", markup=False, highlight=False)
    sys.exit(status)
