"""`--help` of every script says what each flag is, and imports nothing that takes seconds."""

import os
import re
import subprocess
import sys

import pytest

from tests.experiments.helpers import CHECKOUT

HEAVY = {
    "matplotlib", "tensorboard", "gymnasium", "mujoco", "pygame", "minari", "sklearn", "scipy", "PIL", "torchmetrics",
    "datasets", "tokenizers", "transformers", "trl", "peft", "sacrebleu", "nltk", "fastapi", "lightgbm", "implicit",
    "ir_measures", "sentence_transformers",
}  # fmt: skip
SCRIPTS = [
    ("text_gan seqgan", 50),
    ("text_gan", 0),
    ("gail gail", 60),
    ("image_gan dcgan", 50),
    ("irgan irgan", 40),
    ("lm_gan gad", 50),
    ("resume", 1),
    ("evaluate", 9),
    ("compare", 1),
]


@pytest.mark.parametrize(("command", "fewest"), SCRIPTS, ids=[command for command, _ in SCRIPTS])
def test_help_explains_every_flag_and_imports_nothing_heavy(command: str, fewest: int) -> None:
    name, *variant = command.split()
    heavy = HEAVY - ({"gymnasium"} if name == "gail" else set())
    program = (
        "import sys\n"
        f"from experiments import {name}\n"
        f"try: {name}.main({[*variant, '--help']})\n"
        "except SystemExit as end: assert not end.code\n"
        f"assert not {heavy} & sys.modules.keys(), {heavy} & sys.modules.keys()\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line.strip("│| ") for line in ended.stdout.splitlines()]
    _, *flags = re.split(r"(?m)^(?=--)", "\n".join(lines))
    assert len(flags) >= fewest
    for flag in flags:
        _, *words = flag.split("(default:")[0].split()
        assert any(word.islower() and not word.startswith(("-", "{", "[")) for word in words), flag
