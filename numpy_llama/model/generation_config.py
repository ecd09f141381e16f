"""GenerationConfig: settings of `generate`, kept together under Transformers' name for them.

    settings = GenerationConfig(max_new_tokens=50, do_sample=True, temperature=0.7)
    model.generate(input_ids, generation_config=settings)
    model.generation_config.pad_token_id = tokenizer.eos_token_id    # from now on, for this model

source  GenerationConfig in Transformers
"""

from pathlib import Path
from typing import Any

from numpy_llama.files import as_path, read_json, write_json
from numpy_llama.model.config import LlamaConfig

FILE = "generation_config.json"
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


class GenerationConfig(dict[str, Any]):
    """What generation_config.json says: a dict whose keys are attributes, too.

    Holds what somebody has said, and nothing else: a setting that nobody has set reads as None, and `generate` then
    takes its default. The settings that there are, with their defaults, are in generation/settings.py.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # Python's own questions, such as how to copy this
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return dict(self)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **changes: Any) -> "GenerationConfig":
        """What the generation_config.json of a checkpoint folder says.

        changes  settings other than the file says
        raises   LlamaError where there is no such file, or no JSON object in it
        """
        return cls({**read_json(as_path(folder) / FILE), **changes})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write generation_config.json into a folder, which is made where it is missing."""
        write_json(as_path(folder) / FILE, self.to_dict())


def without_file(config: LlamaConfig) -> dict[str, Any]:
    """As Transformers, of a checkpoint without generation_config.json: special tokens of config.json, and a mark."""
    ids = {name: getattr(config, name) for name in SPECIAL_TOKENS}
    return {"_from_model_config": True, **{name: value for name, value in ids.items() if value is not None}}
