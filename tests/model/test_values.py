"""The table of named values is the forward pass's own: nothing missing, nothing surplus, shapes as it says."""

import numpy as np
import pytest

from numpy_llama import observe
from numpy_llama.model.values import VALUES, computation_order, table_name, values_read


def record(model, *calls):
    """Every value of several calls, as [(name, value, call)]."""
    seen = []
    with observe(lambda name, value, call: seen.append((name, value, call))):
        for call in calls:
            call(model)
    return seen


def test_table_holds_exactly_the_names_of_a_forward_pass(make_model):
    model = make_model()
    names = {table_name(name) for name, _, _ in record(model, lambda m: m([[1, 2, 3]]))}
    assert names == set(VALUES)


@pytest.mark.parametrize(("past", "new"), [(0, 5), (5, 3), (5, 1)])
def test_shapes_are_those_of_the_table(make_model, past, new):
    model = make_model()
    c, B = model.config, 2
    axes = {
        "B": B,
        "T": new,
        "S": past + new,
        "H": c.num_attention_heads,
        "K": c.num_key_value_heads,
        "D": c.head_dim,
        "E": c.hidden_size,
        "F": c.intermediate_size,
        "V": c.vocab_size,
        "1": 1,
        "H·D": c.num_attention_heads * c.head_dim,
        "K·D": c.num_key_value_heads * c.head_dim,
    }
    cache = model(np.ones((B, past), int)).past_key_values if past else None
    seen = record(model, lambda m: m(np.ones((B, new), int), past_key_values=cache))
    assert len(seen) > 20
    for name, value, _ in seen:
        for letters, size in zip(VALUES[table_name(name)].shape, value.shape, strict=True):
            assert size in [axes[letter] for letter in letters.split("|")], (name, value.shape)


def test_values_come_in_order_of_computation(make_model):
    seen = [name for name, _, _ in record(make_model(), lambda m: m([[1, 2, 3]]))]
    position = {name: index for index, name in enumerate(seen)}
    assert len(position) == len(seen), "a name was given twice in one call"
    order = [table_name(name).replace("{i}", "0") for name in VALUES]
    assert [position[name] for name in order] == sorted(position[name] for name in order)


def test_the_order_of_the_table_is_the_order_of_computation(make_model):
    seen = [name for name, _, _ in record(make_model(), lambda m: m([[1, 2, 3]]))]
    assert sorted(sorted(seen), key=computation_order) == seen


def test_a_value_depends_on_what_the_table_says_it_reads_and_on_nothing_else(make_model):
    """Change one value on its way: of the values that come after it, exactly its readers, and theirs, change."""
    model = make_model()
    before = {name: value.copy() for name, value, _ in record(model, lambda m: m([[1, 2, 3]]))}
    last = f"model.layers.{model.config.num_hidden_layers - 1}"
    reads = {name: {read.replace("{residual}", last) for read in values_read(name)} for name in before}
    for changed in before:
        after = {}
        noise = 1 + np.random.default_rng(0).normal(size=before[changed].shape) / 8
        with observe(
            lambda name, value, call, changed=changed, noise=noise: value * noise if name == changed else None
        ):
            after.update({name: value.copy() for name, value, _ in record(model, lambda m: m([[1, 2, 3]]))})
        differs = {name for name in before if not np.array_equal(before[name], after[name])}
        expected = {changed}
        for name in before:
            if reads[name] & expected:
                expected.add(name)
        assert differs == expected - {"model.causal_mask"} or changed == "model.causal_mask", changed


def test_the_observer_knows_which_call_a_value_belongs_to(make_model):
    def run(model):
        cache = model([[1, 2, 3]]).past_key_values
        model([[4]], past_key_values=cache)
        model([[5, 6]], past_key_values=cache)

    calls = [call for name, _, call in record(make_model(), run) if name == "model.norm"]
    assert [(c.index, c.kind, c.past, c.new) for c in calls] == [
        (0, "prefill", 0, 3),
        (1, "decode", 3, 1),
        (2, "chunk", 4, 2),
    ]


def test_what_the_observer_returns_takes_the_values_place(make_model):
    model = make_model()
    plain = model([[1, 2, 3]], output_hidden_states=True).hidden_states

    def silence(name, value, call):
        return np.zeros_like(value) if name in ("model.layers.0.self_attn", "model.layers.0.mlp") else None

    with observe(silence):
        patched = model([[1, 2, 3]], output_hidden_states=True).hidden_states
    np.testing.assert_array_equal(patched[1], patched[0])  # a layer that adds nothing passes the stream on
    assert not np.array_equal(patched[1], plain[1])
    np.testing.assert_array_equal(model([[1, 2, 3]], output_hidden_states=True).hidden_states[1], plain[1])


def test_every_value_has_the_models_dtype(make_model):
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        model = make_model(dtype)
        cache = model([[7, 8]]).past_key_values
        for name, value, _ in record(
            model, lambda m, cache=cache: m([[1]], past_key_values=cache), lambda m: m([[1, 2]])
        ):
            assert value.dtype == model.dtype, (dtype, name)
