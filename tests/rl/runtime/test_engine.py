import math
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rl.runtime.checkpoints import restore, save
from rl.runtime.engine import Engine, Runtime
from rl.runtime.errors import Diverged, InputError

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    threads, numpy, python = torch.get_num_threads(), np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    np.random.set_state(numpy)
    random.setstate(python)


def engine(precision: Any = "fp32", device: Any = "cpu", seed: int = 0, compile: bool = False) -> Engine:
    return Engine(Runtime(device=device, precision=precision, compile=compile), seed)


def small(here: Engine, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return here.place(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)))


def weights(net: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in net.parameters()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_update_is_torchs_own_step_clipped() -> None:
    here, x = engine(), torch.randn(8, 6)
    ours, theirs = small(here), small(here)
    our_step, their_step = (torch.optim.Adam(net.parameters(), 0.01) for net in (ours, theirs))
    for clip in (math.inf, 0.1, 1e9):
        norm = here.update(our_step, ours(x).square().mean(), name="net", clip=clip)
        their_step.zero_grad()
        theirs(x).square().mean().backward()
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        their_step.step()
        assert torch.equal(norm, expected)
        assert not norm.requires_grad
        assert equal(weights(ours), weights(theirs))
    assert all(weight.grad is None for weight in ours.parameters())


def test_an_update_touches_no_other_network() -> None:
    here, x = engine(), torch.randn(8, 6)
    generator, judge = here.place(nn.Linear(6, 6)), small(here)
    before = weights(judge)
    step = torch.optim.SGD(generator.parameters(), 0.1)
    moved = weights(generator)
    here.update(step, -judge(generator(x)).mean(), name="generator")
    assert equal(weights(judge), before)
    assert all(weight.grad is None for weight in judge.parameters())
    assert not equal(weights(generator), moved)


def test_unused_and_frozen_weights_and_shared_gradients() -> None:
    here = engine()
    a, b, unused, frozen = (nn.Parameter(torch.ones(2)) for _ in range(4))
    frozen.requires_grad_(False)
    step = torch.optim.SGD([a, b, unused, frozen], 1.0)
    norm = here.update(step, (a + b).sum(), name="x", clip=1.0)  # autograd gives a and b one tensor
    assert norm.item() == pytest.approx(2.0)
    assert a.tolist() == b.tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
    assert unused.tolist() == frozen.tolist() == [1.0, 1.0]


def test_a_loss_that_differentiates_twice() -> None:
    """Penalty (d/dx w x^2)^2 = 4 w^2 x^2 at x = 3, w = 2: the gradient is 8 w x^2 = 144."""
    here = engine()
    w, x = nn.Parameter(torch.tensor(2.0)), torch.tensor(3.0, requires_grad=True)
    (slope,) = torch.autograd.grad(w * x**2, x, create_graph=True)
    norm = here.update(torch.optim.SGD([w], 0.01), slope**2, name="penalty")
    assert norm == 144
    assert w.item() == pytest.approx(2 - 1.44)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_loss_stops_before_the_step(precision: str, bad: float) -> None:
    here = engine(precision)
    net = small(here)
    step = torch.optim.Adam(net.parameters())
    here.update(step, net(torch.ones(1, 6)).sum(), name="judge")
    before, state = weights(net), str(step.state_dict())
    with pytest.raises(Diverged, match=f"^judge: update 2: the loss is {bad}$"):
        here.update(step, net(torch.ones(1, 6)).sum() * 0 + bad, name="judge")
    assert equal(weights(net), before)
    assert str(step.state_dict()) == state
    assert all(weight.grad is None for weight in net.parameters())
    here.update(step, net(torch.ones(1, 6)).sum(), name="judge")
    assert not equal(weights(net), before)


def bad_gradient(net: nn.Module) -> Tensor:
    """A finite loss, zero, whose gradient in the last bias is not: the slope of a root at 0."""
    bias = net[2].bias  # type: ignore[index]
    return (bias.detach() - bias).sqrt().sum() + 0 * net(torch.ones(1, 6)).sum()


def test_a_bad_gradient_names_player_and_parameter() -> None:
    here = engine()
    net = small(here)
    before = weights(net)
    step = torch.optim.Adam(net.parameters())
    with pytest.raises(Diverged, match=r"^judge: update 1: the gradient of Sequential\.2\.bias is not finite \(loss 0"):
        here.update(step, bad_gradient(net), name="judge")
    assert equal(weights(net), before)
    stranger = nn.Parameter(torch.zeros(2))
    with pytest.raises(Diverged, match=r"gradient of parameter 0 of shape \(2,\)"):
        here.update(torch.optim.SGD([stranger], 1.0), stranger.sqrt().sum(), name="x")
    huge = nn.Parameter(torch.zeros(2))
    with pytest.raises(Diverged, match="all parameters together"):
        here.update(torch.optim.SGD([huge], 1.0), (huge * 3e38).sum(), name="x")


def test_fp16_skips_counts_and_gives_up_after_twenty() -> None:
    here = engine("fp16")
    net = small(here)
    step = torch.optim.SGD(net.parameters(), 0.1)
    before = weights(net)
    for skipped in (1, 2, 3):
        here.update(step, bad_gradient(net), name="judge")
        assert here.skipped("judge") == skipped
    assert equal(weights(net), before)
    assert here.state_dict()["scalers"]["judge"]["scaler"]["scale"] == 65536 / 8
    here.update(step, net(torch.ones(1, 6)).sum(), name="judge")  # a good step ends the row
    for _ in range(19):
        here.update(step, bad_gradient(net), name="judge")
    with pytest.raises(Diverged, match=r"Sequential\.2\.bias is not finite, in 20 fp16 steps in a row"):
        here.update(step, bad_gradient(net), name="judge")
    assert here.skipped("judge") == 23
    assert here.skipped("generator") == 0


def test_an_fp16_step_is_unscaled_and_clipped() -> None:
    here, x = engine("fp16"), torch.randn(8, 6)
    ours, theirs = small(here), small(here)
    norm = here.update(torch.optim.SGD(ours.parameters(), 0.1), ours(x).square().mean(), name="x", clip=0.5)
    exact = engine().update(torch.optim.SGD(theirs.parameters(), 0.1), theirs(x).square().mean(), name="x", clip=0.5)
    assert torch.allclose(norm, exact)
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_each_player_has_its_own_scale_and_all_come_back(tmp_path: Path) -> None:
    here = engine("fp16")
    net = small(here)
    step = torch.optim.SGD(net.parameters(), 0.1)
    here.update(step, bad_gradient(net), name="judge")
    here.update(step, net(torch.ones(1, 6)).sum(), name="generator")
    folder = save(tmp_path, 1, {"engine": here})
    again = engine("fp16", seed=5)
    restore(folder, {"engine": again})
    scalers = again.state_dict()["scalers"]
    assert scalers == here.state_dict()["scalers"]
    assert (scalers["judge"]["scaler"]["scale"], scalers["generator"]["scaler"]["scale"]) == (32768, 65536)
    net = small(again)
    again.update(torch.optim.SGD(net.parameters(), 0.1), bad_gradient(net), name="judge")
    assert again.skipped("judge") == 2
    assert again.state_dict()["scalers"]["judge"]["scaler"]["scale"] == 16384
    with pytest.raises(Diverged, match="judge: update 3:"):
        again.update(torch.optim.SGD(net.parameters(), 0.1), net(torch.ones(1, 6)).sum() * math.nan, name="judge")


def trained(here: Engine, steps: int = 20) -> list[Tensor]:
    net = small(here)
    step, judge = torch.optim.SGD(net.parameters(), 0.05), here.fast(net)
    torch.manual_seed(1)
    x = torch.randn(32, 6).to(here.device)
    while steps:  # the first scales of fp16 may be too large: such a step is skipped, not counted
        steps -= int(here.update(step, (judge(x).float() - 1).square().mean(), name="net").isfinite())
    return [weight.cpu() for weight in weights(net)]


def near(first: list[Tensor], second: list[Tensor], tolerance: float) -> bool:
    return all(torch.allclose(a, b, atol=tolerance) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_near_fp32(precision: str) -> None:
    here = engine(precision)
    exact = trained(engine())
    low = trained(here)
    assert near(low, exact, 0.02)
    assert here.skipped("net") <= 4
    assert not equal(low, exact)  # it was low indeed


def test_fast_computes_in_low_precision_and_shares_weights() -> None:
    here = engine("bf16")
    net = small(here)
    judge = here.fast(net)
    x = torch.randn(4, 6)
    assert judge(x).dtype == torch.bfloat16
    assert net(x).dtype == torch.float32
    before = judge(x)
    here.update(torch.optim.SGD(net.parameters(), 1.0), net(x).mean(), name="net")
    assert not torch.equal(judge(x), before)
    assert torch.allclose(judge(x).float(), net(x), atol=0.05)
    net.eval()
    with torch.no_grad():
        assert not judge(x).requires_grad


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_smooth_is_the_net_itself_though_others_are_compiled(precision: str) -> None:
    here = engine(precision, compile=True)
    net = small(here)
    assert here.smooth(net) is net


def test_smooth_computes_as_fast_does_and_stays_a_module() -> None:
    here = engine("bf16", compile=True)
    net, x = small(here), torch.randn(4, 6)
    smooth = here.smooth(net)
    assert torch.equal(smooth(x), engine("bf16").fast(net)(x))
    assert smooth(x).dtype == torch.bfloat16
    assert isinstance(smooth, nn.Module)
    assert {id(weight) for weight in smooth.parameters()} == {id(weight) for weight in net.parameters()}
    assert not torch.is_autocast_enabled("cpu")
    assert here.smooth(torch.mm)(x, x.T).dtype == torch.bfloat16  # any callable


def test_smooth_is_differentiated_twice_in_low_precision() -> None:
    here = engine("bf16")
    net, x = small(here), torch.randn(64, 6, requires_grad=True)

    def of_slopes(judge: Any) -> Tensor:
        (slopes,) = torch.autograd.grad(judge(x).float().sum(), x, create_graph=True)
        return torch.cat([g.flatten() for g in torch.autograd.grad(slopes.square().sum(), list(net.parameters())[:-1])])

    low, exact = of_slopes(here.smooth(net)), of_slopes(net)
    assert not torch.equal(low, exact)
    assert torch.cosine_similarity(low, exact, dim=0) > 0.999
    assert low.norm().item() == pytest.approx(exact.norm().item(), rel=0.01)


needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="torch.compile on the CPU needs a compiler"
)


@needs_compiler
@pytest.mark.slow
def test_compiled_equals_eager_and_shares_weights() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler warns about its own parts
        exact = trained(engine(), steps=5)
        assert near(trained(engine(compile=True), steps=5), exact, 1e-6)
        here = engine(compile=True)
        net = small(here)
        judge, x = here.fast(net), torch.randn(4, 6)
        judge(x)
        here.update(torch.optim.SGD(net.parameters(), 1.0), net(x).mean(), name="net")
        assert torch.allclose(judge(x), net(x), atol=1e-6)


def draws() -> list[float]:
    torch_draw, device_draw = torch.rand(1).item(), torch.randn(3).sum().item()
    return [torch_draw, device_draw, np.random.rand(), np.random.randn(), random.random(), random.gauss(0, 1)]


@pytest.mark.parametrize("spare", [0, 1])
def test_random_numbers_go_on_exactly(tmp_path: Path, spare: int) -> None:
    here = engine(seed=3)
    for _ in range(spare):  # normal numbers come in pairs: one is held back
        np.random.randn()
        random.gauss(0, 1)
    folder = save(tmp_path, 1, {"engine": here})
    expected = draws()
    other = engine(seed=4)
    assert draws() != expected
    restore(folder, {"engine": other})
    assert draws() == expected
    engine(seed=3)
    first = draws()
    engine(seed=3)
    assert draws() == first


def test_the_thread_count_comes_back_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Engine(Runtime(device="cpu", threads=2), 0)
    assert torch.get_num_threads() == 2
    state = engine().state_dict()
    torch.set_num_threads(1)
    engine().load_state_dict(state)
    assert torch.get_num_threads() == 2
    assert capsys.readouterr().err.startswith("warning: the run used 2 CPU threads, not 1")


def test_another_number_of_ranks_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    here = engine()
    state = here.state_dict()
    state["generators"] = {name: values * 2 for name, values in state["generators"].items()}
    here.load_state_dict(state)
    assert "had 2 ranks and now has 1" in capsys.readouterr().err


def test_without_other_ranks_nothing_is_gathered() -> None:
    here = engine()
    rows = torch.randn(5, 2)
    assert torch.equal(here.shard(rows), rows)
    assert torch.equal(here.gather_rows(rows), rows)
    metrics = {"b": torch.tensor(1.5, requires_grad=True), "a": 2, "c": torch.tensor(3)}
    assert here.gather(metrics) == {"b": 1.5, "a": 2.0, "c": 3.0}
    assert here.gather({}) == {}
    assert (here.rank, here.world, here.is_main) == (0, 1, True)
    with pytest.raises(InputError, match="0 rows cannot be shared"):
        here.shard(rows[:0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"^--runtime\.device cuda: there is no such device here$"):
        engine(device="cuda")


def test_auto_precision_asks_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for has, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert engine("auto").precision == expected


@gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("compile", [False, True])
def test_on_a_gpu_low_precision_trains_near_fp32(precision: str, compile: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = engine(precision, "cuda", compile=compile)
        assert near(trained(here), trained(engine()), 0.02)
    assert here.skipped("net") <= 4


@gpu
@needs_gpu
def test_on_a_gpu_random_numbers_go_on_exactly(tmp_path: Path) -> None:
    here = engine(device="cuda")
    folder = save(tmp_path, 1, {"engine": here})
    expected = torch.rand(3, device="cuda")
    restore(folder, {"engine": here})
    assert torch.equal(torch.rand(3, device="cuda"), expected)
