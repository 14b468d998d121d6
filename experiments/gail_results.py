"""What an imitation run leaves: measurements, summary.json, a film strip, histograms of logits and the report."""

import statistics
from pathlib import Path

from experiments import report
from experiments.gail_setup import EVALUATION_SEED, Cast, Experiment
from rl.control import environments, evaluation
from rl.control.collecting import Collector
from rl.runtime.rundir import write_json

RANDOM_EPISODES = 20
SIDE_BY_SIDE = 16


def measure(e: Experiment, cast: Cast, episodes: int) -> dict[str, float]:
    """Return the agent's return with its likeliest actions, over episodes that it was not trained on."""
    with cast.clock.stopped():
        env = environments.make(e.env, min(episodes, SIDE_BY_SIDE), e.kwargs)
        try:
            device = cast.engine.device
            found = evaluation.returns(
                lambda obs: cast.agent.mode(obs.to(device)), env, episodes, e.seed + EVALUATION_SEED
            )
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
    summary = measure(e, cast, e.final_episodes)
    env = environments.make(e.env, SIDE_BY_SIDE, e.kwargs)
    random = evaluation.random_returns(env, RANDOM_EPISODES, e.seed + EVALUATION_SEED).mean
    env.close()
    expert = float(cast.demonstrations.returns.mean())
    steps = cast.collector.steps * cast.collector.num_envs
    summary |= {
        "return_expert": expert,
        "return_random": random,
        "return_normalised": (summary["return_mean"] - random) / (expert - random),
        "env_steps": float(steps),
        "cpu_seconds": cast.clock.seconds,
        "env_steps_per_second": steps / max(cast.clock.seconds, 1e-9),
    }
    write_json(run_dir / "summary.json", summary)
    return summary


def finish(run_dir: Path, e: Experiment, cast: Cast) -> None:
    """Measure at the last step, keep the reward, write the report, and print where it is."""
    summary = summarise(run_dir, e, cast)
    page = report.write(run_dir)
    rows = (f"{key:24}{value:12.3f}" for key, value in summary.items())
    print("\n" + "\n".join(rows) + f"\n\nreport: {page}", flush=True)
