"""What a caller wants other than config.json says: LlamaConfig.from_pretrained(folder, num_labels=3)."""

from collections.abc import Collection, Mapping
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.model.rope_parameters import rope_from_either_spelling


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The fields of a config.json, some of them changed.

    A new number of labels, or new names, take the place of all the file says of labels. Rope settings change as a
    whole, in either spelling. Only rope_theta stays where the change names none: the weights were trained with it, so
    the default of a new model would be wrong.

    known   names of the fields that there are
    raises  LlamaError for a change of anything else
    """
    unknown = sorted(changes.keys() - known - {"rope_scaling"})
    if unknown:
        expected = "a field of LlamaConfig, rope_theta inside rope_parameters"
        raise LlamaError("no such argument", where=unknown[0], expected=expected)
    left = dict(settings)
    if changes.keys() & {"num_labels", "id2label"}:
        left.pop("id2label", None)
        left.pop("label2id", None)
    rope = changes.get("rope_scaling", changes.get("rope_parameters"))
    if not isinstance(rope, Mapping):
        return {**left, **changes}
    stored = rope_from_either_spelling(left) or {}  # which takes them out
    theta = {"rope_theta": stored["rope_theta"]} if "rope_theta" in stored else {}
    others = {name: value for name, value in changes.items() if name != "rope_scaling"}
    return {**left, **others, "rope_parameters": {**theta, **rope}}
