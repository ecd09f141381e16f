"""What happened inside a model: every named value of a sequence of calls, kept, changed, written and read."""

from numpy_llama.study.trace.patching import patch
from numpy_llama.study.trace.reading import read_trace
from numpy_llama.study.trace.recording import trace
from numpy_llama.study.trace.trace import Partial, Trace, TracedCall
from numpy_llama.study.trace.trace_file import load_trace, save_trace

__all__ = ["Partial", "Trace", "TracedCall", "load_trace", "patch", "read_trace", "save_trace", "trace"]
