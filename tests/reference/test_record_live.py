"""The two recorders side by side: `trace` of ours and `record_hugging_face` of Transformers', of the same calls."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from numpy_llama import DynamicCache, LlamaConfig, LlamaModel  # noqa: E402
from numpy_llama.errors import LlamaError  # noqa: E402
from numpy_llama.precision import lowest  # noqa: E402
from numpy_llama.reference.hugging_face import record_hugging_face  # noqa: E402
from numpy_llama.study.trace import load_trace, save_trace, trace  # noqa: E402

# Two layers of sums of at most fifty float32 terms: some hundred roundings of 6e-8 each, which mostly cancel. bfloat16
# rounds at 4e-3; one neighbour's difference early on is carried through both layers.
RELATIVE = {"float32": 1e-5, "bfloat16": 5e-2}

CONFIG = LlamaConfig(
    vocab_size=40,
    hidden_size=24,
    intermediate_size=36,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=8,
    attention_bias=True,
    mlp_bias=True,
    tie_word_embeddings=False,
    max_position_embeddings=64,
    rope_parameters={
        "rope_type": "llama3",
        "rope_theta": 100.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
)

# (ids drawn (B, T), mask over past and new tokens, positions); a text begins where the mask is as long as the ids.
LEFT, RIGHT = [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
SCRIPTS = {
    "prefill": [((1, 5), None, None)],
    "batch": [((3, 4), None, None)],
    "decode": [((1, 4), None, None), ((1, 1), None, None), ((1, 1), None, None)],
    "chunk": [((2, 3), None, None), ((2, 4), None, None)],
    "left padding": [
        ((2, 5), LEFT, [[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]),
        ((2, 1), [[1] * 6, [0, 0, 1, 1, 1, 1]], [[5], [3]]),
    ],
    "right padding": [((2, 5), RIGHT, None)],
    "padding, positions ignored": [((2, 5), LEFT, None)],
}


def call_both(pair, script, seed=0):
    """(our trace, theirs) of a script's calls."""
    ours, theirs = pair
    draw = np.random.default_rng(seed)
    cache, their_cache = DynamicCache(CONFIG), transformers.DynamicCache(config=theirs.config)
    with trace() as a, record_hugging_face(theirs) as b, torch.no_grad():
        for shape, mask, positions in script:
            ids = draw.integers(0, CONFIG.vocab_size, shape)
            ours(ids, mask, positions, cache)
            tensors = [None if given is None else torch.tensor(given) for given in (mask, positions)]
            theirs(torch.tensor(ids), tensors[0], tensors[1], their_cache)
    return a, b


def agree(a, b, relative):
    """Two traces: the same calls, names, shapes, dtypes; the same numbers to rounding, where anybody may look."""
    assert sorted(a) == sorted(b)
    for ours, theirs in zip(a.calls, b.calls, strict=True):
        assert (ours.past, ours.kind, ours.new) == (theirs.past, theirs.kind, theirs.new)
        np.testing.assert_array_equal(ours.input_ids, theirs.input_ids)
        np.testing.assert_array_equal(ours.position_ids, theirs.position_ids)
        assert (ours.attention_mask is None) == (theirs.attention_mask is None)
        if ours.attention_mask is not None:
            np.testing.assert_array_equal(ours.attention_mask, theirs.attention_mask)
    for name, value in a.items():
        assert (value.shape, value.dtype) == (b[name].shape, b[name].dtype), name
        hidden = value <= lowest(value.dtype) / 2  # scores that nobody looks at: the mask's number and a little
        np.testing.assert_array_equal(hidden, b[name] <= lowest(value.dtype) / 2, err_msg=name)
        x, y = (np.where(hidden, 0, array).astype(np.float64) for array in (value, b[name]))
        assert np.abs(x - y).max() <= relative * np.abs(x).max(), name


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_value_has_the_same_name_and_number_on_both_sides(make_pair, script):
    agree(*call_both(make_pair(CONFIG), SCRIPTS[script]), RELATIVE["float32"])


def test_bfloat16_stays_bfloat16(make_pair):
    a, b = call_both(make_pair(CONFIG, "bfloat16"), SCRIPTS["left padding"])
    assert b.dtype == "bfloat16"
    agree(a, b, RELATIVE["bfloat16"])


def test_generation_is_a_prefill_and_decode_steps(make_pair):
    ours, theirs = make_pair(CONFIG)
    ids, mask = [[5, 6, 7], [0, 8, 9]], [[1, 1, 1], [0, 1, 1]]
    with trace() as a:
        ours.generate(ids, mask, max_new_tokens=4, eos_token_id=None)
    with record_hugging_face(theirs) as b:
        settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        theirs.generate(torch.tensor(ids), attention_mask=torch.tensor(mask), **settings)
    assert [call.kind for call in b.calls] == ["prefill", "decode", "decode", "decode"]
    agree(a, b, RELATIVE["float32"])


def test_a_body_alone_has_the_names_that_ours_has_alone(make_pair):
    ours, theirs = make_pair(CONFIG)
    body = LlamaModel(
        CONFIG, {name.removeprefix("model."): w for name, w in ours.tensors.items() if "lm_head" not in name}
    )
    with trace() as a, record_hugging_face(theirs.model) as b, torch.no_grad():
        body([[1, 2, 3]])
        theirs.model(input_ids=torch.tensor([[1, 2, 3]]))
    assert "call.0000/layers.1.self_attn.scores" in b
    agree(a, b, RELATIVE["float32"])


def test_only_what_fits_the_pattern_is_kept(make_pair):
    theirs = make_pair(CONFIG)[1]
    with record_hugging_face(theirs, only="*/model.layers.1.mlp*") as t, torch.no_grad():
        theirs(torch.tensor([[1, 2, 3]]))
    assert len(t) == 6 and all("model.layers.1.mlp" in name for name in t)


def test_a_recording_is_written_and_read_again(make_pair, tmp_path):
    _, b = call_both(make_pair(CONFIG, "bfloat16"), SCRIPTS["left padding"])
    save_trace(b, tmp_path / "theirs.safetensors")
    again = load_trace(tmp_path / "theirs.safetensors")
    assert list(again) == list(b) and again.config_hash == b.config_hash
    assert all(np.array_equal(again[name], value) for name, value in b.items())


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_the_model_is_as_before_even_after_an_exception(make_pair):
    from transformers.models.llama import modeling_llama

    theirs = make_pair(CONFIG)[1]
    theirs.set_attn_implementation("sdpa")
    functions = modeling_llama.apply_rotary_pos_emb, modeling_llama.eager_attention_forward
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        before = theirs(ids).logits
        with pytest.raises(IndexError), record_hugging_face(theirs) as t:  # noqa: PT012  (the call before it, too)
            theirs(ids)
            assert hooks_of(theirs) > 0
            theirs(torch.tensor([[1, 2, CONFIG.vocab_size]]))
    assert "sdpa" in t.source and "call.0000/model.layers.0.self_attn.weights" in t
    assert hooks_of(theirs) == 0 and theirs.config._attn_implementation == "sdpa"
    assert functions == (modeling_llama.apply_rotary_pos_emb, modeling_llama.eager_attention_forward)
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, before)


def test_what_is_recorded_changes_nothing(make_pair):
    theirs, ids = make_pair(CONFIG)[1], torch.tensor([[1, 2, 3], [4, 5, 6]])
    with torch.no_grad():
        before = theirs(ids).logits
        with record_hugging_face(theirs) as t:
            during = theirs(ids).logits
    assert torch.equal(before, during)
    np.testing.assert_array_equal(t["call.0000/lm_head"], before.numpy())


def test_two_models_don_t_hear_each_other(make_pair):
    (_, one), (_, other) = make_pair(CONFIG, seed=1), make_pair(CONFIG, seed=2)
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad(), record_hugging_face(one) as first, record_hugging_face(other) as second:
        one(ids)
        other(ids)
    with torch.no_grad(), record_hugging_face(other) as alone:
        other(ids)
    assert len(first.calls) == len(second.calls) == 1
    assert list(first) == list(second) and all(np.array_equal(second[name], alone[name]) for name in alone)


@pytest.mark.parametrize("model", ["a name", torch.nn.Linear(2, 2)])
def test_what_is_no_llama_is_refused(model):
    with (
        pytest.raises(LlamaError, match=f"not a Llama of Transformers.*found {type(model).__name__}"),
        record_hugging_face(model),
    ):
        pass
