"""The adversarial reward as a reward function of TRL's GRPOTrainer and RLOOTrainer, saved with their checkpoints."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from rl.adapters import adversarial_reward
from rl.runtime import checkpoints
from rl.runtime.errors import InputError


class AdversarialReward(adversarial_reward.AdversarialReward):
    """Goes into `reward_funcs` as it is; then `attach` it to the trainer.

    It learns once for each generation while the trainer trains, never in evaluation. It is no nn.Module: TRL would call
    a module on its own tokenisation of text, in which the end token is lost.
    """

    __name__ = "adversarial_reward"
    """under which TRL logs it and checkpoints hold it; two rewards of one trainer need two"""

    _trainer: Callable[[], Any] = staticmethod(lambda: None)
    _loaded = False  # by hand, and not yet trained on

    def attach(self, trainer: Any) -> None:
        """Learn where this trainer trains, stand still where it evaluates, be saved and resumed with it."""
        self._trainer = weakref.ref(trainer)
        self.place(trainer.accelerator.device)
        trainer.add_callback(_Saved(self))

    def __call__(self, **columns: Any) -> list[float]:
        """Pay completions. Raises ValueError where no trainer, or one that is gone, tells training from evaluation."""
        trainer = self._trainer()
        if trainer is None:
            raise ValueError("adversarial reward: attach(trainer) comes first: it tells training from evaluation")
        if not trainer.model.training:
            return self.score(columns).tolist()
        rewards, metrics = self.score_and_update(columns)
        for name, value in metrics.items():
            columns["log_metric"](name, value)
        return rewards.tolist()

    def save(self, folder: Path | str) -> None:
        """Write all of its state under a trainer's checkpoint. Every process must call it."""
        checkpoints.save(self.inside(folder), 0, {"reward": self})

    def load(self, folder: Path | str) -> None:
        """Take it up from a trainer's checkpoint. Raises InputError where there is none, or one that is damaged."""
        checkpoints.restore(checkpoints.newest(self.inside(folder)), {"reward": self})
        self._loaded = True

    def inside(self, folder: Path | str) -> Path:
        """Return where in a trainer's checkpoint it is saved."""
        return Path(folder) / self.__name__

    def begin(self, step: int, folder: Path | str) -> None:
        """Load from the checkpoint where the trainer begins, unless it was loaded by hand just before; none at step 0.

        Raises InputError where the checkpoint holds no such reward.
        """
        if step > 0 and not self._loaded:
            if not self.inside(folder).is_dir():
                raise InputError(
                    f"{self.inside(folder)}: not there: before the trainer resumes, reward.load(CHECKPOINT)"
                )
            self.load(folder)
        self._loaded = False


class _Saved(TrainerCallback):
    """Saves a reward beside the trainer's checkpoints, and loads it where the trainer resumes."""

    def __init__(self, reward: AdversarialReward) -> None:
        self.reward = reward

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Save; the trainer has made the folder."""
        self.reward.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Load where the trainer does not begin at step 0."""
        named, made = args.resume_from_checkpoint, f"{args.output_dir}/checkpoint-{state.global_step}"
        self.reward.begin(state.global_step, named if isinstance(named, str) else made)
