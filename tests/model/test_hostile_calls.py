"""Wrong calls: each is an error that names the argument, none computes on garbage, and the cache stays as it was."""

import numpy as np
import pytest

from numpy_llama import (
    Blocks,
    DynamicCache,
    KVCache,
    LlamaConfig,
    LlamaError,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    StaticCache,
)
from numpy_llama.blocks import rms_norm
from numpy_llama.model.packing import packed_mask, packed_positions

IDS = [[5, 17, 3]]
HEADS = [LlamaForSequenceClassification, LlamaForTokenClassification, LlamaForQuestionAnswering]
SWITCHES = ["use_cache", "output_hidden_states", "output_attentions", "return_dict"]


class OnAnotherDevice:
    """What a tensor does that isn't in this memory."""

    def __array__(self, *arguments, **options):
        raise RuntimeError("copy the tensor to host memory first")


class NoNumber:
    def __array__(self, *arguments, **options):
        raise TypeError("no number")


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", ["False", 1, [], np.array([True, False])], ids=repr)
def test_a_switch_is_true_or_false(model, name, value):
    with pytest.raises(LlamaError, match=f"{name}: wrong type; expected True or False, found "):
        model(IDS, **{name: value})
    with pytest.raises(LlamaError, match=name):
        model.model(IDS, past_key_values=DynamicCache(model.config), **{name: value})


def test_a_switch_may_be_numpys(model):
    assert model(IDS, use_cache=np.False_).past_key_values is None
    assert len(model(IDS, output_hidden_states=np.True_).hidden_states) == 3


@pytest.mark.parametrize("bad", [OnAnotherDevice(), [[NoNumber()]]], ids=["array", "inside a list"])
@pytest.mark.parametrize(
    "name",
    ["input_ids", "inputs_embeds", "attention_mask", "position_ids", "cache_position", "logits_to_keep", "labels"],
)
def test_what_cannot_be_made_an_array_is_named(model, name, bad):
    ids = {} if name in ("input_ids", "inputs_embeds") else {"input_ids": IDS}
    with pytest.raises(LlamaError, match=name):
        model(**ids, **{name: bad})


@pytest.mark.parametrize("values", [[[["1.5"] * 32]], [[[1j] * 32]], [[[None] * 32]], np.zeros((1, 1, 32), "M8[s]")])
def test_embeddings_are_real_numbers(model, values):
    with pytest.raises(LlamaError, match="inputs_embeds: not an array of numbers"):
        model(inputs_embeds=values)


def test_embeddings_past_the_dtype_are_not_finite(model):
    with pytest.raises(LlamaError, match=r"inputs_embeds\[0, 0, 0\]: not a finite number"):
        model(inputs_embeds=[[[1e300] * 32]])


@pytest.mark.parametrize("mask", [np.ones((1, 3), complex), np.zeros((1, 3), "V4"), [["1", "1", "1"]]])
def test_a_mask_is_made_of_numbers(model, mask):
    with pytest.raises(LlamaError, match="attention_mask: wrong dtype"):
        model(IDS, mask)


def test_a_mask_that_overflows_the_models_dtype_is_refused(model):
    """1e308 is a number in float64 and +∞ in float32, and ∞ − ∞ is NaN."""
    with pytest.raises(LlamaError, match=r"attention_mask: wrong values; .*infinity in float32"):
        model(IDS, np.full((1, 1, 3, 3), 1e308))


def test_an_unsigned_label_does_not_come_round_as_one_that_does_not_count(make_model):
    """2⁶⁴ − 100 as a signed number is −100."""
    ignored = 2**64 - 100
    with pytest.raises(LlamaError, match=f"labels: too large; .*found {ignored}"):
        make_model()(IDS, labels=np.array([[1, ignored, 3]], np.uint64))
    with pytest.raises(LlamaError, match="position_ids: too large"):
        make_model()(IDS, position_ids=np.array([[0, 1, 2**63]], np.uint64))
    model, positions = make_model(model_class=LlamaForQuestionAnswering), np.array([2**64 - 1], np.uint64)
    with pytest.raises(LlamaError, match="end_positions: too large"):
        model(IDS, start_positions=[1], end_positions=positions)


@pytest.mark.parametrize("labels", [[[1j, 0, 0]], [["0", "1", "0"]]], ids=["complex", "strings"])
def test_labels_of_a_text_are_real_numbers(make_model, labels):
    model = make_model(model_class=LlamaForSequenceClassification, num_labels=3)
    with pytest.raises(LlamaError, match="labels: not an array of numbers"):
        model(IDS, labels=labels)


# -- a call that fails leaves the cache as it was ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": [[99]]},
        {"labels": [[1, 2]]},
        {"logits_to_keep": [7]},
        {"logits_to_keep": -1},
        {"return_dict": "yes"},
        {"attention_mask": [[1]]},
        {"position_ids": [[-1]]},
    ],
    ids=str,
)
def test_after_a_wrong_call_the_right_one_gives_the_right_logits(model, wrong):
    cache = model(IDS).past_key_values
    with pytest.raises(LlamaError):
        model([[4]], past_key_values=cache, **wrong)
    assert len(cache) == 3
    np.testing.assert_array_equal(
        model([[4]], past_key_values=cache).logits, model([[4]], past_key_values=model(IDS).past_key_values).logits
    )


@pytest.mark.parametrize("model_class", HEADS)
def test_a_head_that_refuses_its_labels_leaves_the_cache_as_it_was(make_model, model_class):
    model, cache = make_model(model_class=model_class, num_labels=3), StaticCache(LlamaConfig(num_hidden_layers=2), 4)
    model(IDS, past_key_values=cache)
    question = model_class is LlamaForQuestionAnswering
    wrong = {"start_positions": [0], "end_positions": [0.5]} if question else {"labels": [[9]]}
    with pytest.raises(LlamaError):
        model([[4]], past_key_values=cache, **wrong)
    assert len(cache) == 3
    model([[4]], past_key_values=cache)  # there is still room for it


def test_an_interrupted_first_call_leaves_the_cache_empty(model):
    def interrupted(*arguments):
        if len(calls) == 2:  # the second layer
            raise KeyboardInterrupt
        calls.append(0)
        return rms_norm(*arguments)

    calls, cache = [], KVCache(2)
    with pytest.raises(KeyboardInterrupt):
        LlamaModel(model.config, model.model.tensors, blocks=Blocks().swap(rms_norm=interrupted))(
            IDS, past_key_values=cache
        )
    assert cache.nbytes == 0


@pytest.mark.parametrize("name", ["rms_norm", "mlp", "apply_rope", "embedding"])
def test_a_swapped_block_that_returns_another_shape_is_named(model, name):
    """It fails in what comes after it, so the note says where to look; once, though a body fails inside a head."""

    def shorter(*arguments):
        return getattr(Blocks(), name)(*arguments)[..., :-1]

    swapped = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(**{name: shorter}))
    with pytest.raises(ValueError, match=".") as caught:
        swapped(IDS)
    assert caught.value.__notes__ == [
        f"The model computes through other blocks than ours: {name}. Do they return our shapes?"
    ]


def test_an_error_of_plain_blocks_has_no_note(model, monkeypatch):
    monkeypatch.setattr(model.model, "norm", np.ones(3, np.float32))
    with pytest.raises(ValueError, match="weight") as caught:
        model(IDS)
    assert not hasattr(caught.value, "__notes__")


# -- caches ------------------------------------------------------------------------------------------------------------


def test_a_negative_crop_forgets_the_last_tokens(model):
    for crop, left in ((2, 2), (-1, 2), (-3, 0), (-100, 0), (0, 0), (7, 3), (np.int64(-2), 1)):
        cache = model(IDS).past_key_values
        cache.crop(crop)
        assert len(cache) == left


@pytest.mark.parametrize("length", [2.5, "2", None, [1]])
def test_a_length_that_is_none_is_refused(model, length):
    cache = model(IDS).past_key_values
    with pytest.raises(LlamaError, match="length: wrong type"):
        cache.crop(length)
    assert len(cache) == 3


@pytest.mark.parametrize("rows", [[], [1], [-1], [0.0], "0", None, [[0]], 0, [True]], ids=repr)
def test_rows_that_are_not_held_are_refused(model, rows):
    cache = model(IDS).past_key_values
    with pytest.raises(LlamaError, match="rows: no such rows; expected a list of 0 … 0"):
        cache.reorder_cache(rows)
    assert cache.batch_size == 1


def test_an_empty_cache_has_nothing_to_reorder():
    KVCache(2).reorder_cache(np.array([1, 0]))


@pytest.mark.parametrize("arguments", [(0,), (-1,), (2.5,), ("2",), (None,), (2, 0), (2, -5), (2, 2.5)], ids=str)
def test_a_cache_has_layers_and_room(arguments):
    with pytest.raises(LlamaError, match="(num_hidden_layers|capacity): .*positive integer"):
        KVCache(*arguments)


@pytest.mark.parametrize("length", [0, -1, 2.5, True, "4", None, 2**70])
def test_a_static_cache_holds_a_number_of_tokens(model, length):
    with pytest.raises(LlamaError, match="max_cache_len"):
        StaticCache(model.config, max_cache_len=length)
    with pytest.raises(LlamaError, match="config: wrong type; expected a LlamaConfig, found int"):
        StaticCache(3, max_cache_len=4)
    assert StaticCache(model.config, np.int64(4)).max_cache_len == 4


def test_memory_that_runs_out_leaves_the_cache_whole(model, monkeypatch):
    """Keys found room, values didn't."""
    cache = KVCache(2, capacity=3)
    model(IDS, past_key_values=cache)
    empty, calls = np.empty, []

    def full(shape, dtype=float):
        calls.append(0)
        if len(calls) == 2:
            raise MemoryError
        return empty(shape, dtype)

    with monkeypatch.context() as patch:
        patch.setattr("numpy_llama.blocks.kv_cache.np.empty", full)
        with pytest.raises(MemoryError):
            cache.update(np.ones((1, 2, 1, 6), np.float32), np.ones((1, 2, 1, 6), np.float32), 0)
    expected = model([[4]], past_key_values=model(IDS).past_key_values).logits
    np.testing.assert_array_equal(model([[4]], past_key_values=cache).logits, expected)


# -- construction ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pretraining_tp": "2"}, "pretraining_tp: .*an integer, or null, found '2'"),
        ({"attention_dropout": [0.1]}, "attention_dropout: "),
        ({"attention_dropout": float("nan")}, "attention_dropout: .*found nan"),
        ({"extra": 3}, "extra: .*an object, found 3"),
        ({"hidden_act": np.array([1, 2])}, "hidden_act: unknown activation"),
        ({"problem_type": np.array([1, 2])}, "problem_type: "),
        ({"id2label": {0: ["a"], 1: "b"}}, "id2label: "),
        ({"id2label": {0: None, 1: "b"}}, "id2label: "),
        ({"id2label": {-1: "a", 0: "b"}}, "id2label: "),
        ({"id2label": {"0": "a", "00": "b"}}, "id2label: "),  # one number, two names
        ({"id2label": 5}, "id2label: "),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers: .*at most"),
        ({"max_position_embeddings": 10**400, "rope_scaling": {"type": "yarn", "factor": 2.0}}, "max_position_embedd"),
        ({"rope_scaling": {"type": {}, "factor": 2.0}}, "rope_parameters.rope_type: .*a string"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_that_cannot_be_is_refused_by_field(fields, message):
    with pytest.raises(LlamaError, match=message):
        LlamaConfig(**fields)


@pytest.mark.parametrize("settings", [None, 3, "abc", [("hidden_size", 4)], {1: 2}], ids=repr)
def test_a_config_is_made_of_an_object_with_names(settings):
    with pytest.raises(LlamaError, match="config: wrong type; expected an object"):
        LlamaConfig.from_dict(settings)


@pytest.mark.parametrize("wrong", [{"blocks": {}}, {"blocks": Blocks}, {"tensors": []}, {"generation_config": [1]}])
def test_a_model_is_made_of_what_it_says(model, wrong):
    (name,) = wrong
    with pytest.raises(LlamaError, match=f"{name}: wrong type"):
        LlamaForCausalLM(model.config, **wrong)
    with pytest.raises(LlamaError, match="config: wrong type; expected LlamaConfig, found dict"):
        LlamaForCausalLM(model.config.to_dict())


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True, [1]])
def test_a_seed_is_a_number_that_gives_the_same_weights_again(model, seed):
    with pytest.raises(LlamaError, match="seed: impossible value"):
        LlamaForCausalLM(model.config, seed=seed)


def test_weights_larger_than_any_memory_are_named():
    with pytest.raises(LlamaError, match=r"embed_tokens.weight: too large; .*found \(1000000000000, 4096\)"):
        LlamaModel(LlamaConfig(vocab_size=10**12))


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("kind", [np.ma.array, np.asmatrix])
def test_arrays_with_another_product_are_no_weights(model, kind):
    tensors = {name: kind(tensor) if tensor.ndim == 2 else tensor for name, tensor in model.tensors.items()}
    with pytest.raises(LlamaError, match="embed_tokens.weight: wrong type; expected a plain array"):
        LlamaForCausalLM(model.config, tensors)


def test_tensors_have_names(model):
    with pytest.raises(LlamaError, match="names of tensors"):
        LlamaForCausalLM(model.config, {1: np.ones(1)})


@pytest.mark.parametrize("lengths", [None, 3, {2}, iter([1, 2])], ids=lambda value: type(value).__name__)
def test_lengths_of_texts_are_a_list(lengths):
    for function in (packed_mask, packed_positions):
        with pytest.raises(LlamaError, match="lengths: wrong type"):
            function(lengths)
