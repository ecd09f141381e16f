"""config.hidden_act: what it may be, and that the model computes with it."""

import numpy as np
import pytest

from numpy_llama import Blocks, KVCache, LlamaConfig, LlamaError, LlamaForCausalLM
from numpy_llama.blocks.activation_table import ACTIVATIONS

IDS = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]


def cubed(x):
    return x * x * x


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_name_reaches_the_mlp(make_model, name):
    """The logits are those of SiLU's model with its activation swapped by hand."""
    plain = make_model()
    model = make_model(hidden_act=name)
    swapped = LlamaForCausalLM(plain.config, plain.tensors, blocks=Blocks().swap(activation=ACTIVATIONS[name]))
    np.testing.assert_array_equal(model(IDS).logits, swapped(IDS).logits)
    assert np.array_equal(model(IDS).logits, plain(IDS).logits) == (name in ("silu", "swish"))


@pytest.mark.parametrize("act", ["relu", "gelu_new", cubed])
def test_a_decode_step_computes_with_it_too(make_model, act):
    """One token after a past takes a shorter way through a layer, which knows SiLU alone."""
    model = make_model("float64", hidden_act=act)
    cache = KVCache(model.config.num_hidden_layers)
    model([row[:4] for row in IDS], past_key_values=cache)
    last = model([row[4:] for row in IDS], past_key_values=cache).logits
    # Sums in another order: some hundred float64 roundings of numbers around 1.
    np.testing.assert_allclose(last[:, 0], model(IDS).logits[:, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_name_is_saved_and_read(make_model, tmp_path, name):
    make_model(hidden_act=name).save_pretrained(tmp_path)
    assert LlamaConfig.from_pretrained(tmp_path).hidden_act == name


def test_a_function_is_for_construction_alone(make_model, tmp_path):
    model = make_model(hidden_act=cubed)
    assert model.config.hidden_act is cubed
    assert "cubed" in str(model.config)
    for save in (model.config.to_dict, lambda: model.config.save_pretrained(tmp_path)):
        with pytest.raises(LlamaError, match="hidden_act: a function can't be saved; expected a name"):
            save()
    with pytest.raises(LlamaError, match="hidden_act: a function can't be saved"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["sliu", "prelu", "xielu", "SiLU", None, 3, ["silu"]])
def test_what_it_cannot_be(wrong):
    with pytest.raises(LlamaError, match="hidden_act: .*silu") as error:
        LlamaConfig(hidden_act=wrong)
    assert error.value.found == repr(wrong)
