"""Greedy texts agree up to near-ties, and those are named."""

import json

import numpy as np
import pytest

from numpy_llama import LlamaForCausalLM
from numpy_llama.errors import LlamaError
from numpy_llama.study.compare.greedy_texts import compare_greedy, read_greedy
from numpy_llama.study.trace import save_trace, trace

PROMPT = [1, 5, 9, 2]


def continuation(model, steps=12):
    return model.generate([PROMPT], max_new_tokens=steps, do_sample=False, eos_token_id=None)[0, len(PROMPT) :].tolist()


def test_our_own_text_agrees_in_any_dtype(small):
    assert compare_greedy(small, PROMPT, continuation(small)).status == 0
    half = LlamaForCausalLM(small.config, {name: a.astype(np.float16) for name, a in small.tensors.items()})
    report = compare_greedy(small, PROMPT, continuation(half), "float16")
    assert report.status == 0 and report.steps == 12


def test_another_token_is_a_difference_with_its_step_and_gap(small):
    tokens = continuation(small)
    logits = small([[*PROMPT, *tokens[:5]]]).logits[0, -1]
    tokens[5] = int(logits.argmin())
    report = compare_greedy(small, PROMPT, tokens)
    first = report.differences[0]
    assert (report.status, first.step, first.expected) == (1, 5, tokens[5])
    assert first.gap == pytest.approx(float(logits.max() - logits.min()), rel=1e-4)


def test_a_near_tie_is_stepped_over_and_named(small):
    """Two tokens with the same row of the head have the same logit: either is right."""
    tokens = continuation(small, 6)
    tensors = dict(small.tensors)
    head = tensors["lm_head.weight"].copy()
    other = next(token for token in range(48) if token not in tokens)
    chosen = tokens[3]
    head[other] = head[chosen]
    tied = LlamaForCausalLM(small.config, {**tensors, "lm_head.weight": head})
    theirs = [*tokens[:3], other if other > chosen else chosen]
    report = compare_greedy(tied, PROMPT, theirs)
    assert report.status == 0 and report.ties >= 1
    if other > chosen:  # argmax takes the first of two
        assert [(fork.step, fork.chosen, fork.expected) for fork in report.stepped_over] == [(3, chosen, other)]


def test_read_from_json_and_from_a_trace(small, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps({"prompt": "four", "tokens": [7, 8]}))
    assert read_greedy(path, lambda text: [len(text)]) == [([4], [7, 8])]
    with trace() as recorded:
        tokens = continuation(small, 4)
    save_trace(recorded, tmp_path / "theirs.safetensors")
    assert read_greedy(tmp_path / "theirs.safetensors") == [(PROMPT, tokens[:3])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no text"),
        ("[1]", "no greedy text"),
        ('{"prompt": [1]}', "no greedy text"),
        ('{"prompt": [1], "tokens": []}', "tokens: not ids"),
        ('{"prompt": [1], "tokens": [1.5]}', "tokens: not ids"),
        ('{"prompt": "text", "tokens": [1]}', "no tokenizer"),
    ],
)
def test_what_is_no_greedy_text_is_said(tmp_path, text, message):
    path = tmp_path / "theirs.json"
    path.write_text(text)
    with pytest.raises(LlamaError, match=message):
        read_greedy(path)
