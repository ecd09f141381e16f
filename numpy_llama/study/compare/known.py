"""Whether all that a value is computed from is there: only then it can be called wrong by itself."""

from collections.abc import Sequence

from numpy_llama.study.compare.descent import reads
from numpy_llama.study.compare.error_bars import COPIES, Place
from numpy_llama.study.compare.layouts import LAST, SHOWN
from numpy_llama.study.compare.pairing import Pairs


def all_known(pairs: Pairs, names: Sequence[Sequence[str]], pasts: Sequence[int], place: Place, layers: int) -> bool:
    """Whether every value that one reads is there, as it is or under the name of what it copies: the cached keys and
    values of calls before as well.

    pairs  what was compared
    names  every value of each call: one without a mask reads none
    pasts  how many cached tokens each call goes on after
    place  of the value
    """
    call, name = place
    read = [one for one in reads(name, layers) if one in names[call]]
    if not all(_known(pairs, names, pasts, (call, one), layers, place) for one in read):
        return False
    return not name.endswith((".keys", ".values")) or _cached_known(pairs, names, pasts, place, layers)


def _known(
    pairs: Pairs, names: Sequence[Sequence[str]], pasts: Sequence[int], place: Place, layers: int, reader: Place
) -> bool:
    if place in pairs:
        pair = pairs[place]
        of_the_last = LAST in pair.reading.note and not (reader in pairs and LAST in pairs[reader].reading.note)
        return not of_the_last and (pair.judged.agrees or SHOWN not in pair.reading.note)
    return place[1].endswith(COPIES) and all_known(pairs, names, pasts, place, layers)


def _cached_known(
    pairs: Pairs, names: Sequence[Sequence[str]], pasts: Sequence[int], place: Place, layers: int
) -> bool:
    """Whether what a call before left in the cache is there."""
    call, name = place
    if pasts[call] == 0:
        return True
    if call == 0:
        return False
    layer, _, leaf = name.rpartition(".")
    new = f"{layer}.key_rotated" if leaf == "keys" else f"{layer}.v_proj"
    before = (call - 1, name)
    if before in pairs and pairs[before].judged.agrees:
        return True
    if (call - 1, new) not in pairs:
        return False
    return _cached_known(pairs, names, pasts, before, layers)
