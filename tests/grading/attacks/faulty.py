"""Work that breaks: each fault costs its own question, and nothing else."""

from __future__ import annotations

from tests.grading.attacks.course import ANSWERS, Case, before_first, code

SQUARE_LOST = {"square": 0.0}


def lost(name: str, source: str, outcome: str) -> Case:
    """A fault in the first question."""
    return Case(
        name, {"square": source}, SQUARE_LOST, outcomes={"square": outcome, "double": "correct"}
    )


CASES = [
    lost("syntax-error", "def square(x)\n    return x * x", "error"),
    lost("raises", ANSWERS["square"].replace("return x * x", "raise ValueError('no')"), "error"),
    lost(
        "raises-at-once", "raise RuntimeError('before the function')\n" + ANSWERS["square"], "error"
    ),
    lost("sys-exit-at-once", "import sys\nsys.exit()\n" + ANSWERS["square"], "error"),
    lost("sys-exit-when-called", "import sys\ndef square(x):\n    sys.exit(0)", "error"),
    lost("os-exit-at-once", "import os\nos._exit(0)", "crashed"),
    lost("os-exit-when-called", "import os\ndef square(x):\n    os._exit(0)", "crashed"),
    lost("abort", "import os\nos.abort()", "crashed"),
    lost("segfault", "import ctypes\nctypes.string_at(0)", "crashed"),
    lost("kills-itself", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "crashed"),
    lost("endless", "while True:\n    pass", "timeout"),
    lost("endless-when-called", "def square(x):\n    while True:\n        pass", "timeout"),
    lost(
        "endless-and-deaf",
        "import signal\nfor s in set(signal.Signals) - {9, 19}:\n    try:\n        signal.signal(s, signal.SIG_IGN)\n"
        "    except OSError:\n        pass\nwhile True:\n    pass",
        "timeout",
    ),
    lost(
        "endless-and-catching",
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
        "timeout",
    ),
    lost("sleeps", "import time\ntime.sleep(1000)", "timeout"),
    lost("waits-for-input", "square = input('?')", "error"),
    lost("memory", "x = bytearray(20 * 2**30)", "out_of_memory"),
    lost(
        "memory-by-and-by",
        "x = []\nwhile True:\n    x.append(bytearray(64 * 2**20))",
        "out_of_memory",
    ),
    lost("memory-of-torch", "x = torch.ones(8, 2**30)", "out_of_memory"),
    lost("recursion", "def square(x):\n    return square(x)", "error"),
    Case(
        "output-flood",
        {"square": "for i in range(300_000):\n    print('x' * 100)\n" + ANSWERS["square"]},
    ),
    Case(
        "stderr-flood",
        {
            "square": "import sys\nfor i in range(300_000):\n    print('x' * 100, file=sys.stderr)\n"
            + ANSWERS["square"]
        },
    ),
    Case(
        "raw-flood",
        {
            "square": "import os\nfor i in range(100_000):\n    os.write(1, b'x' * 1000)\n"
            + ANSWERS["square"]
        },
    ),
    Case("huge-display", change=before_first(code("'x' * 50_000_000"))),
    Case(
        "thread-left",
        {
            "square": "import threading, time\n"
            "threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()\n"
            + ANSWERS["square"]
        },
    ),
    Case(
        "process-left",
        {"square": "import subprocess\nsubprocess.Popen(['sleep', '1000'])\n" + ANSWERS["square"]},
    ),
    Case(
        "full-disk",
        {
            "square": "try:\n    with open('big', 'wb') as f:\n        for i in range(600):\n"
            "            f.write(bytes(2**20))\nexcept OSError:\n    pass\n" + ANSWERS["square"]
        },
    ),
    Case(
        "each-cell-ends-the-process",
        dict.fromkeys(ANSWERS, "import os\nos._exit(1)"),
        dict.fromkeys(ANSWERS, 0.0),
        outcomes=dict.fromkeys(ANSWERS, "crashed"),
    ),
]
