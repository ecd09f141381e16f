"""What a whole Llama must do, of any config and weights, in any sequence of calls.

Each property asks `port.run(subject)`: a config, weights and calls in, the logits of each call out. So a mistake is
seen wherever it is: in a block, in the cache, in positions, in the order of layers, in what is returned.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, ids
from numpy_llama.conformance.plain_forward import plain_forward
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import close, is_array, unit
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.study.subject import Asked, Subject

V, E, TRAINED = 11, 32, 4
YARN = {"factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 4.0, "beta_slow": 0.5}
LLAMA3 = {"factor": 5.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
ROPE = (
    {"rope_type": "default", "rope_theta": 100.0},
    {"rope_type": "default", "rope_theta": 10000.0},
    {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.5},
    {"rope_type": "llama3", "rope_theta": 100.0, **LLAMA3},
    {"rope_type": "yarn", "rope_theta": 100.0, **YARN},
    {"rope_type": "proportional", "rope_theta": 100.0, "factor": 2.0, "partial_rotary_factor": 0.5},
)
# In these a call's length counts, so that pieces are not the whole, and a row is not alone.
ROPE_BY_LENGTH = (
    {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 3.0},
    {"rope_type": "longrope", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": TRAINED},
)
HEADS = ((4, 2), (8, 2), (4, 1), (2, 2))  # (H, K)
LAYERS = (2, 1, 3, 2, 3, 2, 3, 12)  # twelve, since names sort otherwise from the eleventh on
PIECES = st.lists(st.integers(1, 3), min_size=1, max_size=4)

# As in model.py: 2^14 units is what the order of sums may make, in a few layers; a layer more passes an error on.
ALLOWED = 2.0**14 * unit(np.dtype(np.float64))


def draw_config(draw: Draw, **fixed: object) -> LlamaConfig:
    """A small config in which everything that a Llama may have occurs."""
    H, K = draw("(H, K)", st.sampled_from(HEADS))
    fields = {
        "vocab_size": V,
        "hidden_size": E,
        "intermediate_size": 10,
        "max_position_embeddings": TRAINED,
        "bos_token_id": 0,  # so that texts that begin with it are drawn often
        "num_attention_heads": H,
        "num_key_value_heads": K,
        "head_dim": draw("head_dim", st.sampled_from((4, 8, 6))),
        "num_hidden_layers": draw("layers", st.sampled_from(LAYERS)),
        "hidden_act": draw("hidden_act", st.sampled_from(("silu", "silu", "gelu", "gelu_pytorch_tanh"))),
        "rms_norm_eps": draw("rms_norm_eps", st.sampled_from((1e-6, 0.25))),
        "attention_bias": draw("attention_bias", st.booleans()),
        "mlp_bias": draw("mlp_bias", st.booleans()),
        "tie_word_embeddings": draw("tie_word_embeddings", st.booleans()),
        "rope_parameters": dict(draw("rope", st.sampled_from(ROPE))),
        **fixed,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a context of four tokens is an odd one
        return LlamaConfig(**fields)


def draw_subject(draw: Draw, calls: Sequence[Asked], **fixed: object) -> Subject:
    """A small Llama that is asked these calls: attention far from even, norm weights far from 1, float64."""
    config = draw_config(draw, **fixed)
    random = np.random.default_rng(draw("seed", st.integers(0, 9)))

    def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith("norm.weight"):
            return random.normal(1.0, 0.4, shape)
        return random.normal(0.0, 0.25, shape)

    shapes = LlamaForCausalLM.tensor_shapes(config)
    return Subject(config, {name: weight(name, shape) for name, shape in shapes.items()}, calls)


def draw_text(draw: Draw, padded: bool) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """ids (B, S), padding mask (B, S) and the lengths of the pieces that the text is cut into."""
    pieces = draw("pieces", PIECES)
    B, S = draw("B", st.integers(1, 3)), sum(pieces)
    mask = np.ones((B, S), np.int64)
    if padded:
        for row in range(B):
            left, right, hole = draw(f"padding of row {row}", st.tuples(*(st.integers(0, n) for n in (2, 1, 7))))
            left = min(left, S - 1)
            mask[row, :left] = 0
            mask[row, max(S - right, left + 1) :] = 0
            if left < hole < S:
                mask[row, hole] = 0
    return draw("input_ids", ids((B, S), V)), mask, pieces


def in_pieces(input_ids: np.ndarray, mask: np.ndarray, pieces: Sequence[int]) -> list[Asked]:
    """A text as calls that follow one another. Without padding the model itself is to count positions."""
    calls, start, padded = [], 0, bool((mask == 0).any())
    for length in pieces:
        stop = start + length
        positions = positions_of(mask)[:, start:stop] if padded else None
        calls.append(Asked(input_ids[:, start:stop], mask[:, :stop] if padded else None, positions, start))
        start = stop
    return calls


def positions_of(mask: np.ndarray) -> np.ndarray:
    """(B, S) positions counted without padding."""
    return np.maximum(mask.cumsum(axis=1) - 1, 0)


def asked(port: Port, subject: Subject) -> np.ndarray:
    """The logits of all calls, one after the other, (B, S, V)."""
    logits = port.run(subject)
    for call, got in zip(subject.calls, logits, strict=True):
        is_array(got, (*call.input_ids.shape, V), "logits")
    return np.concatenate(logits, axis=1)


def same(got: np.ndarray, expected: np.ndarray, claim: str, where: np.ndarray | bool = True) -> None:
    """Held equal but for the order of sums, at the tokens that count."""
    counts = np.broadcast_to(where, got.shape[:2])[..., None]
    bound = ALLOWED * (1 + np.abs(np.where(counts, expected, 0)).max(initial=0))
    close(np.where(counts, got, 0), np.where(counts, expected, 0), bound, claim)


def pieces_are_the_whole(port: Port, draw: Draw) -> None:
    """A prefill, chunks and decode steps with a cache give the logits of one call with all tokens."""
    input_ids, mask, pieces = draw_text(draw, padded=False)
    subject = draw_subject(draw, in_pieces(input_ids, mask, pieces))
    whole = asked(port, replace(subject, calls=[Asked(input_ids)]))
    same(asked(port, subject), whole, "pieces together are the whole")


def each_row_is_alone(port: Port, draw: Draw) -> None:
    """Each text of a padded batch, left or right, in one call or in several, gets the logits that it gets alone."""
    input_ids, mask, pieces = draw_text(draw, padded=True)
    subject = draw_subject(draw, in_pieces(input_ids, mask, pieces))
    together = asked(port, subject)
    for row in range(len(mask)):
        real = mask[row].astype(bool)
        alone = asked(port, replace(subject, calls=[Asked(input_ids[row : row + 1, real])]))
        same(together[row : row + 1, real], alone, f"row {row} of the batch is that text alone")


def the_future_is_not_seen(port: Port, draw: Draw) -> None:
    """Logits at position t don't depend on any token after t, in a model of any config."""
    input_ids, _, _ = draw_text(draw, padded=False)
    t = draw("t", st.integers(0, 11)) % input_ids.shape[1]
    changed = np.array(input_ids)
    changed[:, t + 1 :] = (changed[:, t + 1 :] + 1 + draw("other", st.integers(0, V - 2))) % V
    subject = draw_subject(draw, [Asked(input_ids)])
    after = asked(port, replace(subject, calls=[Asked(changed)]))
    same(after[:, : t + 1], asked(port, subject)[:, : t + 1], f"logits up to position {t}")


def repeated_heads_are_grouped_heads(port: Port, draw: Draw) -> None:
    """A model with K key/value heads is the one with H, in which each stands G times, one copy after the other."""
    input_ids, mask, pieces = draw_text(draw, padded=False)
    subject = draw_subject(draw, in_pieces(input_ids, mask, pieces))
    config = subject.config
    G, D = config.num_attention_heads // config.num_key_value_heads, config.head_dim
    repeated = dict(subject.weights)
    for name, array in subject.weights.items():
        if ".k_proj." in name or ".v_proj." in name:
            heads = array.reshape(-1, D, *array.shape[1:])  # (K, D, …)
            repeated[name] = np.repeat(heads, G, axis=0).reshape(-1, *array.shape[1:])
    multi_head = replace(subject, config=replace(config, num_key_value_heads=config.num_attention_heads))
    got = asked(port, replace(multi_head, weights=repeated))
    same(asked(port, subject), got, "grouped heads are heads repeated in place")


def nothing_added_leaves_the_embedding(port: Port, draw: Draw) -> None:
    """With o_proj and down_proj of zeros the layers add nothing: logits are those of the normed embeddings."""
    input_ids, mask, pieces = draw_text(draw, padded=False)
    subject = draw_subject(draw, in_pieces(input_ids, mask, pieces))
    silent = {
        name: np.zeros_like(array) if ".o_proj." in name or ".down_proj." in name else array
        for name, array in subject.weights.items()
    }
    embedding = subject.weights["model.embed_tokens.weight"]
    x = embedding[input_ids]  # (B, S, E)
    normed = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + subject.config.rms_norm_eps)
    head = embedding if subject.config.tie_word_embeddings else subject.weights["lm_head.weight"]
    expected = normed * subject.weights["model.norm.weight"] @ head.T
    same(asked(port, replace(subject, weights=silent)), expected, "logits of the normed embeddings")


def the_head_is_linear(port: Port, draw: Draw) -> None:
    """Twice lm_head gives twice the logits: nothing bends them after it."""
    input_ids, _, _ = draw_text(draw, padded=False)
    subject = draw_subject(draw, [Asked(input_ids)], tie_word_embeddings=False)
    doubled = {**subject.weights, "lm_head.weight": 2 * subject.weights["lm_head.weight"]}
    same(asked(port, replace(subject, weights=doubled)), 2 * asked(port, subject), "2 · lm_head gives 2 · logits")


def every_rope_type_is_its_formula(port: Port, draw: Draw) -> None:
    """Logits are those of the formulas with each of the seven rope types, in a text longer than the trained context."""
    T = draw("T", st.integers(TRAINED + 1, 2 * TRAINED))
    input_ids = draw("input_ids", ids((1, T), V))
    plain = draw_subject(draw, [Asked(input_ids)], num_hidden_layers=1, hidden_act="silu", tie_word_embeddings=False)
    for parameters in (*ROPE, *ROPE_BY_LENGTH):
        config = with_rope(plain.config, parameters)
        expected = plain_forward(config, plain.weights, input_ids)
        same(asked(port, replace(plain, config=config)), expected, f"RoPE of type {parameters['rope_type']}")


def with_rope(config: LlamaConfig, parameters: dict[str, object]) -> LlamaConfig:
    """The config with another rope type; longrope has a divisor for each pair, in short texts and in long ones."""
    pairs = range(config.head_dim // 2)
    if parameters["rope_type"] == "longrope":
        divisors = {"short_factor": [1 + i / 4 for i in pairs], "long_factor": [1.5 + i for i in pairs]}
        parameters = {**parameters, **divisors}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return replace(config, rope_parameters=dict(parameters))


def is_the_formula(port: Port, draw: Draw) -> None:
    """Logits are those of the papers' formulas, computed slowly and plainly in float64 (plain_forward.py)."""
    input_ids, mask, pieces = draw_text(draw, padded=True)
    subject = draw_subject(draw, in_pieces(input_ids, mask, pieces))
    expected = plain_forward(subject.config, subject.weights, input_ids, mask, positions_of(mask))
    same(asked(port, subject), expected, "the plain forward pass", mask.astype(bool))


PROPERTIES = (
    pieces_are_the_whole,
    each_row_is_alone,
    the_future_is_not_seen,
    repeated_heads_are_grouped_heads,
    nothing_added_leaves_the_embedding,
    the_head_is_linear,
    every_rope_type_is_its_formula,
    is_the_formula,
)
