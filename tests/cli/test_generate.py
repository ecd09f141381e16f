"""`numpy-llama generate`, and the text stream below it."""

import json

import pytest

from numpy_llama import LlamaForCausalLM, LlamaTokenizer, embedded_model_folder
from numpy_llama.generation.text import TextStream, continue_text

PROMPT = "Once upon a time"
SHORT = ("--max-new-tokens", 12, "--quiet")


@pytest.fixture(scope="module")
def tokenizer():
    return LlamaTokenizer.from_pretrained(embedded_model_folder())


def story(command, *arguments, stdin=None):
    status, out, err = command("generate", *arguments, stdin=stdin)
    assert status == 0
    assert err == ""
    return out


def test_the_text_is_that_of_the_library(command, storyteller, tokenizer):
    settings = {"max_new_tokens": 12, "do_sample": True, "temperature": 0.7, "top_k": 9, "top_p": 0.9, "min_p": 0.01}
    ids = storyteller.generate([tokenizer.encode(PROMPT)], seed=5, repetition_penalty=1.2, **settings)
    options = ("--temperature", 0.7, "--top-k", 9, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.2)
    written = story(command, PROMPT, "--seed", 5, *options, *SHORT)
    assert written == tokenizer.decode(ids[0], skip_special_tokens=True) + "\n"


def test_prompts_from_arguments_and_pipes_are_one(command):
    expected = story(command, PROMPT, "--seed", 1, *SHORT)
    assert story(command, "--seed", 1, *SHORT, stdin=PROMPT.encode()) == expected
    assert story(command, "-", "--seed", 1, *SHORT, stdin=PROMPT.encode() + b"\n") == expected
    assert story(command, "-", "--seed", 1, *SHORT, stdin=PROMPT.encode() + b"\r\n") == expected
    assert story(command, PROMPT, "--seed", 2, *SHORT) != expected


def test_an_empty_prompt_begins_from_bos(command, storyteller, tokenizer):
    ids = storyteller.generate([[tokenizer.bos_token_id]], max_new_tokens=12, do_sample=False)
    assert story(command, "", "--greedy", *SHORT) == tokenizer.decode(ids[0], skip_special_tokens=True) + "\n"


def test_temperature_zero_is_greedy(command):
    greedy = story(command, PROMPT, "--greedy", *SHORT)
    assert story(command, PROMPT, "--temperature", 0, *SHORT) == greedy
    assert story(command, PROMPT, "--top-k", 1, *SHORT) == greedy
    _, out, err = command("generate", PROMPT, "--greedy", "--top-p", 0.5, *SHORT)
    assert out == greedy
    assert err == "numpy-llama: warning: nothing is drawn, so --top-p has no effect\n"


def test_the_seed_on_stderr_tells_the_same_again(command):
    _, first, err = command("generate", PROMPT, "--max-new-tokens", 12)
    speeds, summary = err.splitlines()
    assert "prefill" in speeds
    assert "decode" in speeds
    assert "5 prompt + 12 new tokens, stopped before the end" in summary
    seed = summary.rpartition("--seed ")[2]
    assert story(command, PROMPT, "--seed", seed, *SHORT) == first


def test_it_says_when_the_model_ended_the_text(command, copy, storyteller, tokenizer):
    likeliest = int(storyteller.generate([tokenizer.encode(PROMPT)], max_new_tokens=1, do_sample=False)[0, -1])
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, likeliest]}))
    _, _, err = command("generate", PROMPT, "--greedy", "--model", copy)
    assert "5 prompt + 1 new tokens, ended by the model" in err
    assert "--seed" not in err  # nothing was drawn
    _, _, err = command("generate", PROMPT, "--greedy", "--model", copy, "--ignore-eos", "--max-new-tokens", 3)
    assert "5 prompt + 3 new tokens, stopped before the end" in err


def test_past_the_trained_context_it_warns_after_the_text(command):
    _, out, err = command("generate", PROMPT, "--ignore-eos", "--max-new-tokens", 520, "--quiet", "--seed", 0)
    assert out.count("\n") == 1
    assert err.startswith("numpy-llama: warning: position 512 is past the 512 tokens")
    assert err.count("\n") == 1


def test_without_a_number_it_stays_within_the_context(command, tokenizer):
    long = "the cat sat on the mat"
    while len(tokenizer.encode(long)) < 400:
        long += " and on the mat"
    room = 512 - len(tokenizer.encode(long))
    assert 0 < room < 200, "or the test says nothing"
    _, _, err = command("generate", long, "--ignore-eos")
    assert f" + {room} new tokens" in err
    assert "warning" not in err


@pytest.mark.parametrize(
    ("stored", "options", "expected"),
    [
        ({}, [], {"do_sample": True, "temperature": 0.8}),
        ({"do_sample": True}, [], {"do_sample": True}),
        ({"do_sample": True, "temperature": 0.6}, [], {"do_sample": True}),
        ({"do_sample": True}, ["--top-k", "3"], {"do_sample": True, "top_k": 3}),
        ({"do_sample": False}, [], {"do_sample": False}),
        ({"do_sample": False}, ["--top-p", "0.5"], {"do_sample": True, "temperature": 0.8, "top_p": 0.5}),
        ({"do_sample": True}, ["--temperature", "0"], {"do_sample": False}),
        ({"do_sample": True}, ["--greedy"], {"do_sample": False}),
        ({"do_sample": True}, ["--ignore-eos"], {"do_sample": True, "eos_token_id": None}),
        ({"do_sample": True}, ["--stop", "a", "--stop", "b"], {"do_sample": True, "stop_strings": ["a", "b"]}),
        ({"do_sample": True, "num_beams": 4}, [], {"do_sample": True, "num_beams": 1}),
    ],
)
def test_settings_come_from_the_command_line_then_from_the_model(stored, options, expected):
    from numpy_llama.cli.generate import chosen_settings
    from numpy_llama.cli.main import build_parser

    assert chosen_settings(build_parser().parse_args(["generate", "x", *options]), stored) == expected


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes(command, dtype):
    ids = LlamaForCausalLM.from_pretrained(embedded_model_folder(), dtype=dtype)
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder())
    expected = continue_text(ids, tokenizer, PROMPT, max_new_tokens=12, do_sample=False)
    assert story(command, PROMPT, "--greedy", "--dtype", dtype, *SHORT) == expected + "\n"


def test_a_tokenizer_too_large_for_the_model(complaint, copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] - 1}))
    assert "the tokenizer doesn't fit the model" in complaint("generate", "x", "--model", copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", "model.safetensors"])
def test_files_missing_and_cut_short(complaint, copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert name in complaint("generate", "x", "--model", copy)
    (copy / name).unlink()
    assert f"{name}: no such file" in complaint("generate", "x", "--model", copy)


# The stream


def test_pieces_add_up_to_the_decoded_text(storyteller, tokenizer):
    prompt = "Once, naïve 😀"
    settings = {"max_new_tokens": 20, "do_sample": True, "temperature": 3.0, "eos_token_id": None}
    stream = TextStream(storyteller, tokenizer, tokenizer.encode(prompt), seed=3, top_k=0, **settings)
    pieces = list(stream)
    ids = [*stream.prompt_ids, *stream.new_ids]
    assert pieces[0] == "Once, naïve "  # a run of bytes is read when it has ended: one bad byte would spoil it all
    assert len(pieces) == 1 + 20 + 1
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize(("legacy", "pieces"), [(True, ["😀", ""]), (False, ["", "😀"])])
def test_no_half_character_is_ever_written(legacy, pieces):
    """A model that says the four bytes of an emoji, one by one: whole as soon as it is complete, or as the run of
    bytes has ended, since transformers' tokenizer reads a run as one."""
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder(), legacy=legacy)
    ids = tokenizer.encode("😀", add_special_tokens=False)[-4:]
    stream = TextStream(Scripted(ids, tokenizer), tokenizer, tokenizer.encode("Hi"))
    assert list(stream) == ["Hi", "", "", "", *pieces]


def test_an_id_without_a_piece_has_no_text(tokenizer):
    """Rows that pad an embedding table can be drawn from an untrained model."""
    stream = TextStream(Scripted([len(tokenizer) + 3], tokenizer), tokenizer, tokenizer.encode("Hi"))
    assert "".join(stream) == "Hi"


def test_what_a_stream_knows(storyteller, tokenizer):
    stream = TextStream(storyteller, tokenizer, tokenizer.encode(PROMPT), max_new_tokens=3, eos_token_id=None)
    assert stream.first_token_seconds is None
    assert stream.prefill_speed is None
    pieces = iter(stream)
    next(pieces), next(pieces)
    assert stream.first_token_seconds > 0
    assert stream.prefill_speed == len(stream.prompt_ids) / stream.first_token_seconds
    assert stream.decode_speed is None
    list(pieces)
    assert stream.decode_speed > 0
    assert not stream.has_ended


class Scripted:
    """Something like a model that says given ids."""

    def __init__(self, ids, tokenizer):
        from numpy_llama import LlamaConfig

        self.config = LlamaConfig(vocab_size=len(tokenizer) + 10)
        self.generation_config = {}
        self.ids = ids

    def stream(self, input_ids, **settings):
        return iter([[token_id] for token_id in self.ids])
