"""The tables of others' names as docs/trace-format.md shows them.

    python -m numpy_llama.study.trace.name_tables

A test holds the page to them.
"""

from collections.abc import Iterable, Sequence

from numpy_llama.model.values import HEAD_VALUES, VALUES
from numpy_llama.study.trace.foreign_names import LLAMA_CPP, META, Foreign


def values_table() -> str:
    """Every value: its name, its shape, what it is."""
    rows = [(f"`{name}`", ", ".join(value.shape), value.meaning) for name, value in {**VALUES, **HEAD_VALUES}.items()]
    return _table(("name", "shape", "what it is"), rows)


def foreign_table(lines: Iterable[Foreign]) -> str:
    """A program's names, the names here, and how its numbers lie."""
    rows = []
    for line in lines:
        ours = f"`{line.ours}`" if line.ours else "left out"
        remark = "; ".join(part for part in (", ".join(line.ops), line.remark) if part)
        rows.append((f"`{line.theirs}`", ours, line.layout, remark))
    return _table(("their name", "here", "layout", "remark"), rows)


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    for table in (values_table(), foreign_table(META), foreign_table(LLAMA_CPP)):
        print(table, end="\n\n")
