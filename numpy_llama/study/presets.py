"""The best-known Llamas, as configs without weights, each with the number of parameters published for it.

Where the config's own arithmetic gives that number again, shapes, heads and ties are understood.

Sources: config.json of each model's repository on Hugging Face (huggyllama/llama-7b,
meta-llama/Llama-2-7b-hf, meta-llama/Llama-2-70b-hf, meta-llama/Llama-3.1-8B, meta-llama/Llama-3.2-1B,
HuggingFaceTB/SmolLM2-135M). The number of parameters is the total that the repository gives for its
safetensors files. Papers and model cards round it: 6.7B (Touvron et al. 2023, LLaMA, table 2), 7B and 70B
(Touvron et al. 2023, Llama 2), 8B (Grattafiori et al. 2024), 1.23B (model card of Llama 3.2), 135M (Allal
et al. 2025, SmolLM2).
"""

from dataclasses import dataclass
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig

# What several of them share. Llama 3.1 and 3.2 differ in how far they stretch RoPE: by 8 and by 32.
_7B: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
_LLAMA_3: dict[str, Any] = {
    "vocab_size": 128_256,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 128_000,
    "eos_token_id": 128_001,
}
_LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@dataclass(frozen=True)
class Preset:
    """A published model: fields of its config that differ from LlamaConfig's defaults, and its parameters."""

    settings: dict[str, Any]
    published_parameters: int

    @property
    def config(self) -> LlamaConfig:
        """A new LlamaConfig."""
        return LlamaConfig(**self.settings)


PRESETS = {
    "llama-1-7b": Preset(
        {**_7B, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6},
        6_738_415_616,
    ),
    "llama-2-7b": Preset(
        {**_7B, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
        6_738_415_616,
    ),
    "llama-2-70b": Preset(
        {
            "vocab_size": 32_000,
            "hidden_size": 8192,
            "intermediate_size": 28_672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
        },
        68_976_648_192,
    ),
    "llama-3.1-8b": Preset(
        {
            **_LLAMA_3,
            "hidden_size": 4096,
            "intermediate_size": 14_336,
            "num_hidden_layers": 32,
            "rope_parameters": {**_LLAMA_3_ROPE, "factor": 8.0},
        },
        8_030_261_248,
    ),
    "llama-3.2-1b": Preset(
        {
            **_LLAMA_3,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "rope_parameters": {**_LLAMA_3_ROPE, "factor": 32.0},
            "tie_word_embeddings": True,
        },
        1_235_814_400,
    ),
    "smollm2-135m": Preset(
        {
            "vocab_size": 49_152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
            "tie_word_embeddings": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
        134_515_008,
    ),
}


def find_preset(name: str) -> tuple[str, Preset]:
    """A preset and its full name; Meta's own may be called without "llama-": "2-7b".

    raises  LlamaError where there is none of this name
    """
    for full_name in (name.lower(), f"llama-{name.lower()}"):
        if full_name in PRESETS:
            return full_name, PRESETS[full_name]
    raise LlamaError("no such preset", where="--preset", expected="one of " + ", ".join(PRESETS), found=repr(name))
