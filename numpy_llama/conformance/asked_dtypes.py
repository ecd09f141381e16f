"""Properties tried in some dtypes only: not everybody's code knows all four."""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from numpy_llama.conformance.draws import Draw, dtypes, wide_dtypes
from numpy_llama.conformance.properties import Property
from numpy_llama.precision import DTYPES, compute_dtype


def in_dtypes(property_: Property, names: Collection[str]) -> Property:
    """A property that draws its dtype among some only.

    raises  Unsatisfiable, when it is tried, where none of them is one that it draws
    """

    def restricted(port: Any, draw: Draw) -> None:
        def draw_among(name: str, strategy: st.SearchStrategy[Any]) -> Any:
            if strategy in (dtypes, wide_dtypes):
                wide = [DTYPES["float64"], DTYPES["float32"]]
                among = [DTYPES[n] for n in names if strategy is dtypes or DTYPES[n] in wide]
                if not among:
                    raise Unsatisfiable("needs float64 or float32, which isn't tried")
                strategy = st.sampled_from(among)
            return draw(name, strategy)

        property_(port, draw_among)

    restricted.__name__, restricted.__doc__ = property_.__name__, property_.__doc__
    return restricted


def check_asked(values: Iterable[Any], names: Collection[str]) -> None:
    """raises  Unsatisfiable where an array, or a dtype, isn't of those asked for, nor what one of them computes in"""
    asked = {DTYPES[name] for name in names}
    asked |= {compute_dtype(dtype) for dtype in asked}
    for value in values:
        dtype = value.dtype if isinstance(value, np.ndarray) else value
        if isinstance(dtype, np.dtype) and dtype.kind not in "iub" and dtype not in asked:
            raise Unsatisfiable(f"needs {dtype.name}, which isn't tried")
