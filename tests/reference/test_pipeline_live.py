"""pipeline, the Auto classes and AttentionMaskVisualizer beside those of Transformers, on the embedded model."""

import contextlib
import io
import re

import numpy as np
import pytest

transformers = pytest.importorskip("transformers", reason="needs the reference extra: make reference")
pytest.importorskip("torch", reason="needs the reference extra: make reference")

from transformers.utils.attention_visualizer import (  # noqa: E402
    AttentionMaskVisualizer as TheirVisualizer,
)

import numpy_llama  # noqa: E402
from numpy_llama import AttentionMaskVisualizer, AutoConfig, AutoTokenizer, embedded_model_folder, pipeline  # noqa: E402

PROMPTS = [
    "Once upon a time",
    "Once upon",
    "One day, Mia",
    "",
    " ",
    "<s> Once  upon </s>",
    "The rain was over.\n",
    "naïve 😀",
]
GREEDY = {"do_sample": False, "max_new_tokens": 12}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Nothing from a hub, and no progress bars."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        yield


@pytest.fixture(scope="module", params=["float32", "float64"])
def generators(request):
    folder = str(embedded_model_folder())
    theirs = transformers.pipeline("text-generation", model=folder, dtype=request.param, device="cpu")
    return pipeline("text-generation", model=folder, dtype=request.param), theirs


@pytest.mark.parametrize("prompt", PROMPTS)
def test_one_prompt(generators, prompt):
    ours, theirs = generators
    assert ours(prompt, **GREEDY) == theirs(prompt, **GREEDY)


@pytest.mark.parametrize(
    "options",
    [
        GREEDY,
        {"return_full_text": False, **GREEDY},
        {"return_full_text": True, **GREEDY},
        {"return_tensors": True, **GREEDY},
        {"skip_special_tokens": False, "do_sample": False, "max_new_tokens": 100},
        {"clean_up_tokenization_spaces": True, **GREEDY},
        {"add_special_tokens": False, **GREEDY},
        {"num_beams": 3, "num_return_sequences": 2, **GREEDY},
        {"num_beams": 2, "return_full_text": False, **GREEDY},
        {"max_length": 20, "do_sample": False},
        {"do_sample": False, "stop_sequence": " a"},
        {"do_sample": False, "stop_sequence": [" was", "!"], "max_new_tokens": 60},
        {"do_sample": False},
    ],
    ids=lambda options: ", ".join(f"{name}={value}" for name, value in options.items()),
)
def test_a_list_of_prompts(generators, options):
    ours, theirs = generators
    prompts = PROMPTS if len(options) > 1 else PROMPTS[:3]  # where nothing else ends them, texts are long
    assert ours(prompts, **options) == theirs(prompts, **options)


def test_options_of_the_pipeline(generators):
    folder = str(embedded_model_folder())
    options = {"return_full_text": False, "num_beams": 2, "num_return_sequences": 2, **GREEDY}
    ours = pipeline("text-generation", folder, **options)
    theirs = transformers.pipeline("text-generation", folder, dtype="float32", device="cpu", **options)
    assert ours("One day") == theirs("One day")
    assert ours("One day", num_return_sequences=1) == theirs("One day", num_return_sequences=1)


def test_batches_padded_on_the_left(generators):
    ours, theirs = generators
    ours.tokenizer.pad_token = theirs.tokenizer.pad_token = "</s>"
    try:
        for options in ({}, {"return_tensors": True}, {"num_beams": 2, "num_return_sequences": 2}):
            options = {"batch_size": 3, **options, **GREEDY}
            assert ours(PROMPTS, **options) == theirs(PROMPTS, **options)
    finally:
        ours.tokenizer.pad_token = theirs.tokenizer.pad_token = None


def test_what_is_said_neither_by_the_caller_nor_by_the_model(generators):
    """The defaults, of which ours are written down once more."""
    _, theirs = generators
    defaults = theirs._default_generation_config
    assert (defaults.max_new_tokens, defaults.do_sample, defaults.temperature) == (256, True, 0.7)


def test_auto_classes_have_the_names_and_give_the_classes_that_theirs_do():
    folder = str(embedded_model_folder())
    for name in (name for name in numpy_llama.__all__ if name.startswith("AutoModel")):
        theirs, ours = getattr(transformers, name).from_pretrained(folder), getattr(numpy_llama, name)
        assert ours.model_class.__name__ == type(theirs).__name__
    assert AutoConfig.from_pretrained(folder).hidden_size == transformers.AutoConfig.from_pretrained(folder).hidden_size
    text = "Once upon a time, there was naïve 😀"
    ids = transformers.AutoTokenizer.from_pretrained(folder).encode(text)
    assert AutoTokenizer.from_pretrained(folder).encode(text) == ids


def test_the_picture_of_a_mask_has_their_squares():
    """Theirs leaves the last column and row out: it counts the tokens without <s>, which it then writes beside them."""
    folder = str(embedded_model_folder())
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        TheirVisualizer(folder)("Once upon a time there was")
    lines = [re.sub(r"\x1b\[\d+m", "", line).partition("|")[0] for line in printed.getvalue().splitlines()]
    rows = [match[1] for line in lines if (match := re.match(r"'.*' *: +\d+ (.*)", line))]
    theirs = [[square == "■" for square in row.split()] for row in rows]
    ours = AttentionMaskVisualizer(folder).view("Once upon a time there was").visible[0]
    np.testing.assert_array_equal(theirs, ours[:-1, :-1])


CHATS = [
    [{"role": "user", "content": "Once upon a time"}],
    [{"role": "system", "content": "One day"}, {"role": "user", "content": ", Mia"}],
    [{"role": "user", "content": "Once"}, {"role": "assistant", "content": "upon a time"}],
]


@pytest.fixture(scope="module")
def chatting(tmp_path_factory):
    """Ours and theirs with a chat template, made up for the model on board."""
    pytest.importorskip("jinja2", reason="needs the chat extra")
    folder = tmp_path_factory.mktemp("chat")
    model = numpy_llama.LlamaForCausalLM.from_pretrained(embedded_model_folder())
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_folder())
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %}"
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(folder)
    theirs = transformers.pipeline("text-generation", model=str(folder), dtype="float32", device="cpu")
    return pipeline("text-generation", model=str(folder)), theirs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_full_text": False},
        {"return_tensors": True},
        {"continue_final_message": False},
        {"num_beams": 2, "num_return_sequences": 2},
        {"tools": [], "documents": [{"title": "a", "text": "b"}]},
        {"tokenizer_encode_kwargs": {"chat_template": "{{ bos_token }} {{ messages[-1].content }}"}},
    ],
)
def test_chats(chatting, options):
    ours, theirs = chatting
    for chat in CHATS:
        assert ours(chat, **GREEDY, **options) == theirs(chat, **GREEDY, **options)
    assert ours(CHATS, **GREEDY, **options) == theirs(CHATS, **GREEDY, **options)
    if "return_tensors" not in options:
        assert ours(CHATS, batch_size=2, **GREEDY, **options) == theirs(CHATS, batch_size=2, **GREEDY, **options)
