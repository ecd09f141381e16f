"""Which kind of tokenizer a folder holds is told by its files; and what the JSON files beside them may say."""

import base64
import copy
import json
import shutil
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.tokenizer import LlamaTokenizer, tokenizer_for
from numpy_llama.tokenizer.choose import has_tokenizer_files, is_byte_level

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def byte_level_json() -> dict:
    """Every byte as its character, and nothing merged."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "vocab": {one: index for index, one in enumerate(alphabet)}, "merges": []},
    }


@pytest.mark.parametrize("class_name", ["LlamaTokenizer", "PreTrainedTokenizerFast", None])
def test_bytes_are_told_by_the_step_and_not_by_the_name(tmp_path, class_name):
    pytest.importorskip("regex")
    from tokenizers import Tokenizer

    content = json.dumps(byte_level_json())
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name}))
    tokenizer = tokenizer_for(tmp_path)
    assert type(tokenizer).__name__ == "ByteLevelTokenizer"
    assert tokenizer.encode("naïve 😀") == Tokenizer.from_str(content).encode("naïve 😀").ids
    with pytest.raises(LlamaError, match="AutoTokenizer chooses the class"):
        LlamaTokenizer.from_pretrained(tmp_path)


def test_metas_file_is_told_by_its_lines(tmp_path):
    pytest.importorskip("regex")
    lines = (base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))
    (tmp_path / "tokenizer.model").write_bytes(b"".join(lines))
    assert type(tokenizer_for(tmp_path)).__name__ == "ByteLevelTokenizer"
    assert tokenizer_for(tmp_path / "tokenizer.model").plain_ids("é") == list("é".encode())


def test_pieces_are_told_by_what_isnt_there(tmp_path, vocabulary):
    shutil.copyfile(vocabulary.path, tmp_path / "tokenizer.model")
    assert isinstance(tokenizer_for(tmp_path), LlamaTokenizer)
    assert isinstance(tokenizer_for(str(tmp_path / "tokenizer.model"), legacy=True), LlamaTokenizer)
    (tmp_path / "tokenizer.json").write_text(vocabulary.tokenizers.to_str(), encoding="utf-8")
    assert isinstance(tokenizer_for(tmp_path), LlamaTokenizer)
    assert not is_byte_level(tmp_path)
    assert has_tokenizer_files(tmp_path)


def test_a_token_that_is_called_like_the_step_is_no_step(tmp_path):
    vocab = {piece: index for index, piece in enumerate(["<unk>", "<s>", "</s>", '"type":"ByteLevel"', "ByteLevel"])}
    content = {"model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert not is_byte_level(tmp_path)
    assert isinstance(tokenizer_for(tmp_path), LlamaTokenizer)


# What is beside the vocabulary

CONFIG = {
    "add_bos_token": True,
    "add_prefix_space": None,
    "added_tokens_decoder": {"0": {"content": "<unk>"}, "1": {"content": "<s>", "special": True, "lstrip": False}},
    "bos_token": {"content": "<s>"},
    "eos_token": "</s>",
    "pad_token": None,
    "extra_special_tokens": ["<x>"],
    "model_max_length": 1e30,
    "padding_side": "left",
    "split_special_tokens": False,
    "chat_template": "{{ messages }}",
    "tokenizer_class": "LlamaTokenizer",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2000) | st.floats() | st.text(max_size=4) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["content", "id", "0", "9"]), inner),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_settings_are_refused_or_work(tmp_path, embedded, data):
    config = copy.deepcopy(CONFIG)
    for key in data.draw(st.lists(st.sampled_from(list(CONFIG)), min_size=1, max_size=2)):
        config[key] = data.draw(JSON)
    shutil.copyfile(embedded.path, tmp_path / "tokenizer.model")
    name = data.draw(st.sampled_from(["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]))
    (tmp_path / name).write_text(json.dumps(config))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LlamaWarning)  # another tokenizer_class
            tokenizer = tokenizer_for(tmp_path)
    except LlamaError:
        return
    finally:
        (tmp_path / name).unlink()
    ids = tokenizer.encode("a<s>b<x>")
    assert all(0 <= token_id < len(tokenizer) for token_id in ids)
    assert isinstance(tokenizer.decode(ids), str)
    assert tokenizer.chat_template is None or isinstance(tokenizer.chat_template, str)


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ a }}", "{{ a }}"),
        ([{"name": "tools", "template": "{{ t }}"}, {"name": "default", "template": "{{ d }}"}], "{{ d }}"),
        ({"default": "{{ d }}"}, "{{ d }}"),
        ([], None),
        (None, None),
    ],
)
def test_the_chat_template(tmp_path, embedded, template, found):
    shutil.copyfile(embedded.path, tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    tokenizer = tokenizer_for(tmp_path)
    assert tokenizer.chat_template == found
    tokenizer.save_pretrained(tmp_path / "saved")
    assert tokenizer_for(tmp_path / "saved").chat_template == found
    (tmp_path / "chat_template.jinja").write_text("{{ é }}", encoding="utf-8")
    assert tokenizer_for(tmp_path).chat_template == "{{ é }}"
    assert tokenizer_for(tmp_path, chat_template="{{ o }}").chat_template == "{{ o }}"
    tokenizer.chat_template = "{{ n }}"
    assert tokenizer.chat_template == "{{ n }}"
    for wrong in (b"\xff", b"x" * 2_000_000):
        (tmp_path / "chat_template.jinja").write_bytes(wrong)
        with pytest.raises(LlamaError, match=r"chat_template\.jinja"):
            tokenizer_for(tmp_path)
