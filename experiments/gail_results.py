"""What an imitation run leaves: measurements, summary.json, a film, histograms, the learned reward and the report."""

import math
import os
import statistics
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments import records, report
from experiments.gail_setup import EVALUATION_SEED, Cast, Experiment, rounds
from rl.control import environments, evaluation
from rl.control.collecting import Collector
from rl.control.discriminators import ShapedDiscriminator, StateReward
from rl.control.episodes import Act
from rl.control.learned_reward import LearnedReward
from rl.control.sources import Adversary
from rl.discriminator import evaluating
from rl.runtime import seeded
from rl.runtime.errors import Stopped, one_line, warn
from rl.runtime.rundir import write_json

RANDOM_EPISODES = 20
SIDE_BY_SIDE = 16
IN_A_ROW = 3  # measurements that must be good before a run counts as solved
NEAR = 0.05  # of the way from the expert back to random actions
FRAMES = 120  # of a film, from the start of its episode
FRAME_WIDTH = 300  # pixels
JUDGED = (8, 1024)  # environments and steps in each whose logits are counted
BINS = 60


def measure(e: Experiment, cast: Cast, episodes: int) -> dict[str, float]:
    """Return the agent's return with its likeliest actions, over episodes that it was not trained on."""
    with cast.clock.stopped():
        env = environments.make(e.env, min(episodes, SIDE_BY_SIDE), e.kwargs)
        try:
            found = evaluation.returns(mode_of(cast), env, episodes, e.seed + EVALUATION_SEED)
        finally:
            env.close()
    return {
        "return_mean": found.mean,
        "return_std": found.std,
        "episode_length": statistics.fmean(found.lengths),
    }


def episodes(collector: Collector) -> dict[str, float]:
    """Return the mean return and length of the episodes that ended in training since last asked."""
    returns, lengths = collector.finished()
    if not returns:
        return {}
    return {"train/return": statistics.fmean(returns), "train/length": statistics.fmean(lengths)}


def summarise(run_dir: Path, e: Experiment, cast: Cast) -> dict[str, float]:
    """Write summary.json: the agent beside the expert's demonstrations and a random agent, both measured."""
    seconds = cast.clock.seconds  # before anything is measured
    summary = measure(e, cast, e.final_episodes)
    env = environments.make(e.env, SIDE_BY_SIDE, e.kwargs)
    random = evaluation.random_returns(env, RANDOM_EPISODES, e.seed + EVALUATION_SEED).mean
    env.close()
    expert = cast.expert_return
    steps = cast.collector.steps * cast.collector.num_envs
    summary |= {
        "return_expert": expert,
        "return_random": random,
        "return_normalised": (summary["return_mean"] - random) / (expert - random) if expert != random else math.nan,
        "env_steps": float(steps),
        "cpu_seconds": seconds,
        "env_steps_per_second": steps / max(seconds, 1e-9),
    }
    rows = [row for row in records.read_rows(run_dir / "metrics.jsonl") if row["step"] <= steps]
    summary |= solved(rows, expert - NEAR * (expert - random))
    write_json(run_dir / "summary.json", summary)
    return summary


def solved(rows: Sequence[Mapping[str, Any]], enough: float) -> dict[str, float]:
    """Return steps and CPU seconds at the end of the first measurements in a row that reached `enough`; {} if none."""
    measured = [row for row in rows if row.get("return_mean") is not None]
    for last in range(IN_A_ROW - 1, len(measured)):
        if all(row["return_mean"] >= enough for row in measured[last - IN_A_ROW + 1 : last + 1]):
            row = measured[last]
            return {"solved_env_steps": float(row["step"]), "solved_cpu_seconds": float(row["cpu_seconds"])}
    return {}


def finish(run_dir: Path, e: Experiment, cast: Cast) -> None:
    """Measure at the last step, keep film, histograms and reward, write the report, and print where it is."""
    summary = summarise(run_dir, e, cast)
    if e.film:
        keep_film(run_dir / "samples", e, cast)
    if isinstance(cast.source, Adversary) and rounds(e.numbers):  # cloning alone has judged nothing
        write_json(run_dir / "histograms.json", histograms(e, cast, cast.source))
        learned_reward(e, cast, cast.source).save(run_dir / "reward")
    page = report.write(run_dir)
    rows = (f"{key:24}{value:12.3f}" for key, value in summary.items())
    print("\n" + "\n".join(rows) + f"\n\nreport: {page}", flush=True)


def keep_film(folder: Path, e: Experiment, cast: Cast) -> None:
    """Write film.png and agent.gif of the beginning of an episode; where that does not work, say why and go on."""
    try:
        with off_screen():
            taken = evaluation.frames(mode_of(cast), e.env, e.kwargs, e.seed + EVALUATION_SEED, FRAMES)
        small = [shrunk(frame) for frame in taken]
        if small:
            folder.mkdir(exist_ok=True)
        evaluation.film_strip(folder / "film.png", small)
        evaluation.video(folder / "agent.gif", small)
    except Stopped:
        raise
    except Exception as error:  # drivers, files and environments fail in their own ways, and the run is done
        warn(f"{e.env}: no film: {type(error).__name__}: {one_line(error)}")


@contextmanager
def off_screen() -> Iterator[None]:
    """Let SDL and MuJoCo draw without a window, and without their complaints of a screen that is not there."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shrunk(frame: np.ndarray) -> np.ndarray:
    """Return a frame of at most FRAME_WIDTH pixels' width."""
    from PIL import Image

    height, width = frame.shape[:2]
    if width <= FRAME_WIDTH:
        return frame
    size = (FRAME_WIDTH, round(height * FRAME_WIDTH / width))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def histograms(e: Experiment, cast: Cast, source: Adversary) -> dict[str, Any]:
    """Return how the logits of the expert's and the agent's steps spread, and what the agent's earn.

    The agent's steps are of episodes that it was not trained on, with drawn actions, as the discriminator knows them.
    """
    device, seed = cast.engine.device, e.seed + EVALUATION_SEED
    number, steps = JUDGED
    collector = Collector(environments.make(e.env, number, e.kwargs), seed)
    with seeded(seed):
        rollout = collector.collect(lambda obs: cast.agent.act(obs.to(device)), steps)
    collector.close()
    agent = rollout.steps.flat().take(rollout.mask.flatten().nonzero().squeeze(1)).to(device)
    pairs = cast.pairs.steps
    some = torch.linspace(0, pairs.rows - 1, min(pairs.rows, number * steps)).long()
    with torch.no_grad(), evaluating(source.discriminator):
        logits = {"expert": source.judge(pairs.take(some).to(device)), "agent": source.judge(agent)}
        earned = source.reward()(agent)
    ends = agent.terminated
    return {
        "logits": counted(logits),
        "rewards": counted({"terminated": earned[ends], "others": earned[~ends]}),
    }


def counted(groups: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return edges over the range of all groups, and how many values of each lie between them."""
    values = {name: group.float().cpu().numpy() for name, group in groups.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), BINS)
    return {
        "edges": edges.tolist(),
        "counts": {name: np.histogram(group, edges)[0].tolist() for name, group in values.items()},
    }


def learned_reward(e: Experiment, cast: Cast, source: Adversary) -> LearnedReward:
    """Return what the run has learned to pay, as it can be kept; of AIRL's f, what depends on the state alone."""
    judge: nn.Module = source.discriminator
    kept = StateReward(judge) if isinstance(judge, ShapedDiscriminator) else judge
    spaces = cast.collector.observations, cast.collector.actions
    return LearnedReward(cast.agent.encoder, kept, source.objective, *spaces, e.numbers.d_limit, source.ending)


def mode_of(cast: Cast) -> Act:
    """Return the agent's likeliest actions for rows on the CPU."""
    return lambda obs: cast.agent.mode(obs.to(cast.engine.device))
