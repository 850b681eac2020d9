"""The processes that work on one job: one alone, or those that ``torchrun`` started."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from featx.errors import FeatxError
from featx.wording import first_line

__all__ = ["Group", "join_group"]

Value = TypeVar("Value")

#: One process looks through all files, or waits for another job, while the others wait for it.
_PATIENCE = timedelta(days=7)


class Group:
    """Processes that run the same program; torch.distributed does the talking.

    Parameters
    ----------
    rank
        The number of this process.
    size
        How many there are; with 1 nothing is sent anywhere.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks and writes for all."""
        return self.rank == 0

    def from_first(self, work: Callable[[], Value]) -> Value:
        """Let the first process do `work`, and give its result, or what it raised, to all."""
        if self.size == 1:
            return work()
        answer: list[Any] = [None, None]
        wrong: Exception | None = None
        if self.is_first:
            try:
                answer[0] = work()
            except Exception as error:
                wrong, answer[1] = error, _for_others(error)
        distributed.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise wrong or answer[1]
        return answer[0]

    def together(self, work: Callable[[], None]) -> None:
        """Do `work` in every process, wait for all, and raise in all what went wrong in one."""
        if self.size == 1:
            return work()
        wrong: Exception | None = None
        try:
            work()
        except Exception as error:
            wrong = error
        answers: list[FeatxError | None] = [None] * self.size
        distributed.all_gather_object(answers, wrong and _for_others(wrong))
        for answer in answers:
            if answer is not None:
                raise wrong or answer
        return None


def _for_others(error: Exception) -> FeatxError:
    """Make of an error what any process can receive and show."""
    if isinstance(error, FeatxError):
        return FeatxError(str(error))
    return FeatxError(
        f"Expected all processes of the group to come through, but one raised {type(error).__name__}: "
        f"{first_line(error)}. Its traceback says more."
    )


def join_group() -> Group:
    """Return the group of this process.

    Returns
    -------
    Group
        That of torch.distributed, where it is initialised. Under ``torchrun`` it is initialised here:
        gloo for the CPU, NCCL for GPUs. Else this process alone.

    Examples
    --------
    >>> join_group().size
    1
    """
    if not distributed.is_available():
        return Group()
    if not distributed.is_initialized():
        if not distributed.is_torchelastic_launched() or os.environ.get("WORLD_SIZE") == "1":
            return Group()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
            distributed.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE)
        else:
            distributed.init_process_group("gloo", timeout=_PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return Group(distributed.get_rank(), distributed.get_world_size())
