"""What the processes of one run tell each other. Bytes only: torch's object collectives would pickle."""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from jaxtyping import UInt8
from torch import Tensor

from rl.runtime.errors import InputError

Bytes = UInt8[Tensor, " bytes"]


def world() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def collective_device() -> torch.device:
    """Tell where a tensor must stand for the others to get it."""
    return torch.device("cuda" if world() > 1 and dist.get_backend() == "nccl" else "cpu")


def to_bytes(tensor: Tensor) -> Bytes:
    """Return the tensor's memory, row-major."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def gather_bytes(mine: Bytes) -> list[Bytes]:
    """Return everybody's bytes, in the order of the ranks; lengths may differ. Every rank must call it."""
    if world() == 1:
        return [mine]
    there = collective_device()
    size = torch.tensor([len(mine)], device=there)
    sizes = [torch.empty_like(size) for _ in range(world())]
    dist.all_gather(sizes, size)
    lengths = [int(length) for length in sizes]
    padded = torch.zeros(max(lengths), dtype=torch.uint8, device=there)
    padded[: len(mine)] = mine.to(there)
    parts = [torch.empty_like(padded) for _ in lengths]
    if max(lengths) > 0:
        dist.all_gather(parts, padded)
    return [part[:length].to(mine.device) for part, length in zip(parts, lengths, strict=True)]


def give_mains(tensors: Iterable[Tensor]) -> None:
    """Put rank 0's numbers into everybody's tensors, in place. Every rank must call it."""
    if world() == 1:
        return
    for tensor in tensors:
        held = to_bytes(tensor).to(collective_device(), copy=True)
        dist.broadcast(held, 0)
        tensor.data.copy_(held.view(tensor.dtype).reshape(tensor.shape))


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return sums over ranks, by ONE reduction, in the type that holds all tensors. Every rank must call it."""
    if world() == 1:
        return list(tensors)
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    total = flat.to(collective_device())
    dist.all_reduce(total)
    parts = torch.split(total.to(flat.device), [tensor.numel() for tensor in tensors])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def text_of_main(text: str) -> str:
    """Return rank 0's text, on every rank."""
    if world() == 1:
        return text
    encoded = bytearray(text.encode())
    mine = torch.frombuffer(encoded, dtype=torch.uint8) if encoded else torch.empty(0, dtype=torch.uint8)
    return bytes(gather_bytes(mine)[0].tolist()).decode()


def largest(value: int) -> int:
    """Return the largest of the ranks' values, on every rank."""
    if world() == 1:
        return value
    held = torch.tensor([value], device=collective_device())
    dist.all_reduce(held, op=dist.ReduceOp.MAX)
    return int(held)


def agree(problem: str) -> None:
    """Raise InputError with rank 0's problem on every rank, unless it is empty: nobody waits for one that has left."""
    shared = text_of_main(problem)
    if shared:
        raise InputError(shared)
