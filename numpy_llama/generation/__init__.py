"""Generation: the token loop, its settings, and text in and out."""

from numpy_llama.generation.loop import generate, stream
from numpy_llama.generation.settings import GenerationSettings

__all__ = ["GenerationSettings", "generate", "stream"]
