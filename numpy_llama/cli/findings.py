"""A property that doesn't hold, for a person: what `grade` and `conformance` print of it."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from numpy_llama.cli.terminal import visible

if TYPE_CHECKING:
    from numpy_llama.conformance.findings import Finding


def verdict_lines(findings: Iterable["Finding"]) -> list[str]:
    """A line for each property, ✓ or ✗, below the block that it is one of."""
    lines: list[str] = []
    for block, of_it in groupby(findings, lambda finding: finding.block):
        lines += [*([""] if lines else []), f"  {visible(block)}"]
        lines += [f"    {'✓' if finding.passed else '✗'} {visible(finding.sentence)}" for finding in of_it]
    return lines


def failure_lines(finding: "Finding") -> list[str]:
    """The sentence, what went wrong, the smallest example, and the numbers expected and got."""
    what = f"What doesn't hold of {visible(finding.block)}: {visible(finding.sentence)}"
    lines = [what, f"  {several(finding.message)}"]
    if finding.example:
        lines.append("The smallest example that shows it:")
        lines += [f"  {name} = {several(value, len(name) + 5)}" for name, value in finding.example.items()]
    if finding.expected:
        lines.append(f"  expected  {several(finding.expected, 12)}")
    if finding.got:
        lines.append(f"  got       {several(finding.got, 12)}")
    return lines


def several(text: str, indent: int = 2) -> str:
    """Text that may have several lines, each of them harmless to a terminal."""
    return ("\n" + " " * indent).join(visible(line) for line in text.split("\n"))
