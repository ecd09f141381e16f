"""Text to token ids and back."""

from numpy_llama.tokenizer.base import Tokenizer
from numpy_llama.tokenizer.choose import tokenizer_for
from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.sentencepiece_model import SentencePieceModel, read_sentencepiece_model

__all__ = ["LlamaTokenizer", "SentencePieceModel", "Tokenizer", "read_sentencepiece_model", "tokenizer_for"]
