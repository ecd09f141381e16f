"""The judge: tries a property on many examples, and where one fails, finds the smallest.

    for verdict in judge("rms_norm", Port().swap(rms_norm=mine)):
        print(verdict.passed, verdict.sentence)

The same examples are tried in every run, and none is kept on disk. (The search for a smaller one alone ends by the
clock.)
"""

import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import HypothesisException

from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import PROPERTIES, Property
from numpy_llama.conformance.rounding import Broken

UNWRITTEN = "isn't written yet"
TOO_LARGE = "asks for more memory than there is"
LONGEST = 500  # characters of somebody's error that are shown
EXAMPLES = 30  # a property; every mistake of mistakes.py is found well before


@dataclass(frozen=True)
class Verdict:
    """What became of one property.

    name, sentence  of the property: its function's name, and the mathematics in words
    passed          whether it held for every example
    message         what went wrong, in plain words; empty where it passed
    example         the smallest example that fails: what was drawn, by name
    expected, got   the arrays that should have agreed, where there are two
    """

    name: str
    sentence: str
    passed: bool
    message: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    expected: Any = None
    got: Any = None


def judge(block: str, port: Port, *, examples: int = EXAMPLES, shrink: bool = True) -> Iterator[Verdict]:
    """Try every property of a block on a port, one after the other.

    block     a key of PROPERTIES: "rms_norm", "rope", …
    examples  how many to try for each property
    shrink    look for the smallest failing example; otherwise the first will do
    """
    for property_ in PROPERTIES[block]:
        yield try_property(property_, port, examples=examples, shrink=shrink)


def try_property(
    property_: Property, port: Port, *, examples: int = EXAMPLES, shrink: bool = True, seconds: float = 10.0
) -> Verdict:
    """Try one property on a port.

    seconds  after a first failure, how long to look for a smaller one
    """
    last: list[Verdict] = []
    deadline = [float("inf")]

    @seed(0)  # rather than one that hypothesis works out anew from the text of try_one, each time
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(st.data())
    def try_one(data: st.DataObject) -> None:
        if time.monotonic() > deadline[0]:
            return  # time is up: everything else passes for good, and the last failure stands
        if last and not shrink:
            raise Broken(last[0].message)  # asked again for what is known
        example: dict[str, Any] = {}

        def draw(name: str, strategy: st.SearchStrategy[Any]) -> Any:
            example[name] = data.draw(strategy)
            return example[name]

        verdict = _attempt(property_, port, draw, example)
        if not verdict.passed:
            last[:] = [verdict]
            deadline[0] = min(deadline[0], time.monotonic() + seconds)
            raise Broken(verdict.message)

    # Hypothesis keeps caches beside its examples; none of them belongs in the folder of whoever calls.
    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            try_one()
        except (Broken, HypothesisException):
            if not last:
                raise
        finally:
            set_hypothesis_home_dir(None)
    return last[0] if last else Verdict(property_.__name__, sentence_of(property_), True)


def replay(property_: Property, port: Port, example: Mapping[str, Any]) -> Verdict:
    """Try a property on one example, as a verdict reports it."""
    return _attempt(property_, port, lambda name, strategy: example[name], example)


def sentence_of(property_: Callable[..., None]) -> str:
    """The mathematics of a property: its docstring on one line."""
    return " ".join((property_.__doc__ or property_.__name__).split())


def _attempt(property_: Property, port: Port, draw: Any, example: Mapping[str, Any]) -> Verdict:
    name, sentence = property_.__name__, sentence_of(property_)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            property_(port, draw)
    except Broken as broken:
        return Verdict(name, sentence, False, broken.message, dict(example), broken.expected, broken.got)
    except HypothesisException:
        raise  # an example that hypothesis itself gives up
    except (Exception, SystemExit) as error:
        return Verdict(name, sentence, False, explain(error), dict(example))
    return Verdict(name, sentence, True)


def explain(error: BaseException) -> str:
    """What somebody's function raised, in plain words, with the line of his where it did."""
    if isinstance(error, ValueError) and "read-only" in str(error):
        return "writes into an array it was given; a block leaves its inputs as they are"
    if isinstance(error, NotImplementedError):
        return UNWRITTEN
    if isinstance(error, MemoryError):
        return TOO_LARGE
    said = str(error)
    return f"raised {type(error).__name__}{_line(error)}: {said if len(said) <= LONGEST else said[:LONGEST] + ' …'}"


def _line(error: BaseException) -> str:
    """Where an error was raised: the last line of somebody's own file on the way, not of ours or of a library."""
    ours = str(Path(__file__).parents[1])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((ours, "<")) and "site-packages" not in frame.filename:
            return f" in line {frame.lineno} of {Path(frame.filename).name}"
    return ""
