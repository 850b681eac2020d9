"""A knob to turn: every state is there at once, with words for its picture."""

from __future__ import annotations

import base64
from typing import Any

import matplotlib.pyplot as plt
import pytest

from featx.errors import FeatxError
from featx.study import explore, exploring


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(exploring, "can_show_widgets", lambda: True)
    monkeypatch.setattr("IPython.display.display", found.append)
    return found


def test_every_state_is_computed_once_and_a_move_only_shows_it(shown: list[Any]) -> None:
    asked, open_before = [], plt.get_fignums()

    def state(kind: str, labels: int) -> tuple[str, Any]:
        asked.append((kind, labels))
        figure, ax = plt.subplots()
        ax.plot([labels])
        return f'{kind} with "{labels}" labels', figure

    explore(state, kind=("pixels", "features"), labels=(5, 1))
    assert sorted(asked) == [("features", 1), ("features", 5), ("pixels", 1), ("pixels", 5)]
    assert plt.get_fignums() == open_before
    (buttons, slider, picture) = shown[0].children
    assert (buttons.value, slider.value) == ("pixels", 5)  # the first of each
    assert slider.options == (1, 5)
    assert 'alt="pixels with &quot;5&quot; labels"' in picture.value
    before = picture.value
    slider.value, buttons.value = 1, "features"
    assert 'role="status">features with' in picture.value
    assert picture.value.partition("base64,")[2] != before.partition("base64,")[2]
    png = picture.value.partition("base64,")[2].partition('"')[0]
    assert base64.b64decode(png).startswith(b"\x89PNG")
    assert len(asked) == 4


def test_words_alone_are_enough(shown: list[Any]) -> None:
    explore(lambda frozen: f"frozen: {frozen}", frozen=(True, False))
    assert shown[0].children[-1].value == '<p role="status">frozen: True</p>'


def test_where_no_widget_shows_each_state_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    explore(lambda labels: f"{labels} labels", labels=(1, 5))
    assert capsys.readouterr().out == "1 labels\n5 labels\n"


@pytest.mark.parametrize("controls", [{}, {"labels": ()}])
def test_a_knob_needs_values(controls: dict[str, tuple]) -> None:
    with pytest.raises(FeatxError, match="at least one control"):
        explore(lambda **_: "", **controls)
