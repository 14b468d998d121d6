"""Environment steps per second of GAIL with PPO: ours against Stable-Baselines3's PPO, and against imitation's GAIL.

Stable-Baselines3 has no discriminator, so its side does less. imitation needs older packages: its side runs in a
process and a virtual environment of its own (`benchmarks/imitation_env.sh`), in turn with ours, and is left out where
there is none. Demonstrations are random: speed is measured here, not learning.
"""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from gymnasium.vector import AutoresetMode
from torch.nn import functional as F

from benchmarks.timing import Clock, Measured, Row, Spread, Timing, Work, paired, report
from rl.control import ppo
from rl.control.agents import OnPolicyAgent
from rl.control.collecting import Collector
from rl.control.demonstrations import Subsampled
from rl.control.discriminators import StepDiscriminator, perceptron
from rl.control.earning import Ends
from rl.control.environments import make
from rl.control.sources import Adversary, Rules, nothing
from rl.control.transitions import Transitions
from rl.control.variants import numbers_for
from rl.objectives import GAIL
from rl.penalties import GradientPenalty, NoPenalty
from rl.runtime import Engine, Runtime

IMITATION = Path(".venv/imitation/bin/python")


@dataclass(frozen=True)
class Setting:
    """What a round is."""

    env: str
    envs: int
    horizon: int
    minibatch: int
    epochs: int
    d_updates: int = 1
    d_batch: int = 256
    d_penalty: float = 0.0
    d_replay: int = 0
    """imitation's: how many of the agent's steps its discriminator chooses from; 0: those of the last round"""
    rounds: int = 1
    """that are timed together"""
    threads: int = 1

    @property
    def steps(self) -> int:
        """Return the steps in the environment that are timed together."""
        return self.envs * self.horizon * self.rounds


CARTPOLE = Setting("CartPole-v1", envs=32, horizon=128, minibatch=1024, epochs=4, rounds=4)
HALFCHEETAH = Setting("HalfCheetah-v5", envs=16, horizon=256, minibatch=1024, epochs=5)
AGAINST_SB3 = {
    "cartpole_vs_sb3": CARTPOLE,
    "cartpole_mb64_vs_sb3": replace(CARTPOLE, envs=8, horizon=256, minibatch=64, epochs=10, rounds=1),
    "halfcheetah_vs_sb3": HALFCHEETAH,
    "halfcheetah_mb64_vs_sb3": replace(HALFCHEETAH, envs=8, minibatch=64, epochs=10),
}
# what imitation's documentation and its tuned hyperparameters say
DOCUMENTED = Setting("CartPole-v1", 8, 2048, 64, 5, d_updates=8, d_batch=1024, d_replay=512)
TUNED = Setting("HalfCheetah-v4", 8, 512, 64, 5, d_updates=8, d_batch=8192, d_replay=512)


def recommended(env: str) -> Setting:
    """Return what this project's GAIL does by default."""
    n = numbers_for("gail", env, "default")
    updates = max(1, round(n.d_ratio * n.envs * n.horizon))
    return Setting(env, n.envs, n.horizon, n.ppo.minibatch, n.ppo.epochs, updates, n.d_batch, n.d_penalty, rounds=4)


@dataclass(frozen=True)
class Config:
    """Steps per second of GAIL with PPO against Stable-Baselines3's PPO and imitation's GAIL."""

    json: Path | None = None
    """write the result here as a flat JSON object"""
    repeats: int = 5
    """pairs"""
    threads: int = 1
    """CPU threads"""
    imitation: Path = IMITATION
    """the python of imitation's virtual environment; its rows are left out if it is not there"""
    quick: bool = False
    """CartPole against Stable-Baselines3 alone, one pair"""


class Ours:
    """What this repository does in a round."""

    def __init__(self, setting: Setting) -> None:
        torch.set_num_threads(setting.threads)
        self.setting = setting
        self.engine = Engine(Runtime("cpu", "fp32"), seed=0)
        self.collector = Collector(make(setting.env, setting.envs, {}), seed=0)
        observations, actions = self.collector.observations, self.collector.actions
        self.agent = OnPolicyAgent(observations, actions)
        self.numbers = ppo.PPO(minibatch=setting.minibatch, epochs=setting.epochs)
        self.optimizer = ppo.optimizer_for(self.agent, self.numbers)
        first = self.collector.collect(self.agent.act, 64).steps.flat()
        self.agent.add(first.obs)
        discriminator = StepDiscriminator(self.agent.encoder.features, actions, hidden=(32, 32))
        penalty = GradientPenalty(setting.d_penalty) if setting.d_penalty else NoPenalty()
        self.adversary = Adversary(
            self.agent.encoder, actions, discriminator, Subsampled(first, (0,), Ends(1, first.rows)), GAIL(), penalty,
            torch.optim.Adam(discriminator.parameters(), 1e-3, fused=True),
            Rules(setting.d_batch, 0.0, 10.0, self.numbers.gamma, absorbing=True), self.engine, nothing,
        )  # fmt: skip
        self.parts = {"collect": 0.0, "discriminator": 0.0, "values": 0.0, "update": 0.0}

    def __call__(self) -> None:
        """Train for the setting's rounds."""
        for _ in range(self.setting.rounds):
            self.round()

    def round(self) -> None:
        """Act, judge, learn."""
        marks = [time.process_time()]
        rollout = self.collector.collect(self.agent.act, self.setting.horizon)
        marks.append(time.process_time())
        steps = rollout.steps.flat().take(rollout.mask.flatten().nonzero().squeeze(1))

        def draw(rows: int) -> Transitions:
            return steps.take(torch.randint(steps.rows, (rows,)))

        self.adversary.learn(draw, self.setting.d_updates, Ends(int(steps.terminated.sum()), steps.rows))
        rollout = rollout.relabel(self.adversary.pay)
        marks.append(time.process_time())
        rollout = ppo.prepare(self.agent, rollout)
        marks.append(time.process_time())
        ppo.ppo_round(self.agent, self.optimizer, rollout, self.numbers, self.engine)
        self.agent.add(steps.obs)
        marks.append(time.process_time())
        for part, begun, ended in zip(self.parts, marks, marks[1:], strict=False):
            self.parts[part] += ended - begun


def sb3(setting: Setting) -> Work:
    """Set up Stable-Baselines3's PPO at the same hyperparameters; its networks are two of 64-64 tanh as well."""
    import gymnasium
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    env = DummyVecEnv([lambda: gymnasium.make(setting.env)] * setting.envs)
    sizes = {"n_steps": setting.horizon, "batch_size": setting.minibatch, "n_epochs": setting.epochs}
    model = PPO("MlpPolicy", env, device="cpu", seed=0, **sizes)  # type: ignore[arg-type]
    return lambda: model.learn(setting.steps, reset_num_timesteps=False)


class Imitation:
    """imitation's GAIL in a process of its own."""

    def __init__(self, python: Path, setting: Setting) -> None:
        script = Path(__file__).with_name("imitation_rate.py")
        command = [str(python), str(script), json.dumps(asdict(setting))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __call__(self) -> tuple[float, float]:
        """Train for the setting's rounds; processor seconds and seconds on the wall."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"imitation ended with exit code {self.process.wait()}")
        cpu, wall = json.loads(answer)
        return cpu, wall

    def __enter__(self) -> "Imitation":
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the process."""
        self.process.__exit__(None, None, None)  # closes the pipes and waits


def in_turn(ours: Ours, theirs: Callable[[], tuple[float, float]], repeats: int, factor: float) -> Timing:
    """Time both by turns, each by its own process's clock; their seconds count `factor` times."""

    def mine() -> tuple[float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        ours()
        return time.process_time() - cpu, time.perf_counter() - wall

    mine()
    theirs()
    pairs = [(mine(), theirs()) for _ in range(repeats)]

    def measured(side: int) -> Measured:
        cpu, wall = zip(*(pair[side] for pair in pairs), strict=True)
        return Measured(Spread(cpu), Spread(wall))

    return Timing(measured(0), measured(1)).theirs_times(factor)


def raw_rate(setting: Setting, steps: int = 500) -> float:
    """Return the steps per second of the environments alone, with actions drawn before."""
    env = make(setting.env, setting.envs, {})
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(steps)]
    by_hand = env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    begun = time.process_time()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if by_hand and (ended := terminated | truncated).any():
            env.reset(options={"reset_mask": ended})
    rate = steps * setting.envs / (time.process_time() - begun)
    env.close()
    return rate


def growth(setting: Setting, numbers: tuple[int, ...] = (8, 32, 128, 512)) -> dict[str, float]:
    """Return the steps per second as the number of environments grows, the steps of a round being the same."""
    rates = {}
    for envs in numbers:
        its = replace(setting, envs=envs, horizon=setting.envs * setting.horizon // envs)
        ours = Ours(its)
        ours()
        begun = time.process_time()
        ours()
        rates[f"steps_per_second/cartpole_{envs}_envs"] = its.steps / (time.process_time() - begun)
    return rates


def against_sb3(settings: Mapping[str, Setting], repeats: int) -> tuple[list[Row], dict[str, float]]:
    """Time ours and Stable-Baselines3; our rate, its share of the environments' own, and where a step's time goes."""
    rows, numbers = [], {}
    for name, setting in settings.items():
        ours = Ours(setting)
        timing = paired(ours, sb3(setting), repeats)
        note = f"{setting.envs} x {setting.horizon}, minibatch {setting.minibatch}, {setting.epochs} epochs"
        rows.append(Row(name, "sb3", timing, note))
        what, rate = name.removesuffix("_vs_sb3"), setting.steps / timing.ours.cpu.median
        numbers[f"steps_per_second/{what}"] = rate
        numbers[f"steps_per_second_sb3/{what}"] = setting.steps / timing.theirs.cpu.median
        numbers[f"share_of_raw_env_rate/{what}"] = rate / raw_rate(setting)
        made = setting.steps * (repeats + 1)
        numbers |= {f"microseconds/{part}/{what}": 1e6 * spent / made for part, spent in ours.parts.items()}
    return rows, numbers


def against_bare_network(setting: Setting, repeats: int, updates: int = 200) -> Row:
    """Time the discriminator's updates, drawing and encoding included, beside the same net on a batch made before."""
    ours = Ours(replace(setting, d_penalty=0.0))
    steps = ours.collector.collect(ours.agent.act, setting.horizon).steps.flat()
    batch = torch.randn(2 * setting.d_batch, ours.agent.encoder.features)
    chosen = torch.randint(2, (len(batch), 1))
    labels = torch.arange(len(batch)).lt(setting.d_batch).float()
    net = perceptron(batch.shape[1], (32, 32), 2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)

    def learn() -> None:
        draw = partial(torch.randint, steps.rows)
        ours.adversary.learn(lambda rows: steps.take(draw((rows,))), updates, Ends(1, steps.rows))

    def bare() -> None:
        for _ in range(updates):
            logits = net(batch).gather(1, chosen).squeeze(1)
            loss = F.binary_cross_entropy_with_logits(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    note = f"{updates} updates of {setting.d_batch} + {setting.d_batch} steps"
    return Row("discriminator_vs_bare", "bare network", paired(learn, bare, repeats), note)


def against_imitation(python: Path, repeats: int, threads: int) -> list[Row]:
    """Time ours and imitation: at the same numbers, and each one's own."""
    same = replace(CARTPOLE, rounds=2)
    pairs = {
        "cartpole_same_vs_imitation": (same, same),
        "cartpole_vs_imitation": (recommended("CartPole-v1"), DOCUMENTED),
        "halfcheetah_vs_imitation": (recommended("HalfCheetah-v5"), TUNED),
    }
    rows = []
    for name, (mine, its) in pairs.items():
        with ExitStack() as stack:
            theirs = stack.enter_context(Imitation(python, replace(its, threads=threads)))
            factor = mine.steps / its.steps
            timing = in_turn(Ours(replace(mine, threads=threads)), theirs, repeats, factor)
        rows.append(Row(name, "imitation", timing, f"{its.steps} of their steps timed, for {mine.steps}"))
    return rows


def main(config: Config) -> None:
    """Time and report."""
    clock: Clock = "cpu"
    settings = {name: replace(setting, threads=config.threads) for name, setting in AGAINST_SB3.items()}
    if config.quick:
        name = "cartpole_vs_sb3"
        rows, numbers = against_sb3({name: settings[name]}, 1)
        report(rows, config.json, clock=clock, numbers=numbers)
        return
    rows, numbers = against_sb3(settings, config.repeats)
    rows.append(against_bare_network(CARTPOLE, config.repeats))
    numbers |= growth(CARTPOLE)
    if config.imitation.exists():
        rows += against_imitation(config.imitation, config.repeats, config.threads)
    else:
        print(f"{config.imitation} is not there: run benchmarks/imitation_env.sh to compare with imitation")
    report(rows, config.json, clock=clock, numbers=numbers)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
