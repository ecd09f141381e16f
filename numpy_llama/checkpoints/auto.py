"""The Auto classes: the names under which code written for Transformers asks for a model.

    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")

In Transformers, `model_type` in config.json chooses among hundreds of architectures. Here there is one: each Auto class
stands for one Llama class, and a checkpoint of another type is refused, by the name of its type.

source  AutoConfig, AutoTokenizer, AutoModel… of Transformers
"""

from pathlib import Path
from typing import Any, ClassVar, NoReturn

from numpy_llama.checkpoints.embedded import embedded_model_folder
from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path, read_json
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.heads import (
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)
from numpy_llama.model.llama import LlamaModel
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.tokenizer import LlamaTokenizer

EMBEDDED = "storyteller"
LLAMA_TOKENIZERS = ("LlamaTokenizer", "LlamaTokenizerFast")


class AutoConfig:
    """LlamaConfig, for a checkpoint of type llama."""

    def __init__(self, *arguments: Any, **settings: Any):
        _refuse_construction(self, "from_pretrained(folder)")

    @staticmethod
    def from_pretrained(folder: str | Path, **changes: Any) -> LlamaConfig:
        """The config of a checkpoint folder, or in a config.json; changes as in LlamaConfig.from_pretrained.

        raises  LlamaError naming the type, where it isn't llama; and as LlamaConfig.from_pretrained does
        """
        return LlamaConfig.from_pretrained(checkpoint_path(folder), **changes)

    @staticmethod
    def for_model(model_type: str, **settings: Any) -> LlamaConfig:
        """A config of a type, made from its fields: AutoConfig.for_model("llama", hidden_size=64, …)."""
        return LlamaConfig.from_dict({**settings, "model_type": model_type})


class AutoTokenizer:
    """LlamaTokenizer, for a checkpoint of type llama."""

    def __init__(self, *arguments: Any, **settings: Any):
        _refuse_construction(self, "from_pretrained(folder)")

    @staticmethod
    def from_pretrained(folder: str | Path, **settings: Any) -> LlamaTokenizer:
        """The tokenizer in a folder; settings as in LlamaTokenizer.from_pretrained.

        A checkpoint of another type may say that its tokenizer is Llama's (Mistral's do).

        raises  LlamaError naming the type where it isn't llama, and as LlamaTokenizer.from_pretrained does
        """
        path = checkpoint_path(folder)
        _check_tokenizer_type(path)
        return LlamaTokenizer.from_pretrained(path, **settings)


class _AutoModel:
    """What the Auto classes of models share; each says which class it stands for."""

    model_class: ClassVar[type[LlamaPreTrainedModel]]

    def __init__(self, *arguments: Any, **settings: Any):
        _refuse_construction(self, "from_pretrained(folder)", "from_config(config)")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *arguments: Any, **settings: Any) -> Any:
        """Load a checkpoint folder; arguments as in the from_pretrained of the class that this one stands for.

        raises  LlamaError naming the type where it isn't llama, and as that method does
        """
        return cls.model_class.from_pretrained(checkpoint_path(folder), *arguments, **settings)

    @classmethod
    def from_config(cls, config: LlamaConfig, **settings: Any) -> Any:
        """A model with fresh random weights; settings as of the class that this one stands for: dtype, seed.

        raises  LlamaError where config is no LlamaConfig
        """
        if not isinstance(config, LlamaConfig):
            raise LlamaError("wrong type", where="config", expected="a LlamaConfig", found=type(config).__name__)
        return cls.model_class(config, **settings)


class AutoModel(_AutoModel):
    """LlamaModel, for a checkpoint of type llama."""

    model_class = LlamaModel


class AutoModelForCausalLM(_AutoModel):
    """LlamaForCausalLM, for a checkpoint of type llama."""

    model_class = LlamaForCausalLM


class AutoModelForSequenceClassification(_AutoModel):
    """LlamaForSequenceClassification, for a checkpoint of type llama."""

    model_class = LlamaForSequenceClassification


class AutoModelForTokenClassification(_AutoModel):
    """LlamaForTokenClassification, for a checkpoint of type llama."""

    model_class = LlamaForTokenClassification


class AutoModelForQuestionAnswering(_AutoModel):
    """LlamaForQuestionAnswering, for a checkpoint of type llama."""

    model_class = LlamaForQuestionAnswering


def checkpoint_path(name: object) -> Path:
    """Where a checkpoint is: the folder itself, or the embedded model's for "storyteller".

    raises  LlamaError where there is nothing; a name on a hub is no folder, since nothing is downloaded
    """
    if name == EMBEDDED:
        return embedded_model_folder()
    if not as_path(name).exists():
        expected = f"a folder on this disk, or {EMBEDDED} for the model on board"
        raise LlamaError("no such checkpoint folder", where=name, expected=expected)
    return as_path(name)


def tokenizer_of(model: LlamaPreTrainedModel, tokenizer: object = None) -> LlamaTokenizer:
    """The tokenizer that goes with a model: the one given, by itself or by its folder, or that of the model's folder.

    raises  LlamaError where none is given and the model doesn't come from a folder
    """
    if isinstance(tokenizer, LlamaTokenizer):
        return tokenizer
    source = model.name_or_path if tokenizer is None else tokenizer
    if not source:
        expected = "a tokenizer or its folder, for a model that doesn't come from a folder"
        raise LlamaError("missing", where="tokenizer", expected=expected)
    return LlamaTokenizer.from_pretrained(checkpoint_path(source))


def _check_tokenizer_type(folder: Path) -> None:
    """raises  LlamaError where a folder says that neither its tokenizer nor its model is Llama's"""
    if _read(folder / "tokenizer_config.json").get("tokenizer_class") in LLAMA_TOKENIZERS:
        return
    model_type = _read(folder / "config.json").get("model_type", "llama")
    if model_type != "llama":
        where = f"{folder / 'config.json'}: model_type"
        raise LlamaError("not a Llama", where=where, expected="'llama'", found=repr(model_type))


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _refuse_construction(instance: object, *ways: str) -> NoReturn:
    name = type(instance).__name__
    raise LlamaError("has no objects of its own", where=name, expected=" or ".join(f"{name}.{way}" for way in ways))
