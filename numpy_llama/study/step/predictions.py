"""Which token comes next: from the logits or, earlier on, from the residual stream as if it were the last."""

from dataclasses import dataclass

import numpy as np

from numpy_llama.blocks.softmax import softmax
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.precision import DTYPES, widen
from numpy_llama.study.step.places import layer_number
from numpy_llama.study.trace.trace import LOGITS


@dataclass(frozen=True)
class Prediction:
    """One token that may come next."""

    token_id: int
    probability: float


def is_residual(name: str, width: int | None, value: np.ndarray) -> bool:
    """Whether a value stands in the residual stream, so that the head can be put on it."""
    if value.ndim != 3 or (width is not None and value.shape[-1] != width):
        return False
    stands_there = name in ("model.embed_tokens", "model.norm") or name.endswith(".after_attention")
    return stands_there or layer_number(name) is not None


def logits_at(name: str, value: np.ndarray, model: LlamaForCausalLM | None) -> np.ndarray | None:
    """What the model's head makes of a value: (B, T, V), or None where it can make nothing of it.

    The logits are taken as they are; a residual stream goes through the final norm and the head, whatever layers are
    still to come (the logit lens).

    source  nostalgebraist 2020, "interpreting GPT: the logit lens"
    """
    if name == LOGITS:
        return value
    if model is None or not is_residual(name, model.config.hidden_size, value):
        return None
    with np.errstate(all="ignore"):
        if name != "model.norm":
            value = model.blocks.rms_norm(value, model.model.norm, model.config.rms_norm_eps)
        return model.blocks.linear(value, model.lm_head)


def likeliest(logits: np.ndarray, count: int) -> list[Prediction]:
    """The tokens most likely to come next.

    logits  (V,), any float dtype
    """
    with np.errstate(all="ignore"):
        probabilities = softmax(widen(logits).astype(DTYPES["float64"]))
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [Prediction(int(index), float(probabilities[index])) for index in order]
