"""q and k in neighbours' order, as Meta's, llama2.c's and GGUF files keep their rows: a convention, and no mistake.

Whoever leaves the rows of q_proj and k_proj as they are in such a file, and lets RoPE pair neighbours, computes what
everybody does (see checkpoints/rope_layout.py). His queries and keys hold our numbers, the channels of each head in
another order. So where that is the only difference, they are brought into our order, and the walk goes on.

It is one decision for the whole run: a port that has half of its rows in one order and half in the other is wrong.
"""

from collections.abc import Sequence

import numpy as np

from numpy_llama.checkpoints.rope_layout import neighbours_from_halves
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import table_name
from numpy_llama.study.compare.error_bars import Place
from numpy_llama.study.compare.expected import Expected, from_model
from numpy_llama.study.compare.pairing import Pairs, pair_of
from numpy_llama.study.compare.put_in import put_in
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.trace import Trace

_LAYER = "model.layers.{i}.self_attn"
PROJECTED = (f"{_LAYER}.q_proj", f"{_LAYER}.k_proj")
ROTATED = (f"{_LAYER}.query_rotated", f"{_LAYER}.key_rotated", f"{_LAYER}.keys")
TABLES = ("model.rotary_emb.cos", "model.rotary_emb.sin")
NOTE = "q and k stand in neighbours' order, as in Meta's, llama2.c's and GGUF files: compared in ours"
WRONG_PAIRS = (
    "with that order of its q_proj rows RoPE has to pair neighbours (2i, 2i + 1); it pairs halves (i, i + D/2)"
)
OURS, NEIGHBOURS, NEITHER = "ours", "neighbours", "neither"


def in_neighbours_order(theirs: Trace, expected: Expected, config: LlamaConfig, tolerance: float) -> frozenset[str]:
    """Which values have the channels of each head in neighbours' order, where that is a convention of theirs.

    It is one where the first q_proj and the first k_proj of the trace (or the one of them that is there) are exactly
    ours in that order, and none of any layer or call is ours as it is. Without both, queries and keys behind RoPE tell.

    returns  names of the table of values, as paired takes them; none where it is no convention of theirs
    """

    def orders(table: str) -> list[str]:
        return _orders(theirs, expected, config, tolerance, table)

    if config.head_dim == 2:
        return frozenset()  # one pair: both orders are the same
    telling = [found for table in PROJECTED if (found := orders(table))]
    telling = telling or [found for table in ROTATED if (found := orders(table))]
    if not telling or any(found[0] != NEIGHBOURS or OURS in found for found in telling):
        return frozenset()
    rotated = [table for table in ROTATED if _first_told(orders(table)) != OURS]
    tables = [table for table in TABLES if _first_told(orders(table)) == NEIGHBOURS]
    return frozenset((*PROJECTED, *rotated, *tables))


def _orders(theirs: Trace, expected: Expected, config: LlamaConfig, tolerance: float, table: str) -> list[str]:
    """The order of each value of that name, layer by layer and call by call, in order of computation."""
    found = []
    for call, bars in enumerate(expected.bars):
        for name in bars:
            if table_name(name) != table:
                continue
            for order, moved in ((OURS, frozenset[str]()), (NEIGHBOURS, frozenset((table,)))):
                pair = pair_of(theirs, (call, name), expected, config, tolerance, moved)
                if pair is not None and pair.judged.agrees:
                    if pair.judged.compared:
                        found.append(order)
                    break
            else:
                found.append(NEITHER)
    return found


def _first_told(orders: Sequence[str]) -> str:
    return next((order for order in orders if order != NEITHER), NEITHER)


def told_from_their_values(
    theirs: Trace, subject: Subject, dtype: str, pairs: Pairs, config: LlamaConfig, tolerance: float
) -> frozenset[str]:
    """The same, where something before q and k is wrong: from what our model makes of *their* values before them."""
    there = [place for place in pairs if table_name(place[1]) in PROJECTED]
    wrong = [place for place in pairs if not pairs[place].judged.agrees]
    if not wrong or not there or wrong[0] == there[0] or there[0] not in wrong:
        return frozenset()
    given = {
        place: put_in(pair.reading, place[1])
        for place, pair in pairs.items()
        if not pair.broken and table_name(place[1]) not in (*PROJECTED, *ROTATED, *TABLES)
    }
    return in_neighbours_order(theirs, from_model(subject, dtype, theirs, given), config, tolerance)


def pairs_halves(
    theirs: Trace, subject: Subject, dtype: str, place: Place, config: LlamaConfig, tolerance: float
) -> bool:
    """Whether a value is what comes of rows in neighbours' order and a RoPE that pairs halves.

    place  of the first value that disagrees, though q and k were brought into our order
    """

    def in_neighbours(ours: np.ndarray) -> np.ndarray:
        """(B, T, n·D)"""
        return neighbours_from_halves(ours.swapaxes(0, -1), ours.shape[-1] // config.head_dim).swapaxes(0, -1)

    layers = range(config.num_hidden_layers)
    names = [table.replace("{i}", str(layer)) for layer in layers for table in PROJECTED]
    mistaken = {(call, name): in_neighbours for call in range(len(subject.calls)) for name in names}
    expected = from_model(subject, dtype, theirs, mistaken)
    pair = pair_of(theirs, place, expected, config, tolerance)
    return pair is not None and pair.judged.agrees
