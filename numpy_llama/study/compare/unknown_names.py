"""Which name of ours may be meant by one that no Llama has."""

from collections.abc import Sequence
from difflib import get_close_matches

from numpy_llama.model.values import value_named
from numpy_llama.study.trace.trace import Trace

LOOKED_AT = 100  # unknown names: a dump of another program may have thousands


def nearest_names(names: Sequence[Sequence[str]], theirs: Trace) -> dict[str, str]:
    """For unknown names, the name of ours that is spelt most like it; only those for which there is one.

    names  every value of each call of ours
    """
    unknown = dict.fromkeys(name for call in theirs.calls for name in call.values if value_named(name) is None)
    ours = list(dict.fromkeys(name for some in names for name in some))
    found = {}
    for name in list(unknown)[:LOOKED_AT]:
        close = get_close_matches(name[:200], ours, n=1, cutoff=0.75)
        if close:
            found[name] = close[0]
    return found
