"""What a learner calls, as text and as widgets in a kernel."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import featx
from featx import study
from featx.errors import FeatxError
from featx.study import practice
from featx.study.bank import list_questions, load_cards, load_question
from featx.study.exercises import SETUP, load_exercise
from featx.study.record import open_progress
from featx.study.showing import to_html, verdict_html
from featx.study.verdicts import Check, Verdict, weigh


@pytest.fixture(autouse=True)
def fresh_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice, "_hints_shown", {})


def function_from(source: str, entry: str):
    namespace: dict = {}
    exec(f"{SETUP}\n{source}", namespace)
    return namespace[entry]


def test_importing_study_is_light() -> None:
    code = (
        "import sys, featx.study; "
        "print([m for m in ('torch', 'yaml', 'pydantic', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in study.__all__:
        assert callable(getattr(study, name))
    with pytest.raises(AttributeError, match="no attribute 'quizz'"):
        study.quizz  # noqa: B018


def test_a_console_without_the_symbols_gets_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    question = load_question("few-labels")
    assert study.quiz(question.id, answer=question.key).status == "correct"
    sys.stdout.flush()
    assert written.getvalue().startswith(b"? Correct")


def test_check_shows_the_message_and_returns_the_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exercise = load_exercise("freeze-all-but-head")
    answer = function_from(exercise.mutant("head-before-freeze"), exercise.entry)
    verdict = study.check(exercise.id, answer)
    assert verdict.misconception == "head-before-freeze"
    said = capsys.readouterr().out
    assert "◐ Partly right (75% of the points)" in said
    assert "the new head is frozen too" in said


def test_check_takes_a_namespace_and_any_name_of_the_function() -> None:
    exercise = load_exercise("unfreeze-deeper")
    answer = function_from(exercise.solution, exercise.entry)
    assert study.check(exercise.id, {exercise.entry: answer}).status == "correct"
    answer.__name__ = "another_name"
    assert study.check(exercise.id, answer).status == "correct"


def test_check_of_a_call_says_how() -> None:
    with pytest.raises(FeatxError, match=r"got NoneType. Write check\(.*without calling it"):
        study.check("freeze-all-but-head", None)  # type: ignore[arg-type]


def test_quiz_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert study.quiz("identity-head-shape") is None
    said = capsys.readouterr().out
    question = load_question("identity-head-shape")
    for part in (question.prompt, "    model.fc = nn.Identity()", "  d) `(4, 512)`"):
        assert part in said
    assert question.hint not in said
    assert question.steps[0] not in said


def test_quiz_with_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    question = load_question("freeze-order")
    verdict = study.quiz("freeze-order", answer=question.key)
    assert verdict is not None
    assert verdict.status == "correct"
    assert question.steps[0] in capsys.readouterr().out


def test_an_answer_that_could_not_be_saved_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("FEATX_DATA_DIR", str(blocked))
    study.quiz("freeze-order", answer="a")
    assert "do not stop this session" in " ".join(capsys.readouterr().out.split())


def test_quiz_of_a_lesson_asks_all_its_questions(capsys: pytest.CaptureFixture[str]) -> None:
    study.quiz(lesson=1)
    said = capsys.readouterr().out
    for question_id in list_questions(lesson=1):
        assert load_question(question_id).prompt in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "one question or one lesson"),
        ({"question_id": "freeze-order", "lesson": 3}, "one question or one lesson"),
        ({"lesson": 3, "answer": "a"}, "one question with an answer"),
        ({"lesson": 12}, "lesson 12 has none. There are questions for the lessons 1, 2,"),
        ({"question_id": 3}, r"asked with quiz\(lesson=3\)"),
        ({"question_id": "freeze"}, "got 'freeze'. Close matches: freeze-order"),
    ],
)
def test_wrong_use_of_quiz(arguments: dict, said: str) -> None:
    with pytest.raises(FeatxError, match=said):
        study.quiz(**arguments)


@pytest.mark.parametrize("limit", [0, -1, "all"])
def test_a_review_of_nothing_is_refused(limit) -> None:
    with pytest.raises(FeatxError, match="limit to be a whole number from 1"):
        study.review(limit)


def test_a_card_is_rated_outside_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    card = load_cards(lesson=1)[0]
    study.rate_card(card.key, known=False)
    assert "comes back soon" in capsys.readouterr().out
    (kept,) = open_progress().answers(place="card")
    assert (kept.item, kept.score) == (card.key, 0)
    with pytest.raises(FeatxError, match="the key of a flash card, got 'nothing'"):
        study.rate_card("nothing", known=True)


def test_hints_go_one_step_further_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    hints = load_exercise("unfreeze-deeper").hints
    for number, hint in enumerate(hints, 1):
        study.hint("unfreeze-deeper")
        assert capsys.readouterr().out == f"Hint {number} of {len(hints)}: {hint}\n"
    study.hint("unfreeze-deeper")
    assert "no more hints" in capsys.readouterr().out


def test_solutions(capsys: pytest.CaptureFixture[str]) -> None:
    study.solution("unfreeze-deeper", insist=True)
    assert capsys.readouterr().out.strip() == load_exercise("unfreeze-deeper").solution
    study.quiz("freeze-order", answer="b")
    capsys.readouterr()
    study.solution("freeze-order")
    said = capsys.readouterr().out
    assert said.startswith("a) ")
    assert "Check it yourself: " in said


@pytest.mark.parametrize("call", [study.hint, study.solution])
def test_unknown_id(call) -> None:
    with pytest.raises(FeatxError, match="Close matches: unfreeze-deeper"):
        call("unfreeze-deper")


def test_flashcards_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    study.flashcards(lesson=1)
    said = capsys.readouterr().out
    for card in load_cards(lesson=1):
        assert card.front in said
        assert card.back in said
    with pytest.raises(FeatxError, match="lesson 12 has none"):
        study.flashcards(lesson=12)


def test_text_cannot_become_markup() -> None:
    assert to_html("`a<b` & <script>") == "<code>a&lt;b</code> &amp; &lt;script&gt;"
    assert to_html("`a * b` *and* 2 * 3 * 4") == "<code>a * b</code> <em>and</em> 2 * 3 * 4"


def test_a_verdict_is_told_in_words_not_by_colour_alone() -> None:
    pages = {
        status: verdict_html(Verdict(status, 0.5, "Because."))
        for status in ("not_attempted", "correct", "partial", "wrong", "error")
    }
    words = {page.split("<strong>")[1].split("</strong>")[0] for page in pages.values()}
    assert len(words) == len(pages)
    assert all('role="alert"' in page for page in pages.values())


def test_a_check_of_no_weight_only_explains() -> None:
    explains = Check(False, 0, "reason", "The reason.")
    assert weigh([explains, Check(True, 1, "x", "y")], "Well done.").status == "correct"
    verdict = weigh([explains, Check(False, 1, "x", "y")], "Well done.")
    assert (verdict.status, verdict.message) == ("wrong", "The reason.")


@pytest.mark.slow
def test_widgets_in_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show everything in a real kernel, press the button, and read what a browser would draw."""
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))
    cells = [
        "from featx.study import check, flashcards, hint, quiz, solution",
        'quiz("freeze-order")',
        # What a click does: choose an option, press Check.
        """
import ipywidgets
from ipywidgets.widgets.widget import _instances
box = [w for w in _instances.values() if isinstance(w, ipywidgets.VBox)][-1]
prompt, choice, button, feedback = box.children
assert choice.value is None and feedback.value == ""
button.click()
print("1", "Not attempted" in feedback.value)
choice.value = "b"
button.click()
print("2", "frozen too" in feedback.value)
choice.value = "a"
button.click()
print("3", "Correct" in feedback.value, len(choice.options))
""",
        """
flashcards(lesson=3)
box = [w for w in _instances.values() if isinstance(w, ipywidgets.VBox)][-1]
front, turn, back, rating, said = box.children
assert back.value == "" and rating.layout.display == "none"
turn.click()
print("4", "alert" in back.value, rating.layout.display == "")
rating.children[1].click()
print("5", "comes back soon" in said.value)
""",
        'verdict = check("freeze-all-but-head", lambda model, num_classes: model)',
        'hint("freeze-order")\nsolution("freeze-all-but-head")\nsolution("unfreeze-deeper")',
        """
def freeze_all_but_head(model, num_classes):
    return model.no_such_layer
check("freeze-all-but-head", freeze_all_but_head)""",
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source.strip()) for source in cells]
    )
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [cell.outputs for cell in notebook.cells]
    assert "application/vnd.jupyter.widget-view+json" in outputs[1][0].data
    assert outputs[2][0].text.splitlines() == ["1 True", "2 True", "3 True 4"]
    texts = "".join(output.get("text", "") for output in outputs[3])
    assert texts.splitlines() == ["4 True True", "5 True"]
    drawn = [output for output in outputs[3] if output.output_type == "display_data"]
    assert len(drawn) == len(load_cards(lesson=3))
    assert "✗ Not right yet" in outputs[4][0].data["text/html"]
    assert "Hint 1 of 1" in outputs[5][0].data["text/html"]
    assert ">def freeze_all_but_head(model: nn.Module" in outputs[5][1].data["text/html"]
    assert "Try it first" in outputs[5][2].data["text/html"]
    said = outputs[6][0].data["text/html"]
    assert "stopped in line 2: <code>return model.no_such_layer</code>" in said
    assert len(outputs[6]) == 1  # the verdict is shown once, not as a value too


@pytest.mark.slow
def test_an_answer_is_there_after_a_restart_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))
    study.quiz("freeze-order", answer="b")  # this process is the earlier session
    source = """
import ipywidgets
from featx.study import quiz
from ipywidgets.widgets.widget import _instances
quiz("freeze-order")
box = [w for w in _instances.values() if isinstance(w, ipywidgets.VBox)][-1]
prompt, choice, button, feedback = box.children
print(choice.value, "Your last answer" in feedback.value, "frozen too" in feedback.value)
"""
    cell = nbformat.v4.new_code_cell(source.strip())
    notebook = nbformat.v4.new_notebook(cells=[cell])
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    printed = [o.text for o in notebook.cells[0].outputs if o.output_type == "stream"]
    assert "".join(printed).split("\n")[-2] == "b True True"
