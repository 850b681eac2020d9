"""The processes that work on one job: one alone, or those that ``torchrun`` started."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed

from featx.errors import FeatxError

__all__ = ["Group", "join_group"]

Value = TypeVar("Value")


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
        """Let the first process do `work`, and give its result, or its error, to all."""
        if self.size == 1:
            return work()
        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer[0] = work()
            except FeatxError as error:
                answer[1] = error
        distributed.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def together(self, work: Callable[[], None]) -> None:
        """Do `work` in every process, wait for all, and raise in all what went wrong in one."""
        if self.size == 1:
            return work()
        wrong: FeatxError | None = None
        try:
            work()
        except FeatxError as error:
            wrong = error
        answers: list[FeatxError | None] = [None] * self.size
        distributed.all_gather_object(answers, wrong)
        for answer in answers:
            if answer is not None:
                raise answer
        return None


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
            distributed.init_process_group("cpu:gloo,cuda:nccl")
        else:
            distributed.init_process_group("gloo")
        atexit.register(distributed.destroy_process_group)
    return Group(distributed.get_rank(), distributed.get_world_size())
