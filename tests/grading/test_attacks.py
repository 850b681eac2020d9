"""Every submission of the corpus gets the marks that it deserves, in one run that nothing stops."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from featx.grading.grade import Graded, grade
from featx.grading.gradebook import Course
from featx.grading.protocol import Limits
from featx.grading.scoring import OUTCOMES
from tests.grading.attacks.beside_nbgrader import NOT_SAFE
from tests.grading.attacks.corpus import CASES, CLASSES
from tests.grading.attacks.course import NAME, POINTS, Case, make_course, submit

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Run:
    course: Path
    graded: dict[str, Graded]
    recorded: dict[str, dict[tuple[str, str], float | None]]


@pytest.fixture(scope="module")
def run(bwrap: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Grade the whole corpus as one class."""
    folder = tmp_path_factory.mktemp("attacks")
    make_course(folder)
    Course(folder).release(NAME)
    (folder / "secret.txt").write_text("the neighbour's")
    for case in CASES:
        submit(folder, case)
    limits = Limits(seconds=5, memory=2**30)
    graded = {each.student: each for each in grade(NAME, folder, limits=limits)}
    return Run(folder, graded, Course(folder).marks(NAME))


def test_the_corpus_is_as_large_as_the_pages_say(root: Path) -> None:
    names = {case.name for case in CASES}
    assert len(names) == len(CASES)
    assert names > NOT_SAFE
    safe = {label: sum(c.name not in NOT_SAFE for c in cases) for label, cases in CLASSES.items()}
    page = (root / "docs" / "grading.md").read_text(encoding="utf-8")
    assert f"hold {len(CASES)} submissions that were made to go wrong" in page
    assert f"hands the {sum(safe.values())} that are safe to run there" in page
    told = re.findall(rf"^\| ({'|'.join(CLASSES)})\b[^|]*\|([\d |]+)\|$", page, re.MULTILINE)
    rows = {label: [int(number) for number in row.split("|")] for label, row in told}
    assert {label: tried for label, (tried, *_) in rows.items()} == safe
    assert all(tried == sum(others) for tried, *others in rows.values())
    right = sum(as_deserved for _, as_deserved, *_ in rows.values())
    assert (
        f"| {len(CASES)} of {len(CASES)}; `nbgrader autograde`: {right} of the "
        f"{sum(safe.values())} that are safe to run there |"
    ) in (root / "README.md").read_text(encoding="utf-8")


def test_every_submission_has_a_grade(run: Run) -> None:
    assert {name for name, each in run.graded.items() if not each.fault} == {c.name for c in CASES}
    assert set(run.recorded) == {case.name for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_gets_what_it_deserves(run: Run, case: Case) -> None:
    graded = run.graded[case.name]
    scores = {cell.removeprefix("test-"): s for (_, cell), s in graded.scores.items()}
    said = {name: (s.outcome, s.notes) for name, s in scores.items()}
    assert {name: score.points for name, score in scores.items()} == case.deserves, said
    recorded = {cell.removeprefix("test-"): p for (_, cell), p in run.recorded[case.name].items()}
    assert recorded == case.deserves
    assert set(POINTS) == set(scores)
    assert all(score.outcome in OUTCOMES for score in scores.values())
    for name, outcome in case.outcomes.items():
        assert scores[name].outcome == outcome, said
    assert case.notes in " ".join(graded.notes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_its_notebook_is_written_and_says_no_test(run: Run, case: Case) -> None:
    path = run.course / "autograded" / case.name / NAME / f"{NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "square(-2) == 4" not in path.read_text()
    shown = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert len(shown) < 2_000_000
    assert [c.metadata.nbgrader.grade_id for c in notebook.cells if "test-" in str(c.metadata)] == [
        f"test-{name}" for name in POINTS
    ]


def shown_by(run: Run, name: str) -> str:
    path = run.course / "autograded" / name / NAME / f"{NAME}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def test_nothing_of_others_is_in_reach(run: Run) -> None:
    assert "NOTHING TO SEE" in shown_by(run, "reads-files")
    assert "WROTE []" in shown_by(run, "writes-files")
    assert "NO NETWORK" in shown_by(run, "network")
    assert "SEES [1, 2]" in shown_by(run, "sees-processes")
    assert "PTRACE -1" in shown_by(run, "ptrace")
    assert "UNSHARE -1" in shown_by(run, "new-namespace")
    assert "UMOUNT -1" in shown_by(run, "mounts")
    assert not list(run.course.rglob("featx-was-here"))
    assert not Path("/tmp/featx-was-here").exists()


def test_a_link_is_not_copied(run: Run) -> None:
    folder = run.course / "autograded" / "strange-files" / NAME
    assert not (folder / "link").exists()
    assert (folder / "a b.txt").read_text() == "no time at all"
