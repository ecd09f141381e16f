"""The page that stands in an emitted folder, for whoever writes the program that is asked."""

from collections.abc import Mapping
from typing import Any

from numpy_llama.conformance.exchange.recording import FUNCTIONS, outputs_of_names
from numpy_llama.conformance.port import Port

_HEAD = """\
# Questions for a Llama

Each folder in `in/` is a question to one function of a Llama, or to a whole one. Answer as many as you like: for a
question `in/NAME`, write your answer to `out/NAME`, then have them judged:

    numpy-llama conformance --check {dots}

or let it call your program, once for each question:

    numpy-llama conformance --exec 'your_program {{in}} {{out}}'

`{{in}}` is a folder with the question, `{{out}}` an empty one for the answer, `{{function}}` the name of the function.
If you don't have it, end with a status other than 0 and write nothing. What isn't answered isn't judged.

## Files

`case.json` says which function is asked for, and the dtype and shape of every input and output. Numbers are {dtype},
unless it says otherwise; a number is an array without axes. Answer in {dtype}, too, or in something wider.

{files}

## Functions
"""

_NPY = """\
Each input is a file `NAME.npy`; write each output as `NAME.npy`. A .npy file of version 1.0 is 6 bytes `\\x93NUMPY`, 2
bytes with the version, 2 bytes with the length of the header, the header, a Python dictionary as text with the keys
`descr` (`<f4`: little-endian float32), `fortran_order` and `shape`, filled up with spaces; then the numbers, row by
row."""

_SAFETENSORS = """\
All inputs are tensors of `inputs.safetensors`; write all outputs to `outputs.safetensors`. A safetensors file is 8
bytes with the length of the header, little-endian, the header, a JSON object with dtype, shape and byte offsets of
every tensor, then the numbers, little-endian, row by row."""

_MODEL = """
## Whole models

A folder `in/model.NAME` holds `config.json`, the weights ({weights}) under Hugging Face's names, and the inputs of one
call or several: `call.0000/input_ids` (B, T), and, where there are any, `call.0000/attention_mask` (B, S), 1 for a real
token and 0 for padding, and `call.0000/position_ids` (B, T). Later calls go on from the cache of the ones before. The
answer to each call is `call.0000/logits` (B, T, V).{apart}

| model | |
|---|---|
"""


def page(form: str, dtype: str, cases: Mapping[str, Mapping[str, Any]]) -> str:
    """The page, in Markdown.

    form, dtype  of the files
    cases        as in the index
    """
    text = _HEAD.format(dots="DIR", dtype=dtype, files=_NPY if form == "npy" else _SAFETENSORS)
    asked = {case["function"] for case in cases.values()}
    for name in (name for name in FUNCTIONS if name in asked):
        text += (
            f"\n### {name} → {', '.join(outputs_of_names(name))}\n\n{_indented(getattr(Port(), name).__doc__ or '')}\n"
        )
    if "model" in asked:
        weights = "`weights/NAME.npy`" if form == "npy" else "`model.safetensors`"
        apart = ' The "/" is a folder.' if form == "npy" else ""
        text += _MODEL.format(weights=weights, apart=apart)
        text += "".join(
            f"| `{name}` | {case['about']} |\n" for name, case in cases.items() if case["function"] == "model"
        )
    return text


def _indented(docstring: str) -> str:
    lines = docstring.expandtabs().splitlines()
    return "\n".join([f"    {lines[0]}", *(line.rstrip() for line in lines[1:])]).rstrip()
