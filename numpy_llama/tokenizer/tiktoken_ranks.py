"""Meta's tokenizer.model of Llama 3: one line a token, its bytes in base64 and its number.

    IQ== 0          "!" is token 0
    IHRoZQ== 279    " the" is token 279

The number is the id, and the order of merging as well: of all pairs that could be merged, the one goes first that makes
the token with the lowest number. So the file needs no list of merges.

It has no special tokens, either. They follow behind its last one, 256 of them, and most have no use; Meta's code
names them. The names have changed with the releases, the numbers of those in use have not:

    128000  <|begin_of_text|>              128006  <|start_header_id|>     128009  <|eot_id|>      of a turn
    128001  <|end_of_text|>                128007  <|end_header_id|>       128010  <|python_tag|>
    128004  <|finetune_right_pad_id|>      128008  <|eom_id|>  of a message, before a tool's answer

Source: tokenizer.py of Meta's llama-models; the file format of `tiktoken`.
"""

import binascii
from pathlib import Path

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.byte_level_bpe import characters_of

FILE_LIMIT = 64 * 1024 * 1024  # bytes; Llama 3's has 2 MB
LONGEST_TOKEN = 1024  # bytes; Llama 3's is 128 spaces
SPECIAL_TOKENS = 256
IN_USE = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    4: "<|finetune_right_pad_id|>",
    5: "<|step_id|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    8: "<|eom_id|>",
    9: "<|eot_id|>",
    10: "<|python_tag|>",
    11: "<|image|>",
}
LLAMA4_SIZE = 200_000


def llama3_special_tokens() -> list[str]:
    """The 256 special tokens of Llama 3, in order: those in use, and <|reserved_special_token_0|> to _245."""
    reserved = (f"<|reserved_special_token_{number}|>" for number in range(SPECIAL_TOKENS))
    return [IN_USE[place] if place in IN_USE else next(reserved) for place in range(SPECIAL_TOKENS)]


def read_tiktoken_ranks(path: Path) -> list[str]:
    """The tokens of such a file by number, in the characters that stand for their bytes.

    raises  LlamaError naming file and line, where the file is missing or too large, or a line is none, a number or a
            token is there twice, or the numbers have a gap; or where one of the 256 bytes has no token
    """
    if not path.is_file():
        raise LlamaError("no such file", where=path)
    if path.stat().st_size > FILE_LIMIT:
        raise LlamaError("too large", where=path, expected=f"at most {FILE_LIMIT} bytes", found=path.stat().st_size)
    lines = path.read_bytes().splitlines()
    tokens: list[str | None] = [None] * sum(bool(line) for line in lines)
    line_of: dict[bytes, int] = {}
    for place, line in enumerate(lines, start=1):
        if not line:
            continue
        where = f"{path}, line {place}"
        fields = line.split(b" ")
        data = _from_base64(fields[0])
        if len(fields) != 2 or not data or not fields[1].isdigit() or len(fields[1]) > 9:
            raise LlamaError("no token", where=where, expected="base64, a space and a number", found=repr(line)[:80])
        if len(data) > LONGEST_TOKEN:
            raise LlamaError(
                "too long a token", where=where, expected=f"at most {LONGEST_TOKEN} bytes", found=len(data)
            )
        number = int(fields[1])
        if number >= len(tokens):
            raise LlamaError("the numbers have a gap", where=where, expected=f"0 to {len(tokens) - 1}", found=number)
        if tokens[number] is not None or data in line_of:
            what = "a number is there twice" if tokens[number] is not None else "a token is there twice"
            raise LlamaError(what, where=where, found=repr(line)[:80])
        line_of[data] = place
        tokens[number] = characters_of(data)
    missing = next((byte for byte in range(256) if bytes([byte]) not in line_of), None)
    if missing is not None:
        raise LlamaError("a byte without a token", where=path, found=f"{missing:#04x}")
    return [token for token in tokens if token is not None]  # all of them: as many as lines, and none twice


def _from_base64(text: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
