"""The catalogue as a page to read: docs/mistakes.md.

    python -m numpy_llama.mistakes.page > docs/mistakes.md

A test holds the page to the catalogue.
"""

import sys

from numpy_llama.mistakes.catalogue import CATALOGUE, PARTS
from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.model.values import VALUES

_TOP = """# Mistakes that ports of Llama make

{count} known ways to get logits that are almost right. `numpy-llama diagnose` plants each of them in the reference and
says which one reproduces yours; this page says what each looks like, what exposes it, how to be sure, and where it was
made.

*First wrong value* is the name, as in a trace, of the first value that differs; `{{i}}` stands for a layer. To be sure
of a mistake, dump that value and the one before it, and compare. Mistakes with the same logits are *twins*: no logits
tell them apart, their first wrong values do.

This page is written by `python -m numpy_llama.mistakes.page`.
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [_TOP.format(count=len(CATALOGUE)), _contents()]
    for heading, files in PARTS.items():
        parts.append(f"## {heading}\n")
        parts += [_entry(mistake) for file in files for mistake in file.MISTAKES]
    parts.append(_exposures())
    return "\n".join(parts)


def _contents() -> str:
    lines = []
    for heading, files in PARTS.items():
        keys = ", ".join(_link(mistake.key) for file in files for mistake in file.MISTAKES)
        lines.append(f"- **{heading}**: {keys}")
    return "\n".join(lines) + "\n"


def _entry(mistake: Mistake) -> str:
    lines = [f"### {mistake.key}\n", f"A Llama {mistake.says}.\n", f"- Looks like: {mistake.looks_like}."]
    lines.append(f"- Mend: {mistake.mend}.")
    if mistake.invisible:
        lines.append("- Exposed by nothing: it shows in no logits, only in inner values.")
    elif mistake.exposed_by:
        lines.append(f"- Exposed by: {'; '.join(EXPOSURES[name].meaning for name in mistake.exposed_by)}.")
    else:
        lines.append("- Exposed by any call.")
    if mistake.rounding:
        lines.append("- A mistake of rounding: judge it by inner values, or in a two-byte dtype.")
    lines.append(f"- First wrong value: `{mistake.first}`, {VALUES[mistake.first].meaning}.")
    if mistake.twins:
        lines.append(f"- Twins: {', '.join(_link(twin) for twin in mistake.twins)}.")
    if mistake.wild:
        lines.append("- Made in: " + "; ".join(_address(wild) for wild in mistake.wild) + ".")
    return "\n".join(lines) + "\n"


def _link(key: str) -> str:
    return f"[{key}](#{key})"


def _address(wild: str) -> str:
    """ "https://github.com/a/b/pull/1 (why)" as a link that is called a/b#1."""
    address, _, words = wild.partition(" ")
    name = address.removeprefix("https://github.com/").replace("/issues/", "#").replace("/pull/", "#")
    return f"[{name}]({address})" + (f" {words}" if words else "")


def _exposures() -> str:
    rows = [f"| `{name}` | {exposure.meaning} |" for name, exposure in EXPOSURES.items()]
    return (
        "\n".join(["## What exposes mistakes\n", "| name | what a model and its calls must have |", "|---|---|", *rows])
        + "\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
