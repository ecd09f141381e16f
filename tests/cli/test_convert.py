"""`numpy-llama convert`, and `inspect` on what it writes."""

import json

from numpy_llama import LlamaForCausalLM, embedded_model_folder


def test_the_model_on_board_goes_to_llama2c_and_back(command, tmp_path):
    status, out, err = command("convert", "storyteller", tmp_path / "s.bin")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [str(tmp_path / "s.bin"), str(tmp_path / "tokenizer.bin")]
    status, out, err = command("convert", tmp_path / "s.bin", tmp_path / "back", "--max-shard-size", "1MB")
    assert (status, err) == (0, "")
    assert "model-00005-of-00005.safetensors" in out
    back = LlamaForCausalLM.from_pretrained(tmp_path / "back")
    for name, tensor in LlamaForCausalLM.from_pretrained(embedded_model_folder()).tensors.items():
        assert back.tensors[name].tobytes() == tensor.tobytes()
    told = [
        command("generate", "Once upon a time", "--greedy", "--model", tmp_path / name) for name in ("s.bin", "back")
    ]
    assert told[0][:2] == told[1][:2]
    assert told[0][0] == 0


def test_inspect_sees_the_same_model_in_every_format(command, tmp_path):
    command("convert", "storyteller", tmp_path / "s.bin")
    command("convert", "storyteller", tmp_path / "shards", "--max-shard-size", "1MB")
    facts = {}
    for name in ("storyteller", tmp_path / "s.bin", tmp_path / "shards"):
        status, out, err = command("inspect", "--model", name, "--json")
        assert (status, err) == (0, "")
        facts[name] = json.loads(out)
        _, out, _ = command("inspect", "--model", name)
        assert max(map(len, out.splitlines())) <= 80
    one, llama2c, shards = facts.values()
    assert one["parameters"] == llama2c["parameters"] == shards["parameters"]
    assert (one["format"], llama2c["format"], shards["format"]) == ("Hugging Face", "llama2.c", "Hugging Face")
    assert (one["files"], llama2c["files"]) == (["model.safetensors"], ["s.bin"])
    assert len(shards["files"]) == 3
    assert shards["file_bytes"] == sum(path.stat().st_size for path in (tmp_path / "shards").glob("*.safetensors"))
    assert llama2c["stored_dtypes"] == {"F32": one["parameters"]["total"]}


def test_mistakes_are_one_line(complaint, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    assert "is there already" in complaint("convert", "storyteller", tmp_path / "mine")
    assert "max_shard_size" in complaint("convert", "storyteller", tmp_path / "new", "--max-shard-size", "much")
    assert "no such checkpoint" in complaint("convert", tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "noise.bin").write_bytes(b"noise" * 20)
    assert "noise.bin" in complaint("convert", tmp_path / "noise.bin", tmp_path / "new")
    assert "noise.bin" in complaint("inspect", "--model", tmp_path / "noise.bin")
    assert not (tmp_path / "new").exists()
