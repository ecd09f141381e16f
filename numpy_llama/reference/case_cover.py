"""The cases that pairwise cover finds: for any two settings in FACTORS that can meet, at least one case has both."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from numpy_llama.reference.case import HIDDEN, ROPE_TYPES, Call, Case, Settings, small_config
from numpy_llama.reference.case_draws import Draws

FACTORS: dict[str, tuple[str, ...]] = {
    "heads": ("multi-head", "grouped-query", "multi-query", "head_dim apart"),
    "rope": ROPE_TYPES,
    "context": ("inside", "beyond"),
    "bias": ("none", "attention", "mlp", "both"),
    "padding": ("none", "left", "right", "4-D additive", "4-D boolean", "packed"),
    "cache": ("none", "decode", "chunks", "static"),
}

# Packed sequences are recognised without a mask and without a cache alone.
CANNOT_MEET = frozenset(frozenset({("padding", "packed"), ("cache", kind)}) for kind in ("decode", "chunks", "static"))

ACTIVATIONS = (
    "silu gelu gelu_10 gelu_fast gelu_new gelu_python gelu_pytorch_tanh gelu_python_tanh gelu_accurate hardswish "
    "laplace leaky_relu linear mish quick_gelu relu relu2 relu6 sigmoid sqrtsoftplus swish tanh"
).split()

T = 7  # tokens of a row in the cases of the cover
SPLITS = {"none": (7,), "decode": (5, 1, 1), "chunks": (3, 2, 2), "static": (4, 2, 1)}
CAPACITY = 9  # of the static cache, two more than are ever filled


def interacting_pairs() -> set[frozenset[tuple[str, str]]]:
    """Every two settings of two factors that can meet in one case."""
    pairs = set()
    for one, other in combinations(FACTORS, 2):
        pairs |= {frozenset({(one, a), (other, b)}) for a in FACTORS[one] for b in FACTORS[other]}
    return pairs - CANNOT_MEET


def pairs_of(factors: Mapping[str, str]) -> set[frozenset[tuple[str, str]]]:
    """The pairs that one choice of settings covers."""
    return {frozenset(pair) for pair in combinations(factors.items(), 2)}


def pairwise_cover() -> Iterator[dict[str, str]]:
    """Choices of settings that cover every interacting pair, greedily: always the same ones.

    Each begins with the first pair still missing, and takes for every other factor the setting that covers most of what
    is missing; where several do, the one after the setting taken last.
    """
    missing = interacting_pairs()
    used = dict.fromkeys(FACTORS, 0)
    while missing:
        chosen = dict(next(pair for pair in _pairs_in_order() if frozenset(pair) in missing))
        for factor in sorted(FACTORS, key=lambda factor: -len(FACTORS[factor])):
            if factor in chosen:
                continue
            values = FACTORS[factor]
            turned = values[used[factor] % len(values) :] + values[: used[factor] % len(values)]
            possible = [value for value in turned if not pairs_of({**chosen, factor: value}) & CANNOT_MEET]
            chosen[factor] = max(possible, key=lambda value: len(pairs_of({**chosen, factor: value}) & missing))
            used[factor] += 1
        chosen = {factor: chosen[factor] for factor in FACTORS}
        missing -= pairs_of(chosen)
        yield chosen


def _pairs_in_order() -> list[tuple[tuple[str, str], tuple[str, str]]]:
    return [
        ((one, a), (other, b)) for one, other in combinations(FACTORS, 2) for a in FACTORS[one] for b in FACTORS[other]
    ]


def cover_cases() -> Iterator[Case]:
    """The cases of the cover. What is no factor (activation, eps, tied embeddings) takes turns."""
    for number, factors in enumerate(pairwise_cover()):
        config = small_config(
            heads=factors["heads"],
            rope=factors["rope"],
            context=factors["context"],
            attention_bias=factors["bias"] in ("attention", "both"),
            mlp_bias=factors["bias"] in ("mlp", "both"),
            hidden_act=ACTIVATIONS[number % len(ACTIVATIONS)],
            rms_norm_eps=(1e-6, 1e-5, 1e-2)[number % 3],
            tie_word_embeddings=number % 4 == 1,
            pad_token_id=0,
        )
        name = f"pair_{number:02d}"
        static = factors["cache"] == "static"
        yield Case(
            name,
            "; ".join(f"{factor}: {setting}" for factor, setting in factors.items()),
            "LlamaForCausalLM",
            config,
            tuple(_cover_calls(Draws(name + " inputs"), config, factors, number)),
            CAPACITY if static else None,
            factors,
        )


def _cover_calls(draws: Draws, config: Settings, factors: Mapping[str, str], number: int) -> Iterator[Call]:
    padding, cache = factors["padding"], factors["cache"]
    ids = draws.integers((2, T), 1, config["vocab_size"])
    mask = np.ones((2, T), np.int64)
    if padding == "left":
        mask[1, :2] = 0
    elif padding == "right":
        first = SPLITS[cache][0]  # later tokens are real: a row goes on behind the gap
        mask[1, first - 2 : first] = 0
    ids *= mask  # the padding token is 0
    looks = _four_dimensional(draws, padding) if padding.startswith("4-D") else None  # (2, 1, T, T)
    start = 0
    for new in SPLITS[cache]:
        end = start + new
        inputs = {"input_ids": ids[:, start:end]}
        if padding in ("left", "right"):
            inputs["attention_mask"] = mask[:, :end]
        if padding == "left" or (padding == "right" and cache != "none"):
            inputs["position_ids"] = np.maximum(mask.cumsum(1) - 1, 0)[:, start:end]  # as generate counts
        if looks is not None:
            width = CAPACITY if cache == "static" else end
            inputs["attention_mask"] = _widened(looks[:, :, start:end, : min(end, T)], width)
        if padding == "packed":
            inputs["position_ids"] = np.array([[0, 1, 2, 0, 1, 2, 3], [0, 0, 1, 2, 3, 4, 5]])
        arguments: Settings = {"use_cache": cache != "none"}
        if end == T and number % 6 == 0:
            arguments["output_hidden_states"] = True
        if end == T and number % 5 == 0 and cache != "static" and padding != "4-D boolean":
            arguments["output_attentions"] = True
        yield Call(inputs, arguments)
        start = end


def _four_dimensional(draws: Draws, padding: str) -> np.ndarray:
    """(2, 1, T, T): who looks at whom. Row 0 is causal and forgets some; row 1 doesn't see its first token later on."""
    sees = np.tril(np.ones((2, 1, T, T), bool))
    sees[0, 0] &= draws.integers((T, T), 0, 4) > 0
    sees[1, 0, 1:, 0] = False
    sees |= np.eye(T, dtype=bool)
    if padding == "4-D boolean":
        return sees
    leanings = -0.5 * draws.integers((2, 1, T, T), 0, 5).astype(np.float32)  # 0, −0.5, … −2
    return np.where(sees, leanings, np.float32(HIDDEN))


def _widened(looks: np.ndarray, width: int) -> np.ndarray:
    """More columns, hidden: the empty places of a static cache."""
    nothing = False if looks.dtype == bool else np.float32(HIDDEN)
    wider = np.full((*looks.shape[:3], width), nothing, looks.dtype)
    wider[..., : looks.shape[3]] = looks
    return wider
