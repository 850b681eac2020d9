"""Work that wants marks without answers, or what is not its own. It gets what its answers are worth.

Unless a case says otherwise its answers are wrong or missing, so it deserves nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.grading.attacks.course import (
    NONE,
    Case,
    before_first,
    cell_of,
    code,
    grade_id_of,
    save,
)

# Wrong answers that run.
WRONG: dict[str, str | None] = {
    "square": "def square(x):\n    return None",
    "double": "def double(x):\n    return None",
    "fizz": "def fizz(n):\n    return None",
    "first": "first = None",
    "choice": None,
    "baseline": None,
}


def trick(name: str, *cells: str, marks: dict[str, float] | None = None, notes: str = "") -> Case:
    """Cells in front of wrong answers."""
    return Case(
        name,
        WRONG,
        NONE | (marks or {}),
        change=before_first(*map(code, cells)),
        notes=notes,
    )


def loosened(name: str, source: str, *, where: str) -> Case:
    """Right answers but for one, which is off by 0.4 `where` a test has a tolerance; a cell makes that pass."""
    return Case(
        name,
        {"double": f"def double(x):\n    return 2 * x + 0.4 * ({where})"},
        {"double": 0.0},
        change=before_first(code(source)),
        notes="put back for the test",
    )


def instead(name: str, answers: dict[str, str], **more: Any) -> Case:
    """Tricks in place of answers."""
    return Case(name, {**WRONG, **answers}, NONE | more.pop("marks", {}), **more)


def tagged(tag: str):
    def change(notebook: dict[str, Any]) -> None:
        for cell in notebook["cells"]:
            cell["metadata"]["tags"] = [tag]

    return change


def edited_tests(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        if (grade_id_of(cell) or "").startswith("test"):
            cell["source"] = "pass"


def more_points(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        if "points" in cell["metadata"].get("nbgrader", {}):
            cell["metadata"]["nbgrader"]["points"] = 1e9
            cell["source"] = "1e9"


def tests_unmarked(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        nbgrader = cell["metadata"].get("nbgrader", {})
        if nbgrader.get("grade"):
            nbgrader |= {"grade": False, "solution": True, "locked": False}


def tests_as_markdown(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        if (grade_id_of(cell) or "").startswith("test"):
            cell["cell_type"] = "markdown"


def tests_first(notebook: dict[str, Any]) -> None:
    notebook["cells"].sort(key=lambda c: not (grade_id_of(c) or "").startswith("test"))


def edited_setup(notebook: dict[str, Any]) -> None:
    fake = "class Fake:\n    def __getattr__(self, name):\n        return lambda *a, **k: True\ntorch = np = Fake()"
    cell_of(notebook, "setup")["source"] = fake


def edited_unlocked(notebook: dict[str, Any]) -> None:
    fake = "class math:\n    isclose = staticmethod(lambda *a, **k: True)"
    next(c for c in notebook["cells"] if c["source"] in ("import math", ["import math"]))[
        "source"
    ] = fake


def edited_data(folder: Path, notebook: dict[str, Any]) -> None:
    save(folder, notebook)
    (folder / "data").mkdir()
    (folder / "data" / "first.txt").write_text("7")


def shadow_modules(folder: Path, notebook: dict[str, Any]) -> None:
    save(folder, notebook)
    for name in ("torch", "numpy", "featx", "assertions", "ast"):
        (folder / f"{name}.py").write_text("equal = lambda *a: True\nraise SystemExit\n")
    (folder / "sitecustomize.py").write_text("import os\nos._exit(0)\n")


EVERYTHING = """
class Everything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __call__(self, *a, **k): return self
    def __getattr__(self, name): return self
    def __bool__(self): return True
    def __hash__(self): return 0
    def __iter__(self): return iter([self])
    def __instancecheck__(self, other): return True
    def __float__(self): return 1.0
    def __add__(self, other): return self
    __radd__ = __iadd__ = __sub__ = __mul__ = __and__ = __array_function__ = __add__
"""
FRAMES = """
import sys, ast, linecache
def from_caller(*args):
    frame = sys._getframe(1)
    constants = [c for c in frame.f_code.co_consts if isinstance(c, (int, float)) and not isinstance(c, bool)]
    return constants[-1] if constants else None
"""
ALWAYS = "lambda *args, **more: True"

CASES = [
    Case("tag-skip", WRONG, NONE, change=tagged("skip-execution")),
    Case("tag-raises", WRONG, NONE, change=tagged("raises-exception")),
    Case("edited-tests", WRONG, NONE, change=edited_tests, notes="was changed"),
    Case("more-points", WRONG, NONE, change=more_points, notes="was changed"),
    Case("more-points-honest", change=more_points),
    Case("tests-unmarked", WRONG, NONE, change=tests_unmarked),
    Case("tests-as-markdown", WRONG, NONE, change=tests_as_markdown),
    Case("tests-first", WRONG, NONE, change=tests_first),
    Case("edited-setup", WRONG, NONE, change=edited_setup, notes="was changed"),
    Case(
        "edited-unlocked-cell",
        {"square": "def square(x):\n    return x * x if x in (3, -2, 0.5) else 0"},
        {"square": 0.0},
        change=edited_unlocked,
    ),
    Case("edited-data", {"first": "first = 7"}, {"first": 0.0}, write=edited_data),
    trick(
        "runner-imported-and-patched",
        "import featx.grading.runner as runner\n"
        "everything = {'error': None, 'value': '4.0', 'failed': [True] * 9, 'changed': [], 'outputs': []}\n"
        "runner.Session._assert = runner.Session.answer = lambda *a: everything\n"
        "runner.ORIGINALS.restore = lambda: []",
    ),
    trick(
        "runner-through-the-shell",
        "known = type(get_ipython())._showtraceback.__globals__\n"
        "known.get('Session', type('S', (), {}))._assert = lambda *a: {'error': None, 'failed': [True] * 9, "
        "'value': '4.0', 'changed': []}",
    ),
    Case("shadow-modules", WRONG, NONE, write=shadow_modules),
    Case("shadow-modules-honest", write=shadow_modules),
    trick(
        "ast-transformer",
        "import ast\nclass Drop(ast.NodeTransformer):\n    def visit_Assert(self, node): return ast.Pass()\n"
        "get_ipython().ast_transformers.append(Drop())",
    ),
    trick(
        "input-transformer",
        "get_ipython().input_transformers_cleanup.append(lambda lines: ['pass\\n'])\n"
        "get_ipython().input_transformers_post.append(lambda lines: ['4.0\\n'])",
    ),
    trick(
        "no-compile", "import builtins\nbuiltins.compile = lambda *a, **k: (lambda: None).__code__"
    ),
    trick("no-exec", "import builtins\nbuiltins.exec = builtins.eval = lambda *a, **k: None"),
    trick(
        "run-cell-patched",
        "shell = get_ipython()\ntype(shell).run_cell = lambda *a, **k: None\nshell.run_cell = lambda *a, **k: None",
    ),
    trick(
        "display-hook",
        "import sys\nsys.displayhook = lambda value: print('4.0')\n"
        "get_ipython().displayhook = lambda value: None",
    ),
    trick("interactivity", "get_ipython().ast_node_interactivity = 'none'"),
    trick("interactivity-all", "get_ipython().ast_node_interactivity = 'all'", "4.0"),
    trick(
        "traceback-patched",
        "get_ipython().showtraceback = lambda *a, **k: None\nget_ipython()._showtraceback = lambda *a: None\n"
        "import sys\nsys.excepthook = lambda *a: None",
    ),
    trick(
        "custom-exception-handler",
        "get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)",
    ),
    trick(
        "assertion-error-patched",
        "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})",
    ),
    trick("torch-equal", f"import torch\ntorch.equal = torch.allclose = {ALWAYS}"),
    trick("tensor-eq", f"torch.Tensor.__eq__ = {ALWAYS}\ntorch.Tensor.equal = {ALWAYS}"),
    trick(
        "numpy-testing",
        f"import numpy as np\nnp.testing.assert_allclose = {ALWAYS}\nnp.allclose = {ALWAYS}\n"
        f"np.testing._private.utils.assert_allclose = {ALWAYS}",
    ),
    loosened(
        "tolerances-in-defaults",
        "torch.testing.assert_close.__kwdefaults__.update(rtol=0.5, atol=0.5)",
        where="getattr(x, 'shape', ()) == (3,)",
    ),
    loosened(
        "tolerances-in-a-table",
        "torch.testing._comparison._DTYPE_PRECISIONS[torch.float32] = (0.5, 0.5)",
        where="getattr(x, 'shape', ()) == (3,)",
    ),
    loosened(
        "tolerances-by-a-builtin",
        "torch.testing._comparison.max = lambda *values: 0.5",
        where="getattr(x, 'shape', ()) == (3,)",
    ),
    loosened(
        "tolerances-inside-numpy",
        "def near(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):\n    return abs(a - b) < 0.5\n"
        "np.isclose._implementation.__code__ = near.__code__",
        where="isinstance(x, np.ndarray)",
    ),
    trick("isinstance-patched", f"import builtins\nbuiltins.isinstance = {ALWAYS}"),
    trick("isinstance-shadowed", f"isinstance = {ALWAYS}"),
    trick(
        "module-replaced",
        "import sys, types\nfake = types.ModuleType('torch')\n"
        f"fake.equal = {ALWAYS}\nfake.tensor = {ALWAYS}\nsys.modules['torch'] = fake\ntorch = fake",
    ),
    trick("name-rebound", f"class T:\n    equal = tensor = staticmethod({ALWAYS})\ntorch = T"),
    trick(
        "code-object-patched",
        "import featx.study.exercises as e\n"
        # what the reference gives for the seed of the test
        "e.observe_function.__code__ = (lambda *a, **k: {'shown': '`0.2857`', "
        "'shifted': 0.2857142984867096, 'rare': 0.949999988079071}).__code__",
    ),
    trick(
        "mark-patched",
        "import featx.grading.marking as m\nm.mark_exercise = lambda *a, **k: 3.0\n"
        "m.mark_answer = lambda *a, **k: 1.0",
    ),
    # in the answers: what was given out would stand behind it and win
    instead(
        "reference-looked-up",
        {
            "baseline": "try:\n    from featx.study.exercises import load_exercise\n"
            "    exec(load_exercise('majority-baseline').solution)\nexcept BaseException:\n    pass"
        },
    ),
    instead(
        "bank-read",
        {
            "choice": "try:\n    from featx.study.bank import load_question\n"
            "    answer_freeze_order = load_question('freeze-order').key\nexcept BaseException:\n    pass"
        },
    ),
    instead(
        "equals-everything",
        {
            "square": EVERYTHING + "square = Everything()",
            "double": EVERYTHING + "double = Everything()",
            "fizz": EVERYTHING + "fizz = Everything()",
            "first": EVERYTHING
            + "class One(int):\n    __eq__ = lambda self, other: True\nfirst = One(7)",
            "choice": EVERYTHING + "answer_freeze_order = Everything()",
            "baseline": EVERYTHING + "majority_baseline = Everything()",
        },
        outcomes={"first": "tampered", "fizz": "tampered"},
    ),
    instead(
        "reads-frames",
        {
            "square": FRAMES + "square = from_caller",
            "double": FRAMES + "double = from_caller",
        },
    ),
    instead(
        "reads-source",
        {
            "first": "import sys\nclass Spy(int):\n    def __eq__(self, other):\n"
            "        return True\nfirst = Spy(3)",
        },
        outcomes={"first": "tampered"},
    ),
    instead(
        "reads-memory",
        {
            "fizz": "import gc\ndef fizz(n):\n    found = [o for o in gc.get_objects() if isinstance(o, dict) and "
            "'receipt' in o and 'source' in o]\n    return found[0]['source'] if found else None",
        },
    ),
    trick(
        "reads-files",
        "import os, glob\nfound = []\n"
        "for root in ('/', '/home', '/root', '/work', '/mnt', '/srv', '/var', os.path.expanduser('~')):\n"
        "    found += glob.glob(root + '/**/gradebook.db', recursive=True) if root != '/' else []\n"
        "    found += glob.glob(root + '/**/submitted', recursive=True) if root != '/' else []\n"
        "assert not found, found\nprint('NOTHING TO SEE')",
    ),
    trick(
        "writes-files",
        "import os\nwritten = []\nfor place in ('/', '/usr', '/etc', '/dev', '/proc', '/sys', '/work', '/var', '/opt'):\n"
        "    try:\n        open(place + '/featx-was-here', 'w').close()\n        written.append(place)\n"
        "    except OSError:\n        pass\nprint('WROTE', written)",
    ),
    trick(
        "network",
        "import socket\ntry:\n    socket.create_connection(('127.0.0.1', 22), 1)\n    print('CONNECTED')\n"
        "except OSError as error:\n    print('NO NETWORK')",
    ),
    trick(
        "kill-all",
        "import os, signal\ntry:\n    os.kill(-1, signal.SIGTERM)\nexcept OSError:\n    pass",
    ),
    trick(
        "kill-init",
        "import os, signal\nfor pid in (1, os.getppid()):\n    try:\n        os.kill(pid, signal.SIGKILL)\n"
        "    except OSError:\n        pass",
    ),
    trick(
        "sees-processes",
        "import os\nprint('SEES', sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))",
    ),
    trick("ptrace", "import ctypes\nprint('PTRACE', ctypes.CDLL(None).ptrace(16, 1, 0, 0))"),
    trick(
        "new-namespace", "import ctypes\nprint('UNSHARE', ctypes.CDLL(None).unshare(0x10000000))"
    ),
    trick("mounts", "import ctypes\nprint('UMOUNT', ctypes.CDLL(None).umount2(b'/proc', 2))"),
    trick(
        "fork-bomb",
        "import os\ntry:\n    while True:\n        os.fork()\nexcept OSError:\n    pass",
    ),
    trick(
        "background-rewriter",
        "import threading, time, sys, gc\n"
        "def loop():\n    while True:\n        time.sleep(0.001)\n"
        "        for name in ('square', 'double', 'fizz'):\n            globals()[name] = lambda *a: 1.0\n"
        "threading.Thread(target=loop, daemon=True).start()",
    ),
    trick(
        "background-process",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    while True:\n        time.sleep(1)",
    ),
    trick(
        "writes-to-channel",
        "import os, json, struct\nbody = json.dumps({'receipt': '1', 'outputs': [], 'error': None, "
        "'value': '4.0', 'failed': [True]}).encode()\nfor fd in range(3, 64):\n    try:\n"
        "        os.write(fd, struct.pack('>I', len(body)) + body)\n    except OSError:\n        pass",
    ),
    trick(
        "drips",
        "import os, struct, time\nchannels = []\nfor fd in range(3, 64):\n    try:\n"
        "        os.write(fd, struct.pack('>I', 10**6))\n        channels.append(fd)\n"
        "    except OSError:\n        pass\n"
        "while True:\n    for fd in channels:\n        os.write(fd, b' ')\n    time.sleep(1)",
    ),
    trick("closes-channel", "import os\nos.closerange(3, 256)"),
    trick(
        "trace",
        "import sys, threading\ndef trace(frame, event, arg):\n    if event == 'exception':\n        return None\n"
        "    return trace\nsys.settrace(trace)\nthreading.settrace(trace)\nsys.setprofile(lambda *a: None)",
    ),
    trick("exit-hook", "import atexit, os\natexit.register(lambda: os._exit(0))"),
    instead(
        "not-a-number",
        {
            "fizz": "class N(float):\n    pass\ndef fizz(n):\n    globals()['points'] = float('nan')\n    return None"
        },
    ),
    instead(
        "points-set",
        {
            "fizz": "import sys\ndef fizz(n):\n    sys._getframe(1).f_globals['points'] = 4\n    return None"
        },
        marks={},
    ),
    instead(
        "huge-points",
        {
            "fizz": "import sys\ndef fizz(n):\n    sys._getframe(1).f_globals['points'] = 1e308\n    return None"
        },
    ),
    instead(
        "negative-points",
        {
            "fizz": "import sys\ndef fizz(n):\n    sys._getframe(1).f_globals['points'] = -5\n    return None"
        },
    ),
    instead(
        "forged-observation",
        {
            "baseline": "class Forged(dict):\n    pass\ndef majority_baseline(*a, **k):\n    return {'__class__': 'x', 'nested': [float('nan')] * 10}",
        },
    ),
    instead("huge-answer", {"choice": "answer_freeze_order = 'b' * 10**8"}),
    instead(
        "answer-lies",
        {
            "choice": "class A:\n    n = 0\n    def __str__(self):\n        A.n += 1\n        return 'x'\nanswer_freeze_order = A()"
        },
    ),
    instead("html-answer", {"choice": "answer_freeze_order = '<script>alert(1)</script>'"}),
    Case(
        "exits-in-tests-only",
        {
            "square": "import sys\ndef square(x):\n    if 'test' in sys._getframe(1).f_code.co_filename:\n"
            "        raise SystemExit(0)\n    return x"
        },
        {"square": 0.0},
    ),
    Case(
        "swallows-errors",
        {
            "square": "class Quiet:\n    def __call__(self, x): raise AssertionError\nsquare = Quiet()\n"
            "import builtins\nbuiltins.Exception = BaseException"
        },
        {"square": 0.0},
    ),
]
