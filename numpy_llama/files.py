"""Reading and writing files so that nothing is half-written and no bad file is read in silence."""

import json
import os
import reprlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError

JSON_LIMIT = 64 * 1024 * 1024  # bytes; the largest tokenizer.json in use is below 20 MB


def as_path(folder: object) -> Path:
    """A folder's name as a path.

    raises  LlamaError where it is neither a str nor a Path, or no file system has such a name
    """
    if not isinstance(folder, str | os.PathLike) or folder == "":  # which Path takes for the current folder
        raise LlamaError("wrong type", where="folder", expected="a str or a Path", found=reprlib.repr(folder))
    path = Path(folder)
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # longer than any name may be, or with a zero byte in it
        raise LlamaError(f"no possible path ({error.args[-1]})", where=reprlib.repr(str(path))) from None
    return path


def read_json(path: Path, unique_names: bool = False) -> dict[str, Any]:
    """The object in a JSON file.

    unique_names  refuse an object that has a name twice, of which JSON keeps the last
    raises        LlamaError where the file is missing, is no JSON, or holds no object
    """
    if not path.is_file():
        raise LlamaError("no such file", where=path)
    if path.stat().st_size > JSON_LIMIT:
        raise LlamaError("too large", where=path, expected=f"at most {JSON_LIMIT} bytes", found=path.stat().st_size)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=unique_pairs if unique_names else None)
    except (ValueError, RecursionError) as error:
        raise LlamaError(f"not valid JSON ({error})", where=path) from None
    if not isinstance(content, dict):
        raise LlamaError("wrong JSON", where=path, expected="an object", found=type(content).__name__)
    return content


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict, for json's object_pairs_hook; a ValueError where it has a name twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:200]!r} twice in one object")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as indented JSON, whole or not at all.

    raises  LlamaError where it holds something that JSON can't
    """
    text = json_text(content, path)
    write_atomically(path, lambda temporary: temporary.write_bytes(text))


def json_text(content: dict[str, Any], path: Path) -> bytes:
    """The bytes that write_json puts into a file; to be asked for before anything is replaced."""
    try:
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise LlamaError(f"can't be written as JSON ({error})", where=path) from None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    A crash at any moment leaves the old file, or the new one, whole. The folder is made where it is missing.

    raises  LlamaError where that can't be, or `path` is no plain file: a device (/dev/null), a pipe
    """
    with write_aside(path, write) as put_in_place:
        put_in_place()


@contextmanager
def write_aside(path: Path, write: Callable[[Path], object]) -> Iterator[Callable[[], None]]:
    """Let `write` fill a temporary file beside `path`; what this yields, called, puts it in place in one step.

    For files that belong together: all are written before the first is put in place. At the end, what wasn't is gone.
    """
    check_replaceable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise _cannot_be_written(path, error) from None
    os.close(descriptor)
    temporary = Path(name)

    def put_in_place() -> None:
        try:
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
            temporary.chmod(mode)  # mkstemp makes files that others can't read
            os.replace(temporary, path)
        except OSError as error:
            raise _cannot_be_written(path, error) from None

    try:
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_be_written(path, error) from None
        yield put_in_place
    finally:
        temporary.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """raises  LlamaError where a path is a device (/dev/null) or a pipe: a file in its place would end it"""
    if path.exists() and not path.is_file() and not path.is_dir():
        found = "a device or a pipe"
        raise LlamaError("no plain file", where=path, expected="the name of a file that may be replaced", found=found)


def _cannot_be_written(path: Path, error: OSError) -> LlamaError:
    return LlamaError(f"can't be written ({error.strerror or error})", where=path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
