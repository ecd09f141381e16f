"""What a config says for heads that sort: how many labels there are, what they are called, and which is which."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy_llama.model.config_checks import MOST_LABELS

if TYPE_CHECKING:
    from numpy_llama.model.config import LlamaConfig

# Fields that Transformers gives to models of every type, and their defaults. config.json has them only where they say
# something else; num_labels it never has, since it is the length of id2label.
OF_EVERY_MODEL: dict[str, Any] = {
    "id2label": {0: "LABEL_0", 1: "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "problem_type": None,
    "output_hidden_states": False,
    "output_attentions": False,
    "return_dict": True,
}
NOT_WRITTEN = ("extra", "num_labels", *OF_EVERY_MODEL)  # without being asked


def agree_on_labels(config: "LlamaConfig") -> None:
    """Fill in number, names and numbers of names, each from the other where one is missing; 2 where all are.

    A new num_labels makes new names where the old ones are but LABEL_0, LABEL_1, … What can't be is left as it is, for
    check_config to name.
    """
    names = config.id2label
    if isinstance(names, Mapping) and config.num_labels not in (None, len(names)) and names == _automatic(len(names)):
        config.id2label = config.label2id = None  # type: ignore[assignment]
    if isinstance(config.id2label, Mapping) and config.id2label:
        try:
            names = {int(index): name for index, name in config.id2label.items()}  # JSON's keys are strings
        except (TypeError, ValueError):
            return
        if len(names) < len(config.id2label) or not all(isinstance(name, str) for name in names.values()):
            return
        config.id2label = names
        config.num_labels = len(config.id2label) if config.num_labels is None else config.num_labels
    elif config.id2label is None:
        config.num_labels = 2 if config.num_labels is None else config.num_labels
        count = config.num_labels if isinstance(config.num_labels, int) else 0
        config.id2label = _automatic(count)
    if config.label2id is None and isinstance(config.id2label, Mapping):
        config.label2id = {name: index for index, name in config.id2label.items()}


def _automatic(count: int) -> dict[int, str]:
    """Names of labels that nobody has named."""
    return {index: f"LABEL_{index}" for index in range(min(count, MOST_LABELS))}
