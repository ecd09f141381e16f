"""What llama.cpp prints of a run, four decimals of some of its numbers, is enough to agree, and to find one wrong."""

import re

import numpy as np
import pytest

from numpy_llama.study.compare import compare_traces
from numpy_llama.study.trace import read_trace, trace
from tests.study.trace.conftest import as_llama_cpp, eval_callback_text

PROMPT = np.array([[5, 3, 9, 7, 1, 8, 2]])
NUMBER = re.compile(r"-?\d+\.\d{4}")


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(num_hidden_layers=2, head_dim=8, vocab_size=48)


@pytest.fixture(scope="module")
def printed(model):
    with trace() as recorded:
        past = model(PROMPT, use_cache=True).past_key_values
        model([[4]], past_key_values=past)
    tensors = [tensor for call in recorded.calls for tensor in as_llama_cpp(call.values, model.config, 32)]
    return eval_callback_text(tensors), recorded


def compared(model, printed, text, folder):
    (folder / "printed.txt").write_text(text)
    theirs = read_trace(folder / "printed.txt", model.config)
    for call, ours in zip(theirs.calls, printed[1].calls, strict=True):
        call.input_ids = ours.input_ids  # the text doesn't have them
    return compare_traces(theirs, model, their_dtype="float32")


def test_an_honest_text_agrees(model, printed, tmp_path):
    found = compared(model, printed, printed[0], tmp_path)
    assert found.status == 0, found.first
    notes = {finding.name: finding.note for finding in found.findings}
    assert "numbers shown" in notes["model.layers.1.mlp.gated"]
    assert len(found.findings) > 60


@pytest.mark.parametrize(
    ("line", "name", "call"),
    [
        ("attn_norm-0", "input_layernorm", 0),
        ("kq_soft_max-1", "weights", 1),
        ("ffn_gate_b-1", "gate_proj", 0),
        ("l_out-0", "layers.0", 1),
    ],
)
def test_one_changed_number_is_found(model, printed, tmp_path, line, name, call):
    """By 0.01, two hundred times what four decimals leave open."""
    text = printed[0]
    begin = [found.start() for found in re.finditer(rf" {line} = ", text)][call]
    number = NUMBER.search(text, text.index("[", text.index("\n", begin)))
    changed = text[: number.start()] + f"{float(number.group()) + 0.01:.4f}" + text[number.end() :]
    found = compared(model, printed, changed, tmp_path)
    assert found.first.call == call and found.first.name.endswith(name)
    assert found.first.difference.bad[0] == 1
    assert found.first.difference.theirs - found.first.difference.ours == pytest.approx(0.01, abs=2e-4)
