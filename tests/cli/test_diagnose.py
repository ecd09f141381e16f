"""`numpy-llama diagnose`: a verdict that is read in a minute, and the exit status for scripts."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.study.subject import Asked, Subject


@pytest.fixture
def dump(storyteller, tmp_path):
    """dump(key, …): the logits that a storyteller with this mistake would give, as a file; None for an honest one."""
    ids = np.arange(40, 52)[None]

    def write(key, **more):
        subject = Subject(storyteller.config, storyteller.tensors, (Asked(ids),))
        planted = subject if key is None else next(iter(CATALOGUE[key].plant(subject)))[1]
        path = tmp_path / "theirs.safetensors"
        save_file({"input_ids": ids, "logits": planted.run()[0], **more}, path)
        return path

    return write


def test_an_honest_run_agrees(command, dump):
    status, out, err = command("diagnose", dump(None))
    assert (status, err) == (0, "")
    assert out.startswith("No mistake found.") and max(map(len, out.splitlines())) <= 80


def test_a_mistake_is_named_with_its_twin_its_numbers_and_how_to_mend_it(command, dump):
    status, out, _ = command("diagnose", dump("rope-interleaved"))
    said = " ".join(out.split())
    assert status == 1
    assert said.startswith("Your logits are those of a Llama whose RoPE pairs neighbouring channels")
    for part in (
        "these logits can't tell",
        "q_proj to know",
        "the largest difference falls from",
        "to mend it",
        "http",
    ):
        assert part in said, part


def test_programs_get_json(command, dump):
    status, out, _ = command("diagnose", "--json", dump("rope-interleaved"))
    facts = json.loads(out)
    assert status == 1 and facts["verdict"] == "mistake" and facts["mistakes"] == ["rope-interleaved"]
    assert facts["after"] < 1e-3 < facts["before"]


def test_a_tokenizer_is_judged_by_texts_and_ids(command, tmp_path):
    texts = tmp_path / "texts.json"
    texts.write_text('[{"text": "hi", "ids": [1, 1, 1460]}]')
    status, out, _ = command("diagnose", "--tokens", texts)
    assert status == 1 and "1 of 1 texts have other ids" in " ".join(out.split())
    status, out, _ = command("tokenize", "--json", "Once upon\x1b a time")
    ids = json.loads(out)["ids"]
    texts.write_text(json.dumps([{"text": "Once upon\x1b a time", "ids": [1, *ids]}]))
    status, out, _ = command("diagnose", "--tokens", texts)
    assert status == 1 and "bos-doubled" in out and "\x1b" not in out
    texts.write_text(json.dumps([{"text": "Once upon\x1b a time", "ids": ids[1:]}]))
    assert command("diagnose", "--tokens", texts, "--no-special")[0] == 0


def test_logits_of_another_model_name_the_one_that_they_were_held_to(complaint, tmp_path):
    save_file({"input_ids": np.arange(5)[None], "logits": np.zeros((1, 5, 97), np.float32)}, tmp_path / "a.safetensors")
    said = complaint("diagnose", tmp_path / "a.safetensors")
    assert "another model" in said and "--model storyteller has a vocabulary of 1,536" in said and "(1, 5, 97)" in said


def test_which_calls_agree_is_one_line_and_in_json(command, tmp_path, storyteller):
    """A mistake of decoding alone, in calls of a prefill, two decode steps and another text."""
    ids = np.arange(40, 48)[None]
    steps = [Asked(ids[:, past : past + 1], None, np.array([[past]]), past) for past in (5, 6)]
    calls = (Asked(ids[:, :5]), *steps, Asked(ids[:, :4]))
    subject = Subject(storyteller.config, storyteller.tensors, calls)
    planted = next(iter(CATALOGUE["decode-positions-late"].plant(subject)))[1]
    file = {}
    for number, (asked, logits) in enumerate(zip(calls, planted.run(), strict=True)):
        file[f"call.{number:04d}/input_ids"], file[f"call.{number:04d}/logits"] = asked.input_ids, logits
    save_file(file, tmp_path / "a.safetensors")
    out = " ".join(command("diagnose", tmp_path / "a.safetensors")[1].split())
    assert (
        "calls 0 and 3 agree without any mistake; calls 1 (decode step after 5) and 2 (decode step after 6) don't"
        in out
    )
    facts = json.loads(command("diagnose", "--json", tmp_path / "a.safetensors")[1])
    assert [one["agrees"] for one in facts["calls"]] == [True, False, False, True]
    assert facts["calls"][1] == {"call": 1, "given": "decode step after 5", "agrees": False}


@pytest.mark.parametrize("arguments", [[], ["a.safetensors", "--tokens", "b.json"], ["missing.safetensors"]])
def test_what_cannot_be_judged_is_one_line(complaint, arguments):
    complaint("diagnose", *arguments)


def test_missing_texts_are_one_line(complaint):
    complaint("diagnose", "--tokens", "missing.json")
