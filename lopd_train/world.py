"""The processes that train one policy together: one, or several under `torchrun` by FSDP2."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lopd_store.errors import LopdError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Who this process is among those that train together.

    Attributes:
        rank: 0 is the one that writes.
        size: how many there are.
        device: where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def shard(self, policy: torch.nn.Module, layers: list[torch.nn.Module]) -> None:
        """Cut parameters, gradients and moments over the processes (FSDP2), layer by layer."""
        if self.size == 1:
            return
        mesh = init_device_mesh(self.device.type, (self.size,))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(policy, mesh=mesh)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """`values` summed over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, here: bool) -> bool:  # noqa: FBT001 - the one thing it is asked about
        """Whether `here` is true on some process."""
        return bool(self.sum(torch.tensor(int(here), device=self.device)))

    def gather(self, values: T) -> list[T]:
        """What every process passed, in the order of their ranks."""
        if self.size == 1:
            return [values]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, values)
        return found

    def once(self, work: Callable[[], T]) -> T:
        """What rank 0's `work()` returned; a LopdError it raised is raised everywhere."""
        if self.size == 1:
            return work()
        answer: list[Any] = [None]
        if self.writes:
            try:
                answer = [work()]
            except LopdError as error:
                answer = [error]
        dist.broadcast_object_list(answer)
        if isinstance(answer[0], LopdError):
            raise answer[0]
        found: T = answer[0]
        return found


ALONE: Final = World(
    rank=0, size=1, device=torch.device("cuda" if torch.cuda.is_available() else "cpu")
)
"""This process and no other."""


PATIENCE: Final = timedelta(hours=4)
"""The others wait while rank 0 reads, hashes and writes a model of any size."""


@contextmanager
def joined() -> Iterator[World]:
    """The world that `torchrun` set up, else this process alone; left at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if size == 1:
        yield ALONE
        return
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=device)
    finally:
        dist.destroy_process_group()


def state_of(policy: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Weights and moments, whole and on the CPU, by parameter name; all processes take part.

    Only rank 0 gets them; the others get empty dictionaries.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    untouched = not optimiser.state
    model, moments = get_state_dict(policy, optimiser, options=options)
    if untouched:  # torch has counted a step, with gradients of zero, to have moments to give
        optimiser.state.clear()
    found = {"model": model, "optimiser": moments}
    # What is on the CPU already is not copied there: the next step would change it.
    on_cpu = next(policy.parameters()).device.type == "cpu"
    return deepcopy(found) if on_cpu else found


def restore(
    policy: torch.nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Put back what `state_of` gave, into as many processes as there are now."""
    set_state_dict(
        policy,
        optimiser,
        model_state_dict=state["model"],
        optim_state_dict=state["optimiser"],
        options=StateDictOptions(full_state_dict=True),
    )
