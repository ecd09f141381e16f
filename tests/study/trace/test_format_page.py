"""docs/trace-format.md says what the code does: its tables are the code's."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from numpy_llama import read_trace
from numpy_llama.study.trace.about import read_about
from numpy_llama.study.trace.foreign_names import LLAMA_CPP, META
from numpy_llama.study.trace.layouts import LAYOUTS
from numpy_llama.study.trace.name_tables import foreign_table, values_table

PAGE = (Path(__file__).parents[3] / "docs" / "trace-format.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "table"),
    [("values", values_table()), ("meta", foreign_table(META)), ("llama.cpp", foreign_table(LLAMA_CPP))],
)
def test_tables_are_the_code_s(name, table):
    """python -m numpy_llama.study.trace.name_tables prints them."""
    assert re.search(rf"<!-- {re.escape(name)} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)[1] == table


def test_every_layout_is_explained():
    assert all(f"| {layout} |" in PAGE for layout in LAYOUTS)


def test_the_example_of_metadata_is_read():
    about = read_about(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1], "the page")
    assert about.pasts == {0: 0, 1: 5} and about.dtype == "float32" and about.partial


def test_a_file_written_by_hand_as_the_page_says_is_read(tmp_path):
    header = re.search(r'^ {4}(\{"call\.0000.*\})$', PAGE, re.MULTILINE)[1]
    numbers = np.arange(640, dtype="<f4")
    assert json.loads(header)["call.0000/model.norm"]["data_offsets"] == [0, numbers.nbytes]
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + numbers.tobytes())
    assert np.array_equal(read_trace(path)["model.norm"], numbers.reshape(1, 5, 128))
