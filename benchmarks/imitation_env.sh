#!/usr/bin/env bash
# Build a virtual environment with imitation 1.0.1 and the versions it needs, beside this project's own.
#
#     benchmarks/imitation_env.sh [FOLDER]        default: .venv/imitation
#
# torch is this project's, found through a .pth file: both sides then compute with the same one.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-.venv/imitation}"
python="${PYTHON:-.venv/bin/python}"
"$python" -m venv "$folder"
shared="$("$python" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])')"
site="$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
echo "$shared" > "$site/shared_torch.pth"
"$folder/bin/pip" install --quiet \
    "gymnasium[mujoco]==0.29.1" "stable-baselines3==2.2.1" "imitation==1.0.1" "seals==0.2.1" "setuptools<81"
"$folder/bin/python" -c 'import imitation, gymnasium, stable_baselines3, torch
print("gymnasium", gymnasium.__version__, "stable-baselines3", stable_baselines3.__version__, "torch", torch.__version__)'
