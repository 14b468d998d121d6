"""Adversarial imitation in gymnasium: `python -m experiments.gail VARIANT [--flags]`; act, judge, learn."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from experiments import config, gail_results, launch
from experiments.gail_setup import ENV, Cast, Experiment, check, discount, rounds, saved_experiment
from rl.control import cloning, ppo, sac, td3, trpo
from rl.control.earning import Ends
from rl.control.spaces import Actions
from rl.control.transitions import Transitions
from rl.control.variants import PRESETS, VARIANTS, Numbers, numbers_for
from rl.rollout import Rollout
from rl.runtime import Engine, Keeper, Log, Stop, Stopped, checkpoints, exit_codes

Metrics = dict[str, Tensor]
FAMILY = "gail"


def train(e: Experiment, cast: Cast, engine: Engine, run_dir: Path, checkpoint: Path | None = None) -> None:
    """Run or continue: clone if asked to; then act, judge and learn in turn; measure at the last step."""
    n, at, clock = e.numbers, cast.at, cast.clock
    per_round = n.envs * n.horizon
    learn = {"ppo": learn_ppo, "trpo": learn_trpo, "sac": learn_sac, "td3": learn_td3}[VARIANTS[e.variant].generator]
    with Stop() as stop, Log(run_dir, total=rounds(n) * per_round) as log:
        keeper = Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, cast.parts(log))
        else:
            log.begin()

        # 1. Copy: the statistics of what the expert saw, and its actions if that is asked for.
        for _ in at.loop("prepare", 1):
            cast.agent.encoder.add(cast.demonstrations.steps.obs.to(engine.device))
            if n.clone_updates:
                numbers = cloning.Cloning(updates=n.clone_updates)
                policy = cast.agent.policy_parameters()
                cloned = cloning.clone(cast.agent, policy, cast.pairs.steps, numbers, engine, seed=e.seed)
                log.log(0, cloned | gail_results.measure(e, cast, e.evaluate_episodes))
            keeper.save(0)

        # 2. Act, judge, learn.
        for turn in at.loop("rounds", rounds(n)):
            step = (turn + 1) * per_round
            log.progress("imitating", turn, rounds(n))
            cast.meter.add(learn(e, cast, turn))
            if step // e.evaluate_every > (step - per_round) // e.evaluate_every or turn + 1 == rounds(n):
                measured = gail_results.measure(e, cast, e.evaluate_episodes) | gail_results.episodes(cast.collector)
                log.log(step, engine.gather(cast.meter.flush() | measured) | {"cpu_seconds": clock.seconds})
            keeper(step)
        keeper.save(rounds(n) * per_round)
        log.progress("measuring", 1, 1)
        stop.at_once = True
        if stop.requested:  # it came after the last round
            raise Stopped(stop.requested)
        if engine.is_main:
            gail_results.finish(run_dir, e, cast)


def learn_ppo(e: Experiment, cast: Cast, turn: int) -> Metrics:
    """Do one round on the agent's own steps with proximal policy optimisation."""
    rollout, judged = act_and_judge(e, cast)
    ready = ppo.prepare(cast.agent, rollout)
    if turn < e.numbers.warm_rounds:
        return judged | warm_values(e, cast, ready)
    ppo.set_rate(cast.optimizer, e.numbers.ppo.lr * share_of_rate(e, turn))
    learned = ppo.ppo_round(cast.agent, cast.optimizer, ready, e.numbers.ppo, cast.engine)
    cast.agent.add(ready.steps.obs[ready.mask])
    return judged | of_agent(learned)


def learn_trpo(e: Experiment, cast: Cast, turn: int) -> Metrics:
    """Do one round on the agent's own steps within a trust region."""
    rollout, judged = act_and_judge(e, cast)
    ready = ppo.prepare(cast.agent, rollout)
    if turn < e.numbers.warm_rounds:
        return judged | warm_values(e, cast, ready)
    learned = trpo.trpo_round(cast.agent, cast.optimizer, ready, e.numbers.trpo, cast.engine)
    cast.agent.add(ready.steps.obs[ready.mask])
    return judged | of_agent(learned)


def warm_values(e: Experiment, cast: Cast, rollout: Rollout[Transitions]) -> Metrics:
    """Fit the values alone, so that a cloned policy is not unlearned by advantages that mean nothing yet."""
    numbers = cloning.Warming(discount=discount(e))
    warmed = cloning.warm_values(cast.agent.value, cast.agent.parameters(), rollout, numbers, cast.engine)
    return {name: torch.tensor(value) for name, value in warmed.items()}


def act_and_judge(e: Experiment, cast: Cast) -> tuple[Rollout[Transitions], Metrics]:
    """Collect a rollout, let the source learn from it, and pay its steps."""
    rollout = collect(cast, act_on(cast), e.numbers.horizon)
    judged = judge(e, cast)
    rollout = rollout.relabel(cast.source.pay)
    return rollout, judged | {"reward": rollout.rewards[rollout.mask].mean()}


def collect(cast: Cast, act: Callable[[Tensor], Tensor], steps: int) -> Rollout[Transitions]:
    """Act, and keep the steps that count in the replay."""
    rollout = cast.collector.collect(act, steps)
    kept = rollout.mask.flatten().nonzero().squeeze(1)
    cast.replay.add(rollout.steps.flat().take(kept), rollout.rewards.flatten()[kept])
    return rollout


def judge(e: Experiment, cast: Cast) -> Metrics:
    """Let the source learn from the steps in the replay."""
    n, replay = e.numbers, cast.replay
    ends = Ends(int(replay.steps.terminated[: len(replay)].sum()), len(replay))
    return cast.source.learn(lambda rows: replay.sample(rows)[0], updates(n.d_ratio, n), ends)


def learn_sac(e: Experiment, cast: Cast, turn: int) -> Metrics:
    """Do one round on the replay with soft actor-critic."""
    numbers = e.numbers.sac
    return learn_from_replay(e, cast, turn, numbers.batch, partial(sac.sac_round, numbers=numbers))


def learn_td3(e: Experiment, cast: Cast, turn: int) -> Metrics:
    """Do one round on the replay with twin delayed policy gradients."""
    numbers = e.numbers.td3
    return learn_from_replay(e, cast, turn, numbers.batch, partial(td3.td3_round, numbers=numbers))


def learn_from_replay(e: Experiment, cast: Cast, turn: int, batch: int, improve: Callable[..., Metrics]) -> Metrics:
    """Collect steps into the replay, and learn from it; rewards are given as steps are drawn."""
    n, device = e.numbers, cast.engine.device
    wanders = turn * n.envs * n.horizon < n.random_steps
    collect(cast, partial(wander, cast.collector.actions) if wanders else act_on(cast), n.horizon)
    if wanders:
        return {}
    cast.optimizer.set_share(share_of_rate(e, turn))
    judged = judge(e, cast)
    lesson, rewards = cast.source.lesson(cast.replay, updates(n.update_ratio, n) * batch)
    learned = improve(cast.agent, cast.optimizer, lesson.to(device), rewards.to(device))
    return judged | of_agent(learned) | {"reward": rewards.mean()}


def share_of_rate(e: Experiment, turn: int) -> float:
    """Return which share of its rates the agent learns with: all, then less and less towards the end."""
    left = 1 - turn / rounds(e.numbers)
    return min(1.0, left / e.numbers.lr_decay) if e.numbers.lr_decay else 1.0


def of_agent(metrics: Metrics) -> Metrics:
    """Name the player."""
    return {f"agent/{name}": value for name, value in metrics.items()}


def act_on(cast: Cast) -> Callable[[Tensor], Tensor]:
    """Return how the agent acts on rows on the CPU."""
    return lambda obs: cast.agent.act(obs.to(cast.engine.device))


def wander(actions: Actions, obs: Tensor) -> Tensor:
    """Act at random: evenly over the choices or within the bounds."""
    if actions.kind == "discrete":
        return torch.randint(actions.size, (len(obs),))
    low, high = torch.tensor(actions.low), torch.tensor(actions.high)
    return low + (high - low) * torch.rand(len(obs), actions.size)


def updates(ratio: float, n: Numbers) -> int:
    """Return the updates of a round, for so many for each step in the environment."""
    return max(1, round(ratio * n.envs * n.horizon)) if ratio else 0


def evaluate(run_dir: Path, saved: dict[str, object], folder: Path) -> dict[str, float]:
    """Recompute summary.json from a checkpoint."""
    e = saved_experiment(run_dir, saved)
    cast = Cast(e, Engine(e.runtime, e.seed))
    names = ("origin", "agent", "discriminator", "clock", "collector")
    checkpoints.restore(folder, {name: getattr(cast, name) for name in names}, partial=True)
    return gail_results.summarise(run_dir, e, cast)


def parse(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that the command line asks for; raise InputError in one line."""
    env = config.peek(arguments, "--env", default=ENV)

    def rows(preset: str) -> dict[str, tuple[str, Experiment]]:
        return {
            name: (row.summary, Experiment(name, numbers_for(name, env, preset), preset))  # type: ignore[arg-type]
            for name, row in VARIANTS.items()
        }

    return config.of_command_line(arguments, FAMILY, PRESETS, rows, check, __doc__)


def steps_made(e: Experiment, checkpoint: Path) -> int:
    """Return the steps that a checkpoint has made; those that only fill up the last round of `e` do not count."""
    made = int(checkpoint.name.removeprefix("step-"))
    whole = rounds(e.numbers) * e.numbers.envs * e.numbers.horizon
    return min(made, e.numbers.steps) if made <= whole else made


def ready(e: Experiment, engine: Engine, checkpoint: Path | None = None) -> launch.Train:
    """Return how to train, with all that it needs; raise InputError for what does not fit."""
    return partial(train, e, Cast(e, engine), engine)


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` in the environment if that is given."""
    launch.resume(saved_experiment(run_dir, saved), run_dir, steps, ready, steps_made)


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    launch.start(FAMILY, parse(arguments), ready)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
