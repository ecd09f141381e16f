"""Quantized ports are judged by what they predict: honest 8-bit kernels pass, a mistake in the formulas doesn't."""

import numpy as np
import pytest

from numpy_llama import LlamaTokenizer, embedded_model_folder
from numpy_llama.errors import LlamaError
from numpy_llama.study.compare.quantized import compare_quantized, linear_of_eight_bits, predictions
from numpy_llama.study.subject import Asked, Subject
from numpy_llama.study.trace import Trace, TracedCall

TEXT = "Once upon a time there was a little girl called Lily. She had a big red ball and a dog. One day they went out."
IDS = np.array([LlamaTokenizer.from_pretrained(embedded_model_folder()).encode(TEXT)])


def logits_trace(logits):
    return Trace([TracedCall(0, 0, IDS, None, None, {"lm_head": logits})])


def coarser_blocks(x, weight, bias=None):
    """The input rounded to 8 bits with one scale for a whole vector, and the sum in float32."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / 127
    rounded = (np.rint(x / scale) * scale).astype(np.float32)
    return (rounded @ weight.astype(np.float32).T).astype(x.dtype)


def test_kernels_of_eight_bits_pass_and_a_wrong_rope_does_not(storyteller):
    subject = Subject(storyteller.config, storyteller.tensors, (Asked(IDS),))
    for kernel in (linear_of_eight_bits, coarser_blocks):
        theirs = subject.blocks.swap(linear=kernel)
        logits = Subject(subject.config, subject.weights, subject.calls, theirs).run()[0]
        report = compare_quantized(logits_trace(logits), storyteller)
        assert report.status == 0, kernel
        assert report.theirs.same_top > 0.9
    unturned = subject.blocks.swap(apply_rope=lambda x, cos, sin: x)
    wrong = Subject(subject.config, subject.weights, subject.calls, unturned).run()[0]
    report = compare_quantized(logits_trace(wrong), storyteller)
    assert report.status == 1
    assert report.theirs.divergence > 30 * report.allowed


def test_divergence_and_perplexity_are_what_they_are_defined_as():
    ours, theirs = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.25, 0.5]])
    found = predictions(ours, theirs, np.array([0]))
    assert found.divergence == pytest.approx(0.5 * np.log(2) - 0.25 * np.log(2))
    assert found.perplexity == (pytest.approx(2.0), pytest.approx(4.0))
    assert found.same_top == 0.0
    assert predictions(ours, ours + 7, np.array([-1])).divergence == pytest.approx(0.0)


def test_the_perplexity_is_that_of_the_study(storyteller):
    from numpy_llama.study.perplexity import perplexity

    logits = storyteller(IDS).logits
    report = compare_quantized(logits_trace(logits), storyteller)
    assert report.theirs.perplexity[1] == pytest.approx(perplexity(storyteller, IDS).value, rel=1e-5)


def test_logits_of_another_vocabulary_or_none(storyteller):
    with pytest.raises(LlamaError, match="wrong shape"):
        compare_quantized(logits_trace(np.zeros((1, IDS.shape[1], 7))), storyteller)
    with pytest.raises(LlamaError, match="no logits"):
        compare_quantized(Trace([TracedCall(0, 0, IDS, None, None, {})]), storyteller)
