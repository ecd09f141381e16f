"""Find out which known mistake makes somebody else's logits what they are."""

from numpy_llama.study.diagnose.diagnosis import Diagnosis
from numpy_llama.study.diagnose.search import diagnose

__all__ = ["Diagnosis", "diagnose"]
