import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path
    for folder in ("rl", "seqgan", "image_gans", "experiments", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
# torch's own: these unpickle what they read or receive
CALLS = {("torch", "load"), ("torch", "save")}
METHODS = {"all_gather_object", "broadcast_object_list", "gather_object", "scatter_object_list", "read_pickle"}


def offences(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.partition(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                found += [module] if module.partition(".")[0] in MODULES else []
                found += [f"{module}.{name.name}" for name in names if (module, name.name) in CALLS]
                found += [name.name for name in names if name.name in METHODS]
            case ast.Attribute(value=ast.Name(id=module), attr=name) if (module, name) in CALLS:
                found.append(f"{module}.{name}")
            case ast.Attribute(attr=name) if name in METHODS:
                found.append(name)
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                found.append("allow_pickle=True")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, dill as d",
        "def f():\n    from joblib import load",
        "import cloudpickle.x",
        "import torch\ntorch.load('x', weights_only=True)",
        "from torch import load as fetch",
        "import torch.distributed as dist\ndist.all_gather_object([], 1)",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_the_check_sees_them(source: str) -> None:
    assert len(offences(source)) == 1


def test_no_file_of_ours_can_unpickle() -> None:
    assert len(FILES) > 10
    found = {str(path.relative_to(ROOT)): offences(path.read_text(encoding="utf-8")) for path in FILES}
    assert {name: what for name, what in found.items() if what} == {}
