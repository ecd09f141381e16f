"""What the embedding must do."""

import numpy as np

from numpy_llama.conformance.draws import Draw, double, dtypes, ids, sizes, weights
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import equal, is_array


def values_worked_out_by_hand(port: Port, draw: Draw) -> None:
    """Ids (2, 0) pick the last and the first row of a table of three."""
    table = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    equal(port.embedding(np.array([[2, 0]]), table), np.array([[[5.0, 6.0], [1.0, 2.0]]]), "rows 2 and 0")


def keeps_shape_and_dtype(port: Port, draw: Draw) -> None:
    """(B, T) ids become (B, T, E) of the table's dtype."""
    dtype, tokens, channels = draw("dtype", dtypes), draw("T", sizes), draw("E", sizes)
    table, input_ids = draw("weight", weights((3, channels), dtype)), draw("input_ids", ids((2, tokens), 3))
    is_array(port.embedding(input_ids, table), (2, tokens, channels), "shape and dtype", dtype)


def picks_rows(port: Port, draw: Draw) -> None:
    """y[b, t] = weight[input_ids[b, t]], exactly."""
    dtype, rows, tokens = draw("dtype", dtypes), draw("B", sizes), draw("T", sizes)
    table, input_ids = draw("weight", weights((5, 2), dtype)), draw("input_ids", ids((rows, tokens), 5))
    expected = np.stack([[double(table)[i] for i in row] for row in input_ids])
    equal(port.embedding(input_ids, table), expected, "one row of the table for each id")


def is_a_product_with_unit_vectors(port: Port, draw: Draw) -> None:
    """The row of id i is the linear layer with Wᵀ = table, applied to the unit vector e_i."""
    dtype, tokens = draw("dtype", dtypes), draw("T", sizes)
    table, input_ids = draw("weight", weights((4, 3), dtype)), draw("input_ids", ids((1, tokens), 4))
    equal(port.embedding(input_ids, table), np.eye(4)[input_ids] @ double(table), "e_i · table")


PROPERTIES = (values_worked_out_by_hand, keeps_shape_and_dtype, picks_rows, is_a_product_with_unit_vectors)
