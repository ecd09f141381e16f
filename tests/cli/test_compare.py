"""`numpy-llama compare` from the outside: status, words, JSON, figure, errors in one line."""

import json

import numpy as np
import pytest

from numpy_llama import LlamaForCausalLM
from numpy_llama.cli.main import main
from numpy_llama.study.trace import patch, save_trace, trace


@pytest.fixture(scope="module")
def model(make_model, tmp_path_factory):
    """The folder of a small model."""
    folder = tmp_path_factory.mktemp("small") / "model"
    make_model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dumps(model, tmp_path_factory):
    """Traces of a prefill and a decode step: as it is, with one value changed, and a part of that."""
    folder = tmp_path_factory.mktemp("dumps")
    small = LlamaForCausalLM.from_pretrained(model)

    def recorded(patches):
        with patch(patches), trace() as found:
            output = small([[1, 40, 7, 26]], use_cache=True)
            small([[30]], past_key_values=output.past_key_values)
        return found

    save_trace(recorded({}), folder / "good.safetensors")
    wrong = recorded({"model.layers.1.self_attn.v_proj": lambda x: x * 2})
    save_trace(wrong, folder / "wrong.safetensors")
    for call in wrong.calls:
        call.values = {name: call.values[name] for name in ("model.layers.0", "model.layers.1", "lm_head")}
    save_trace(wrong, folder / "partial.safetensors")
    return folder


def compare(capsys, *arguments):
    status = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_what_agrees_agrees(model, dumps, capsys):
    status, out, _ = compare(capsys, model, dumps / "good.safetensors")
    assert status == 0 and "✓ All agree" in out
    status, out, _ = compare(capsys, dumps / "good.safetensors", dumps / "good.safetensors", "--model", model)
    assert status == 0
    status, out, _ = compare(capsys, dumps / "good.safetensors", dumps / "good.safetensors")
    assert status == 0 and "rule of thumb" in out


def test_the_token_at_the_worst_number_is_shown(storyteller, capsys, tmp_path):
    with patch({"lm_head": lambda x: x + np.eye(1, x.shape[1], 2).T}), trace("*lm_head") as theirs:
        storyteller([[1, 403, 407, 261]])
    save_trace(theirs, tmp_path / "theirs.safetensors")
    status, out, _ = compare(capsys, "storyteller", tmp_path / "theirs.safetensors")
    assert status == 1 and "where  position 2:" in out and "(token “" in out


def test_the_first_that_disagrees_is_shown_in_a_few_lines(model, dumps, capsys):
    status, out, _ = compare(capsys, model, dumps / "wrong.safetensors")
    assert status == 1
    assert "First to disagree: call.0000/model.layers.1.self_attn.v_proj   (prefill)" in out
    assert "2 times ours" in out and "the same again in model.layers.1.self_attn.v_proj, call 1" in out
    assert len(out.splitlines()) <= 25 and max(map(len, out.splitlines()[1:])) <= 120


def test_a_partial_dump_names_the_interval(model, dumps, capsys):
    status, out, _ = compare(capsys, model, dumps / "partial.safetensors")
    assert status == 1
    assert "after  model.layers.0: agrees" in out
    assert "model.layers.1.mlp" in out and "Not in theirs" in out


def test_json_and_figure(model, dumps, capsys, tmp_path):
    figure = tmp_path / "where.png"
    status, out, err = compare(capsys, model, dumps / "wrong.safetensors", "--json", "--figure", figure)
    report = json.loads(out)
    assert status == report["status"] == 1
    assert report["first"]["name"] == "model.layers.1.self_attn.v_proj"
    assert report["first"]["difference"]["kind"] == "scale"
    assert figure.read_bytes().startswith(b"\x89PNG") and "written" in err


def test_all_shows_every_value(model, dumps, capsys):
    _, out, _ = compare(capsys, model, dumps / "good.safetensors", "--all")
    assert "call.0001/model.layers.1.self_attn.weights" in out


def test_greedy_texts(storyteller, capsys, tmp_path):
    prompt = [1, 403, 407]
    tokens = storyteller.generate([prompt], max_new_tokens=6, do_sample=False)[0, 3:].tolist()
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps([{"prompt": prompt, "tokens": tokens}]))
    status, out, _ = compare(capsys, "storyteller", path, "--greedy")
    assert status == 0 and "✓ All tokens are ours" in out
    path.write_text(json.dumps({"prompt": prompt, "tokens": [7, *tokens]}))
    status, out, _ = compare(capsys, "storyteller", path, "--greedy")
    assert status == 1 and "✗ step 0" in out
    assert json.loads(compare(capsys, "storyteller", path, "--greedy", "--json")[1])["texts"][0]["status"] == 1


def test_quantized_weights(make_model, write_gguf, capsys, tmp_path):
    model = make_model(hidden_size=64, intermediate_size=96, head_dim=16, attention_bias=False, mlp_bias=False)
    model.save_pretrained(tmp_path / "model")
    gguf = tmp_path / "x.gguf"
    write_gguf(gguf, model, "Q8_0")
    ids = np.arange(3, 40)[None]
    with trace("*lm_head") as theirs:
        LlamaForCausalLM.from_pretrained(gguf)(ids)
    save_trace(theirs, tmp_path / "theirs.safetensors")
    arguments = (tmp_path / "model", tmp_path / "theirs.safetensors", "--their-weights", gguf)
    status, out, _ = compare(capsys, *arguments)
    assert status == 0 and "KL divergence" in out and "perplexity" in out and "beside OURS" in out
    assert json.loads(compare(capsys, *arguments, "--json")[1])["status"] == 0


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_file_is_one_line(capsys, tmp_path, content):
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(content)
    status, out, err = compare(capsys, "storyteller", path)
    assert status == 2 and not out and len(err.splitlines()) == 1


def test_no_such_file_and_no_such_figure(model, dumps, capsys):
    assert compare(capsys, model, "nowhere.safetensors")[0] == 2
    assert compare(capsys, "nowhere", dumps / "good.safetensors")[0] == 2
    status, _, err = compare(capsys, model, dumps / "good.safetensors", "--figure", dumps / "x.nothing")
    assert status == 2 and "--figure" in err
