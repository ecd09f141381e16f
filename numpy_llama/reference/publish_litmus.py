"""Write data/litmus/: a model and a script of calls that give every visible mistake a fingerprint of its own.

    python -m numpy_llama.reference.publish_litmus [--output FOLDER]

What each feature is for stands beside it. The weights of the larger model are rounded to float16 and stored so, which
keeps the files small; both are to be computed in float32.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from numpy_llama.blocks.rope import rope_frequencies
from numpy_llama.checkpoints import data_folder
from numpy_llama.checkpoints.gguf_file import IN_A_LAYER, WHOLE_NAMES
from numpy_llama.checkpoints.llama2c import write_llama2c
from numpy_llama.checkpoints.rope_layout import neighbours_from_halves
from numpy_llama.files import write_atomically, write_json
from numpy_llama.model import LlamaConfig
from numpy_llama.model.rope_scaling import scaled_rope
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.study.subject import Asked
from numpy_llama.study.trace.trace import Trace, TracedCall
from numpy_llama.study.trace.trace_file import save_trace

COMMAND = "python -m numpy_llama.reference.publish_litmus"
SIZE_LIMIT = 100_000  # bytes, each checkpoint

LITMUS: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 10,
    "num_hidden_layers": 11,  # so that names sorted as text put layer 10 before layer 2
    "num_attention_heads": 4,
    "num_key_value_heads": 2,  # 1 < K < H: heads repeated, tiled and taken from the first all differ
    "head_dim": 8,  # not E/H
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 0.02,  # large beside the smallest embeddings
    "attention_bias": True,
    "mlp_bias": True,
    "tie_word_embeddings": False,
    # Not one of the usual thetas; original_max_position_embeddings puts the four frequencies into all three bands.
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 300.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "initializer_range": 0.02,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "dtype": "float32",
}

# What a llama2.c file can say: no biases, no head_dim, no rope scaling, theta 10,000, eps 1e-5; here with a tied head,
# which the other model hasn't.
PLAIN: dict[str, Any] = LITMUS | {
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "pad_token_id": None,
}


def litmus_weights(name: str, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of a LlamaForCausalLM: float16, and float32 of the plain one, which a llama2.c file keeps anyway.

    Embeddings are of very different lengths, the smallest near 0.0003, so that an eps of any size shows somewhere.
    """
    draws = Draws(name)
    weights = draw_weights("LlamaForCausalLM", config, draws)
    V = config["vocab_size"]
    lengths = np.float32(2.0) ** np.linspace(-11, 1, V, dtype=np.float32)
    embeddings = weights["model.embed_tokens.weight"]
    order = np.argsort(draws.integers((V,), 0, 2**40), kind="stable")
    if not config["tie_word_embeddings"]:  # as a head, such a table would say the same everywhere
        embeddings *= lengths[order][:, None]
    for tensor in weights:
        if tensor.endswith("norm.weight"):
            weights[tensor] = draws.evenly(weights[tensor].shape, 0.4, middle=0.8)  # 0.1 … 1.5: far from 1
    dtype = np.float32 if config["tie_word_embeddings"] else np.float16
    return {tensor: array.astype(dtype) for tensor, array in weights.items()}


def litmus_calls(config: Mapping[str, Any]) -> tuple[Asked, ...]:
    """The script: a prompt, single tokens and a chunk after it, a batch padded left that goes on, one padded right."""
    draws = Draws("litmus script")
    V, BOS = config["vocab_size"], config["bos_token_id"]

    def text(length: int) -> np.ndarray:
        ids = draws.integers((length,), 3, V)
        ids[0] = BOS
        return ids

    def follow(ids: np.ndarray, past: int) -> Asked:
        T = ids.shape[1]
        return Asked(ids, None, np.arange(past, past + T)[None], past)

    prompt = text(12)[None]
    alone = (
        follow(prompt, 0),
        follow(draws.integers((1, 1), 3, V), 12),
        follow(draws.integers((1, 1), 3, V), 13),
        follow(draws.integers((1, 5), 3, V), 14),
        follow(draws.integers((1, 1), 3, V), 19),
    )
    if config["pad_token_id"] is None:
        return alone
    texts = [text(length) for length in (9, 6, 4)]
    left, left_mask = _padded(texts, config["pad_token_id"], "left")
    left_positions = np.maximum(left_mask.cumsum(axis=1) - 1, 0)
    right, right_mask = _padded([text(length) for length in (5, 8, 3)], config["pad_token_id"], "right")
    longer = np.concatenate((left_mask, np.ones((3, 1), np.int64)), axis=1)
    return (
        *alone,
        Asked(left, left_mask, left_positions, 0),
        Asked(draws.integers((3, 1), 3, V), longer, left_positions[:, -1:] + 1, 9),
        Asked(right, right_mask, np.maximum(right_mask.cumsum(axis=1) - 1, 0), 0),
    )


def _padded(texts: list[np.ndarray], pad: int, side: str) -> tuple[np.ndarray, np.ndarray]:
    """(B, T) ids and the mask that tells tokens from padding."""
    T = max(map(len, texts))
    ids, mask = np.full((len(texts), T), pad), np.zeros((len(texts), T), np.int64)
    for row, text in enumerate(texts):
        at = slice(T - len(text), T) if side == "left" else slice(0, len(text))
        ids[row, at], mask[row, at] = text, 1
    return ids.astype(np.int64), mask


def write_script(path: Path, config: Mapping[str, Any]) -> None:
    """The calls twice: as a trace without values (.safetensors), and as JSON for whoever would rather read that."""
    calls = litmus_calls(config)
    traced = [
        TracedCall(index, asked.past, asked.input_ids, asked.attention_mask, asked.position_ids, {})
        for index, asked in enumerate(calls)
    ]
    config_dict = LlamaConfig.from_dict(dict(config)).to_dict()
    save_trace(Trace(traced, config=config_dict, dtype="float32"), path.with_suffix(".safetensors"))
    said = []
    for asked in calls:
        mask = None if asked.attention_mask is None else asked.attention_mask.tolist()
        positions = None if asked.position_ids is None else asked.position_ids.tolist()
        said.append(
            {
                "past": asked.past,
                "input_ids": asked.input_ids.tolist(),
                "attention_mask": mask,
                "position_ids": positions,
            }
        )
    lines = ",\n".join("  " + json.dumps(call) for call in said)
    text = f'{{"calls": [\n{lines}\n]}}\n'
    write_atomically(path.with_suffix(".json"), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_folder(folder: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
    """config.json and model.safetensors, as Hugging Face has them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", dict(config))
    write_atomically(
        folder / "model.safetensors", lambda temporary: save_file(dict(weights), temporary, {"format": "pt"})
    )


def write_gguf(path: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
    """The same model for llama.cpp: rows of q_proj and k_proj in its order, rope scaling as one divisor a frequency."""
    import gguf

    c = LlamaConfig.from_dict(dict(config))

    def write(temporary: Path) -> None:
        writer = gguf.GGUFWriter(temporary, "llama")
        writer.add_name("litmus")
        writer.add_block_count(c.num_hidden_layers)
        writer.add_context_length(c.max_position_embeddings)
        writer.add_embedding_length(c.hidden_size)
        writer.add_feed_forward_length(c.intermediate_size)
        writer.add_head_count(c.num_attention_heads)
        writer.add_head_count_kv(c.num_key_value_heads)
        writer.add_key_length(c.head_dim)
        writer.add_value_length(c.head_dim)
        writer.add_rope_dimension_count(c.head_dim)
        writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(c.rms_norm_eps)
        writer.add_vocab_size(c.vocab_size)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        writer.add_bos_token_id(c.bos_token_id)
        writer.add_eos_token_id(c.eos_token_id)
        writer.add_tokenizer_model("none")
        for name, array in weights.items():
            for rotated, heads in (("q_proj", c.num_attention_heads), ("k_proj", c.num_key_value_heads)):
                array = neighbours_from_halves(array, heads) if rotated in name else array
            array = array.astype(np.float32) if array.ndim == 1 else array  # as llama.cpp wants norms and biases
            writer.add_tensor(_gguf_name(name), np.ascontiguousarray(array))
        plain = rope_frequencies(c.head_dim, c.rope_parameters["rope_theta"], np.dtype(np.float32))
        scaled, _ = scaled_rope(rope_frequencies, c, np.dtype(np.float32)).at(0)
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    write_atomically(path, write)


def _gguf_name(name: str) -> str:
    """model.layers.0.mlp.up_proj.bias → blk.0.ffn_up.bias"""
    names = {theirs: ours for ours, theirs in {**WHOLE_NAMES, **IN_A_LAYER}.items()}
    if name in names:
        return names[name]
    _, _, layer, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{names[module]}.{kind}"


def publish_litmus(folder: Path) -> None:
    """Write everything.

    raises  SystemExit where a checkpoint takes more room than it may
    """
    weights = litmus_weights("litmus", LITMUS)
    write_folder(folder, LITMUS, weights)
    write_script(folder / "script", LITMUS)
    write_gguf(folder / "litmus.gguf", LITMUS, weights)
    plain = litmus_weights("plain litmus", PLAIN)
    write_folder(folder / "plain", PLAIN, plain)
    write_script(folder / "plain" / "script", PLAIN)
    write_llama2c(
        folder / "plain" / "litmus.bin", LlamaConfig.from_dict(PLAIN), lambda name: plain[name].astype(np.float32)
    )
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".gguf", ".bin"):
            size = path.stat().st_size
            print(f"{path}: {size:,} bytes")
            if size > SIZE_LIMIT:
                raise SystemExit(f"{path}: {size:,} bytes; expected at most {SIZE_LIMIT:,}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Make the litmus model and its script again.")
    parser.add_argument("--output", type=Path, default=data_folder() / "litmus", help="folder to write into")
    publish_litmus(parser.parse_args().output)


if __name__ == "__main__":
    main()
