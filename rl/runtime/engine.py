"""One door to device, precision, ranks and compilation. No algorithm."""

import atexit
import math
import os
import random
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from rl.runtime import generators, ranks
from rl.runtime.errors import Diverged, InputError, warn

P = ParamSpec("P")
R = TypeVar("R")
Net = TypeVar("Net", bound=nn.Module)
Scalar = Float[Tensor, ""]

_SKIPS_IN_A_ROW = 20  # 65536 / 2**20 < 1: no scale helps


@dataclass(frozen=True)
class Runtime:
    """Where and how a run computes."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to compute; auto takes a GPU if there is one"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """of the networks' forward passes; auto is bf16 where the hardware has it, else fp32"""
    compile: bool = False
    """compile the networks; the first steps are then slow"""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice"""


class _Scaler:
    """The fp16 loss scale of one player, and how often its step was skipped."""

    def __init__(self, device: str) -> None:
        self.scaler = torch.amp.GradScaler(device=device)
        self.skipped = 0
        self.in_a_row = 0

    def state_dict(self) -> dict[str, Any]:
        return {"scaler": self.scaler.state_dict(), "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scaler.load_state_dict(dict(state["scaler"]))
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]


class _Cast(nn.Module):
    """A net under autocast."""

    def __init__(self, net: nn.Module, autocast: Callable[[], AbstractContextManager[object]]) -> None:
        super().__init__()
        self.net, self.autocast = net, autocast

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with self.autocast():
            return self.net(*args, **kwargs)


class Engine:
    """What a script asks for a device, for speed, and for a step that is safe on any number of ranks.

    Ranks come from torchrun's environment. Weights are equal on all ranks because `place` broadcasts them and `update`
    averages their gradients; the random generators differ (seed + rank), so each rank samples its own share.
    """

    def __init__(self, runtime: Runtime, seed: int) -> None:
        """Raise InputError for a device that is not here."""
        world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
        self.device = _device(runtime.device, local)
        if runtime.threads > 0:
            torch.set_num_threads(runtime.threads)
        if world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(_leave)
        self.rank, self.world = ranks.rank(), ranks.world()
        self.is_main = self.rank == 0
        self.precision: Literal["fp32", "bf16", "fp16"] = _precision(runtime.precision, self.device)
        self._compile = runtime.compile
        self._scalers: dict[str, _Scaler] = {}
        self._updates: dict[str, int] = {}
        self._placed: list[weakref.ref[nn.Module]] = []
        torch.manual_seed(seed + self.rank)
        np.random.seed((seed + self.rank) % 2**32)
        random.seed(seed + self.rank)

    def place(self, net: Net) -> Net:
        """Move the net to the device, with rank 0's parameters and buffers."""
        net = net.to(self.device)
        self._placed.append(weakref.ref(net))
        ranks.give_mains((*net.parameters(), *net.buffers()))
        return net

    def autocast(self) -> AbstractContextManager[object]:
        """Run what is inside in the engine's precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def fast(self, net: Callable[P, R]) -> Callable[P, R]:
        """Return the same net under autocast, and compiled if asked; the weights are shared.

        A compiled net has no double backward: give penalties the net itself.
        """
        return self._cast(torch.compile(net) if self._compile else net)

    def _cast(self, net: Callable[P, R]) -> Callable[P, R]:
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.autocast():
                return net(*args, **kwargs)

        return run

    def smooth(self, net: Callable[P, R]) -> Callable[P, R]:
        """Return the net as penalties take it: never compiled, and in bf16 where the engine computes in bf16.

        Under fp16 it stays in float32, as the gradient of a logit would overflow. A module stays a module, with the
        same weights: penalties may clip them.
        """
        if self.precision != "bf16":
            return net
        return _Cast(net, self.autocast) if isinstance(net, nn.Module) else self._cast(net)

    def update(self, optimizer: torch.optim.Optimizer, loss: Scalar, *, name: str, clip: float = math.inf) -> Scalar:
        """Step this optimizer's weights, and no others, down the loss averaged over ranks; the norm of the gradient.

        `name` is the player in messages and the key of its fp16 loss scale; `clip` bounds the global norm. Raises
        Diverged before the step if loss or gradient is not finite; under fp16 such a gradient skips the step, and
        20 skips in a row raise.
        """
        weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]
        self._updates[name] = self._updates.get(name, 0) + 1
        scaler = self._scaler(name) if self.precision == "fp16" else None
        scaled = loss if scaler is None else scaler.scaler.scale(loss.float())
        gradients = list(torch.autograd.grad(scaled, weights, allow_unused=True, materialize_grads=True))
        loss, gradients = self._mean_over_ranks(loss.detach().reshape(()), gradients)
        gradients = _owned(gradients, weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        try:
            if scaler is not None:
                scaler.scaler.unscale_(optimizer)
            norm = nn.utils.get_total_norm(gradients)
            if self._finite(name, loss, norm, weights, scaler):
                if clip < math.inf:
                    nn.utils.clip_grads_with_norm_(weights, clip, norm)
                optimizer.step()
        finally:
            for weight in weights:
                weight.grad = None
        return norm

    def skipped(self, name: str) -> int:
        """Count the steps of this player that fp16 skipped."""
        return self._scalers[name].skipped if name in self._scalers else 0

    def shard(self, rows: Tensor) -> Tensor:
        """Return this rank's equal share: neighbouring rows; those that do not divide are left out."""
        share = len(rows) // self.world
        if share == 0:
            raise InputError(f"{len(rows)} rows cannot be shared by {self.world} ranks")
        return rows[self.rank * share : (self.rank + 1) * share]

    def gather(self, metrics: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Return each metric's mean over ranks, as a float. Every rank must call it, with the same names."""
        if not metrics:
            return {}
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        values = [torch.as_tensor(value).detach().to(self.device, kind) for value in metrics.values()]
        held = torch.stack(values)  # one transfer for all
        if self.world > 1:
            dist.all_reduce(held)
        return dict(zip(metrics, (held / self.world).tolist(), strict=True))

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return all ranks' rows, in the order of the ranks; each may have another number of them."""
        if self.world == 1:
            return rows
        parts = ranks.gather_bytes(ranks.to_bytes(rows))
        width = rows.element_size() * math.prod(rows.shape[1:])
        return torch.cat([part.view(rows.dtype).reshape(len(part) // width, *rows.shape[1:]) for part in parts])

    def state_dict(self) -> dict[str, Any]:
        """Return every rank's random generators, the loss scales and counts. Every rank must call it."""
        mine = generators.state(self.device)
        return {
            "generators": {name: self._each(value) for name, value in mine.items()},
            "scalers": {name: scaler.state_dict() for name, scaler in self._scalers.items()},
            "updates": dict(self._updates),
            "threads": torch.get_num_threads(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the same random numbers, scales and thread count; warn where that cannot be."""
        saved = {name: values[self.rank] for name, values in state["generators"].items() if self.rank < len(values)}
        before = len(state["generators"]["torch"])
        if before != self.world:
            warn(f"the run had {before} ranks and now has {self.world}: it will not repeat bit by bit")
        if saved:
            generators.restore(saved, self.device)
        self._updates = dict(state["updates"])
        for name, scaler in state["scalers"].items():
            self._scaler(name).load_state_dict(scaler)
        threads = torch.get_num_threads()
        if state["threads"] != threads:
            warn(f"the run used {state['threads']} CPU threads, not {threads}: using {state['threads']} again")
            torch.set_num_threads(state["threads"])

    def _scaler(self, name: str) -> _Scaler:
        return self._scalers.setdefault(name, _Scaler(self.device.type))

    def _mean_over_ranks(self, loss: Tensor, gradients: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Average in ONE reduction; the loss travels along, so that all ranks see a NaN of one."""
        if self.world == 1:
            return loss, gradients
        total, *sums = (part / self.world for part in ranks.summed([loss, *gradients]))
        return total, [part.to(g.dtype) for part, g in zip(sums, gradients, strict=True)]

    def _finite(self, name: str, loss: Tensor, norm: Tensor, weights: list[Tensor], scaler: _Scaler | None) -> bool:
        """Whether to step; raise Diverged if training is lost."""
        good_loss, good_norm = torch.stack([loss.isfinite(), norm.isfinite()]).tolist()  # one wait for the device
        place = f"{name}: update {self._updates[name]}"
        if scaler is not None:
            scaler.scaler.update()
        if not good_loss:
            raise Diverged(f"{place}: the loss is {float(loss)}")
        if scaler is not None:
            scaler.in_a_row = 0 if good_norm else scaler.in_a_row + 1
            scaler.skipped += not good_norm
        if good_norm:
            return True
        if scaler is None or scaler.in_a_row >= _SKIPS_IN_A_ROW:
            row = "" if scaler is None else f", in {scaler.in_a_row} fp16 steps in a row"
            raise Diverged(
                f"{place}: the gradient of {self._first_bad(weights)} is not finite{row} (loss {float(loss)})"
            )
        return False

    def _first_bad(self, weights: list[Tensor]) -> str:
        names = {
            id(weight): f"{type(net).__name__}.{name}"
            for held in self._placed
            if (net := held()) is not None
            for name, weight in net.named_parameters()
        }
        for index, weight in enumerate(weights):
            if weight.grad is not None and not weight.grad.isfinite().all():
                return names.get(id(weight), f"parameter {index} of shape {tuple(weight.shape)}")
        return "all parameters together"  # each is finite, their norm overflows

    def _each(self, value: Tensor) -> list[Tensor]:
        return [part.view(value.dtype) for part in ranks.gather_bytes(ranks.to_bytes(value))]


def _owned(gradients: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """Give each gradient memory of its own, laid out as its weight: autograd may give two weights one tensor."""
    seen: set[int] = set()
    owned = []
    for gradient, weight in zip(gradients, weights, strict=True):
        shared = gradient.data_ptr() in seen or gradient.stride() != weight.stride()
        owned.append(torch.empty_like(weight).copy_(gradient) if shared else gradient)
        seen.add(gradient.data_ptr())
    return owned


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(wanted: str, local_rank: int) -> torch.device:
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = next(name for name in ("cuda", "mps", "cpu") if here[name])
    if not here[wanted]:
        raise InputError(f"--runtime.device {wanted}: there is no such device here")
    if wanted != "cuda":
        return torch.device(wanted)
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"--runtime.device cuda: {torch.cuda.device_count()} GPUs cannot serve local rank {local_rank}"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _precision(wanted: str, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    match wanted:
        case "fp32" | "bf16" | "fp16":
            return wanted
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        has_bf16 = device.type == "cpu" and fast
    return "bf16" if has_bf16 else "fp32"
