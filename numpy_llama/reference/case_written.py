"""The cases written out: one for each thing that a caller can ask for, and for what the pairwise cover can't reach."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from numpy_llama.reference.case import HIDDEN, ROPE_TYPES, Call, Case, Settings, rope, small_config
from numpy_llama.reference.case_draws import Draws

IGNORED = -100  # a label that no loss counts


def written_cases() -> Iterator[Case]:
    """All of them, in a fixed order."""
    for part in (
        _bodies,
        _language_models,
        _losses,
        _masks_and_positions,
        _caches,
        _ropes,
        _long_positions,
        _sequence_classification,
        _token_classification,
        _question_answering,
        _named,
    ):
        yield from part()


def _case(
    name: str,
    about: str,
    calls: list[Settings],
    class_name: str = "LlamaForCausalLM",
    capacity: int | None = None,
    named: bool = False,
    **config: Any,
) -> Case:
    """Arrays among a call's settings are its inputs, the rest its arguments."""
    return Case(
        name,
        about,
        class_name,
        small_config(class_name, **config),
        tuple(
            Call(
                {key: value for key, value in call.items() if isinstance(value, np.ndarray)},
                {key: value for key, value in call.items() if not isinstance(value, np.ndarray)},
            )
            for call in calls
        ),
        capacity,
        named=named,
    )


def _ids(name: str, *shape: int, vocab_size: int = 20) -> np.ndarray:
    return Draws(name + " ids").integers(shape, 1, vocab_size)


def _split(ids: np.ndarray, *lengths: int, mask: np.ndarray | None = None, **last: Any) -> list[Settings]:
    """Calls that share a cache. mask: (B, S), cut to what each call has seen; last: arguments of the last call."""
    calls, start = [], 0
    for length in lengths:
        call: Settings = {"input_ids": ids[:, start : start + length], "use_cache": True}
        if mask is not None:
            call["attention_mask"] = mask[:, : start + length]
        calls.append(call)
        start += length
    calls[-1].update(last)
    return calls


PADDED_LEFT = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
PADDED_RIGHT = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


def _bodies() -> Iterator[Case]:
    everything = {"use_cache": False, "output_hidden_states": True, "output_attentions": True}
    ids = _ids("body", 2, 5)
    yield _case(
        "body", "LlamaModel: every hidden state and attention", [{"input_ids": ids, **everything}], "LlamaModel"
    )
    embeds = Draws("body_inputs_embeds").evenly((2, 5, 16), 1.0)
    yield _case(
        "body_inputs_embeds",
        "LlamaModel on embeddings instead of ids",
        [{"inputs_embeds": embeds, **everything}],
        "LlamaModel",
        heads="multi-query",
    )
    yield _case(
        "body_cached",
        "LlamaModel: prefill, then two decode steps",
        _split(_ids("body_cached", 2, 6), 4, 1, 1, output_hidden_states=True),
        "LlamaModel",
        heads="multi-head",
    )


def _language_models() -> Iterator[Case]:
    ids = _ids("lm", 2, 6)
    plain = {"input_ids": ids, "use_cache": False}
    everything = {"output_hidden_states": True, "output_attentions": True}
    yield _case("lm_all_outputs", "logits, hidden states, attentions and the cache, at once", [
        {"input_ids": ids, "use_cache": True, **everything}])  # fmt: skip
    yield _case("lm_one_token", "a single token", [{"input_ids": ids[:1, :1], "use_cache": False}])
    yield _case("lm_tied", "the output head is the embedding table", [plain], tie_word_embeddings=True)
    yield _case("lm_one_layer", "one layer", [plain], num_hidden_layers=1)
    yield _case("lm_eleven_layers", "eleven layers: sorted as text, layer 10 comes before layer 2", [
        {"input_ids": ids[:1, :4], "use_cache": False}], num_hidden_layers=11, hidden_size=8, intermediate_size=4,
        num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    yield _case("lm_wide_vocabulary", "64 tokens, several of them end the text", [
        {"input_ids": _ids("lm_wide_vocabulary", 1, 4, vocab_size=64), "use_cache": False}],
        vocab_size=64, eos_token_id=[2, 40, 41])  # fmt: skip
    yield _case("lm_large_eps", "an epsilon that matters", [plain], rms_norm_eps=0.5)
    embeds = Draws("lm_inputs_embeds").evenly((2, 6, 16), 1.0)
    yield _case("lm_inputs_embeds", "embeddings instead of ids", [{"inputs_embeds": embeds, "use_cache": False}])
    yield _case("lm_inputs_embeds_cached", "embeddings in the prefill, ids after it", [
        {"inputs_embeds": embeds, "use_cache": True}, {"input_ids": ids[:, :2], "use_cache": True}])  # fmt: skip
    yield _case("keep_last", "logits_to_keep=1: logits of the last position alone", [{**plain, "logits_to_keep": 1}])
    yield _case("keep_last_three", "logits_to_keep=3", [{**plain, "logits_to_keep": 3, "output_hidden_states": True}])
    yield _case("keep_chosen", "logits_to_keep as indices, in an order of their own", [
        {**plain, "logits_to_keep": np.array([4, 0, 5])}])  # fmt: skip


def _losses() -> Iterator[Case]:
    ids = _ids("lm_loss", 2, 6)
    labels = ids.copy()
    yield _case("lm_loss", "causal-LM loss: each position predicts the next label", [
        {"input_ids": ids, "labels": labels, "use_cache": False}])  # fmt: skip
    some = labels.copy()
    some[0, :3] = some[1, 4] = IGNORED
    yield _case("lm_loss_ignored", "labels of -100 don't count", [
        {"input_ids": ids, "labels": some, "use_cache": False}], attention_bias=True)  # fmt: skip
    for side, mask in (("left", PADDED_LEFT), ("right", PADDED_RIGHT)):
        yield _case(f"lm_loss_padded_{side}", f"causal-LM loss of a batch padded on the {side}", [
            {"input_ids": ids * mask, "attention_mask": mask, "labels": np.where(mask == 1, ids, IGNORED),
             "use_cache": False}], pad_token_id=0)  # fmt: skip
    packed = np.array([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 1]])
    first = np.where(packed == 0, IGNORED, ids)
    yield _case("lm_loss_packed", "causal-LM loss of packed sequences; a sequence's first token isn't predicted", [
        {"input_ids": ids, "position_ids": packed, "labels": first, "use_cache": False}])  # fmt: skip
    embeds = Draws("lm_loss_embeds").evenly((1, 5, 16), 1.0)
    yield _case("lm_loss_embeds", "causal-LM loss of embeddings, with a cache asked for", [
        {"inputs_embeds": embeds, "labels": ids[:1, :5], "use_cache": True}])  # fmt: skip


def _masks_and_positions() -> Iterator[Case]:
    ids = _ids("mask", 2, 6)
    plain = {"input_ids": ids, "use_cache": False}
    yield _case("left_without_positions", "left padding, positions counted over the padding, too", [
        {"input_ids": ids * PADDED_LEFT, "attention_mask": PADDED_LEFT, "use_cache": False,
         "output_attentions": True}], pad_token_id=0)  # fmt: skip
    holes = np.array([[0, 1, 1, 0, 1, 1], [1, 1, 0, 0, 1, 0]])
    yield _case("mask_with_holes", "padding at both ends and in the middle", [
        {"input_ids": ids * holes, "attention_mask": holes, "use_cache": False, "output_hidden_states": True}],
        pad_token_id=0)  # fmt: skip
    yield _case("positions_shared", "one row of positions for the whole batch, not from 0", [
        {**plain, "position_ids": np.arange(20, 26)[None]}])  # fmt: skip
    gaps = np.array([[0, 1, 5, 6, 11, 12], [3, 2, 2, 9, 30, 31]])
    yield _case("positions_with_gaps", "positions that jump and repeat; a mask says that it is one sequence", [
        {**plain, "position_ids": gaps, "attention_mask": np.ones_like(ids)}])  # fmt: skip
    yield _case("packed_three", "three sequences in a row, one of a single token", [
        {**plain, "position_ids": np.array([[0, 1, 2, 0, 0, 1], [0, 0, 1, 0, 1, 2]]), "output_attentions": True}],
        heads="multi-head")  # fmt: skip
    causal = np.tril(np.ones((6, 6), bool))
    endless = np.where(causal, np.float32(0), np.float32(-np.inf))
    yield _case("additive_infinite", "an additive mask of minus infinity, one for the whole batch", [
        {**plain, "attention_mask": endless[None, None], "output_attentions": True}])  # fmt: skip
    slopes = np.array([0.5, 0.25, 0.125, 0.0625], np.float32)
    distance = np.arange(6)[:, None] - np.arange(6)
    by_head = np.where(causal, -slopes[:, None, None] * distance, np.float32(HIDDEN)).astype(np.float32)
    yield _case("additive_by_head", "an additive mask that differs by head: distances count (ALiBi)", [
        {**plain, "attention_mask": np.repeat(by_head[None], 2, axis=0)}])  # fmt: skip
    prefix = np.stack([causal | (np.arange(6) < length) for length in (2, 4)])[:, None]
    yield _case("boolean_prefix", "a boolean mask: a prefix that sees itself both ways, then causal", [
        {**plain, "attention_mask": prefix, "output_hidden_states": True}])  # fmt: skip
    yield _case(
        "boolean_shared", "one boolean mask for the whole batch", [{**plain, "attention_mask": causal[None, None]}]
    )
    window = causal & (distance < 3)
    calls = _split(ids, 4, 2)
    for call, rows in zip(calls, (slice(0, 4), slice(4, 6)), strict=True):
        call["attention_mask"] = window[None, None, rows, : rows.stop]
    yield _case("boolean_cached", "a boolean mask over the cache: a window of three tokens", calls)


def _caches() -> Iterator[Case]:
    ids = _ids("cache", 2, 6)
    yield _case("decode_from_the_first", "token by token from the start", _split(ids, *6 * (1,)))
    yield _case("chunks_growing", "chunks of 1, 2 and 3 tokens, attentions of the last", _split(
        ids, 1, 2, 3, output_attentions=True), heads="multi-head")  # fmt: skip
    yield _case("static_filled", "a static cache, full to the last place", _split(ids, 3, 2, 1), capacity=6)
    yield _case("static_one_by_one", "a static cache with much room, token by token", _split(
        ids[:, :4], 1, 1, 1, 1), capacity=40, heads="multi-query")  # fmt: skip
    mask = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    yield _case("static_body", "LlamaModel with a static cache and left padding", _split(
        ids * mask, 4, 2, mask=mask, output_hidden_states=True), "LlamaModel", capacity=8, pad_token_id=0)  # fmt: skip
    late = _split(ids, 4, 2)
    late[1]["position_ids"] = np.array([[10, 11], [4, 5]])
    yield _case("positions_after_cache", "positions given for the second chunk alone", late)
    yield _case("keep_in_chunks", "logits_to_keep=1 in every chunk", [
        {**call, "logits_to_keep": 1} for call in _split(ids, 3, 2, 1)])  # fmt: skip


def _ropes() -> Iterator[Case]:
    ids = _ids("rope", 1, 8)
    plain = {"input_ids": ids, "use_cache": False}
    apart: Settings = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 12}

    def of(
        name: str, about: str, calls: list[Settings], kind: str, longest: int = 64, trained: int = 32, **more: Any
    ) -> Case:
        parameters = {**rope(kind, trained, 6), "rope_theta": 10000.0, **more}
        parameters = {key: value for key, value in parameters.items() if value is not None}
        return _case(name, about, calls, rope=parameters, max_position_embeddings=longest, **apart)

    yield of("yarn_untruncated", "yarn with corners that aren't rounded", [plain], "yarn", truncate=False)
    yield of("yarn_mscale", "yarn with mscale and mscale_all_dim", [plain], "yarn", mscale=1.4, mscale_all_dim=0.7)
    yield of("yarn_attention_factor", "yarn with an attention factor", [plain], "yarn", attention_factor=1.3)
    yield of("yarn_defaults", "yarn with its own beta_fast and beta_slow", [plain], "yarn", beta_fast=None,
             beta_slow=None)  # fmt: skip
    yield of("longrope_attention_factor", "longrope with an attention factor", [plain], "longrope",
             attention_factor=1.2)  # fmt: skip
    yield of("longrope_factor", "longrope, beyond, with a factor of its own", [plain], "longrope", trained=4,
             factor=6.0)  # fmt: skip
    yield of("proportional_all", "proportional rope that turns every pair", [plain], "proportional",
             partial_rotary_factor=1.0)  # fmt: skip
    yield of("proportional_quarter", "proportional rope that turns a third of the pairs", [plain], "proportional",
             partial_rotary_factor=0.34, factor=None)  # fmt: skip
    yield of("dynamic_crosses", "dynamic rope whose context ends between two decode steps", _split(
        ids, 4, 1, 1, 1, 1), "dynamic", longest=6)  # fmt: skip
    yield of("longrope_crosses", "longrope whose first context ends between two chunks", _split(ids, 4, 3, 1),
             "longrope", trained=5)  # fmt: skip
    for name, older in (
        ("older_theta", {"rope_theta": 500.0}),
        ("older_linear", {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 3.0}}),
        ("older_llama3", {"rope_theta": 50000.0, "rope_scaling": {
            "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16}}),
    ):  # fmt: skip
        case = _case(name, "rope_theta and rope_scaling, the older spelling of rope_parameters", [plain], **apart)
        del case.config["rope_parameters"]
        case.config.update(older)
        yield case


def _long_positions() -> Iterator[Case]:
    """Four times the trained context, every rope type: far positions, few tokens. Phases far from 0 tell errors of the
    frequencies from one another."""
    where = {"inside": [0, 3, 512, 1020, 1023], "beyond": [0, 700, 4096, 5990, 5994]}
    shape: Settings = {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16}
    for kind in ROPE_TYPES:
        for context, positions in where.items():
            name = f"far_{context}_{kind}"
            ids = _ids(name, 1, 5, vocab_size=16)
            parameters = {**rope(kind, 1024, 8), "rope_theta": 10000.0}
            yield _case(
                name,
                f"positions up to {positions[-1]}; {kind} rope, trained on 4096 tokens, on 1024 at first",
                [{"input_ids": ids, "position_ids": np.array([positions]), "attention_mask": np.ones_like(ids),
                  "use_cache": False, "output_attentions": True}],
                rope=parameters, max_position_embeddings=4096, vocab_size=16, **shape,
            )  # fmt: skip


def _sequence_classification() -> Iterator[Case]:
    name = "LlamaForSequenceClassification"
    ids = _ids("sequence", 2, 6)
    right = {"input_ids": ids * PADDED_RIGHT, "attention_mask": PADDED_RIGHT}
    left = {"input_ids": ids * PADDED_LEFT, "attention_mask": PADDED_LEFT}
    labels = np.array([2, 0])
    yield _case("sequence_single_label", "one of three labels, right padding", [
        {**right, "labels": labels}], name, num_labels=3, pad_token_id=0)  # fmt: skip
    yield _case("sequence_left", "one of three labels, left padding, hidden states", [
        {**left, "labels": labels, "output_hidden_states": True, "use_cache": False}], name,
        pad_token_id=0, id2label={"0": "no", "1": "yes", "2": "perhaps"},
        label2id={"no": 0, "yes": 1, "perhaps": 2})  # fmt: skip
    yield _case("sequence_regression", "one number to hit", [
        {**right, "labels": np.array([0.5, -1.25], np.float32)}], name, num_labels=1, pad_token_id=0)  # fmt: skip
    yield _case("sequence_regression_three", "three numbers to hit, by problem_type", [
        {**right, "labels": np.array([[0.5, -1.25, 2], [0, 1, -0.75]], np.float32)}], name,
        num_labels=3, problem_type="regression", pad_token_id=0)  # fmt: skip
    yield _case("sequence_multi_label", "any of three labels", [
        {**right, "labels": np.array([[1, 0, 1], [0, 0, 1]], np.float32)}], name,
        num_labels=3, pad_token_id=0)  # fmt: skip
    yield _case("sequence_multi_label_named", "any of two labels, by problem_type", [
        {**left, "labels": np.array([[1, 0], [1, 1]], np.float32)}], name,
        problem_type="multi_label_classification", pad_token_id=0)  # fmt: skip
    yield _case("sequence_single_label_named", "one of three labels, by problem_type", [
        {**right, "labels": labels}], name, num_labels=3, problem_type="single_label_classification",
        pad_token_id=0)  # fmt: skip
    yield _case("sequence_alone", "a single row, no padding token: the last token is pooled", [
        {"input_ids": ids[:1], "labels": labels[:1]}], name, num_labels=3)  # fmt: skip
    yield _case("sequence_embeds", "embeddings: the last position is pooled", [
        {"inputs_embeds": Draws("sequence_embeds").evenly((2, 4, 16), 1.0), "labels": labels}], name,
        num_labels=3, pad_token_id=0)  # fmt: skip
    inside = ids.copy()
    inside[0, 2] = inside[1, 5] = 0
    yield _case("sequence_pad_inside", "padding tokens that no mask marks: the last other token is pooled", [
        {"input_ids": inside}], name, num_labels=3, pad_token_id=0)  # fmt: skip


def _token_classification() -> Iterator[Case]:
    name = "LlamaForTokenClassification"
    ids = _ids("token", 2, 6)
    labels = Draws("token labels").integers((2, 6), 0, 3)
    yield _case("token", "a label for every token", [{"input_ids": ids, "labels": labels}], name, num_labels=3)
    yield _case("token_ignored", "right padding, labels of -100 there; hidden states and attentions", [
        {"input_ids": ids * PADDED_RIGHT, "attention_mask": PADDED_RIGHT,
         "labels": np.where(PADDED_RIGHT == 1, labels, IGNORED), "output_hidden_states": True,
         "output_attentions": True, "use_cache": False}], name, num_labels=3, pad_token_id=0,
        attention_bias=True)  # fmt: skip
    yield _case("token_unlabelled", "two labels, no loss", [{"input_ids": ids[:1]}], name, mlp_bias=True)


def _question_answering() -> Iterator[Case]:
    name = "LlamaForQuestionAnswering"
    ids = _ids("question", 2, 6)
    start, end = np.array([1, 0]), np.array([4, 2])
    yield _case("question", "where an answer starts and ends", [
        {"input_ids": ids, "start_positions": start, "end_positions": end}], name)  # fmt: skip
    yield _case("question_outside", "positions outside the text don't count", [
        {"input_ids": ids, "start_positions": np.array([1, 9]), "end_positions": np.array([6, 5])}], name)  # fmt: skip
    yield _case("question_column", "positions as a column; right padding, hidden states", [
        {"input_ids": ids * PADDED_RIGHT, "attention_mask": PADDED_RIGHT, "start_positions": start[:, None],
         "end_positions": end[:, None], "output_hidden_states": True}], name, pad_token_id=0)  # fmt: skip
    yield _case("question_unasked", "no positions, no loss; attentions", [
        {"input_ids": ids[:1], "output_attentions": True}], name)  # fmt: skip


def _named() -> Iterator[Case]:
    """The five whole cases with every named intermediate."""
    about = "every named intermediate: "
    yield _case("named_plain", about + "multi-head attention, one row", [
        {"input_ids": _ids("named_plain", 1, 4), "use_cache": False}], heads="multi-head", named=True,
        num_hidden_layers=1)  # fmt: skip
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1]])
    yield _case("named_padded", about + "llama3 rope, attention bias, left padding, counted positions", [
        {"input_ids": _ids("named_padded", 2, 4) * mask, "attention_mask": mask,
         "position_ids": np.maximum(mask.cumsum(1) - 1, 0), "use_cache": False}], rope="llama3",
        attention_bias=True, pad_token_id=0, num_hidden_layers=1, named=True)  # fmt: skip
    yield _case("named_decode", about + "multi-query, yarn, MLP bias, gelu; prefill and decode", _split(
        _ids("named_decode", 1, 4), 3, 1), heads="multi-query", rope="yarn", mlp_bias=True,
        hidden_act="gelu_new", named=True, num_hidden_layers=1)  # fmt: skip
    yield _case("named_apart", about + "head_dim apart, longrope beyond its context, tied head", [
        {"input_ids": _ids("named_apart", 1, 6), "use_cache": False}], heads="head_dim apart", rope="longrope",
        context="beyond", tie_word_embeddings=True, named=True, num_hidden_layers=1)  # fmt: skip
    yield _case("named_packed", about + "two layers, dynamic rope beyond its context, packed sequences", [
        {"input_ids": _ids("named_packed", 1, 5), "position_ids": np.array([[3, 4, 5, 0, 1]]), "use_cache": False}],
        rope="dynamic", context="beyond", named=True)  # fmt: skip
