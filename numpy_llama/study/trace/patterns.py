"""Names and patterns: which values of a trace somebody means.

call.0002/model.layers.3.mlp     one value of one call
model.layers.3.mlp               the same value of every call
*/model.layers.3.*               everything in a layer, of every call; the same without "*/"
call.0000/*                      everything in the first call
logits                           what the table of values calls lm_head

`*` is any letters, dots among them; `?` is one letter.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from numpy_llama.errors import LlamaError
from numpy_llama.model.values import value_named

LOGITS = "lm_head"
MOST_COMPARED = 2000  # names: to look for near ones among more takes too long


def call_name(index: int) -> str:
    """ "call.0003" """
    return f"call.{index:04d}"


def about_calls(pattern: str) -> bool:
    """Whether a pattern says which call; otherwise it is for every call."""
    return "/" in pattern or pattern.startswith("call.")


def spelled(pattern: str) -> str:
    """A name or pattern, with the name of the logits as the table of values has it."""
    call, slash, name = pattern.rpartition("/")
    return f"{call}{slash}{LOGITS}" if name == "logits" else pattern


def fits(pattern: str, index: int, name: str) -> bool:
    """Whether a value of a call is meant.

    pattern  as above
    index    of the call
    name     of the value, without its call: "model.layers.3.mlp"
    """
    pattern = spelled(pattern)
    return fnmatchcase(f"{call_name(index)}/{name}" if about_calls(pattern) else name, pattern)


def as_patterns(only: object, where: str = "only") -> tuple[str, ...]:
    """One pattern, or several.

    raises  LlamaError where it is neither a str nor a list of them
    """
    patterns = (only,) if isinstance(only, str) else only
    if not isinstance(patterns, Sequence) or not patterns or not all(isinstance(each, str) for each in patterns):
        raise LlamaError("wrong type", where=where, expected="a pattern, or a list of them", found=repr(only)[:80])
    return tuple(patterns)


def nearest(pattern: str, names: Iterable[str]) -> str:
    """Up to three of the names that look most like a pattern, for a message; where none does, the first ones.

    names   full names. A pattern that doesn't speak of calls is compared with the names without them
    """
    names = list(names)
    if not about_calls(pattern):
        names = [name.rpartition("/")[2] for name in names]
    some = list(dict.fromkeys(names))[:MOST_COMPARED]
    if not some:
        return "there are no values"
    inside = pattern.strip("*.")
    if inside and any(name.endswith(f".{inside}") for name in some):
        return f"'*.{inside}'"
    lasts = list(dict.fromkeys(name.rpartition(".")[2] for name in some))
    if "." not in inside and (near := get_close_matches(inside, lasts, n=2, cutoff=0.6)):
        return " or ".join(f"'*.{last}'" for last in near)
    close = get_close_matches(pattern.replace("*", ""), some, n=3, cutoff=0.5)
    return ", ".join(close or [*some[:2], f"… ({len(names)} values)"])


def is_value_name(name: str) -> bool:
    """Whether a name is in the table of values, whichever layer it is of."""
    return value_named(name) is not None
