"""Small names that code written for Transformers reaches for, and what it reads where there is none."""

import copy
import json

import pytest

from numpy_llama import (
    GenerationConfig,
    LlamaConfig,
    LlamaError,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaPreTrainedModel,
)

IDS = [[1, 5, 9, 4]]


def small_config(**changes):
    sizes = {"vocab_size": 31, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    return LlamaConfig(**{**sizes, "num_attention_heads": 4, "num_key_value_heads": 2, **changes})


@pytest.fixture(scope="module")
def model():
    return LlamaForCausalLM(small_config(eos_token_id=None, bos_token_id=1))


class TestTheModel:
    def test_num_parameters_counts_every_weight_once(self, model):
        per_layer = 16 * (16 + 8 + 8 + 16) + 3 * 16 * 24 + 2 * 16
        assert model.num_parameters() == 2 * 31 * 16 + 2 * per_layer + 16
        tied = LlamaForCausalLM(small_config(tie_word_embeddings=True))
        assert tied.num_parameters() == model.num_parameters() - 31 * 16

    def test_shown_in_a_session_it_says_what_it_is(self, model):
        assert repr(model) == f"LlamaForCausalLM({model.num_parameters():,} parameters, float32)"

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("eval", "doesn't train"),
            ("to", "dtype="),
            ("device", "main memory"),
            ("state_dict", "model.tensors"),
            ("get_input_embeddings", "model.embed_tokens"),
            ("forward", "model(input_ids)"),
        ],
    )
    def test_a_name_of_torch_is_an_error_that_says_what_to_do(self, model, name, says):
        with pytest.raises(AttributeError, match=f"'LlamaForCausalLM' object has no attribute '{name}'") as error:
            getattr(model, name)
        assert says in str(error.value)
        assert not hasattr(model, name)

    def test_any_other_name_is_an_error_as_everywhere(self, model):
        with pytest.raises(AttributeError, match="object has no attribute 'logits'$"):
            model.logits  # noqa: B018

    def test_it_is_one_of_a_kind_that_can_be_asked_for(self, model):
        assert isinstance(model, LlamaPreTrainedModel)
        assert isinstance(model.model, LlamaPreTrainedModel)
        assert model.config.model_type == LlamaConfig.model_type == model.config.to_dict()["model_type"] == "llama"

    def test_a_model_can_be_copied(self, model):
        assert (copy.deepcopy(model)(IDS).logits == model(IDS).logits).all()


class TestLoading:
    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("torch_dtype", "float16", "expected dtype="),
            ("attn_implementation", "eager", "as Transformers' eager does"),
            ("device_map", "auto", "main memory"),
            ("local_files_only", True, "on this disk"),
        ],
    )
    def test_an_argument_of_torch_is_an_error_that_says_what_to_do(self, model, tmp_path, name, value, says):
        model.save_pretrained(tmp_path)
        with pytest.raises(LlamaError, match=says) as error:
            LlamaForCausalLM.from_pretrained(tmp_path, **{name: value})
        assert error.value.where == name


STRETCHED = {"rope_type": "linear", "factor": 4.0}


class TestRopeThatChangesOnLoading:
    @pytest.mark.parametrize("spelling", ["rope_parameters", "rope_scaling"])
    @pytest.mark.parametrize(
        "stored", [{"rope_theta": 500.0}, {"rope_theta": 500.0, "rope_scaling": {**STRETCHED, "factor": 2.0}}]
    )
    def test_it_changes_in_either_spelling_and_keeps_the_theta_of_the_weights(self, tmp_path, spelling, stored):
        settings = small_config().to_dict()
        del settings["rope_parameters"]
        (tmp_path / "config.json").write_text(json.dumps({**settings, **stored}))
        config = LlamaConfig.from_pretrained(tmp_path, **{spelling: STRETCHED})
        assert config.rope_parameters == {**STRETCHED, "rope_theta": 500.0}
        config = LlamaConfig.from_pretrained(tmp_path, **{spelling: {**STRETCHED, "rope_theta": 7.0}})
        assert config.rope_parameters == {**STRETCHED, "rope_theta": 7.0}

    def test_theta_alone_is_an_error_and_not_ignored(self, tmp_path):
        small_config().save_pretrained(tmp_path)
        with pytest.raises(LlamaError, match="rope_theta: no such argument; .* rope_theta inside rope_parameters"):
            LlamaConfig.from_pretrained(tmp_path, rope_theta=500.0)


class TestAConfigThatChangesLater:
    def test_a_new_number_of_labels_survives_saving(self, tmp_path):
        config = small_config(pad_token_id=0)
        config.num_labels = 4
        LlamaForSequenceClassification(config).save_pretrained(tmp_path)
        loaded = LlamaForSequenceClassification.from_pretrained(tmp_path)
        assert loaded.config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2", 3: "LABEL_3"}
        assert loaded(IDS).logits.shape == (1, 4)

    def test_names_that_somebody_gave_are_not_thrown_away(self):
        config = small_config(id2label={0: "sad", 1: "glad"})
        config.num_labels = 3
        with pytest.raises(LlamaError, match="id2label"):
            LlamaForSequenceClassification(config)

    def test_what_cannot_be_is_named_where_the_model_is_made(self):
        config = small_config()
        config.rms_norm_eps = "1e-6"
        with pytest.raises(LlamaError, match="rms_norm_eps"):
            LlamaForCausalLM(config)


class TestOutputs:
    def test_they_read_as_mappings(self, model):
        output = model(IDS, use_cache=False)
        assert [name for name, _ in output.items()] == output.keys() == ["logits"]
        assert output.values()[0] is output.get("logits") is output.logits
        assert output.get("loss") is None
        assert output.get("loss", 0.0) == 0.0
        assert dict(output)["logits"] is dict(**output)["logits"] is output.logits


class TestGenerationConfig:
    def test_its_keys_are_attributes(self):
        settings = GenerationConfig(max_new_tokens=3)
        settings.do_sample = False
        assert settings == {"max_new_tokens": 3, "do_sample": False} == settings.to_dict()
        assert settings.do_sample is False
        assert settings.pad_token_id is None
        assert copy.deepcopy(settings) == settings

    def test_it_counts_in_a_call_and_in_a_model(self, model):
        settings = GenerationConfig(max_new_tokens=3, do_sample=False)
        wanted = model.generate(IDS, max_new_tokens=3, do_sample=False)
        assert (model.generate(IDS, generation_config=settings) == wanted).all()
        changed = LlamaForCausalLM(model.config, model.tensors)
        changed.generation_config.max_new_tokens = 3
        assert (changed.generate(IDS) == wanted).all()

    def test_a_pad_token_that_is_set_later_leaves_the_end_token_alone(self):
        """The commonest line of code about generation: it must not make every text endless."""
        model = LlamaForCausalLM(small_config(eos_token_id=2))
        model.tensors["lm_head.weight"][:] = 0  # all logits equal: the first token wins
        model.tensors["lm_head.weight"][2] = model(IDS, use_cache=False, output_hidden_states=True).hidden_states[-1][
            0, -1
        ]
        model.generation_config.pad_token_id = 0
        assert model.generate(IDS, max_new_tokens=5).tolist() == [[*IDS[0], 2]]

    def test_it_goes_to_a_file_and_back(self, tmp_path):
        GenerationConfig(max_new_tokens=3, eos_token_id=[2, 5]).save_pretrained(tmp_path)
        assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [2, 5]
        loaded = GenerationConfig.from_pretrained(tmp_path, do_sample=True)
        assert loaded == {"max_new_tokens": 3, "eos_token_id": [2, 5], "do_sample": True}
        with pytest.raises(LlamaError, match="generation_config.json: no such file"):
            GenerationConfig.from_pretrained(tmp_path / "nowhere")
