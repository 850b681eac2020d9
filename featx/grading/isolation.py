"""A process alone with its work: namespaces of its own, limits, and an init that no signal of it reaches.

bubblewrap has shut the warm process in already (`featx.grading.sandbox`). What is here keeps its children
apart: one for each submission, which can neither see nor signal the warm process, nor each other. The
calls are Linux's own (``man 2 unshare``, ``man 2 mount``, ``man 7 user_namespaces``); Python 3.11 has no
names for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from featx.grading.protocol import HOME, OUT_OF_MEMORY, TOO_MANY_PROCESSES, Limits

__all__ = ["WORK", "become_init", "enter_namespaces", "restrict"]

#: Where a submission's files lie, and where its code runs.
WORK = Path(HOME, "work")

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS = 0x40000000, 0x8000000, 0x4000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
PR_SET_DUMPABLE, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 4, 47, 4
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), flags, data.encode())


def enter_namespaces() -> None:
    """Leave the namespaces of the warm process; the next fork is process 1 of a world of its own."""
    user, group = os.getuid(), os.getgid()
    _call(
        "unshare",
        CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
    )
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def make_private_folders(limits: Limits) -> None:
    """Mount a /proc that shows this world only, and empty folders of bounded size to write to."""
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # no further worlds from inside
    with contextlib.suppress(OSError):
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
    for name in ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"):
        # who is root outside of all namespaces could write there
        if Path(name).exists():
            _mount(name, name, "", MS_BIND | MS_REC)
            _mount(
                name, name, "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
            )
    # Python itself may be installed below /tmp; then /tmp stays as it is, read-only
    tmp = [] if any(Path("/tmp").iterdir()) else ["/tmp"]
    for name in (HOME, "/dev/shm", *tmp):
        _mount("tmpfs", name, "tmpfs", MS_NOSUID | MS_NODEV, f"size={limits.disk},mode=1777")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def restrict(limits: Limits) -> None:
    """Give up every privilege for good, and set the limits that the kernel keeps."""
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _call("capset", ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), (ctypes.c_uint32 * 6)())
    # Address space, not memory in use: what torch has mapped already does not count.
    most = _address_space() + limits.memory
    for what, value in {
        resource.RLIMIT_AS: most,
        resource.RLIMIT_NPROC: limits.processes,  # the kernel lets root off; the init counts as well
        resource.RLIMIT_FSIZE: limits.disk,
        resource.RLIMIT_NOFILE: 512,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: 64 * 2**20,
    }.items():
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(what, (value, value))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def become_init(work: Callable[[], NoReturn], limits: Limits) -> NoReturn:
    """Be process 1: start the work in a child, watch over it, and end with it.

    From inside its namespace no signal reaches process 1 that it does not wait for, not even SIGKILL. When
    it ends, the kernel ends every process in the namespace, whatever it ignores.

    Parameters
    ----------
    work
        Runs in a child with the limits set; it must not return.
    limits
        What the processes may use together.
    """
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    make_private_folders(limits)
    baseline = _memory_of("self")
    worker = os.fork()
    if worker == 0:
        try:
            os.setsid()
            restrict(limits)
            work()
        finally:
            os._exit(70)
    # Its own memory is a copy of the same secrets: nobody reads it, nor the answers in it.
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(worker, signal.SIGINT))
    while True:
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(70)
            if ended == worker:
                # process 1 cannot die by a signal of its own: it says so by its status
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
            if ended == 0:
                break
        processes, memory = _in_use(baseline)
        if memory > limits.memory:
            os._exit(OUT_OF_MEMORY)
        if processes > limits.processes:
            os._exit(TOO_MANY_PROCESSES)
        time.sleep(0.05)


def _in_use(baseline: int) -> tuple[int, int]:
    """Count the processes of this world, and the memory that they have beyond the warm process's."""
    found = [each.name for each in Path("/proc").iterdir() if each.name.isdigit()]
    found.remove("1")
    return len(found), sum(max(0, _memory_of(name) - baseline) for name in found)


def _memory_of(process: str) -> int:
    try:
        _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_text().split()
    except OSError:
        return 0  # it has ended meanwhile
    return (int(resident) - int(shared)) * resource.getpagesize()
