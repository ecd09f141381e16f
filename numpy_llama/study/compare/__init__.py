"""Compare two runs of one Llama: the first value that disagrees, how, and what follows from it."""

from numpy_llama.study.compare.compare import compare_traces
from numpy_llama.study.compare.comparison import Comparison, Finding
from numpy_llama.study.compare.error_bars import ErrorBar, error_bars

__all__ = ["Comparison", "ErrorBar", "Finding", "compare_traces", "error_bars"]
