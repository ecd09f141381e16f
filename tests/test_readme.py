"""The README tells the truth: its Python runs and prints what it says, its commands exist, its links lead somewhere."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    str(path.relative_to(ROOT))
    for folder in ("data", "docs", "tutorials")
    for path in sorted((ROOT / folder).rglob("*.md"))
    if "training" not in path.parts  # the form that the model's card is made from
]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_python_blocks_print_what_the_readme_says():
    """Run in one session, in order; each ```text``` block is what the ```python``` block before it printed."""
    session = {}
    printed = None
    for language, code in BLOCKS:
        if language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(code, "README.md", "exec"), session)
            printed = output.getvalue()
        elif language == "text" and printed is not None:
            # The last digits of a difference depend on the processor's way of adding up.
            assert _rounded(printed) == _rounded(code)
            printed = None


def _rounded(text):
    return re.sub(r"\d+\.\d{3,}(e[-+]\d+)?", lambda m: f"{float(m.group()):.2g}", text.strip())


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", *PAGES])
def test_links_and_files_named_exist(name):
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:numpy_llama|data|tests|tutorials)/[\w./]+)`", text):
        made_later = "NAME" in path or path == "data/training/run/"  # a placeholder; what training writes
        assert (ROOT / path).exists() or made_later, path


def test_make_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"`make (\w+)`", (ROOT / page).read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
