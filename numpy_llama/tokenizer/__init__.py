"""Text to token ids and back."""

from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.sentencepiece_model import SentencePieceModel, read_sentencepiece_model

__all__ = ["LlamaTokenizer", "SentencePieceModel", "read_sentencepiece_model"]
