"""A knob to turn: every state is computed before, so a slider answers at once."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from numbers import Real
from typing import Any

from featx.errors import FeatxError
from featx.study.showing import can_show_widgets, picture_html, print_text, to_html

__all__ = ["every_state", "explore", "is_scale"]


def explore(state: Callable[..., Any], **controls: Sequence[Any]) -> None:
    """Show a slider or buttons for each control, and what comes out for the chosen values.

    Numbers get a slider, words get buttons; both are moved with the arrow keys. All combinations are
    computed when the cell runs, and a move only shows the one that is chosen. Where no widget can show,
    each state is printed as one line.

    Parameters
    ----------
    state
        Called as ``state(name=value, ...)`` with one value of each control. It returns a sentence, or
        ``(sentence, figure)`` with a matplotlib figure, whose alt text the sentence becomes.
    **controls
        Name of the control -> its values, the one that is shown first being the first.

    Raises
    ------
    FeatxError
        When there is no control, or one without values.

    Examples
    --------
    >>> explore(lambda labels: f"{labels} labels a class", labels=(1, 5))
    1 labels a class
    5 labels a class
    """
    states = every_state(state, controls)
    if not can_show_widgets():
        for words, _ in states.values():
            print_text(words)
        return
    import ipywidgets
    from IPython.display import display

    widgets = [_control(name, list(values)) for name, values in controls.items()]
    shown = ipywidgets.HTML()

    def update(_: object = None) -> None:
        words, picture = states[tuple(widget.value for widget in widgets)]
        shown.value = f'<p role="status">{to_html(words)}</p>{picture_html(words, picture)}'

    for widget in widgets:
        widget.observe(update, "value")
    update()
    display(ipywidgets.VBox([*widgets, shown]))


def every_state(
    state: Callable[..., Any], controls: Mapping[str, Sequence[Any]]
) -> dict[tuple[Any, ...], tuple[str, str]]:
    """Compute what comes out for each combination of values.

    Parameters
    ----------
    state, controls
        As for `explore`.

    Returns
    -------
    dict
        The values, one of each control -> the sentence, and the picture as the address of a PNG, which is
        empty where there is none. The state that is shown first comes first.

    Raises
    ------
    FeatxError
        When there is no control, or one without values.

    Examples
    --------
    >>> every_state(lambda labels: f"{labels} labels a class", {"labels": (1, 5)})
    {(1,): ('1 labels a class', ''), (5,): ('5 labels a class', '')}
    """
    if not controls or not all(len(values) for values in controls.values()):
        raise FeatxError(
            "Expected at least one control with its values, such as explore(state, labels=(1, 2, 5))."
        )
    return {
        chosen: _shown(state(**dict(zip(controls, chosen, strict=True))))
        for chosen in product(*controls.values())
    }


def is_scale(values: Sequence[Any]) -> bool:
    """Tell whether values are numbers, which stand in order on a slider; others get buttons.

    Examples
    --------
    >>> is_scale([1, 0.5]), is_scale([True, False]), is_scale(["train", "test"])
    (True, False, False)
    """
    return all(isinstance(value, Real) and not isinstance(value, bool) for value in values)


def _control(name: str, values: list[Any]) -> Any:
    import ipywidgets

    description = name.replace("_", " ")
    whole = {"description_width": "initial"}  # else ipywidgets cuts a long name off
    if is_scale(values):
        return ipywidgets.SelectionSlider(
            options=sorted(values), value=values[0], description=description, style=whole
        )
    options = [(str(value), value) for value in values]
    return ipywidgets.RadioButtons(
        options=options, value=values[0], description=description, style=whole
    )


def _shown(state: Any) -> tuple[str, str]:
    """Return the sentence and the picture of a state, as the address of a PNG; empty without one."""
    words, figure = state if isinstance(state, tuple) else (state, None)
    if figure is None:
        return words, ""
    import matplotlib.pyplot as plt

    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=80)
    plt.close(figure)
    return words, f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
