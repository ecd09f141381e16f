"""The three heads for classification and question answering, and what all five models share."""

import re

import numpy as np
import pytest

from numpy_llama import (
    LlamaConfig,
    LlamaError,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    LlamaWarning,
    observe,
)
from numpy_llama.model.values import HEAD_VALUES, VALUES

IDS = np.array([[5, 17, 3, 42, 9, 1]])
HEADS = [LlamaForSequenceClassification, LlamaForTokenClassification, LlamaForQuestionAnswering]
ALL = [LlamaModel, LlamaForCausalLM, *HEADS]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("padding", [1, 4])
def test_a_text_is_sorted_by_its_last_real_token_wherever_padding_stands(make_model, side, padding):
    model = make_model("float64", model_class=LlamaForSequenceClassification, num_labels=3, pad_token_id=0)
    alone = model(IDS).logits
    pad, real = np.zeros((1, padding), int), np.ones_like(IDS)
    order = [pad, IDS] if side == "left" else [IDS, pad]
    mask = np.concatenate([np.zeros_like(pad) if part is pad else real for part in order], axis=1)
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    padded = model(np.concatenate(order, axis=1), mask, positions).logits
    assert padded.shape == (1, 3)
    np.testing.assert_allclose(padded, alone, atol=1e-12)


def test_several_texts_without_a_pad_token_are_an_error(make_model):
    model = make_model(model_class=LlamaForSequenceClassification)
    assert model(IDS).logits.shape == (1, 2)
    with pytest.raises(LlamaError, match="config.pad_token_id: no pad token"):
        model(np.repeat(IDS, 2, axis=0))


def test_embeddings_hide_their_padding_and_a_warning_says_so(make_model):
    model = make_model(model_class=LlamaForSequenceClassification, pad_token_id=0)
    with pytest.warns(LlamaWarning, match="inputs_embeds: padding can't be seen"):
        logits = model(inputs_embeds=model.embed_tokens[IDS]).logits
    np.testing.assert_array_equal(logits, model(IDS).logits)


def test_each_token_gets_its_labels_from_its_own_hidden_state(make_model):
    model = make_model("float64", model_class=LlamaForTokenClassification, num_labels=5)
    output = model(IDS, output_hidden_states=True)
    expected = output.hidden_states[-1] @ model.score.T + model.score_bias
    np.testing.assert_allclose(output.logits, expected, atol=1e-12)


def test_beginning_and_end_of_an_answer_are_two_columns(make_model):
    model = make_model("float64", model_class=LlamaForQuestionAnswering)
    output = model(IDS, output_hidden_states=True)
    both = output.hidden_states[-1] @ model.qa_outputs.T + model.qa_bias
    np.testing.assert_allclose(output.start_logits, both[..., 0], atol=1e-12)
    np.testing.assert_allclose(output.end_logits, both[..., 1], atol=1e-12)


def test_half_an_answer_is_an_error(make_model):
    model = make_model(model_class=LlamaForQuestionAnswering)
    with pytest.raises(LlamaError, match="end_positions: .*both or neither, found only start_positions"):
        model(IDS, start_positions=[1])


@pytest.mark.parametrize(
    ("model_class", "labels", "expected"),
    [
        (LlamaForSequenceClassification, {"labels": [2]}, ["loss", "logits", "past_key_values"]),
        (LlamaForTokenClassification, {"labels": [[2, 1, 0, -100, 1, 2]]}, ["loss", "logits"]),
        (
            LlamaForQuestionAnswering,
            {"start_positions": [1], "end_positions": [4]},
            ["loss", "start_logits", "end_logits"],
        ),
    ],
)
def test_outputs_are_tuples_in_transformers_order(make_model, model_class, labels, expected):
    model = make_model(model_class=model_class, num_labels=3)
    output = model(IDS, **labels)
    assert output.keys() == expected
    assert output.loss.shape == ()
    assert output.loss > 0
    assert type(model(IDS, return_dict=False)) is tuple
    more = model(IDS, **labels, output_hidden_states=True, output_attentions=True)
    assert more.keys() == [*expected, "hidden_states", "attentions"]


@pytest.mark.parametrize("model_class", ALL)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_no_dtype_is_promoted_by_a_head(make_model, model_class, dtype):
    model = make_model(dtype, model_class=model_class)
    first = next(value for value in model(IDS).to_tuple() if isinstance(value, np.ndarray))
    assert first.dtype == model.dtype == dtype
    assert all(tensor.dtype == dtype for tensor in model.tensors.values())


@pytest.mark.parametrize("model_class", ALL)
def test_every_model_is_made_of_a_config_alone(model_class):
    config = LlamaConfig(
        vocab_size=400, hidden_size=64, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.1, pad_token_id=3, attention_bias=True,
    )  # fmt: skip
    model = model_class(config, seed=1)
    assert {name: t.shape for name, t in model.tensors.items()} == model_class.tensor_shapes(config)
    for name, tensor in model.tensors.items():
        if name.endswith("bias"):
            assert (tensor == 0).all()
        elif name.endswith("norm.weight"):
            assert (tensor == 1).all()
        else:
            assert np.abs(tensor).max() <= 0.3  # cut at three deviations
            if tensor.size > 10_000:
                assert abs(tensor.std() / 0.0986 - 1) < 0.03  # what a cut at 3 leaves of 0.1; 3 % is 4 errors of 10,000
    assert (model.embed_tokens[3] == 0).all()
    again, other = model_class(config, seed=1), model_class(config, seed=2)
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)
    assert not np.array_equal(other.embed_tokens, model.embed_tokens)


@pytest.mark.parametrize("model_class", ALL)
def test_names_of_values_are_those_of_the_table(make_model, model_class):
    model = make_model(model_class=model_class)
    seen = []
    with observe(lambda name, value, call: seen.append(name)):
        model(IDS)
    known = {name.removeprefix("model.") for name in VALUES | HEAD_VALUES}
    for name in seen:
        assert re.sub(r"layers\.\d+", "layers.{i}", name.removeprefix(model.base_model_prefix)) in known
    body = [name for name in seen if ".layers.0." in f".{name}"]
    assert all(name.startswith(model.base_model_prefix) for name in body)
    assert body


@pytest.mark.parametrize("model_class", ALL)
def test_fewer_key_value_heads_keep_the_class(make_model, model_class):
    model = make_model(model_class=model_class, num_key_value_heads=4)
    grouped = model.to_grouped_query(2)
    assert type(grouped) is model_class
    assert grouped.config.num_key_value_heads == 2
    assert grouped(IDS).to_tuple()[0].shape == model(IDS).to_tuple()[0].shape


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_labels": 0}, "num_labels: .*positive integer, found 0"),
        ({"num_labels": 3, "id2label": {0: "a"}}, "id2label: .*expected 3 names"),
        ({"id2label": ["a"]}, "id2label"),
        ({"id2label": {"one": "a"}}, "id2label"),
        ({"problem_type": "guess"}, "problem_type: .*regression.*found 'guess'"),
        ({"problem_type": "single_label_classification", "num_labels": 1}, "problem_type: .*regression"),
        ({"output_attentions": 1}, "output_attentions: .*true or false"),
    ],
)
def test_impossible_labels_are_rejected_by_name(fields, message):
    with pytest.raises(LlamaError, match=message):
        LlamaConfig(**fields)


def test_labels_go_to_config_json_and_back(tmp_path):
    config = LlamaConfig(id2label={0: "no", 1: "perhaps", 2: "yes"})
    assert (config.num_labels, config.label2id) == (3, {"no": 0, "perhaps": 1, "yes": 2})
    config.save_pretrained(tmp_path)
    again = LlamaConfig.from_pretrained(tmp_path)
    assert (again.num_labels, again.id2label) == (3, config.id2label)
    assert LlamaConfig.from_pretrained(tmp_path, num_labels=5).id2label[4] == "LABEL_4"
