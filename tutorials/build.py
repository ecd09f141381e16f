"""Make the notebooks: `python tutorials/build.py` executes every lesson and writes NAME.ipynb beside NAME.py.

The .py in percent format is the source: "# %%" begins a cell of code, "# %% [markdown]" one of text. The .ipynb is
built from it and never edited. Needs nbformat, nbclient and ipykernel: `make tutorials` installs them.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def read_cells(text: str) -> list[tuple[str, str]]:
    """("markdown" or "code", source) of each cell of a lesson in percent format."""
    cells = []
    for part in ("\n" + text).split("\n# %%")[1:]:
        first, _, source = part.partition("\n")
        if first.strip() == "[markdown]":
            lines = [line.removeprefix("#").removeprefix(" ") for line in source.strip().split("\n")]
            cells.append(("markdown", "\n".join(lines)))
        else:
            cells.append(("code", source.strip()))
    return cells


def read_notebook(path: Path) -> list[tuple[str, str]]:
    """The same of a notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def build(lesson: Path) -> None:
    """Execute a lesson, and write its notebook."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook()
    for number, (kind, source) in enumerate(read_cells(lesson.read_text(encoding="utf-8"))):
        make = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        notebook.cells.append(make(source, id=f"cell-{number}"))  # not a random id: the same source, the same file
    settings = {"timeout": 600, "kernel_name": "python3", "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(HERE)}}, **settings).execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # when each cell ran is nobody's concern
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    lesson.with_suffix(".ipynb").write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def lessons() -> list[Path]:
    """Every lesson, in order."""
    return sorted(HERE.glob("[0-9]*.py"))


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or lessons():
        print(path.name, flush=True)
        build(path)
