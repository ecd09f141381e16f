"""The house: imports point down, nothing of the judge leaks in, and everything there is gets installed."""

import ast
import configparser
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "numpy_llama"

FLOORS = {
    "errors": 1,
    "files": 1,
    "version": 1,
    "precision": 1,
    "probe": 1,
    "blocks": 2,
    "tokenizer": 2,
    "model": 3,
    "checkpoints": 4,
    "generation": 4,
    "study": 5,
    "conformance": 5,
    "mistakes": 5,
    "reference": 5,
    "cli": 6,
    "__main__": 7,
    "__init__": 7,
}
# Doors: methods of a model that lead to the floor above, imported when they are called.
DOORS = {("model/pretrained.py", "checkpoints"), ("model/causal_lm.py", "generation")}

FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def imports(path):
    """The modules that a file imports, wherever it does."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.append(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    relative = path.relative_to(PACKAGE)
    floor = FLOORS[relative.parts[0].removesuffix(".py")]
    for name in imports(path):
        if name.startswith("numpy_llama."):
            room = name.split(".")[1]
            if (relative.as_posix(), room) not in DOORS:
                assert FLOORS[room] <= floor, f"{relative} (floor {floor}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_judge_stays_outside(path):
    """torch and transformers judge from outside: only the reference extra's own code knows them."""
    if path.relative_to(PACKAGE).parts[0] == "reference" or path.name == "bench.py":
        return
    assert not {name.split(".")[0] for name in imports(path)} & {"torch", "transformers", "tokenizers"}


def test_blocks_know_only_numpy_the_ground_floor_and_each_other():
    for path in (PACKAGE / "blocks").glob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            assert top in ("numpy", "numpy_llama") or top in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_every_folder_of_the_package_is_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("*.py")}
    assert listed == there | {"numpy_llama.data"}


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_is_light():
    loaded = run_python("import sys, numpy_llama; print(*sys.modules)").split()
    assert not {"matplotlib", "hypothesis", "tqdm", "torch", "transformers", "sentencepiece", "pytest"} & set(loaded)


@pytest.mark.parametrize("path", sorted((PACKAGE / "blocks").glob("*.py")), ids=lambda path: path.name)
def test_a_block_fits_on_a_few_screens(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 150


# What a token meets on its way, and a reader who follows it: ARCHITECTURE.md walks through the same files.
CORRIDOR = [
    "model/config.py",
    "generation/loop.py",
    "generation/feed.py",
    "model/causal_lm.py",
    "model/with_head.py",
    "model/llama.py",
    "model/decoder_layer.py",
    *[f"blocks/{block}.py" for block in ("embedding", "rope", "causal_mask", "rms_norm", "linear", "kv_cache")],
    *[f"blocks/{block}.py" for block in ("attention", "softmax", "mlp", "activations", "sampler")],
]


def test_the_plain_corridor_is_read_in_an_evening():
    lines = {path: len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) for path in CORRIDOR}
    assert sum(lines.values()) <= 1200, lines


def test_the_path_of_a_token_has_at_most_twelve_steps_and_leads_through_the_corridor():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    steps = [line for line in text.splitlines() if re.match(r"\| \d+ \| `", line)]
    assert 0 < len([step for step in steps if re.match(r"\| \d+ \| `[a-z_]+/[a-z_]+\.py`", step)]) <= 12
    for path in CORRIDOR:
        assert path in text, path
        assert (PACKAGE / path).is_file()


def test_every_public_function_of_the_package_has_a_docstring():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node) or _is_inner(tree, node), f"{path.relative_to(ROOT)}: {node.name}"


def _is_inner(tree, node):
    """Whether a function stands inside another one."""
    return any(
        isinstance(outer, ast.FunctionDef) and any(inner is not outer and getattr(inner, "lineno", 0) == node.lineno
                                                   for inner in ast.walk(outer))
        for outer in ast.walk(tree)
    )  # fmt: skip
