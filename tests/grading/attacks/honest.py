"""Honest work that graders have punished: full marks, or what the answers are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.grading.attacks.course import (
    ANSWERS,
    NAME,
    Case,
    before_first,
    cell_of,
    code,
    save,
)


def foreign_kernel(notebook: dict[str, Any]) -> None:
    notebook["metadata"]["kernelspec"] = {
        "name": "my-env",
        "display_name": "me",
        "language": "python",
    }


def other_metadata(notebook: dict[str, Any]) -> None:
    notebook["metadata"] |= {"colab": {"provenance": []}, "vscode": {"x": 1}}
    for cell in notebook["cells"]:
        cell["metadata"] |= {
            "collapsed": True,
            "tags": ["mine"],
            "jupyter": {"outputs_hidden": True},
        }


def old_outputs(notebook: dict[str, Any]) -> None:
    error = {"output_type": "error", "ename": "X", "evalue": "", "traceback": ["old"]}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [dict(error)]
            cell["execution_count"] = 77


def split_answer(notebook: dict[str, Any]) -> None:
    """JupyterLab copies the metadata when a cell is split."""
    whole = cell_of(notebook, "answer-square")
    first = json.loads(json.dumps(whole)) | {
        "id": "half",
        "source": "def times(x, y):\n    return x * y",
    }
    whole["source"] = "def square(x):\n    return times(x, x)"
    notebook["cells"].insert(notebook["cells"].index(whole), first)


def own_imports(notebook: dict[str, Any]) -> None:
    cell = next(c for c in notebook["cells"] if c["source"] in ("import math", ["import math"]))
    cell["source"] = "import math\nimport statistics\nthree = 3"


def shuffled(notebook: dict[str, Any]) -> None:
    cells = notebook["cells"]
    square = cell_of(notebook, "answer-square")
    cells.remove(square)
    cells.insert(1, square)


def no_ids(notebook: dict[str, Any]) -> None:
    notebook["nbformat_minor"] = 2
    for cell in notebook["cells"]:
        cell.pop("id", None)


def helper_behind_a_rule(notebook: dict[str, Any]) -> None:
    """Two cells hold the same line; the helper stands behind the second, and needs what is above it."""
    cells = notebook["cells"]
    cells.insert(cells.index(cell_of(notebook, "answer-first")), code("one = len(fizz(1))"))


def helper_behind_a_rule_without_ids(notebook: dict[str, Any]) -> None:
    helper_behind_a_rule(notebook)
    no_ids(notebook)


def one_text(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])


def with_helper_file(folder: Path, notebook: dict[str, Any]) -> None:
    save(folder, notebook)
    (folder / "helpers.py").write_text("def times(x, y):\n    return x * y\n")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "two.txt").write_text("2")


def windows_file(folder: Path, notebook: dict[str, Any]) -> None:
    text = json.dumps(notebook, indent=1).replace("\n", "\r\n")
    (folder / f"{NAME}.ipynb").write_bytes(b"\xef\xbb\xbf" + text.encode())


def markdown_answer(notebook: dict[str, Any]) -> None:
    cell = cell_of(notebook, "answer-first")
    cell["cell_type"] = "markdown"
    del cell["outputs"], cell["execution_count"]


CASES = [
    Case("correct"),
    Case(
        "blank",
        dict.fromkeys(ANSWERS),
        dict.fromkeys(ANSWERS, 0.0),
        outcomes=dict.fromkeys(ANSWERS, "missing"),
    ),
    Case(
        "half-right",
        {"square": "def square(x):\n    return x + x", "fizz": "def fizz(n):\n    return 'fizz'"},
        {"square": 0.0, "fizz": 1.0},
        outcomes={"square": "wrong", "fizz": "partial", "double": "correct"},
    ),
    Case("warns", {"square": "import warnings\nwarnings.warn('old')\n" + ANSWERS["square"]}),
    Case(
        "progress-on-stderr",
        {
            "double": "import sys\nfor i in range(50):\n    print(i, '%|###   |', end='\\r', file=sys.stderr)\n"
            + ANSWERS["double"]
        },
    ),
    Case(
        "logs-when-called",
        {"square": "import logging\ndef square(x):\n    logging.warning('hm')\n    return x * x"},
    ),
    Case(
        "prints-when-called",
        {"fizz": ANSWERS["fizz"].replace("    return", "    print(n)\n    return")},
    ),
    Case(
        "extra-cells",
        change=before_first(code("a = 1"), code("%time sum(range(10))"), code("!echo hi")),
    ),
    Case("extra-cell-fails", change=before_first(code("1 / 0"), code("undefined_name"))),
    Case("foreign-kernel", change=foreign_kernel),
    Case("other-metadata", change=other_metadata),
    Case("old-outputs", change=old_outputs),
    Case("split-answer", change=split_answer),
    Case(
        "changed-an-unlocked-cell",
        {"square": "def square(x):\n    return statistics.mean([x * x]) if three == 3 else 0"},
        change=own_imports,
    ),
    Case("moved-answer", change=shuffled),
    Case("no-cell-ids", change=no_ids),
    Case("helper-behind-a-rule", {"first": "first = one"}, change=helper_behind_a_rule),
    Case(
        "helper-behind-a-rule-without-ids",
        {"first": "first = one"},
        change=helper_behind_a_rule_without_ids,
    ),
    Case("source-as-text", change=one_text),
    Case("markdown-by-mistake", change=markdown_answer),
    Case("windows-file", write=windows_file),
    Case(
        "helper-file",
        {
            "square": "from helpers import times\nn = int(open('data/two.txt').read())\n"
            "def square(x):\n    return times(x, x) * n / 2"
        },
        write=with_helper_file,
    ),
    Case("slow", {"double": "import time\ntime.sleep(2)\n" + ANSWERS["double"]}),
    Case("slow-when-called", {"first": "import time\ntime.sleep(1)\nfirst = 1"}),
    Case(
        "shadows-a-builtin",
        {"fizz": "sum = 0\nlist = [1]\nmax = 3\n" + ANSWERS["fizz"]},
    ),
    Case("draws", change=before_first(code("import matplotlib.pyplot as plt\nplt.plot([1, 2]);"))),
    Case("unicode", {"square": "π = 3\ndef square(größe):\n    '''²'''\n    return größe ** 2"}),
    Case(
        "own-class",
        {
            "double": "class Twice:\n    def __call__(self, x):\n        return x + x\ndouble = Twice()"
        },
    ),
    Case(
        "recursion-that-ends",
        {"square": "def square(x, n=500):\n    return x * x if n == 0 else square(x, n - 1)"},
    ),
    Case(
        "threads",
        {
            "first": "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(4) as pool:\n    first = list(pool.map(int, ['1', '2']))[0]"
        },
    ),
    Case(
        "processes",
        {
            "first": "import multiprocessing as mp\nwith mp.get_context('fork').Pool(2) as pool:\n"
            "    first = pool.map(abs, [-1, 2])[0]"
        },
    ),
    Case("awaits", {"first": "import asyncio\nawait asyncio.sleep(0.01)\nfirst = 1"}),
    Case(
        "seeds-and-threads",
        {
            "square": "import torch, random\ntorch.manual_seed(0)\nrandom.seed(0)\n"
            "torch.set_num_threads(2)\n" + ANSWERS["square"]
        },
    ),
]
