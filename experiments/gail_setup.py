"""What an imitation run is made of: its configuration, its demonstrations, and everything in it that has a state."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import nn

from experiments import config
from experiments.clock import Clock
from experiments.origin import Origin
from rl.control import demonstrations as demos
from rl.control import environments, ppo, trpo
from rl.control.agents import OnPolicyAgent
from rl.control.collecting import Collector
from rl.control.demonstrations import Demonstrations, Subsampled
from rl.control.discrete_sac import DiscreteSACAgent
from rl.control.discriminators import ShapedDiscriminator, StepDiscriminator
from rl.control.encoder import Encoder
from rl.control.learned_reward import LearnedReward
from rl.control.replay import Replay
from rl.control.sac import SACAgent, SACOptimizer
from rl.control.sources import Adversary, Environment, ExpertOrNot, Given, Rules, Source, log_prob_under, nothing
from rl.control.spaces import Actions, Observations
from rl.control.td3 import TD3Agent, TD3Optimizer
from rl.control.variants import VARIANTS, Numbers
from rl.penalties import GradientPenalty, NoPenalty
from rl.runtime import Engine, InputError, Log, Meter, Position, Runtime, checkpoints, rundir, warn

MAY_BE_ZERO = (
    "steps", "trajectories", "random_steps", "clone_updates", "warm_rounds", "d_ratio", "d_penalty", "d_target",
    "d_entropy", "d_replay", "lr_decay", "constant", "seed", "save_seconds", "threads", "entropy_weight", "alpha_lr",
    "lam", "target_noise",
)  # fmt: skip
SHARES = ("d_dropout", "gamma")
SIGNED = ("log_std", "constant", "entropy_per_number")
MAY_BE_INFINITE = ("target_kl",)
ENV = "CartPole-v1"
EVALUATION_SEED = 1_000_003  # added to the seed of a run: the episodes measured are never those trained on
BUNDLED = Path(__file__).parent / "data" / "cartpole_expert.npz"


@dataclass(frozen=True)
class Experiment:
    """A run of an imitator."""

    variant: tyro.conf.Suppress[str]
    numbers: Annotated[Numbers, tyro.conf.arg(name="")]
    preset: Literal["default", "demo", "paper"] = "default"
    """which numbers to start from: this project's, for this environment where it knows it; two minutes; the paper's"""
    env: str = ENV
    """the environment's id in gymnasium"""
    env_kwargs: str = "{}"
    """its arguments, a JSON object"""
    demos: str = str(BUNDLED)
    """an .npz of whole trajectories (rl/control/demonstrations.py says which form), or minari:NAME"""
    reward: Path | None = None
    """ppo and sac: a reward that an imitation run has learned, instead of the environment's"""
    seed: int = 0
    """of the weights, the draws and the environments"""
    run_dir: Path | None = None
    """where the run is kept; none: runs/FAMILY-VARIANT-DATE"""
    evaluate_every: int = 16_384
    """steps in the environment between measurements"""
    evaluate_episodes: int = 16
    """episodes in each of them, with the likeliest actions"""
    final_episodes: int = 50
    """episodes in the measurement at the end"""
    film: bool = True
    """keep pictures of an episode at the end, where the environment can be rendered"""
    save_seconds: float = 60.0
    """seconds between checkpoints"""
    runtime: Runtime = field(default_factory=Runtime)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Return the environment's arguments."""
        return dict(json.loads(self.env_kwargs))


class Cast:
    """Everything in a run that has a state, made from its configuration."""

    def __init__(self, e: Experiment, engine: Engine) -> None:
        n, row = e.numbers, VARIANTS[e.variant]
        self.engine, self.clock, self.at, self.meter = engine, Clock(), Position(), Meter()
        self.collector = Collector(environments.make(e.env, n.envs, e.kwargs), e.seed + engine.rank)
        observations, actions = self.collector.observations, self.collector.actions
        everything = load_demonstrations(e, self.collector)
        self.expert_return = float(everything.returns.mean())
        self.demonstrations = everything.first(e.numbers.trajectories, where=e.demos)
        self.pairs = learned_from(e, self.demonstrations, self.collector)
        self.origin = Origin(e.variant, e.demos, self.demonstrations.steps)
        self.agent, self.optimizer = make_agent(e, observations, actions, engine)
        # as large for a short run: one that goes on further must find what was overwritten there
        remembered = n.replay if row.generator in ("sac", "td3") else max(n.d_replay, n.envs * n.horizon)
        self.replay = Replay(remembered, observations, actions)
        self.discriminator = engine.place(make_discriminator(e, self.agent.encoder.features, actions))
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), n.d_lr, fused=True)
        self.source = make_source(e, self)

    def parts(self, log: Log) -> dict[str, checkpoints.Stateful]:
        """Return what a checkpoint holds."""
        fixed = ("demonstrations", "pairs", "source", "expert_return")
        held = {name: part for name, part in vars(self).items() if name not in fixed} | {"log": log}
        return held | ({"source": self.source} if isinstance(self.source, Adversary) else {})


def load_demonstrations(e: Experiment, collector: Collector) -> Demonstrations:
    """Read all demonstrations of the file: what the expert is worth does not depend on how many are imitated.

    Raises InputError naming file and place.
    """
    found = demos.read(e.demos, collector.observations, collector.actions)
    if found.env_id != e.env:
        warn(f"{e.demos}: recorded in {found.env_id}, the agent acts in {e.env}")
    return found


def learned_from(e: Experiment, demonstrations: Demonstrations, collector: Collector) -> Subsampled:
    """Return the pairs that the imitator sees; the controls see others than the expert's."""
    match VARIANTS[e.variant].imitates:
        case "random-actions":
            demonstrations = demos.random_actions(demonstrations, collector.actions, e.seed)
        case "random":
            env, aimless = environments.make(e.env, 1, e.kwargs), demos.Aimless(collector.actions, e.seed)
            demonstrations = demos.record(aimless, env, len(demonstrations.lengths), e.seed, deterministic=False)
            env.close()
    return demos.subsample(demonstrations, e.numbers.subsample, e.seed)


def make_agent(e: Experiment, observations: Observations, actions: Actions, engine: Engine) -> tuple[Any, Any]:
    """Build the agent on its device, and its optimizer. Raises InputError for actions that it cannot take."""
    n, generator = e.numbers, VARIANTS[e.variant].generator
    if generator in ("ppo", "trpo"):
        agent = engine.place(OnPolicyAgent(observations, actions, n.hidden, n.log_std))
        return agent, ppo.optimizer_for(agent, n.ppo) if generator == "ppo" else trpo.optimizer_for(agent, n.trpo)
    encoder = Encoder(observations)
    parts = (encoder, encoder.features, actions, n.hidden)
    try:
        if generator == "td3":
            deterministic = engine.place(TD3Agent(*parts))
            return deterministic, TD3Optimizer(deterministic, n.td3)
        soft = engine.place(DiscreteSACAgent(*parts) if actions.kind == "discrete" else SACAgent(*parts))
        return soft, SACOptimizer(soft, n.sac)
    except InputError as error:
        raise InputError(f"{e.env}: {error}") from None


def trained_agent(run_dir: Path, observations: Observations, actions: Actions) -> Any:
    """Return the agent of a run, as its newest good checkpoint has it. Raises InputError where it does not fit."""
    e = saved_experiment(run_dir, rundir.read_config(run_dir)["config"])
    agent, _ = make_agent(e, observations, actions, Engine(Runtime("cpu"), e.seed))
    checkpoints.restore(checkpoints.newest(run_dir), {"agent": agent}, partial=True)
    return agent


def make_discriminator(e: Experiment, features: int, actions: Actions) -> nn.Module:
    """Build what judges."""
    n, sees = e.numbers, VARIANTS[e.variant].sees
    if sees == "shaped":
        return ShapedDiscriminator(features, discount(e), n.d_hidden, n.d_activation)
    return StepDiscriminator(features, actions, sees, n.d_hidden, n.d_spectral, n.d_dropout, n.d_activation)


def make_source(e: Experiment, cast: Cast) -> Source:
    """Build what pays."""
    n, row = e.numbers, VARIANTS[e.variant]
    if e.reward is not None:
        reward = LearnedReward.load(e.reward)
        return Given(reward.require(cast.collector.observations, cast.collector.actions, where=str(e.reward)))
    match row.rewarded:
        case "environment":
            return Environment()
        case "expert-or-not":
            return ExpertOrNot(cast.pairs, n.sac.batch, discount(e))
        case "nothing":
            return Given(lambda steps: torch.zeros(steps.terminated.shape))
        case "constant":
            forever = discount(e) / (1 - discount(e)) if n.absorbing else 0.0
            return Given(lambda steps: n.constant * (1 + forever * steps.terminated))
    rules = Rules(n.d_batch, n.d_entropy, n.d_limit, discount(e), n.absorbing)
    minus = log_prob_under(cast.agent.log_prob) if row.minus_log_prob else nothing
    penalty = GradientPenalty(n.d_penalty, n.d_target) if n.d_penalty > 0 else NoPenalty()
    return Adversary(
        cast.agent.encoder, cast.collector.actions, cast.discriminator, cast.pairs, row.objective, penalty,
        cast.d_optimizer, rules, cast.engine, minus,
    )  # fmt: skip


def discount(e: Experiment) -> float:
    """Return the discount of the agent's generator."""
    n = e.numbers
    gammas = {"ppo": n.ppo.gamma, "trpo": n.trpo.gamma, "sac": n.sac.gamma, "td3": n.td3.gamma}
    return gammas[VARIANTS[e.variant].generator]


def rounds(n: Numbers) -> int:
    """Return how many rounds of collecting make at least the steps that are wanted."""
    return -(-n.steps // (n.envs * n.horizon))


def check(e: Experiment) -> None:
    """Raise InputError for a number out of its range, or settings that do not fit each other."""
    config.check_numbers(e, may_be_zero=MAY_BE_ZERO, shares=SHARES, signed=SIGNED, unbounded=MAY_BE_INFINITE)
    n = e.numbers
    for flag, sizes in (("--hidden", n.hidden), ("--d-hidden", n.d_hidden)):
        if min(sizes, default=1) < 1:
            raise InputError(f"{flag} {' '.join(map(str, sizes))}: must be above zero")
    shares = {"ppo.lam": n.ppo.lam, "trpo.lam": n.trpo.lam, "sac.tau": n.sac.tau, "td3.tau": n.td3.tau}
    for name, share in shares.items():
        if share > 1:
            raise InputError(f"--{name} {share}: must be at most 1")
    try:
        kwargs = json.loads(e.env_kwargs)
    except json.JSONDecodeError as error:
        raise InputError(f"--env-kwargs {e.env_kwargs}: not JSON: {error}") from None
    if not isinstance(kwargs, dict):
        raise InputError(f"--env-kwargs {e.env_kwargs}: expected a JSON object")
    replays = VARIANTS[e.variant].generator in ("sac", "td3")
    for flag, number in (("clone-updates", e.numbers.clone_updates), ("warm-rounds", e.numbers.warm_rounds)):
        if replays and number:
            raise InputError(f"--{flag} {number}: {e.variant} cannot be cloned; agents with PPO or TRPO can")
    if VARIANTS[e.variant].rewarded == "nothing" and e.numbers.steps:
        raise InputError(f"--steps {e.numbers.steps}: {e.variant} only copies; gail --clone-updates N goes on")
    if e.reward is not None and VARIANTS[e.variant].rewarded != "environment":
        raise InputError(f"--reward {e.reward}: {e.variant} learns its own reward; ppo and sac take one")


def saved_experiment(run_dir: Path, saved: dict[str, object]) -> Experiment:
    """Return the experiment of a run; raise InputError naming the file and the setting that is wrong."""
    return config.of_run(Experiment, VARIANTS, check, run_dir, saved)
