"""docs/mistakes.md says what the catalogue says."""

from pathlib import Path

from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.mistakes.page import page

PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"


def test_the_page_is_the_catalogue():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m numpy_llama.mistakes.page"


def test_every_mistake_has_its_heading_once():
    headings = [line.removeprefix("### ") for line in page().splitlines() if line.startswith("### ")]
    assert headings == list(CATALOGUE)
