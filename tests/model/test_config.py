"""LlamaConfig: Transformers' fields and defaults, both spellings of RoPE, and nothing that can't be."""

import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaConfig, LlamaError, LlamaWarning

# Published: the config.json of the three best-known members of the family, and one in the newer spelling.
LLAMA_2_7B = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.31.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
LLAMA_31_ROPE = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


def test_defaults_are_those_of_transformers():
    assert {k: v for k, v in LlamaConfig().to_dict().items() if k != "rope_parameters"} == {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "use_cache": True,
        "pad_token_id": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pretraining_tp": 1,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "head_dim": 128,
    }
    assert LlamaConfig().rope_parameters == {"rope_type": "default", "rope_theta": 10000.0}


@pytest.mark.filterwarnings("error")
def test_a_published_config_is_read_without_a_warning():
    config = LlamaConfig.from_dict(LLAMA_2_7B)
    assert config.rms_norm_eps == 1e-5
    assert config.max_position_embeddings == 4096
    assert config.extra["torch_dtype"] == "float16"


def test_the_older_spelling_of_rope_means_the_same_as_the_newer():
    older = LlamaConfig.from_dict({"rope_theta": 500000.0, "rope_scaling": LLAMA_31_ROPE})
    newer = LlamaConfig.from_dict({"rope_parameters": {"rope_theta": 500000.0, **LLAMA_31_ROPE}})
    oldest = LlamaConfig.from_dict({"rope_theta": 2.5, "rope_scaling": {"type": "linear", "factor": 2}})
    assert older == newer
    assert oldest.rope_parameters == {"rope_type": "linear", "rope_theta": 2.5, "factor": 2}


@given(
    heads=st.sampled_from([(4, 4), (4, 2), (6, 1), (8, 4)]),
    head_dim=st.sampled_from([None, 2, 6, 64]),
    eps=st.floats(0, 0.5),
    tied=st.booleans(),
    eos=st.one_of(st.none(), st.integers(0, 9), st.lists(st.integers(0, 9), min_size=1, max_size=3)),
    extra=st.dictionaries(st.text("abc_", min_size=12), st.integers(), max_size=2),
)
def test_saving_and_loading_gives_the_config_back(tmp_path_factory, heads, head_dim, eps, tied, eos, extra):
    folder = tmp_path_factory.mktemp("config")
    config = LlamaConfig(
        hidden_size=48,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=head_dim,
        rms_norm_eps=eps,
        tie_word_embeddings=tied,
        eos_token_id=eos,
        extra=extra,
    )
    config.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)
        assert LlamaConfig.from_pretrained(folder) == config


def test_an_unknown_field_is_kept_and_warned_about():
    with pytest.warns(LlamaWarning, match="unknown fields kept and not used: wings"):
        config = LlamaConfig.from_dict({"wings": 2})
    assert config.to_dict()["wings"] == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_attention_heads": 3},
            r"hidden_size: impossible value; expected a multiple of num_attention_heads \(3\)",
        ),
        (
            {"num_key_value_heads": 5},
            r"num_key_value_heads: .*a divisor of num_attention_heads \(32\), found 5",
        ),
        ({"num_key_value_heads": 0}, "num_key_value_heads: .*positive integer, found 0"),
        ({"hidden_size": -4096}, "hidden_size: .*positive integer, found -4096"),
        ({"vocab_size": 1.5}, "vocab_size: .*positive integer, found 1.5"),
        ({"vocab_size": "32000"}, "vocab_size: .*positive integer, found '32000'"),
        ({"num_hidden_layers": True}, "num_hidden_layers: .*positive integer, found True"),
        ({"head_dim": 7}, "head_dim: .*even number.*found 7"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps: .*found '1e-5'"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"hidden_act": "sliu"}, "hidden_act: .*silu.*found 'sliu'"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: .*true or false, found 'no'"),
        ({"eos_token_id": "</s>"}, "eos_token_id: .*token id, or null, found '</s>'"),
        (
            {"rope_parameters": {"rope_type": "spiral"}},
            "rope_parameters.rope_type: unknown rope type.*found 'spiral'",
        ),
        (
            {"rope_parameters": {"rope_type": "linear"}},
            "rope_parameters.factor: .*positive number, found None",
        ),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_parameters.rope_theta: .*positive number, found 0"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2, "partial_rotary_factor": 0.5}},
            "rope_parameters.partial_rotary_factor: .*1.0 with rope type linear",
        ),
    ],
)
def test_what_cannot_be_is_rejected_by_name(fields, message):
    with pytest.raises(LlamaError, match=message):
        LlamaConfig(**fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"config.json: no such file"),
        ("{", "config.json: not valid JSON"),
        ("[" * 100000, "config.json: not valid JSON"),
        ("[1]", "config.json: wrong JSON; expected an object, found list"),
        ('{"model_type": "gpt2"}', "config.json: model_type: not a Llama; expected 'llama', found 'gpt2'"),
        ('{"hidden_size": 7}', "config.json: hidden_size: impossible value"),
        (
            '{"rope_scaling": 3}',
            "config.json: rope_parameters: impossible value; expected an object, found 3",
        ),
    ],
)
def test_a_bad_config_file_is_named_in_the_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(LlamaError, match=message):
        LlamaConfig.from_pretrained(tmp_path)


def test_config_json_is_plain_json(tmp_path):
    LlamaConfig(eos_token_id=[1, 2]).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["eos_token_id"] == [1, 2]
