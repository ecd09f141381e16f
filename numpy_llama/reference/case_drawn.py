"""Cases that hypothesis draws: any class, any config, any weights, any inputs, masks and chunkings that can meet.

    @given(case=drawn_cases())
    def test(case): …

A case is drawn in two parts, a config and a row of calls. hypothesis chooses what kind of thing comes (a rope type, a
mask, how a text is cut); the numbers come from `Draws`, by a seed. What can't be in Transformers isn't drawn: it is in
tests/model/, as errors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from numpy_llama.reference.case import Call, Case, Settings
from numpy_llama.reference.case_cover import ACTIVATIONS, HIDDEN
from numpy_llama.reference.case_draws import Draws

CLASSES = (
    "LlamaModel",
    "LlamaForCausalLM",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
    "LlamaForQuestionAnswering",
)
PADDINGS = ("none", "left", "right", "holes", "4-D additive", "4-D boolean", "packed")
ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional")
IGNORED = -100
FARTHEST = 6000  # positions: three times as far as the float32 bound stays the same


@dataclass(frozen=True)
class Sizes:
    """From how many to how many, of each.

    head_channels  hidden_size for each query head
    pairs          D / 2
    """

    rows: tuple[int, int] = (1, 3)
    tokens: tuple[int, int] = (1, 20)
    layers: tuple[int, int] = (1, 3)
    key_heads: tuple[int, int] = (1, 3)
    head_channels: tuple[int, int] = (2, 8)
    pairs: tuple[int, int] = (1, 10)
    intermediate: tuple[int, int] = (1, 60)
    vocabulary: tuple[int, int] = (8, 80)
    labels: tuple[int, int] = (1, 4)


SMALL = Sizes()
# Wide enough that a root mean square over a case's outputs says how they round, and not how one of them does.
WIDE = Sizes(
    rows=(4, 4),
    tokens=(28, 40),
    key_heads=(2, 3),
    head_channels=(12, 20),
    pairs=(4, 12),
    intermediate=(40, 120),
    vocabulary=(150, 200),
    labels=(12, 20),
)


@st.composite
def drawn_cases(
    draw: st.DrawFn, classes: tuple[str, ...] = CLASSES, paddings: tuple[str, ...] = PADDINGS, sizes: Sizes = SMALL
) -> Case:
    """A fresh model of one of the classes, and its calls, with one of the paddings."""
    class_name = draw(st.sampled_from(classes))
    seed = draw(st.integers(0, 2**32 - 1))
    config = draw(_configs(class_name, sizes))
    texts = draw(_texts(class_name, config, paddings, sizes))
    return Case(
        name=f"drawn {seed}",
        about=f"padding: {texts.padding}; cut into {texts.cuts}",
        class_name=class_name,
        config=config,
        calls=tuple(draw(_calls(class_name, config, texts, Draws(f"inputs {seed}")))),
        capacity=texts.capacity,
    )


# -- configs -----------------------------------------------------------------------------------------------------------


@st.composite
def _configs(draw: st.DrawFn, class_name: str, sizes: Sizes) -> Settings:
    key_heads = draw(st.integers(*sizes.key_heads))
    heads = key_heads * draw(st.integers(1, 3))
    pairs = draw(st.integers(*sizes.pairs))
    vocabulary = draw(st.integers(*sizes.vocabulary))
    longest = draw(st.sampled_from([5, 16, 64, 4096]))
    labels = draw(st.integers(*sizes.labels))
    problems = [None, "regression", "multi_label_classification", *["single_label_classification"] * (labels > 1)]
    return {
        "architectures": [class_name],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": heads * draw(st.integers(*sizes.head_channels)),
        "intermediate_size": draw(st.integers(*sizes.intermediate)),
        "num_hidden_layers": draw(st.integers(*sizes.layers)),
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": 2 * pairs,
        "hidden_act": draw(st.sampled_from(ACTIVATIONS)),
        "max_position_embeddings": longest,
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-5, 1e-3])),
        "use_cache": draw(st.booleans()),
        "pad_token_id": draw(st.sampled_from([None, 0, vocabulary - 1])),
        "bos_token_id": 1,
        "eos_token_id": draw(st.sampled_from([None, 2, [2, 3]])),
        "tie_word_embeddings": draw(st.booleans()),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "num_labels": labels,
        "problem_type": draw(st.sampled_from(problems)),
        **draw(_either_spelling(_ropes(pairs, longest))),
    }


@st.composite
def _either_spelling(draw: st.DrawFn, ropes: st.SearchStrategy[Settings]) -> Settings:
    """rope_parameters, or rope_theta and rope_scaling as before Transformers 5."""
    parameters = draw(ropes)
    if draw(st.integers(0, 3)) > 0:
        return {"rope_parameters": parameters}
    theta = parameters.pop("rope_theta")
    if parameters == {"rope_type": "default"}:
        return {"rope_theta": theta}
    return {"rope_theta": theta, "rope_scaling": parameters}


@st.composite
def _ropes(draw: st.DrawFn, pairs: int, longest: int) -> Settings:
    """rope_parameters of any type.

    pairs    of channels in a head
    longest  max_position_embeddings
    """
    kinds = [kind for kind in ROPE_TYPES if pairs > 1 or kind != "dynamic"]  # its exponent is D / (D − 2)
    kind = draw(st.sampled_from(kinds))
    trained = draw(st.sampled_from([length for length in (3, 8, 32, 1024) if length < longest]))

    def perhaps(**options: list[Any]) -> Settings:
        """Each field left out, or one of its options."""
        chosen = {name: draw(st.sampled_from([..., *values])) for name, values in options.items()}
        return {name: value for name, value in chosen.items() if value is not ...}

    def divisors() -> list[float]:
        return [draw(st.sampled_from([1.0, 1.3, 2.5, 6.0])) for _ in range(pairs)]

    factor = draw(st.sampled_from([1.0, 1.5, 2.7, 8.0]))
    by_type: dict[str, Settings] = {
        "default": {},
        "linear": {"factor": factor},
        "dynamic": {"factor": factor},
        "yarn": {
            "factor": draw(st.sampled_from([factor, None])),
            "original_max_position_embeddings": trained,
            **perhaps(
                attention_factor=[None, 1.3],
                beta_fast=[None, 4.0],
                beta_slow=[None, 0.05],
                mscale=[1.4],
                mscale_all_dim=[0.7],
                truncate=[True, False],
            ),
        },
        "longrope": {
            "short_factor": divisors(),
            "long_factor": divisors(),
            "original_max_position_embeddings": trained,
            **perhaps(factor=[factor], attention_factor=[None, 1.2]),
        },
        "llama3": {
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": draw(st.sampled_from([1.3, 4.0])),
            "original_max_position_embeddings": trained,
        },
        "proportional": perhaps(factor=[factor], partial_rotary_factor=[0.25, 0.5, 1.0]),
    }
    theta = draw(st.sampled_from([100.0, 10_000.0, 500_000.0]))
    return {"rope_type": kind, "rope_theta": theta, **by_type[kind]}


# -- texts: what is padding, and how they are cut into calls -----------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """Rows of tokens, before they get any numbers.

    padding   one of PADDINGS
    cuts      new tokens of each call
    capacity  of the static cache; None: no static cache
    """

    rows: int
    padding: str
    cuts: tuple[int, ...]
    capacity: int | None

    @property
    def tokens(self) -> int:
        return sum(self.cuts)


@st.composite
def _texts(draw: st.DrawFn, class_name: str, config: Settings, paddings: tuple[str, ...], sizes: Sizes) -> Texts:
    rows, tokens = draw(st.integers(*sizes.rows)), draw(st.integers(*sizes.tokens))
    if class_name == "LlamaForSequenceClassification" and config["pad_token_id"] is None:
        rows = 1  # of more, the ends can't be told
    padding = draw(st.sampled_from(paddings))
    cuts: tuple[int, ...] = (tokens,)
    capacity = None
    if padding != "packed":
        way = draw(st.sampled_from(["one pass", "decode", "chunks", "static"]))
        if way == "decode":
            steps = draw(st.integers(0, min(4, tokens - 1)))
            cuts = (tokens - steps, *steps * (1,))
        elif way != "one pass":
            places = sorted(draw(st.sets(st.integers(1, tokens - 1), max_size=4))) if tokens > 1 else []
            cuts = tuple(end - start for start, end in zip([0, *places], [*places, tokens], strict=True))
        if way == "static":
            capacity = tokens + draw(st.integers(0, 5))
    return Texts(rows, padding, cuts, capacity)


# -- calls -------------------------------------------------------------------------------------------------------------


@st.composite
def _calls(draw: st.DrawFn, class_name: str, config: Settings, texts: Texts, draws: Draws) -> list[Call]:
    B, T = texts.rows, texts.tokens
    real = _real_tokens(draws, texts)  # (B, T)
    ids = _token_ids(class_name, config, draws, real)  # (B, T)
    embeds = draws.evenly((B, T, config["hidden_size"]), 1.0) if draw(st.integers(0, 3)) == 0 else None
    looks = draw(_four_dimensional(config, texts, draws)) if texts.padding.startswith("4-D") else None
    mask_dtype = draw(st.sampled_from([np.int64, np.bool_, np.float32]))
    wide = draw(st.booleans())  # of a static cache, a 4-D mask may have a column for every place
    position_ids = draw(_positions(texts, real, draws))
    # Transformers settles on a kind of labels at the first ones that it sees.
    by_labels = draw(st.sampled_from(["single_label_classification", "multi_label_classification"]))
    problem = config["problem_type"] or ("regression" if config["num_labels"] == 1 else by_labels)
    calls, start = [], 0
    for new in texts.cuts:
        end = start + new
        inputs: dict[str, np.ndarray] = {}
        if embeds is None:
            inputs["input_ids"] = ids[:, start:end]
        else:
            inputs["inputs_embeds"] = embeds[:, start:end]
        if texts.padding in ("left", "right", "holes"):
            inputs["attention_mask"] = real[:, :end].astype(mask_dtype)
        if looks is not None:
            width = texts.capacity if texts.capacity is not None and wide else end
            inputs["attention_mask"] = _widened(looks[:, :, start:end, :end], width)
        if position_ids is not None:
            inputs["position_ids"] = position_ids[:, start:end]
        if draw(st.booleans()):
            inputs["cache_position"] = np.arange(start, end)
        arguments = draw(_arguments(class_name, texts, new))
        keeps = class_name == "LlamaForCausalLM" and draw(st.integers(0, 2)) == 0
        if keeps:
            kept = draw(_logits_to_keep(B, new, draws))
            (arguments if isinstance(kept, int) else inputs)["logits_to_keep"] = kept
        if draw(st.booleans()) and not keeps:
            by_ids = embeds is None and config["pad_token_id"] is not None
            ends_real = real[:, start:end].any(axis=1) if by_ids else real[:, end - 1]  # (B,): those of the texts
            if class_name != "LlamaForSequenceClassification":
                inputs |= dict(_labels(class_name, config["num_labels"], draws, ids, real, start, end))
            elif ends_real.all():
                inputs["labels"] = _labels_of_texts(problem, config["num_labels"], draws, B)
        calls.append(Call(inputs, arguments))
        start = end
    return calls


def _real_tokens(draws: Draws, texts: Texts) -> np.ndarray:
    """(B, T) booleans; every row ends or begins with a real token."""
    shape = (texts.rows, texts.tokens)
    lengths = draws.integers((texts.rows, 1), 1, texts.tokens + 1)
    places = np.arange(texts.tokens)
    if texts.padding == "left":
        return places >= texts.tokens - lengths
    if texts.padding == "right":
        return places < lengths
    if texts.padding == "holes":
        return (draws.integers(shape, 0, 3) > 0) | (places == texts.tokens - 1)
    return np.ones(shape, bool)


def _token_ids(class_name: str, config: Settings, draws: Draws, real: np.ndarray) -> np.ndarray:
    """(B, T). The sequence classifier takes the padding token for padding, wherever it stands."""
    ids = draws.integers(real.shape, 0, config["vocab_size"])
    pad = config["pad_token_id"]
    if pad is not None and not real.all():
        if class_name == "LlamaForSequenceClassification":
            ids[ids == pad] = (pad + 1) % config["vocab_size"]
        ids[~real] = pad
    return ids


@st.composite
def _four_dimensional(draw: st.DrawFn, config: Settings, texts: Texts, draws: Draws) -> np.ndarray:
    """(B or 1, H or 1, T, T): who looks at whom. Every token sees itself; some see what comes after them."""
    rows = draw(st.sampled_from([1, texts.rows]))
    heads = draw(st.sampled_from([1, config["num_attention_heads"]]))
    shape = (rows, heads, texts.tokens, texts.tokens)
    sees = np.tril(draws.integers(shape, 0, 4) > 0)
    if draw(st.booleans()):
        sees |= np.arange(texts.tokens) < texts.cuts[0] // 2  # a prefix that is seen from everywhere
    sees |= np.eye(texts.tokens, dtype=bool)
    if texts.padding == "4-D boolean":
        return sees
    leanings = -0.5 * draws.integers(shape, 0, 5).astype(np.float32)  # 0, −0.5, … −2
    hidden = draw(st.sampled_from([HIDDEN, -np.inf]))
    return np.where(sees, leanings, np.float32(hidden)).astype(np.float32)


def _widened(looks: np.ndarray, width: int) -> np.ndarray:
    """More columns, which nobody sees."""
    wider = np.full((*looks.shape[:3], width), looks.dtype.type(False if looks.dtype == bool else HIDDEN))
    wider[..., : looks.shape[3]] = looks
    return wider


@st.composite
def _positions(draw: st.DrawFn, texts: Texts, real: np.ndarray, draws: Draws) -> np.ndarray | None:
    """(B or 1, T): none, counted as generate counts, far from 0, or with jumps; packed texts restart."""
    B, T = real.shape
    if texts.padding == "packed":
        begins = draws.integers((B, T), 0, 4) == 0
        begins[:, 0] = True
        count = np.arange(T) - np.maximum.accumulate(np.where(begins, np.arange(T), 0), axis=1)
        return count + draws.integers((B, 1), 0, 3)
    kind = draw(st.sampled_from(["none", "counted", "far", "jumps"]))
    counted = np.maximum(real.cumsum(axis=1) - 1, 0)  # (B, T)
    if kind == "counted":
        return counted
    if kind == "far":
        return counted[:1] * 0 + np.arange(T) + draw(st.integers(0, FARTHEST))  # (1, T)
    # Without a mask and a cache, a jump would begin another text.
    if kind == "jumps":
        return draws.integers((B, T), 0, 4).cumsum(axis=1) + draw(st.integers(0, 100))
    return None


@st.composite
def _arguments(draw: st.DrawFn, class_name: str, texts: Texts, new: int) -> Settings:
    """What is no array; whatever is left out is as the config says."""
    arguments: Settings = {}
    if texts.padding == "packed":
        arguments["use_cache"] = False
    elif len(texts.cuts) > 1 or texts.capacity is not None:
        arguments["use_cache"] = True
    elif draw(st.booleans()):
        arguments["use_cache"] = draw(st.booleans())
    for name in ("output_hidden_states", "output_attentions"):
        if draw(st.booleans()) and not (name == "output_attentions" and texts.padding == "4-D boolean"):
            arguments[name] = True  # sdpa, which judges boolean masks, has no attentions to give
    if draw(st.integers(0, 4)) == 0:
        arguments["return_dict"] = False
    return arguments


@st.composite
def _logits_to_keep(draw: st.DrawFn, rows: int, new: int, draws: Draws) -> int | np.ndarray:
    """The last so many, the same positions of every row, positions of each row, or any by a mask."""
    kind = draw(st.sampled_from(["last", "shared", "by row", "mask"]))
    if kind == "last":
        return draw(st.integers(1, new + 1))
    if kind == "shared":
        return draws.integers((draw(st.integers(1, 4)),), -new, new)
    if kind == "by row":
        return draws.integers((rows, draw(st.integers(1, 4))), 0, new)
    mask = draws.integers((rows, new), 0, 2) == 1
    mask[0, 0] = True
    return mask


def _labels(
    class_name: str, num_labels: int, draws: Draws, ids: np.ndarray, real: np.ndarray, start: int, end: int
) -> Iterator[tuple[str, np.ndarray]]:
    """What the output should be: nothing where it would be held to an output at padding, or to nothing at all."""
    new, before = real[:, start:end], np.pad(real, ((0, 0), (1, 0)))[:, start:end]  # (B, T)
    B, T = new.shape
    counts = draws.integers((B, T), 0, 4) > 0
    if class_name == "LlamaForCausalLM":
        labels = np.where(new & before & counts, ids[:, start:end], IGNORED)
        if (labels[:, 1:] != IGNORED).any():
            yield "labels", labels
    elif class_name == "LlamaForTokenClassification":
        labels = np.where(new & counts, draws.integers((B, T), 0, num_labels), IGNORED)
        if (labels != IGNORED).any():
            yield "labels", labels
    elif class_name == "LlamaForQuestionAnswering" and (np.cumsum(real, axis=1)[:, start:end] > 0).all():
        for name in ("start_positions", "end_positions"):
            positions = draws.integers((B,), -2, T + 3)
            positions[0] = draws.integers((1,), 0, T)[0]
            yield name, positions


def _labels_of_texts(problem: str, num_labels: int, draws: Draws, B: int) -> np.ndarray:
    if problem == "regression":
        return draws.evenly((B,) if num_labels == 1 else (B, num_labels), 1.0)
    if problem == "multi_label_classification":
        return draws.integers((B, num_labels), 0, 2).astype(np.float32)
    return draws.integers((B,), 0, num_labels)


# -- what of an output is to be compared -------------------------------------------------------------------------------


def real_places(case: Case, index: int) -> dict[str, np.ndarray]:
    """For every output of a call, booleans that broadcast to it: true at real tokens.

    returns  by name; hidden_states and attentions are arrays with an axis of layers in front
    """
    end = sum(tokens_of(call) for call in case.calls[: index + 1])
    call = case.calls[index]
    T = tokens_of(call)
    mask = call.inputs.get("attention_mask")
    rows = next(iter(call.inputs.values())).shape[0]
    real = np.ones((rows, end), bool) if mask is None or mask.ndim == 4 else mask.astype(bool)
    new = real[:, end - T :]  # (B, T)
    kept = call.inputs.get("logits_to_keep", np.arange(T)[-call.arguments.get("logits_to_keep", T) :])
    if kept.dtype == bool:
        logits = new[kept]
    else:
        logits = np.take_along_axis(new, np.broadcast_to(kept % T, (rows, kept.shape[-1])), axis=1)
    places = {
        "loss": np.ones((), bool),
        "last_hidden_state": new[:, :, None],
        "logits": logits[..., None],
        "start_logits": new,
        "end_logits": new,
        "hidden_states": new[None, :, :, None],
        "attentions": new[None, :, None, :, None],
    }
    if case.class_name == "LlamaForSequenceClassification":
        by_ids = case.config["pad_token_id"] is not None and "input_ids" in call.inputs
        ends_real = new.any(axis=1) if by_ids else new[:, -1]  # (B,)
        places["logits"] = np.expand_dims(ends_real, 1)  # (B, 1)
    return places


def tokens_of(call: Call) -> int:
    """T of a call."""
    return (call.inputs["input_ids"] if "input_ids" in call.inputs else call.inputs["inputs_embeds"]).shape[1]


def farthest_position(case: Case, index: int) -> int:
    """The largest position that any call so far has seen."""
    far, seen = 0, 0
    for call in case.calls[: index + 1]:
        seen += tokens_of(call)
        far = max(far, int(call.inputs["position_ids"].max()) if "position_ids" in call.inputs else seen - 1)
    return far


def has_boolean_mask(case: Case) -> bool:
    """Whether sdpa is the judge: eager attention adds a mask to the scores, and True would be 1."""
    return any(_is_boolean(call.inputs.get("attention_mask")) for call in case.calls)


def _is_boolean(mask: np.ndarray | None) -> bool:
    return mask is not None and mask.ndim == 4 and mask.dtype == bool
