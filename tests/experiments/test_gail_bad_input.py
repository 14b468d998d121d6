"""Whatever is wrong with an imitator's input: exit code 2, one line on stderr that names the place, nothing made."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate, gail, resume
from experiments.gail_setup import BUNDLED
from rl.control import environments, spaces
from rl.control.discriminators import StepDiscriminator
from rl.control.encoder import Encoder
from rl.control.learned_reward import LearnedReward
from rl.objectives import GAIL
from tests.experiments import toys
from tests.experiments.bad_input import Case, Prepare, assert_refused, config, damaged, file, setting
from tests.experiments.helpers import CHECKOUT, GAIL_TINY, call, contents, succeed

SCRIPTS: dict[str, Callable[[Sequence[str]], None]] = {
    "gail": gail.main, "resume": resume.main, "evaluate": evaluate.main,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _toys() -> Iterator[None]:
    with toys.registered():
        yield


def flags(*wrong: tuple[str, str]) -> list[Case]:
    return [Case(f"gail gail {tail}", message) for tail, message in wrong]


def demos(**changes: Any) -> Prepare:
    """Two episodes of CartPole, of two steps and three, with arrays changed, or left out where None."""

    def write(tmp: Path, run: Path) -> None:
        arrays: dict[str, Any] = {
            "obs": np.ones((5, 4), np.float32),
            "acts": np.array([0, 1, 0, 1, 1]),
            "rewards": np.ones(5, np.float32),
            "terminated": np.array([0, 1, 0, 0, 0], bool),
            "truncated": np.array([0, 0, 0, 0, 1], bool),
            "episode_starts": np.array([1, 0, 1, 0, 0], bool),
            "final_obs": np.ones((2, 4), np.float32),
            "env_id": np.array("CartPole-v1"),
            "env_kwargs": np.array("{}"),
        }
        arrays |= changes
        np.savez(tmp / "d.npz", **{name: value for name, value in arrays.items() if value is not None})

    return write


def changed(array: np.ndarray, at: Any, value: object) -> np.ndarray:
    array = array.copy()
    array[at] = value
    return array


def one_array(tmp: Path, run: Path) -> None:
    with (tmp / "d.npz").open("wb") as open_file:
        np.save(open_file, OBS)


def cut(tmp: Path, run: Path) -> None:
    demos()(tmp, run)
    (tmp / "d.npz").write_bytes((tmp / "d.npz").read_bytes()[:-40])


def flipped(tmp: Path, run: Path) -> None:
    demos()(tmp, run)
    data = bytearray((tmp / "d.npz").read_bytes())
    data[200] ^= 255
    (tmp / "d.npz").write_bytes(data)


def of_numbers(tmp: Path, run: Path) -> None:
    toys.record(tmp / "d.npz", acts="numbers")


def beyond(tmp: Path, run: Path) -> None:
    of_numbers(tmp, run)
    arrays = dict(np.load(tmp / "d.npz"))
    np.savez(tmp / "d.npz", **arrays | {"acts": changed(arrays["acts"], (2, 1), 1.5)})


def reward(tmp: Path, run: Path) -> None:
    """A learned reward of CartPole."""
    env = environments.make("CartPole-v1", 1, {})
    observations = spaces.observations(env.single_observation_space, where="x")
    actions = spaces.actions(env.single_action_space, where="x")
    encoder = Encoder(observations)
    judge = StepDiscriminator(encoder.features, actions, "state-action", (8,), False, 0.0, "relu")
    LearnedReward(encoder, judge, GAIL(), observations, actions).save(tmp / "reward")


def damaged_reward(tmp: Path, run: Path) -> None:
    reward(tmp, run)
    weights = tmp / "reward/discriminator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")


def reward_and_demos(tmp: Path, run: Path) -> None:
    reward(tmp, run)
    toys.record(tmp / "d.npz")


DAMAGE = damaged("agent")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch exploded",)


GIVEN = "gail gail --demos {tmp}/d.npz"
FILE = "{tmp}/d.npz"
OBS, ACTS, FLAGS = np.ones((5, 4), np.float32), np.array([0, 1, 0, 1, 1]), np.zeros(5, bool)
TOY = "gail gail --env Toy-v0 --demos {tmp}/d.npz --env-kwargs"
COMMAND_LINE = [
    Case("gail gial", "gial: no such variant; did you mean 'gail'?"),
    Case("gail", "command line: the variant is missing, one of gail, "),
    Case("gail --steps 3", "--steps: a flag stands after the variant"),
    *flags(
        ("--stepz 3", "--stepz: no such flag; did you mean '--steps'?"),
        ("--ppo.epoch 3", "--ppo.epoch: no such flag; did you mean '--ppo.epochs'?"),
        ("--preset dem", "--preset dem: no such preset; did you mean 'demo'?"),
        ("--film 3", "command line: '3' belongs to no flag"),
        ("--steps x", "--steps x: expected a whole number"),
        ("--ppo.epochs 1.5", "--ppo.epochs 1.5: expected a whole number"),
        ("--d-lr quick", "--d-lr quick: expected a number"),
        ("--d-activation gelu", "--d-activation gelu: expected one of 'relu', 'tanh'"),
        ("--hidden x", "--hidden"),
        ("--runtime.device tpu", "--runtime.device tpu: expected one of "),
        ("--seed -1", "--seed -1: must be zero or more"),
        ("--steps -1", "--steps -1: must be zero or more"),
        ("--envs 0", "--envs 0: must be above zero"),
        ("--horizon 0", "--horizon 0: must be above zero"),
        ("--hidden 0", "--hidden 0: must be above zero"),
        ("--hidden 8 -3", "--hidden 8 -3: must be above zero"),
        ("--d-hidden 8 0", "--d-hidden 8 0: must be above zero"),
        ("--subsample 0", "--subsample 0: must be above zero"),
        ("--trajectories -1", "--trajectories -1: must be zero or more"),
        ("--random-steps -1", "--random-steps -1: must be zero or more"),
        ("--replay 0", "--replay 0: must be above zero"),
        ("--update-ratio 0", "--update-ratio 0.0: must be above zero"),
        ("--clone-updates -1", "--clone-updates -1: must be zero or more"),
        ("--constant inf", "--constant inf: too large"),
        ("--log-std nan", "--log-std nan: no number"),
        ("--warm-rounds -1", "--warm-rounds -1: must be zero or more"),
        ("--d-batch 0", "--d-batch 0: must be above zero"),
        ("--d-lr nan", "--d-lr nan: no number"),
        ("--d-lr 0", "--d-lr 0.0: must be above zero"),
        ("--d-ratio -1", "--d-ratio -1.0: must be zero or more"),
        ("--d-penalty inf", "--d-penalty inf: too large"),
        ("--d-dropout 1", "--d-dropout 1.0: must be at least 0 and below 1"),
        ("--d-limit 0", "--d-limit 0.0: must be above zero"),
        ("--constant nan", "--constant nan: no number"),
        ("--ppo.gamma 1", "--ppo.gamma 1.0: must be at least 0 and below 1"),
        ("--trpo.gamma -0.5", "--trpo.gamma -0.5: must be at least 0 and below 1"),
        ("--ppo.lam 1.5", "--ppo.lam 1.5: must be at most 1"),
        ("--sac.tau 2", "--sac.tau 2.0: must be at most 1"),
        ("--ppo.clip 0", "--ppo.clip 0.0: must be above zero"),
        ("--ppo.minibatch -4", "--ppo.minibatch -4: must be above zero"),
        ("--ppo.target-kl nan", "--ppo.target-kl nan: no number"),
        ("--trpo.max-kl 0", "--trpo.max-kl 0.0: must be above zero"),
        ("--evaluate-every 0", "--evaluate-every 0: must be above zero"),
        ("--evaluate-episodes 0", "--evaluate-episodes 0: must be above zero"),
        ("--final-episodes 0", "--final-episodes 0: must be above zero"),
        ("--save-seconds -1", "--save-seconds -1.0: must be zero or more"),
        ("--trajectories 99", f"{BUNDLED}: 99 trajectories asked for, 4 there"),
        ("--subsample 100000", "CartPole-v1: every 100000-th pair of episodes this short leaves none"),
        ("--reward {tmp}", "--reward {tmp}: gail learns its own reward; ppo and sac take one"),
        ("--run-dir {run}", "{run}: holds a run; continue it with: python -m experiments.resume {run}"),
        ("--run-dir {tmp}", "{tmp}: is not empty"),
    ),
    Case("gail ppo --reward {tmp}", "{tmp}/manifest.json: cannot be read: No such file"),
    Case("gail ppo --reward {tmp}/none", "{tmp}/none/manifest.json: cannot be read: No such file"),
    Case("gail ppo --reward {run}", "{run}/manifest.json: cannot be read: No such file"),
    Case("gail ppo --reward {run}/checkpoints/step-64", "{run}/checkpoints/step-64: no reward that can be read"),
    Case("gail ppo --reward {tmp}/reward", "discriminator.safetensors: damaged: ", damaged_reward),
    Case(
        "gail ppo --reward {tmp}/reward --env Toy-v0 --demos {tmp}/d.npz",
        "{tmp}/reward: observations: width: 3, the reward was made for 4", reward_and_demos,
    ),
]  # fmt: skip
ENVIRONMENTS = [
    *flags(
        ("--env CartPol-v1", "CartPol-v1: no such environment; did you mean 'CartPole-v1'?"),
        ("--env CartPole-v9", "CartPole-v9: no such environment; did you mean 'CartPole-v1'?"),
        ("--env zzz/Pong-v5", "zzz/Pong-v5: no such environment; its package registers it on import: pip install it"),
        ("--env nosuch:X-v0", "nosuch:X-v0: a package is missing or too new: No module named 'nosuch'"),
        ("--env a!b", "a!b: cannot be made: Malformed environment ID: a!b"),
        ("--env-kwargs {{", "--env-kwargs {{: not JSON: "),
        ("--env-kwargs []", "--env-kwargs []: expected a JSON object"),
        ('--env-kwargs {{"poles":2}}', "CartPole-v1: cannot be made: "),
        ("--env Blackjack-v1", "Blackjack-v1: observations: Tuple is not supported"),
        ("--env Acrobot-v1", f"{BUNDLED}: obs: shape (2000, 4), expected (2000, 6)"),
        ("--env Pendulum-v1", f"{BUNDLED}: obs: shape (2000, 4), expected (2000, 3)"),
        ('--env-kwargs {{"fault":"no_reset"}} --env Toy-v0', "Toy-v0:environment 0, reset: RuntimeError: the door is"),
    ),
]  # fmt: skip
SPACES = [
    ("observes", "tuple", "Toy-v0: observations: Tuple is not supported; Box, Discrete, MultiDiscrete and Dict of"),
    ("observes", "text", "Toy-v0: observations: words: Text is not supported"),
    ("observes", "nothing", "Toy-v0: observations: an empty space"),
    ("acts", "choices", "Toy-v0: actions: MultiDiscrete is not supported; Box and Discrete are"),
    ("acts", "bits", "Toy-v0: actions: MultiBinary is not supported"),
    ("acts", "matrix", "Toy-v0: actions: a Box must have one dimension, this one has shape (2, 2)"),
    ("acts", "whole_numbers", "Toy-v0: actions: a Box must hold real numbers, this one holds int32"),
]
ENVIRONMENTS += [
    Case(f'gail gail --env Toy-v0 --env-kwargs {{{{"{what}":"{kind}"}}}}', message) for what, kind, message in SPACES
]
UNBOUNDED = 'gail {variant} --env Toy-v0 --env-kwargs {{{{"acts":"without_bounds"}}}} --demos {{tmp}}/d.npz'
ENVIRONMENTS += [
    Case(
        UNBOUNDED.format(variant=variant), "Toy-v0: actions: box without finite bounds: SAC and TD3 need a bounded Box",
        lambda tmp, run: toys.record(tmp / "d.npz", acts="without_bounds"),
    )
    for variant in ("dac", "sqil", "sac", "dac-td3")
]  # fmt: skip
DEMONSTRATIONS = [
    Case(GIVEN, f"{FILE}: No such file or directory"),
    Case("gail dac-td3", "CartPole-v1: actions: discrete without finite bounds: SAC and TD3 need a bounded Box"),
    Case("gail gail --demos {tmp}", "{tmp}: Is a directory"),
    Case("gail gail --demos minari:nobody/nothing-v0", "minari:nobody/nothing-v0: "),
    Case(GIVEN, f"{FILE}: no readable .npz file", file("d.npz", b"")),
    Case(GIVEN, f"{FILE}: no readable .npz file", file("d.npz", b"not a zip")),
    Case(GIVEN, f"{FILE}: no readable .npz file", file("d.npz", b"PK\3\4" + b"?" * 50)),
    Case(GIVEN, f"{FILE}: no readable .npz file", cut),
    Case(GIVEN, f"{FILE}: no readable .npz file", flipped),
    Case(GIVEN, f"{FILE}: no readable .npz file", demos(obs=np.array([Bomb()] * 5, dtype=object))),
    Case(GIVEN, f"{FILE}: one array, not a .npz", one_array),
    Case(GIVEN, f"{FILE}: final_obs, rewards: missing (there: acts, ", demos(rewards=None, final_obs=None)),
    Case(GIVEN, f"{FILE}: obs: no steps", demos(obs=OBS[:0])),
    Case(GIVEN, f"{FILE}: obs: shape (5, 3), expected (5, 4)", demos(obs=OBS[:, :3])),
    Case(GIVEN, f"{FILE}: obs: <U1, expected numbers", demos(obs=OBS.astype("U1"))),
    Case(GIVEN, f"{FILE}: obs[3, 1]: nan is not finite", demos(obs=changed(OBS, (3, 1), np.nan))),
    Case(GIVEN, f"{FILE}: obs[0, 2]: 1e+300 is not finite", demos(obs=changed(OBS.astype(float), (0, 2), 1e300))),
    Case(GIVEN, f"{FILE}: final_obs[1, 0]: inf is not finite", demos(final_obs=changed(OBS[:2], (1, 0), np.inf))),
    Case(GIVEN, f"{FILE}: final_obs: shape (3, 4), expected (2, 4)", demos(final_obs=OBS[:3])),
    Case(GIVEN, f"{FILE}: rewards[2]: nan is not finite", demos(rewards=changed(OBS[:, 0], 2, np.nan))),
    Case(GIVEN, f"{FILE}: acts[4]: 7 is no action of Discrete(2, start=0)", demos(acts=changed(ACTS, 4, 7))),
    Case(GIVEN, f"{FILE}: acts[0]: -1 is no action", demos(acts=changed(ACTS, 0, -1))),
    Case(GIVEN, f"{FILE}: acts: float64 (5,), expected whole numbers (5,)", demos(acts=ACTS * 0.5)),
    Case(GIVEN, f"{FILE}: acts: int64 (5, 1), expected whole numbers", demos(acts=ACTS[:, None])),
    Case(GIVEN, f"{FILE}: terminated: int64 (5,), expected bool", demos(terminated=ACTS)),
    Case(GIVEN, f"{FILE}: truncated: bool (4,), expected bool (5,)", demos(truncated=FLAGS[1:])),
    Case(GIVEN, f"{FILE}: episode_starts[0]: the first step starts no", demos(episode_starts=FLAGS)),
    Case(GIVEN, f"{FILE}: terminated[4]: the last episode does not end", demos(truncated=FLAGS)),
    Case(GIVEN, f"{FILE}: episode_starts[2]: steps after the end", demos(episode_starts=changed(FLAGS, 0, True))),
    Case(GIVEN, f"{FILE}: episode_lengths: not those of the 2 episodes", demos(episode_lengths=np.array([3, 2]))),
    Case(GIVEN, f"{FILE}: episode_returns: not the sums", demos(episode_returns=np.array([2.0, 9.0]))),
    Case(GIVEN, f"{FILE}: env_id: int64 (), expected one text", demos(env_id=np.array(3))),
    Case(GIVEN, f"{FILE}: env_kwargs: ", demos(env_kwargs=np.array("{"))),
    Case(GIVEN, f"{FILE}: env_kwargs: 3, expected a JSON object", demos(env_kwargs=np.array("3"))),
    Case(f"{TOY} {{{{}}}}", f"{FILE}: acts: float32 ", of_numbers),
    Case(f'{TOY} {{{{"acts":"numbers"}}}}', f"{FILE}: acts[2, 1]: 1.5 lies beyond the bounds", beyond),
    Case(f'{TOY} {{{{"observes":"pixels"}}}}', f"{FILE}: obs: shape ", of_numbers),
]
RESUMED = [
    Case("resume {run} --steps -2", "--steps -2: must be zero or more"),
    Case("resume {run} --steps 16", "--steps 16: the run has come to 64 by {run}/checkpoints/step-64"),
    Case("resume {run}", "{run}/config.json: config.demos: missing", config(lambda c: c.pop("demos"))),
    Case("resume {run}", "{run}/config.json: config.size: not a setting", config(lambda c: c.update(size=3))),
    Case(
        "resume {run}", "{run}/config.json: config.variant: 'gial' is no variant; did you mean 'gail'?",
        config(lambda c: c.update(variant="gial")),
    ),
    Case("resume {run}", '{run}/config.json: config.numbers.steps: "3", expected a whole', setting("steps", "3")),
    Case("resume {run}", "{run}/config.json: --envs -3: must be above zero", setting("envs", -3)),
    Case("resume {run}", "{run}/config.json: --hidden 0: must be above zero", setting("hidden", [0])),
    Case("resume {run}", "{run}/config.json: config.numbers.hidden: 8, expected ", setting("hidden", 8)),
    Case("resume {run}", '{run}/config.json: config.numbers.hidden[1]: "8", expected ', setting("hidden", [8, "8"])),
    Case("resume {run}", "{run}/config.json: --env-kwargs {{: not JSON", config(lambda c: c.update(env_kwargs="{"))),
    Case("resume {run}", "{run}/config.json: config.numbers.ppo: expected an object", setting("ppo", 3)),
    Case("resume {run}", "CartPole-v9: no such environment; did you", config(lambda c: c.update(env="CartPole-v9"))),
    Case("resume {run}", "{tmp}/d.npz: No such file", lambda tmp, run: moved(tmp, run, None)),
    Case("resume {run}", "origin.json: {tmp}/d.npz has changed since", lambda tmp, run: moved(tmp, run, demos())),
    Case(
        "resume {run}", "origin.json: a checkpoint of gail, the run is one of airl",
        config(lambda c: c.update(variant="airl")),
    ),
    Case("resume {run}", "agent.json: does not fit this run: ", setting("hidden", [16])),
    Case("resume {run}", "discriminator.json: does not fit this run: ", setting("d_hidden", [16])),
    Case("resume {run}", "collector.json: CartPole-v1: the state is of 2 environments, not 3", setting("envs", 3)),
    Case("resume {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("evaluate {run} --step 5", "{run}/checkpoints/step-5: no such checkpoint (there: 0, 64)"),
    Case("evaluate {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("evaluate {run} --step 64", "{run}/checkpoints/step-64/agent.safetensors: damaged: ", DAMAGE),
    Case("evaluate {run}", "agent.json: does not fit this run: ", setting("hidden", [16])),
    Case("evaluate {run}", "origin.json: {tmp}/d.npz has changed", lambda tmp, run: moved(tmp, run, demos())),
]  # fmt: skip
CASES = [*COMMAND_LINE, *ENVIRONMENTS, *DEMONSTRATIONS, *RESUMED]


def moved(tmp: Path, run: Path, demonstrations: Prepare | None) -> None:
    """Have the run name another file."""
    config(lambda content: content.update(demos=f"{tmp}/d.npz"))(tmp, run)
    if demonstrations is not None:
        demonstrations(tmp, run)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests work on copies."""
    run = tmp_path_factory.mktemp("finished") / "run"
    succeed(gail.main, "gail", *GAIL_TINY, "--run-dir", run)
    return run


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_ends_in_one_line(
    case: Case, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)  # it would ask the network
    monkeypatch.chdir(tmp_path)  # where runs/ would be made
    tmp, run = tmp_path / "tmp", tmp_path / "run"
    tmp.mkdir()
    (tmp / "something").touch()
    if "{run}" in case.command:
        shutil.copytree(finished, run)
    case.prepare(tmp, run)
    before = contents(tmp_path)
    script, *arguments = case.words(tmp_path)
    tiny = [arguments.pop(0), *GAIL_TINY] if script == "gail" and arguments and arguments[0] != "--steps" else []
    ended = call(SCRIPTS[script], *tiny, *arguments)
    assert_refused(case, ended, tmp_path, before, warned=case.prepare is DAMAGE)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 120


FAULTS = {
    "raises": "Toy-v0:environment 0, step 11: RuntimeError: out of the world",
    "observes nan": "Toy-v0:environment 0, step 11: the observation is not finite: [",
    "pays inf": "Toy-v0:environment 0, step 11: the reward is not finite: inf",
    "raises in evaluation": "Toy-v0: RuntimeError: out of the world",
    "observes nan in evaluation": "Toy-v0: a reward or an observation is not finite",
    "pays inf in evaluation": "Toy-v0: a reward or an observation is not finite",
}


@pytest.mark.parametrize("variant", ["gail", "dac"])
@pytest.mark.parametrize(("fault", "message"), FAULTS.items(), ids=FAULTS)
def test_an_environment_that_fails_in_the_middle_ends_the_run_in_one_line(
    tmp_path: Path, variant: str, fault: str, message: str
) -> None:
    flags = toys.toy(tmp_path, acts="numbers", fault=fault, at=999 if "evaluation" in fault else 11)
    ended = call(gail.main, variant, *GAIL_TINY, *flags, "--run-dir", tmp_path / "run")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1
    assert (tmp_path / "run/checkpoints/step-0").is_dir()


PROCESSES = [
    ("gail gial", "error: gial: no such variant; did you mean 'gail'?\n"),
    ("gail gail --env CartPol-v1", "error: CartPol-v1: no such environment; did you mean 'CartPole-v1'?\n"),
]


@pytest.mark.parametrize(("command", "message"), PROCESSES)
def test_bad_input_ends_a_process_in_one_line(command: str, message: str) -> None:
    script, *arguments = command.split()
    ended = subprocess.run(
        [sys.executable, "-m", f"experiments.{script}", *arguments],
        cwd=CHECKOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", message)
