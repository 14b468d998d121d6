"""How well a policy does: returns of whole episodes, and pictures of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv

from rl.control import episodes as whole
from rl.control import spaces
from rl.control.episodes import Act
from rl.runtime.errors import InputError, Stopped, one_line, warn
from rl.runtime.generators import seeded


@dataclass(frozen=True)
class Returns:
    """Undiscounted returns of the environment's own reward, and lengths in steps, in the order of the seeds."""

    returns: list[float]
    lengths: list[int]

    @property
    def mean(self) -> float:
        """Return the mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Return the standard deviation over episodes, dividing by their number."""
        return float(np.std(self.returns))


def returns(act: Act, env: VectorEnv[Any, Any, Any], episodes: int, seed: int) -> Returns:
    """Play episodes 0..episodes-1, episode i from seed + i; short episodes are not over-represented.

    `act` is a policy's `mode`, or its `act`: what it draws comes from `seed`, and torch's own generator is left as it
    was. Raises InputError where an episode does not end or a number is not finite.
    """
    paid, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
    with seeded(seed):
        for step in whole.play(act, env, episodes, seed):
            counts = step.episode >= 0
            paid[step.episode[counts]] += step.rewards[counts]
            lengths[step.episode[counts]] += 1
    return Returns(paid.tolist(), lengths.tolist())


def random_returns(env: VectorEnv[Any, Any, Any], episodes: int, seed: int) -> Returns:
    """Play with actions drawn uniformly from the action space."""
    actions = spaces.actions(env.single_action_space, where=whole.name_of(env))
    generator = np.random.default_rng(seed)
    return returns(lambda obs: whole.uniform(actions, len(obs), generator), env, episodes, seed)


def frames(act: Act, env_id: str, env_kwargs: Mapping[str, Any], seed: int, limit: int = 1000) -> list[np.ndarray]:
    """Picture one episode from `seed`: uint8 [height width 3] before each step and after the last, at most `limit`.

    Where the environment cannot be rendered here, warns with the reason and returns what there is (nothing).
    """
    taken: list[np.ndarray] = []
    try:
        env = gymnasium.make(env_id, render_mode="rgb_array", **env_kwargs)
    except Stopped:
        raise
    except Exception as error:  # whatever a renderer lacks
        warn(f"{env_id}: no pictures: {one_line(error)}")
        return taken
    try:
        layout = spaces.observations(env.observation_space, where=env_id)
        actions = spaces.actions(env.action_space, where=env_id)
        with seeded(seed), torch.no_grad():
            obs, over = env.reset(seed=seed)[0], False
            while _take(env, env_id, taken) and not over and len(taken) < limit:
                chosen = act(torch.from_numpy(layout.row(obs).copy())).cpu().numpy()
                action = actions.to_env(chosen)[0]
                obs, _, terminated, truncated, _ = env.step(action)
                over = terminated or truncated
    finally:
        env.close()
    return taken


def _take(env: gymnasium.Env[Any, Any], env_id: str, taken: list[np.ndarray]) -> bool:
    """Render one frame; False, with a warning, where that does not work."""
    try:
        frame = np.array(env.render())
    except Stopped:
        raise
    except Exception as error:  # drivers fail in their own ways
        warn(f"{env_id}: no pictures: {one_line(error)}")
        return False
    if frame.ndim != 3:
        warn(f"{env_id}: no pictures: it renders no frames")
        return False
    taken.append(frame.astype(np.uint8))
    return True


def film_strip(path: Path, frames: Sequence[np.ndarray], count: int = 8) -> None:
    """Write `count` frames, evenly spaced from the first to the last, side by side as a PNG; nothing without frames."""
    from PIL import Image

    if not frames:
        return
    index = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    Image.fromarray(np.concatenate([frames[at] for at in index], axis=1)).save(path)


def video(path: Path, frames: Sequence[np.ndarray], fps: int = 30) -> None:
    """Write a film, .gif or .mp4, nothing without frames; raise InputError for other names, or .mp4 without imageio."""
    from PIL import Image

    if path.suffix not in (".gif", ".mp4"):
        raise InputError(f"{path}: a film is a .gif or an .mp4")
    if not frames:
        return
    if path.suffix == ".gif":
        first, *rest = [Image.fromarray(frame) for frame in frames]
        first.save(path, save_all=True, append_images=rest, duration=1000 / fps, loop=0)
        return
    try:
        import imageio.v3
        import imageio_ffmpeg  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise InputError(
            f"{path}: an .mp4 needs imageio: pip install 'imageio[ffmpeg]'; a .gif needs nothing"
        ) from None
    imageio.v3.imwrite(path, np.stack(frames), fps=fps)
