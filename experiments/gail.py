"""Adversarial imitation in gymnasium: `python -m experiments.gail VARIANT [--flags]`; act, judge, learn."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from experiments import config, gail_results
from experiments.gail_setup import (
    MAY_BE_ZERO,
    SHARES,
    SIGNED,
    Cast,
    Experiment,
    check_fit,
    rounds,
    saved_experiment,
)
from rl.control import cloning, ppo, sac, trpo
from rl.control.earning import Ends
from rl.control.episodes import uniform
from rl.control.transitions import Transitions
from rl.control.variants import PRESETS, VARIANTS, numbers_for
from rl.runtime import Engine, InputError, Keeper, Log, Stop, Stopped, checkpoints, closest, exit_codes, rundir

FAMILY = "gail"


def train(e: Experiment, cast: Cast, engine: Engine, run_dir: Path, checkpoint: Path | None = None) -> None:
    """Run or continue: clone if asked to; then act, judge and learn in turn; measure at the last step."""
    n, at, clock = e.numbers, cast.at, cast.clock
    per_round = n.envs * n.horizon
    learn = {"ppo": learn_ppo, "trpo": learn_trpo, "sac": learn_sac}[VARIANTS[e.variant].generator]
    with Stop() as stop, Log(run_dir, total=rounds(n, n.steps) * per_round) as log:
        keeper = Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, cast.parts(log))
        else:
            log.load_state_dict({"offset": 0, "seconds": 0.0, "step": 0})  # rows of a run that died before it saved

        # 1. Copy: the statistics of what the expert saw, and its actions if that is asked for.
        for _ in at.loop("prepare", 1):
            cast.agent.encoder.add(cast.demonstrations.steps.obs.to(engine.device))
            if n.clone_updates:
                numbers = cloning.Cloning(updates=n.clone_updates)
                policy = cast.agent.policy_parameters()
                cloned = cloning.clone(cast.agent, policy, cast.pairs.steps, numbers, engine, seed=e.seed)
                log.log(0, cloned | measure(e, cast))
            keeper.save(0)

        # 2. Act, judge, learn.
        for turn in at.loop("rounds", rounds(n, n.steps)):
            step = (turn + 1) * per_round
            log.progress("imitating", turn, rounds(n, n.steps))
            cast.meter.add(learn(e, cast, turn))
            measured = {}
            if step // e.evaluate_every > (step - per_round) // e.evaluate_every or turn + 1 == rounds(n, n.steps):
                measured = measure(e, cast) | engine.gather(cast.meter.flush() | gail_results.episodes(cast.collector))
                measured |= {"cpu_seconds": clock.seconds}
                log.log(step, measured)
            keeper(step)
        keeper.save(rounds(n, n.steps) * per_round)
        log.progress("measuring", 1, 1)
        stop.at_once = True
        if stop.requested:  # it came after the last round
            raise Stopped(stop.requested)
        if engine.is_main:
            gail_results.finish(run_dir, e, cast)


def learn_ppo(e: Experiment, cast: Cast, turn: int) -> dict[str, torch.Tensor]:
    """One round on the agent's own steps, with proximal policy optimisation."""
    n = e.numbers
    rollout = cast.collector.collect(cast.agent.act, n.horizon)
    judged = judge(e, cast, rollout)
    rollout = rollout.relabel(cast.source.pay)
    learned = ppo.ppo_round(cast.agent, cast.optimizer, ppo.prepare(cast.agent, rollout), n.ppo, cast.engine)
    cast.agent.add(rollout.steps.obs[rollout.mask])
    return judged | learned | {"reward": rollout.rewards[rollout.mask].mean()}
