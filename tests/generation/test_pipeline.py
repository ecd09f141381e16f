"""pipeline: the shapes that Transformers' pipeline has, around what generate and the tokenizer say."""

from functools import partial

import numpy as np
import pytest

import numpy_llama
from numpy_llama import LlamaConfig, LlamaError, LlamaForCausalLM, LlamaModel, LlamaTokenizer, embedded_model_folder
from numpy_llama.generation.pipeline import TextGenerationPipeline, pipeline

PROMPTS = ["Once upon a time", "One day", "", "The  rain <s> was\n"]
GREEDY = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def tokenizer():
    return LlamaTokenizer.from_pretrained(embedded_model_folder())


@pytest.fixture(scope="module")
def generator(storyteller, tokenizer):
    return pipeline("text-generation", storyteller, tokenizer)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_one_prompt_gives_a_list_of_dicts_and_several_give_a_list_of_those(generator, prompt):
    (only,) = generator(prompt, **GREEDY)
    assert list(only) == ["generated_text"]
    assert generator([prompt], **GREEDY) == [[only]]
    assert generator((prompt, "One day"), **GREEDY)[0] == [only]


def test_no_prompts_give_no_texts(generator):
    assert generator([]) == []


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_full_text_is_the_prompt_as_given_and_then_what_the_new_tokens_say(
    generator, storyteller, tokenizer, prompt
):
    ids = tokenizer(prompt, return_tensors="np").input_ids
    new = storyteller.generate(ids, **GREEDY)[0, ids.shape[1] :]
    continuation = tokenizer.decode(new, skip_special_tokens=True)
    assert len(continuation) > 8
    assert generator(prompt, **GREEDY) == [{"generated_text": prompt + continuation}]
    assert generator(prompt, return_full_text=True, **GREEDY) == [{"generated_text": prompt + continuation}]
    assert generator(prompt, return_full_text=False, **GREEDY) == [{"generated_text": continuation}]


def test_special_tokens_stay_where_they_are_asked_for(generator):
    kept = generator("The end.", do_sample=False, max_new_tokens=300, skip_special_tokens=False)[0]["generated_text"]
    left_out = generator("The end.", do_sample=False, max_new_tokens=300)[0]["generated_text"]
    assert kept == left_out + "</s>"


def test_ids_in_place_of_text_are_those_of_generate_prompt_included(generator, storyteller, tokenizer):
    expected = storyteller.generate([tokenizer.encode("One day")], **GREEDY)[0].tolist()
    assert generator("One day", return_tensors=True, **GREEDY) == [{"generated_token_ids": expected}]


def test_without_special_tokens_the_prompt_has_no_bos(generator, tokenizer):
    (only,) = generator("One day", return_tensors=True, add_special_tokens=False, **GREEDY)
    ids = tokenizer.encode("One day", add_special_tokens=False)
    assert only["generated_token_ids"][: len(ids)] == ids


def test_an_empty_prompt_without_special_tokens_begins_from_bos(generator):
    assert generator("", add_special_tokens=False, **GREEDY) == generator("", **GREEDY)


def test_a_batch_gives_each_prompt_what_it_gets_alone(storyteller):
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder(), pad_token="</s>", padding_side="right")
    generator = pipeline("text-generation", storyteller, tokenizer)
    for batch_size in (2, 3, 9):
        assert generator(PROMPTS, batch_size=batch_size, **GREEDY) == [generator(p, **GREEDY) for p in PROMPTS]


def test_a_batch_needs_a_pad_token(generator):
    with pytest.raises(LlamaError, match="pad_token"):
        generator(PROMPTS, batch_size=2, **GREEDY)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_several_continuations_of_a_prompt_stand_in_its_list_best_first(storyteller, batch_size):
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder(), pad_token="</s>")
    generator = pipeline("text-generation", storyteller, tokenizer, batch_size=batch_size)
    beams = {"num_beams": 3, "num_return_sequences": 3, **GREEDY}
    results = generator(["Once upon", "One day"], **beams)
    for prompt, texts in zip(["Once upon", "One day"], results, strict=True):
        ids = storyteller.generate([tokenizer.encode(prompt)], **beams)
        new = ids[:, len(tokenizer.encode(prompt)) :]
        assert [one["generated_text"] for one in texts] == [
            prompt + tokenizer.decode(row, skip_special_tokens=True) for row in new
        ]
        assert len({one["generated_text"] for one in texts}) == 3


def test_a_stop_sequence_ends_the_text_and_belongs_to_it(generator):
    for stop in (" time", [" time", " nowhere"]):
        (only,) = generator("Once upon", do_sample=False, stop_sequence=stop)
        assert only["generated_text"] == "Once upona time"


def test_options_of_the_pipeline_count_until_a_call_says_otherwise(storyteller, tokenizer, generator):
    short = pipeline("text-generation", storyteller, tokenizer, return_full_text=False, **GREEDY)
    assert short("One day") == generator("One day", return_full_text=False, **GREEDY)
    longer = short("One day", max_new_tokens=12, return_full_text=True)
    assert longer == generator("One day", do_sample=False, max_new_tokens=12)


def test_the_same_seed_tells_the_same_stories_and_no_two_of_a_call_are_alike(generator):
    settings = {"max_new_tokens": 30, "do_sample": True, "temperature": 2.0}
    first = generator(["One day"] * 4, seed=3, **settings)
    assert generator(["One day"] * 4, seed=3, **settings) == first
    assert generator(["One day"] * 4, seed=4, **settings) != first
    assert len({text["generated_text"] for (text,) in first}) == 4


@pytest.fixture(scope="module")
def calls_of(tokenizer):
    """calls_of(stored)(options): the settings that generate gets, where generation_config.json says `stored`."""

    def settings_of(stored, **options):
        config = LlamaConfig.from_pretrained(embedded_model_folder())
        model = LlamaForCausalLM(config, seed=1, generation_config=stored)
        seen = {}

        def generate(ids, mask, **settings):
            seen.update(settings)
            return np.concatenate((ids, ids), axis=1)

        model.generate = generate
        TextGenerationPipeline(model, tokenizer)("One day", **options)
        return {name: value for name, value in seen.items() if name not in ("seed", "tokenizer")}

    return lambda stored: partial(settings_of, stored)


def test_where_nobody_says_otherwise_256_tokens_are_drawn_at_temperature_0_7(calls_of):
    """The defaults of Transformers' TextGenerationPipeline."""
    silent = calls_of({})
    assert silent() == {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}
    assert silent(do_sample=False) == {"max_new_tokens": 256, "do_sample": False}
    assert silent(max_length=9) == {"max_length": 9, "do_sample": True, "temperature": 0.7}
    assert silent(temperature=None) == {"max_new_tokens": 256, "do_sample": True, "temperature": None}
    assert silent(generation_config={"do_sample": False})["max_new_tokens"] == 256
    assert "temperature" not in silent(generation_config={"do_sample": False})
    assert calls_of({"max_length": 50, "do_sample": True, "temperature": 0.8})() == {}
    assert calls_of({"do_sample": False, "max_new_tokens": 3})() == {}
    assert calls_of({"do_sample": None})() == silent()


def test_rows_that_end_early_are_filled_with_the_tokenizers_pad_token(storyteller):
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder(), pad_token="<unk>")
    generator = pipeline("text-generation", storyteller, tokenizer)
    ended, going_on = generator(
        ["The end.", "Once upon"],
        batch_size=2,
        do_sample=False,
        max_new_tokens=40,
        return_tensors=True,
        eos_token_id=315,
    )
    rows = [one["generated_token_ids"] for one in (*ended, *going_on)]
    assert len(rows[0]) == len(rows[1])
    assert any(row[-1] == 0 for row in rows)  # <unk>


def test_tokens_that_the_vocabulary_lacks_have_no_text(tokenizer):
    config = LlamaConfig(**{**TINY, "vocab_size": len(tokenizer) + 5000})  # rows to a round number, as many models have
    generator = TextGenerationPipeline(LlamaForCausalLM(config), tokenizer)
    (only,) = generator("One day", return_tensors=True, **GREEDY)
    assert max(only["generated_token_ids"]) >= len(tokenizer), "no such token was drawn"
    assert generator("One day", **GREEDY)[0]["generated_text"].startswith("One day")


TINY = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_dtype_is_that_of_the_model(dtype):
    assert pipeline("text-generation", model=embedded_model_folder(), dtype=dtype).model.dtype == dtype


def test_the_model_on_board_is_the_default_and_has_a_name(generator):
    for model in (None, "storyteller", str(embedded_model_folder())):
        by_name = numpy_llama.pipeline("text-generation", model)
        assert by_name("One day", **GREEDY) == generator("One day", **GREEDY)


def test_a_tokenizer_may_be_given_by_its_folder(storyteller):
    assert pipeline("text-generation", storyteller, str(embedded_model_folder())).tokenizer.vocab_size == 1536


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (3, {}, r"prompts: no prompt; expected a str, a chat \(a list of messages\), or a list of such, found int"),
        (["a", None], {}, r"prompts\[1\]: no prompt; expected a str, found NoneType"),
        ([{"role": "user"}], {}, r"prompts\[0\]: no message; expected role and content, found 'role'"),
        ([[{"role": "user", "content": "hi"}], "b"], {}, r"prompts\[1\]: no chat; expected a list of messages"),
        ([{"role": "user", "content": "hi"}], {}, "chat_template: this tokenizer has no chat template"),
        ("a", {"max_new_token": 3}, "max_new_token=…"),
        ("a", {"return_tensors": True, "return_full_text": False}, "return_tensors: two kinds"),
        ("a", {"seed": -1}, "seed: impossible value"),
        ("a", {"batch_size": 0}, "batch_size: impossible value"),
        ("a", {"batch_size": True}, "batch_size: impossible value"),
        ("a", {"max_length": 2}, "max_length: no room for new tokens"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(generator, prompts, options, message):
    with pytest.raises(LlamaError, match=message):
        generator(prompts, **options)


def test_a_pipeline_that_cannot_be_is_refused(storyteller, tokenizer, tmp_path):
    with pytest.raises(LlamaError, match="no such task; expected one of text-generation, found 'text-gen'"):
        pipeline("text-gen")
    with pytest.raises(LlamaError, match="no such checkpoint folder"):
        pipeline("text-generation", tmp_path / "nowhere")
    with pytest.raises(LlamaError, match="model: wrong type"):
        pipeline("text-generation", LlamaModel(LlamaConfig(**TINY)), tokenizer)
    with pytest.raises(LlamaError, match="tokenizer: missing"):
        pipeline("text-generation", LlamaForCausalLM(LlamaConfig(**TINY)))
    with pytest.raises(LlamaError, match="dtype: a model has its dtype already"):
        pipeline("text-generation", storyteller, tokenizer, dtype="float64")
    with pytest.raises(LlamaError, match="unknown dtype"):
        pipeline("text-generation", dtype="int8")
    with pytest.raises(LlamaError, match="the tokenizer doesn't fit the model"):
        pipeline("text-generation", LlamaForCausalLM(LlamaConfig(**TINY, vocab_size=100)), tokenizer)


def test_a_model_that_was_loaded_knows_where_its_tokenizer_lies(storyteller):
    with_folder = pipeline("text-generation", model=embedded_model_folder())
    with_model = pipeline("text-generation", model=storyteller)
    options = {"max_new_tokens": 5, "do_sample": False}
    assert with_model("Once", **options) == with_folder("Once", **options)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"max_new_tokenz": 3}, r"pipeline\(max_new_tokenz=…\): no such option"),
        ({"torch_dtype": "float16"}, "torch_dtype: no such argument here; expected dtype="),
    ],
)
def test_an_option_that_nobody_has_is_refused_before_a_text_comes(option, message):
    with pytest.raises(LlamaError, match=message):
        pipeline("text-generation", **option)


@pytest.fixture
def chatting(storyteller):
    """A pipeline whose tokenizer has a chat template, made up for the model on board."""
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder())
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %}"
    tokenizer.pad_token = "</s>"
    return pipeline("text-generation", storyteller, tokenizer)


def test_a_chat_comes_back_with_the_answer_as_one_message_more(chatting):
    pytest.importorskip("jinja2")
    chat = [{"role": "system", "content": "Once upon a time"}, {"role": "user", "content": "there was"}]
    (answer,) = chatting(chat, **GREEDY)
    (told,) = chatting("Once upon a time there was", return_full_text=False, **GREEDY)
    assert answer == {"generated_text": [*chat, {"role": "assistant", "content": told["generated_text"]}]}
    assert chatting(chat, return_full_text=False, **GREEDY) == [told]
    assert chatting([chat, chat[1:]], **GREEDY) == [chatting(chat, **GREEDY), chatting(chat[1:], **GREEDY)]
    assert chatting([chat, chat[1:]], batch_size=2, **GREEDY) == [[answer], chatting(chat[1:], **GREEDY)]


def test_a_chat_that_ends_with_the_answer_begun_comes_back_with_it_continued(chatting):
    pytest.importorskip("jinja2")
    chat = [{"role": "user", "content": "Once upon"}, {"role": "assistant", "content": "a time"}]
    (answer,) = chatting(chat, **GREEDY)
    (told,) = chatting("Once upon a time", return_full_text=False, **GREEDY)
    assert answer["generated_text"] == [chat[0], {"role": "assistant", "content": "a time" + told["generated_text"]}]
    (more,) = chatting(chat, continue_final_message=False, **GREEDY)
    assert more["generated_text"][:2] == chat
    assert len(more["generated_text"]) == 3
