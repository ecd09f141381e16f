"""`numpy-llama tokenize`."""

import json

import pytest

from numpy_llama import LlamaTokenizer, embedded_model_folder

TEXTS = ["Once upon a time", "  two  spaces ", "naïve 😀 你好", "tab\tnew\nline", "", "e\u0301", "</s> x"]


def facts(command, *arguments):
    status, out, err = command("tokenize", "--json", *arguments)
    assert (status, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_of_all_pieces_are_those_of_the_text(command, text):
    found = facts(command, "--legacy", text)
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder(), legacy=True)
    assert found["ids"] == tokenizer.encode(text)
    assert found["ids"][1:] == found["own_ids"] == found["sentencepiece_ids"]
    assert found["decoded"] == text
    spelled = bytes.fromhex("".join(found["bytes"]))
    assert spelled == (b" " if text else b"") + text.encode()  # the tokenizer puts a space before every text


def test_the_table_has_a_line_for_each_token(command):
    status, out, _ = command("tokenize", "Hello 😀")
    assert status == 0
    upper, lower = out.split("\n\n")
    found = facts(command, "Hello 😀")
    rows = [line.split(None, 3) for line in upper.splitlines()[1:]]
    assert [int(row[1]) for row in rows] == found["ids"]
    assert [row[2] for row in rows] == found["pieces"]
    assert rows[0][3] == "(special)"
    assert rows[-4:] == [
        [row[0], row[1], f"<0x{byte:02X}>", f"{byte:02x}"] for row, byte in zip(rows[-4:], "😀".encode(), strict=True)
    ]
    assert "round trip     the same text" in lower
    assert "the library gives the same ids" in lower
    assert f"7 characters, 10 bytes, {len(found['ids'])} tokens" in lower


def test_where_text_does_not_come_back_it_says_so(command):
    _, out, _ = command("tokenize", "--no-legacy", " hi")
    assert "differs from character 0 on: ' hi' became 'hi'" in out
    assert "mode           not legacy" in out
    _, out, _ = command("tokenize", "--no-legacy", "a</s>")
    assert "differs from character 1 on: '</s>' became the end" in out
    assert "the library gives" in out.splitlines()[-1]
    assert "where the table has" in out.splitlines()[-1]


def test_special_tokens_can_be_left_out(command):
    assert facts(command, "--no-special", "hi")["ids"] == facts(command, "hi")["ids"][1:]


def test_json_keeps_the_text(command):
    assert facts(command, 'quo"te 你\u2028')["text"] == 'quo"te 你\u2028'


def test_lines_fit_a_terminal_of_80_columns(command):
    _, out, _ = command("tokenize", "x" * 40 + " " * 70 + "extraordinarily")
    assert max(map(len, out.splitlines())) <= 80
