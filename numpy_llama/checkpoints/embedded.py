"""Where the model on board is.

The top-level `data/` folder is installed as `numpy_llama/data`, so a wheel carries it; in a checkout that isn't
installed it stands beside the package.
"""

from pathlib import Path

from numpy_llama.errors import LlamaError

_PACKAGE = Path(__file__).parents[1]


def data_folder() -> Path:
    """The project's `data/`: the embedded model and the published values.

    raises  LlamaError where the package was installed without it
    """
    for folder in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        if (folder / "storyteller").is_dir():
            return folder
    raise LlamaError("the package was installed without its data", where=_PACKAGE, expected="a folder data/storyteller")


def embedded_model_folder() -> Path:
    """The checkpoint folder of the embedded model, a storyteller of a million parameters."""
    return data_folder() / "storyteller"
