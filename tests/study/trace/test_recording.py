"""A trace holds what the model computed, call by call; on disk as in memory; and nothing where it failed."""

import tracemalloc

import numpy as np
import pytest

from numpy_llama import (
    DynamicCache,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    Trace,
    embedded_model_folder,
    observe,
    patch,
    trace,
)
from numpy_llama.errors import LlamaError
from numpy_llama.model.values import value_named
from numpy_llama.study.trace.running import padded, run_prompts

PROMPT = [[1, 5, 9, 2, 7]]
DTYPES = ["float64", "float32", "float16", "bfloat16"]


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype and one[name].shape == other[name].shape, name
        assert one[name].tobytes() == other[name].tobytes(), name
    for a, b in zip(one.calls, other.calls, strict=True):
        assert (a.index, a.past, a.kind, a.cache_length) == (b.index, b.past, b.kind, b.cache_length)
        for given in ("input_ids", "attention_mask", "position_ids"):
            assert np.array_equal(getattr(a, given), getattr(b, given)), given


@pytest.mark.parametrize("dtype", DTYPES)
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(make_model, dtype, tmp_path):
    model = make_model(dtype)
    with trace() as t:
        run_prompts(model, *padded([[1, 5, 9], [2, 7]], "left"), steps=2)
    t.save(tmp_path / "x.safetensors")
    loaded = Trace.load(tmp_path / "x.safetensors")
    assert_same(t, loaded)
    assert (loaded.config, loaded.dtype, loaded.config_hash) == (model.config.to_dict(), dtype, t.config_hash)


def test_what_goes_straight_to_disk_is_the_same(make_model, tmp_path):
    model, path = make_model(), tmp_path / "new" / "x.safetensors"
    with trace() as t:
        model.generate(PROMPT, max_new_tokens=4)
    with trace(to=path) as written:
        model.generate(PROMPT, max_new_tokens=4)
        assert not path.exists() and len(written) == len(t)
        assert np.array_equal(written["call.0002/model.norm"], t["call.0002/model.norm"])
    assert_same(t, written)
    assert_same(t, Trace.load(path))


def test_every_recorded_value_is_the_one_that_was_computed(make_model):
    seen = {}

    def look(name, value, call):
        seen[f"call.{call.index:04d}/{name}"] = value.copy()

    with observe(look), trace() as t:
        make_model().generate(PROMPT, max_new_tokens=5)
    assert set(seen) == set(t)
    assert all(np.array_equal(seen[name], t[name]) for name in t)


def test_keys_of_a_long_text_take_memory_once(make_model):
    with trace() as t:
        make_model().generate(PROMPT, max_new_tokens=40)
    keys = [call.values["model.layers.0.self_attn.keys"] for call in t.calls]
    assert len({id(array.base) for array in keys}) <= 5  # of 40: an array that doubles
    assert [array.shape[2] for array in keys] == list(range(5, 45))


def test_a_cache_that_is_overwritten_is_recorded_as_it_was(make_model):
    model = make_model()
    cache = DynamicCache(model.config)
    with trace("*keys") as t:
        model(PROMPT, past_key_values=cache)
        cache.crop(3)
        model([[8, 3]], past_key_values=cache)  # at the same places as two tokens before
        model([[4]], past_key_values=cache)
    name = "model.layers.1.self_attn.keys"
    first, second, third = (call.values[name] for call in t.calls)
    assert np.array_equal(first[:, :, :3], second[:, :, :3]) and not np.array_equal(first[:, :, 3:], second[:, :, 3:])
    assert np.array_equal(third[:, :, :5], second)


def test_generate_is_traced_as_the_calls_by_hand(make_model):
    model = make_model()
    with trace() as generated:
        ids = model.generate(PROMPT, max_new_tokens=4, do_sample=False, eos_token_id=None)
    cache = DynamicCache(model.config)
    with trace() as by_hand:
        model(PROMPT, past_key_values=cache, logits_to_keep=1)
        for place in range(5, ids.shape[1] - 1):
            model(ids[:, place : place + 1], past_key_values=cache, logits_to_keep=1)
    assert_same(generated, by_hand)
    with trace() as run:
        fed = run_prompts(model, np.array(PROMPT), None, steps=3)
    assert np.array_equal(fed, ids[:, :-1])
    assert list(run) == list(generated)
    for name in run:
        if "lm_head" in name:  # generate asks for one row of logits, which BLAS adds up in another order
            assert np.allclose(run[name][:, -1:], generated[name], rtol=0, atol=32 * np.finfo(np.float32).eps)
        else:
            assert np.array_equal(run[name], generated[name]), name


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_goes_on_as_it_does_alone(make_model, side):
    model = make_model("float64")
    rows = [[1, 5, 9, 2], [2, 7]]
    ids, mask = padded(rows, side)
    together = run_prompts(model, ids, mask, steps=4)
    for row, fed in zip(rows, together, strict=True):
        alone = run_prompts(model, np.array([row]), None, steps=4)
        assert np.array_equal(fed[-4:], alone[0, -4:])


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 9])
def test_a_prompt_in_pieces_leads_to_the_same_tokens(make_model, chunk):
    model = make_model("float64")
    with trace("lm_head") as t:
        fed = run_prompts(model, np.array(PROMPT), None, 3, chunk)
    assert np.array_equal(fed, run_prompts(model, np.array(PROMPT), None, 3))
    assert [call.new for call in t.calls] == [min(chunk, 5 - at) for at in range(0, 5, chunk)] + [1, 1, 1]


@pytest.mark.parametrize("only", ["*", "*/model.layers.1.*", "model.layers.1.*", "*.scores", "call.0001/*", "logits"])
def test_only_a_part_is_that_part_of_the_whole(make_model, only, tmp_path):
    model = make_model()
    with trace() as whole:
        run_prompts(model, np.array(PROMPT), None, steps=2)
    with trace(only) as part:
        run_prompts(model, np.array(PROMPT), None, steps=2)
    with trace(only, tmp_path / "x.safetensors") as written:
        run_prompts(model, np.array(PROMPT), None, steps=2)
    expected = whole.glob(only)
    assert len(expected) > 0 and list(part) == list(expected) == list(written)
    assert all(np.array_equal(part[name], array) for name, array in expected.items())
    assert [call.past for call in part.calls] == [0, 5, 6]  # whatever is kept of them


def test_several_patterns_are_a_union(make_model):
    with trace(["*.mlp", "call.0000/model.norm"]) as t:
        run_prompts(make_model(), np.array(PROMPT), None, steps=1)
    mlps = [f"call.000{call}/model.layers.{layer}.mlp" for call in (0, 1) for layer in (0, 1)]
    assert set(t) == {*mlps, "call.0000/model.norm"}


def test_a_pattern_that_fits_nothing_names_the_nearest(make_model):
    with (
        pytest.raises(LlamaError, match=r"no value fits 'model.layer.1.mlp'.*model\.layers\.1\.mlp"),
        trace("model.layer.1.mlp"),
    ):
        make_model()(PROMPT)
    with trace() as t:
        make_model()(PROMPT)
    for look in (t.glob, t.tree, t.__getitem__):
        with pytest.raises(KeyError, match=r"\*\.scores"):
            look("scores")


def test_other_models_are_traced(make_model):
    for model_class in (LlamaModel, LlamaForSequenceClassification):
        model = make_model(model_class=model_class, pad_token_id=0)
        with trace() as t:
            model(PROMPT)
        prefix = "" if model_class is LlamaModel else "model."
        assert f"call.0000/{prefix}layers.1.mlp" in t and t.calls[0].new == 5
        assert t.tree()
    assert "call.0000/score" in t and value_named("score") is not None


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_nothing_is_left(make_model, error, tmp_path):
    path = tmp_path / "x.safetensors"

    def fails(value):
        raise error

    with pytest.raises(error), trace(to=path) as t, patch({"model.norm": fails}):
        make_model()(PROMPT)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LlamaError, match="was not written"):
        t["call.0000/model.layers.1"]


def test_a_file_that_is_there_stays_until_the_new_one_is_whole(make_model, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_text("old")
    with pytest.raises(LlamaError), trace(to=path):
        make_model()([[10**6]])
    assert path.read_text() == "old"


@pytest.mark.parametrize("place", ["", "x/y.safetensors", "folder"])
def test_where_nothing_can_be_written_is_said_at_once(place, tmp_path):
    (tmp_path / "x").write_text("a file, and no folder")
    (tmp_path / "folder").mkdir()
    target = tmp_path / place if place else ""
    with pytest.raises(LlamaError), trace(to=target):
        raise AssertionError("nothing should be run")


def test_calls_and_values_are_read_at_a_glance(make_model):
    with trace() as t:
        make_model().generate(PROMPT, max_new_tokens=2)
    assert "2 calls" in repr(t) and len(repr(t)) < 100 and "decode" in repr(t.calls)
    assert t["call.0000/logits"] is t["call.0000/lm_head"] and "call.0009/lm_head" not in t and 3 not in t


def test_patching_and_tracing_see_each_other_in_order(make_model):
    """A trace holds what the forward pass goes on with, whether patch or trace came first."""
    model = make_model()
    for outer, inner in ((patch, trace), (trace, patch)):
        arguments = {patch: ({"model.layers.0.mlp": np.zeros_like},), trace: ()}
        with outer(*arguments[outer]) as first, inner(*arguments[inner]) as second:
            model(PROMPT)
        t = first or second
        assert not t["model.layers.0.mlp"].any()
        assert np.array_equal(t["model.layers.0"], t["model.layers.0.after_attention"])


def test_streamed_weights_are_traced_as_loaded_ones(storyteller):
    """Layer after layer is widened into the same buffer: what was recorded of one must not be the next one's."""
    streamed = LlamaForCausalLM.from_pretrained(embedded_model_folder(), weights="stream")
    with trace() as loaded:
        storyteller.generate([[1, 306, 5]], max_new_tokens=3, do_sample=False)
    with trace() as t:
        streamed.generate([[1, 306, 5]], max_new_tokens=3, do_sample=False)
    assert_same(t, loaded)


def test_on_its_way_to_disk_a_trace_is_not_in_memory(storyteller, tmp_path):
    def most_memory(to):
        tracemalloc.start()
        with trace("*.scores", to):
            run_prompts(storyteller, np.ones((1, 100), np.int64), None, steps=2)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    on_disk, in_memory = most_memory(tmp_path / "x.safetensors"), most_memory(None)
    scores = sum(array.nbytes for array in Trace.load(tmp_path / "x.safetensors").values())
    assert in_memory - on_disk > 0.7 * scores  # but for one value, and what the file's table takes
