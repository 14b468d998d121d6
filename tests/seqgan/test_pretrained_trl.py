"""Our generators inside TRL's own trainers, from a folder to a folder, with prompts of different lengths."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer

from seqgan.generators import Generator, LSTMGenerator, TransformerGenerator
from seqgan.pretrained import GeneratorForCausalLM, pretrained, register
from seqgan.prompts import word_tokenizer

WORDS = [f"w{number}" for number in range(8)]
SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 8, "report_to": "none", "use_cpu": True, "bf16": False, "disable_tqdm": True,
    "logging_steps": 1, "save_strategy": "no", "learning_rate": 1e-2, "seed": 7,
}  # fmt: skip
pytestmark = [
    pytest.mark.parametrize("kind", ["lstm", "transformer"]),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of TRL and transformers to each other
    pytest.mark.filterwarnings("ignore:There is an imbalance"),
]


def tokenizer() -> Any:
    return word_tokenizer([" ".join(WORDS)])


def generator_of(kind: str) -> Generator:
    torch.manual_seed(0)
    if kind == "lstm":
        return LSTMGenerator(10, embedding=6, hidden=8, end=0, deviation=0.7)
    return TransformerGenerator(10, length=32, width=8, heads=2, layers=1, end=0)


def saved(kind: str, folder: Path) -> str:
    register()
    pretrained(generator_of(kind)).save_pretrained(folder)
    return str(folder)


def state_of(model: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize(("make", "settings"), [(GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)])
def test_reinforced(kind: str, make: Any, settings: Any, tmp_path: Path) -> None:
    """With a reference reloaded from the folder, and activation checkpointing as TRL asks for it."""
    policy, seen = saved(kind, tmp_path / "policy"), []

    def short(completion_ids: list[list[int]], **_: Any) -> list[float]:
        seen.append(completion_ids)
        return [-float(len(ids)) for ids in completion_ids]

    data = Dataset.from_dict({"prompt": ["w1 w2", "w3", "w4 w5 w6 w1", "w1"] * 4})
    args = settings(
        output_dir=str(tmp_path / "out"), num_generations=4, max_completion_length=6, max_steps=3, beta=0.04, **SETTINGS
    )
    trainer = make(model=policy, reward_funcs=short, args=args, train_dataset=data, processing_class=tokenizer())
    assert type(trainer.model) is GeneratorForCausalLM
    before = state_of(trainer.model)
    trainer.train()
    after = state_of(trainer.model)
    assert any(not weight.equal(after[name]) for name, weight in before.items())
    lengths = {len(ids) for batch in seen for ids in batch}
    assert max(lengths) == 6
    assert min(lengths) < 6
    assert all(0 <= token < 10 for batch in seen for ids in batch for token in ids)
    trainer.save_model(str(tmp_path / "learned"))
    learned = state_of(AutoModelForCausalLM.from_pretrained(tmp_path / "learned"))
    assert all(weight.equal(after[name]) for name, weight in learned.items())


def test_fine_tuned(kind: str, tmp_path: Path) -> None:
    """What is shown to it over and over becomes likely."""
    data = Dataset.from_dict({"text": ["w1 w2 w3", "w4 w5"] * 32})
    args = SFTConfig(
        output_dir=str(tmp_path / "out"), max_steps=40, max_length=12, **SETTINGS | {"learning_rate": 3e-2}
    )
    model = AutoModelForCausalLM.from_pretrained(saved(kind, tmp_path / "policy"))
    trainer = SFTTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer())
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    read = tokenizer()("w1 w2", return_tensors="pt").input_ids
    said = trainer.model.eval().generate(read, attention_mask=torch.ones_like(read), max_new_tokens=1, do_sample=False)
    assert tokenizer().decode(said[0], skip_special_tokens=True) == "w1 w2 w3"
