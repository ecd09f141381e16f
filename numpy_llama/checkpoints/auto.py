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

from numpy_llama.checkpoints.gguf_file import is_gguf
from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.checkpoints.llama2c import is_llama2c, llama2c_tokenizer
from numpy_llama.checkpoints.reader import open_checkpoint
from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.heads import (
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)
from numpy_llama.model.llama import LlamaModel
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.tokenizer.base import Tokenizer
from numpy_llama.tokenizer.choose import has_tokenizer_files, tokenizer_for

LLAMA_TOKENIZERS = ("LlamaTokenizer", "LlamaTokenizerFast")


class AutoConfig:
    """LlamaConfig, for a checkpoint of type llama."""

    def __init__(self, *arguments: Any, **settings: Any):
        _refuse_construction(self, "from_pretrained(folder)")

    @staticmethod
    def from_pretrained(folder: str | Path, **changes: Any) -> LlamaConfig:
        """The config of a checkpoint of any format, or in a config.json; changes as in LlamaConfig.from_pretrained.

        raises  LlamaError naming the type, where it isn't llama; and as open_checkpoint does
        """
        path = checkpoint_path(folder)
        if path.suffix == ".json":
            return LlamaConfig.from_pretrained(path, **changes)
        return open_checkpoint(path, changes).config

    @staticmethod
    def for_model(model_type: str, **settings: Any) -> LlamaConfig:
        """A config of a type, made from its fields: AutoConfig.for_model("llama", hidden_size=64, …)."""
        return LlamaConfig.from_dict({**settings, "model_type": model_type})


class AutoTokenizer:
    """The tokenizer of a checkpoint of type llama: LlamaTokenizer or ByteLevelTokenizer, whichever its files need."""

    def __init__(self, *arguments: Any, **settings: Any):
        _refuse_construction(self, "from_pretrained(folder)")

    @staticmethod
    def from_pretrained(folder: str | Path, **settings: Any) -> Tokenizer:
        """The tokenizer in a folder, or in a file of llama2.c or GGUF; settings as in from_pretrained of its class.

        A checkpoint of another type may say that its tokenizer is Llama's (Mistral's do).

        raises  LlamaError naming the type where it isn't llama, and as that method does
        """
        path = checkpoint_path(folder)
        if is_llama2c(path):
            return llama2c_tokenizer(path, **settings)
        if is_gguf(path) and not has_tokenizer_files(path):
            from numpy_llama.checkpoints.gguf_tokenizer import gguf_tokenizer  # only these files need it

            return gguf_tokenizer(path, **settings)
        _check_tokenizer_type(path)
        return tokenizer_for(path, **settings)


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


def tokenizer_of(model: LlamaPreTrainedModel, tokenizer: object = None) -> Tokenizer:
    """The tokenizer that goes with a model: the one given, by itself or by its folder, or that of the model's folder.

    raises  LlamaError where none is given and the model doesn't come from a folder
    """
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    source = model.name_or_path if tokenizer is None else tokenizer
    if not source:
        expected = "a tokenizer or its folder, for a model that doesn't come from a folder"
        raise LlamaError("missing", where="tokenizer", expected=expected)
    return AutoTokenizer.from_pretrained(checkpoint_path(source))


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
