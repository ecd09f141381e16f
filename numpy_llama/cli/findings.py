"""A property that doesn't hold, for a person: what `grade` and `conformance` print of it."""

from typing import TYPE_CHECKING

from numpy_llama.cli.terminal import visible

if TYPE_CHECKING:
    from numpy_llama.conformance.findings import Finding


def failure_lines(finding: "Finding") -> list[str]:
    """The sentence, what went wrong, the smallest example, and the numbers expected and got."""
    lines = [f"What doesn't hold: {visible(finding.sentence)}", f"  {several(finding.message)}"]
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
