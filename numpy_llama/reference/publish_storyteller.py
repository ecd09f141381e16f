"""What Transformers makes of the embedded model: the files at the top of data/published_logits/.

The same versions on the same kind of processor write the same bytes again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from safetensors.numpy import save_file

from numpy_llama.files import write_atomically, write_json
from numpy_llama.precision import DTYPES
from numpy_llama.reference.record import continue_greedily, forward, load, provenance

CONTINUATION = 200  # tokens
SIZE_LIMIT = 3_000_000  # bytes, of these files
BOS = 1


@dataclass(frozen=True)
class Prompt:
    """A prompt: BOS and the first tokens of a text, or ids as they are.

    Every position of every prompt is stored in four dtypes, 35 kB each, and there is room for some eighty. So most
    prompts are three tokens long, which is enough to attend to more than oneself, and one is seventeen.
    """

    name: str
    text: str | None
    tokens: int = 3  # of the text and BOS together, at most
    ids: tuple[int, ...] = ()


PROMPTS = (
    Prompt("bos_alone", ""),
    Prompt("once", "Once upon a time"),
    Prompt(
        "story",
        "Once upon a time there was a little girl. One day she went to the park to play with her dog and a red ball.",
        tokens=17,
    ),
    Prompt("one_day", "One day"),
    Prompt("speech", '"Look!" said the'),
    Prompt("capitals", "THE END"),
    Prompt("digits", "12 345"),
    Prompt("dots", "... wait"),
    Prompt("three_spaces", "   three"),
    Prompt("newlines", "\n\nThe"),
    Prompt("code", "def f(x): return x"),
    Prompt("one_letter", "x"),
    Prompt("accent", "é", tokens=4),
    Prompt("llama", "🦙", tokens=6),
    Prompt("chinese", "你好", tokens=4),
    Prompt("cut_character", "👩‍🚀"),
    Prompt("unknown_token", None, ids=(BOS, 0, 0)),
    Prompt("end_inside", None, ids=(BOS, 2, BOS)),
    Prompt("same_thrice", None, ids=(300, 300, 300)),
    Prompt("last_ids", None, ids=(BOS, -1, -2)),
    Prompt("without_bos", None, ids=(700, 41, 1001)),
)


def publish_storyteller(model_folder: Path, logits_folder: Path, command: str) -> None:
    """Write logits, hidden states and greedy continuations of the model in `model_folder`.

    raises  SystemExit where they take more room than they may
    """
    prompts = tokenized(model_folder)
    origin = {
        "command": command,
        "model": "storyteller",
        "weights_sha256": sha256(model_folder / "model.safetensors"),
        **provenance(),
    }
    greedy: dict[str, np.ndarray] = {}
    for dtype in DTYPES:
        model = load(model_folder, dtype)
        arrays = {}
        for name, ids in prompts.items():
            result = forward(model, [ids])
            arrays[f"{name}.logits"] = result.logits[0]  # (T, V)
            arrays[f"{name}.hidden_states"] = result.hidden_states[:, 0]  # (L + 1, T, E)
        write_tensors(logits_folder / f"{dtype}.safetensors", arrays, {**origin, "computed_in": COMPUTED_IN[dtype]})
        if dtype in ("float64", "float32"):
            each = [continue_greedily(model, ids, CONTINUATION) for ids in prompts.values()]
            greedy[f"{dtype}.tokens"] = np.stack([one.tokens for one in each])
            greedy[f"{dtype}.runners_up"] = np.stack([one.runners_up for one in each])
            greedy[f"{dtype}.top_two"] = np.stack([one.top_two for one in each])
    write_tensors(logits_folder / "greedy.safetensors", greedy, {**origin, "rows": list(prompts)})
    table = [{"name": p.name, "text": p.text, "ids": prompts[p.name]} for p in PROMPTS]
    write_json(logits_folder / "prompts.json", {**origin, "prompts": table})

    size = sum(path.stat().st_size for path in logits_folder.iterdir() if path.is_file())
    positions = sum(len(ids) for ids in prompts.values())
    print(f"{logits_folder}: {len(prompts)} prompts, {positions} positions, {size:,} bytes")
    if size > SIZE_LIMIT:
        raise SystemExit(f"{logits_folder}: {size:,} bytes; expected at most {SIZE_LIMIT:,}: shorten the prompts")


COMPUTED_IN = {
    "float64": "float64 throughout: RMSNorm, RoPE and softmax lifted from float32 (numpy_llama.reference.lifted)",
    "float32": "float32, eager attention",
    "float16": "float16, eager attention; RMSNorm, RoPE tables and softmax in float32, as Transformers has them",
    "bfloat16": "bfloat16, eager attention; RMSNorm, RoPE tables and softmax in float32, as Transformers has them",
}


def tokenized(model_folder: Path) -> dict[str, list[int]]:
    """The ids of every prompt, by the model's tokenizer in sentencepiece's own hands."""
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model_folder / "tokenizer.model"))
    size = tokenizer.vocab_size()
    prompts = {}
    for prompt in PROMPTS:
        ids = prompt.ids if prompt.text is None else [BOS, *tokenizer.encode(prompt.text)][: prompt.tokens]
        prompts[prompt.name] = [i % size for i in ids]  # a negative id counts from the end of the vocabulary
    return prompts


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Safetensors with one metadata entry: several would be written in random order, and no two runs be alike."""
    entry = {"made_by": json.dumps(metadata, sort_keys=True)}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(path, partial(save_file, contiguous, metadata=entry))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
