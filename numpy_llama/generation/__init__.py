"""Generation: the token loop, its settings, and text in and out."""

from numpy_llama.generation.loop import generate
from numpy_llama.generation.outputs import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput
from numpy_llama.generation.settings import GenerationSettings
from numpy_llama.generation.token_stream import TokenStream, stream

__all__ = [
    "GenerateBeamDecoderOnlyOutput",
    "GenerateDecoderOnlyOutput",
    "GenerationSettings",
    "TokenStream",
    "generate",
    "stream",
]
