"""The table of imitators: a row is a generator, what judges it, and numbers."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from rl.control.discriminators import Sees
from rl.control.ppo import PPO
from rl.control.sac import SAC
from rl.control.td3 import TD3
from rl.control.trpo import TRPO
from rl.objectives import AIRL, FAIRL, GAIL, Objective, Wasserstein

Imitated: TypeAlias = Literal["expert", "random", "random-actions"]
Generator: TypeAlias = Literal["ppo", "trpo", "sac", "td3"]
Rewarded: TypeAlias = Literal["adversary", "environment", "expert-or-not", "constant", "nothing"]


@dataclass(frozen=True)
class Numbers:
    """The numbers of an imitation run; each is a flag."""

    steps: int = 1_500_000
    """steps in the environment"""
    envs: int = 16
    """environments side by side"""
    horizon: int = 256
    """steps in each of them between two updates"""
    trajectories: int = 0
    """of the demonstrations; 0 takes all"""
    subsample: int = 1
    """keep every n-th pair of a trajectory, from a random offset (the GAIL paper: 20)"""
    hidden: tuple[int, ...] = (64, 64)
    """units in the hidden layers of the agent's networks"""
    log_std: float = -1.0
    """logarithm of the spread that a Gaussian policy begins with, in half ranges of the action"""
    lr_decay: float = 0.5
    """share of the run, its end, over which the agent's rates (not TRPO's) fall evenly to zero; 0: never"""
    random_steps: int = 10_000
    """random steps before an agent that replays begins to learn"""
    replay: int = 1_000_000
    """steps that such an agent remembers"""
    update_ratio: float = 0.25
    """its updates for each step in the environment"""
    clone_updates: int = 0
    """updates of behaviour cloning to start from"""
    warm_rounds: int = 0
    """rounds after cloning in which the values alone learn"""
    d_hidden: tuple[int, ...] = (64,)
    """units in the hidden layers of the discriminator"""
    d_activation: Literal["relu", "tanh"] = "relu"
    """after each of them"""
    d_spectral: bool = True
    """spectral normalisation of the discriminator"""
    d_dropout: float = 0.0
    """dropout of the discriminator"""
    d_lr: float = 3e-4
    """Adam's rate for the discriminator"""
    d_batch: int = 256
    """the expert's steps in a batch of the discriminator, and as many of the agent's"""
    d_ratio: float = 0.01
    """the discriminator's updates for each step in the environment"""
    d_replay: int = 0
    """steps that the discriminator of an agent without replay remembers; 0: those of the last round"""
    d_penalty: float = 10.0
    """weight of the gradient penalty; 0: none"""
    d_target: float = 1.0
    """norm of the gradient that costs nothing"""
    d_entropy: float = 0.001
    """weight of the entropy of the discriminator's verdicts"""
    d_limit: float = 10.0
    """logits beyond it, of either sign, count as it"""
    absorbing: bool = True
    """judge the state after a termination; otherwise a termination simply ends, worth 0"""
    constant: float = 1.0
    """the reward of the constant control"""
    ppo: PPO = field(default_factory=lambda: PPO(minibatch=512))
    trpo: TRPO = field(default_factory=TRPO)
    sac: SAC = field(default_factory=SAC)
    td3: TD3 = field(default_factory=TD3)


@dataclass(frozen=True)
class Variant:
    """A row of the table."""

    summary: str
    generator: Generator = "ppo"
    rewarded: Rewarded = "adversary"
    objective: Objective = field(default_factory=GAIL)
    sees: Sees | Literal["shaped"] = "state-action"
    """what the discriminator reads; shaped: AIRL's g and h"""
    minus_log_prob: bool = False
    """AIRL: the logit is f - log pi"""
    imitates: Imitated = "expert"
    """whom: the controls imitate one who acts at random, or the expert's states with random actions"""


VARIANTS = {
    "gail": Variant("GAIL with PPO: least CPU time where steps are cheap"),
    "gail-trpo": Variant("GAIL with TRPO, the paper's own algorithm", generator="trpo"),
    "airl": Variant(
        "AIRL: a state reward that can be carried elsewhere", objective=AIRL(), sees="shaped", minus_log_prob=True
    ),
    "fairl": Variant("FAIRL: the forward KL", objective=FAIRL()),
    "wail": Variant("WAIL: the Wasserstein distance", objective=Wasserstein()),
    "gaifo": Variant("GAIfO: from states alone, (s, s')", sees="state-next"),
    "dac": Variant("DAC, as Orsini et al. advise, with SAC: fewest steps in the environment", generator="sac"),
    "dac-td3": Variant("DAC with TD3, as published", generator="td3"),
    "sqil": Variant(
        "SQIL: reward 1 for the expert's steps, 0 for one's own", generator="sac", rewarded="expert-or-not"
    ),
    "gail-random": Variant("control: GAIL of one who acts at random", imitates="random"),
    "gail-states": Variant("control: GAIL of the expert's states with random actions", imitates="random-actions"),
    "gail-constant": Variant("control: a constant reward, survival alone", rewarded="constant"),
    "ppo": Variant("no imitation: PPO on the environment's reward, or on --reward", rewarded="environment"),
    "sac": Variant("no imitation: SAC on the environment's reward, or on --reward", "sac", "environment"),
    "bc": Variant("behaviour cloning alone", rewarded="nothing"),
}


PRESETS = ("default", "demo", "paper")

CLASSIC = {
    "envs": 32, "horizon": 64, "lr_decay": 1.0, "d_spectral": False, "d_lr": 1e-3, "d_penalty": 1.0, "d_target": 0.0,
    "ppo": PPO(minibatch=256, lr=1e-3),
}  # fmt: skip
"""for environments whose steps cost next to nothing"""
BOUNDED = {
    "horizon": 128, "ppo": PPO(minibatch=256, lr=1e-3, gamma=0.95), "log_std": 0.0, "d_ratio": 0.02, "d_penalty": 1.0,
    "d_target": 0.0,
}  # fmt: skip
"""for short tasks with bounded actions"""
TASKS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {**CLASSIC, "steps": 150_000, "d_ratio": 0.008},
    "Acrobot-v1": {**CLASSIC, "steps": 300_000, "d_ratio": 0.008},
    "MountainCar-v0": {
        **CLASSIC, "steps": 400_000, "lr_decay": 0.5, "d_ratio": 0.016, "d_penalty": 10.0, "d_target": 1.0,
        "ppo": PPO(minibatch=256, lr=1e-3, entropy_weight=0.01),
    },
    "Walker2d-v5": {
        "ppo": PPO(minibatch=512, gamma=0.995, lam=0.97), "steps": 2_000_000, "d_spectral": False, "d_lr": 1e-3,
        "d_penalty": 1.0, "d_target": 0.0
    },
    "Pendulum-v1": {**BOUNDED, "steps": 200_000},
    "Reacher-v5": {**BOUNDED, "steps": 400_000},
}  # fmt: skip
"""what differs from the defaults in an environment, for imitators that learn from their own steps"""
OFF_POLICY: dict[str, Any] = {
    "steps": 300_000, "envs": 4, "horizon": 64, "hidden": (128, 128), "d_ratio": 0.05, "d_batch": 256,
    "update_ratio": 0.5, "sac": SAC(critic_lr=1e-3, tau=0.01),
}  # fmt: skip
"""for those that replay"""

PAPER: dict[str, Any] = {
    "steps": 25_000_000, "envs": 50, "horizon": 1000, "trajectories": 4, "subsample": 20, "hidden": (100, 100),
    "d_hidden": (100, 100), "d_activation": "tanh", "d_spectral": False, "d_penalty": 0.0, "d_lr": 0.01,
    "d_ratio": 1 / 50_000, "d_batch": 50_000, "absorbing": False, "trpo": TRPO(fisher_every=5),
    "ppo": PPO(gamma=0.995, lam=0.97, minibatch=512),
}  # fmt: skip
"""Ho & Ermon 2016 on MuJoCo: 500 rounds of 50,000 steps, one step of the discriminator on all of them"""


def numbers_for(variant: str, env_id: str, preset: str) -> Numbers:
    """Return the numbers of a row for an environment; demo: a fifth of the steps."""
    row = VARIANTS[variant]
    if variant == "bc":
        return Numbers(steps=0, clone_updates=20_000, hidden=(100, 100))
    replays = row.generator in ("sac", "td3")
    if preset == "paper" and not replays:
        return Numbers(**PAPER)
    n = Numbers(**(OFF_POLICY if replays else TASKS.get(env_id, {})))
    if variant == "airl":  # f must follow log pi, which moves
        n = replace(n, d_replay=1_000_000, d_ratio=0.05, d_lr=1e-3, d_penalty=1.0, d_target=0.0)
        n = replace(n, ppo=replace(n.ppo, entropy_weight=0.001))
    return replace(n, steps=n.steps // 5) if preset == "demo" else n
