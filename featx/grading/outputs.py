"""What a sandboxed child says that a cell showed, made safe to write into a notebook."""

from __future__ import annotations

from typing import Any

from featx.wording import storable

__all__ = ["clean_outputs", "test_outputs"]


def clean_outputs(outputs: Any) -> list[dict[str, Any]]:
    """Return the outputs that have nbformat's form, with nothing else in them.

    Parameters
    ----------
    outputs
        Anything that JSON can hold.

    Returns
    -------
    list of dict
        Streams, displays, results and errors.
    """
    cleaned = [_clean(each) for each in outputs] if isinstance(outputs, list) else []
    return [each for each in cleaned if each is not None]


def _clean(output: Any) -> dict[str, Any] | None:
    match output:
        case {"output_type": "stream", "name": "stdout" | "stderr" as name, "text": str(text)}:
            return {"output_type": "stream", "name": name, "text": storable(text)}
        case {
            "output_type": "display_data" | "execute_result" as kind,
            "data": dict(data),
        }:
            kept = {k: storable(v) for k, v in data.items() if isinstance(v, str)}
            if not kept:
                return None
            more = {"execution_count": None} if kind == "execute_result" else {}
            return {"output_type": kind, "data": kept, "metadata": {}, **more}
        case {
            "output_type": "error",
            "ename": str(name),
            "evalue": str(value),
            "traceback": list(lines),
        }:
            traceback = [storable(line) for line in lines if isinstance(line, str)]
            return {
                "output_type": "error",
                "ename": storable(name),
                "evalue": storable(value),
                "traceback": traceback,
            }
    return None


def test_outputs(outputs: list[dict[str, Any]], points: float) -> list[dict[str, Any]]:
    """Arrange the outputs of a test so that nbgrader reads these points from them, and no others.

    nbgrader gives nothing for an error or for anything on stderr, else the number that is the result, else
    everything.

    Parameters
    ----------
    outputs
        Clean outputs.
    points
        What was earned.

    Returns
    -------
    list of dict
        Without results and, where points were earned, errors; the points are the last.
    """
    kept = []
    for output in outputs:
        if output["output_type"] == "stream":
            kept.append({**output, "name": "stdout"})
        elif output["output_type"] == "display_data" or not points:
            kept.append(output)
    kept = [each for each in kept if each["output_type"] != "execute_result"]
    value = {"text/plain": repr(float(points))}
    result = {"output_type": "execute_result", "data": value, "metadata": {}}
    return [*kept, {**result, "execution_count": None}]
