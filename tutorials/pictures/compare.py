"""The README's picture of a comparison: keys that were cached before they were rotated.

python tutorials/pictures/compare.py        writes tutorials/pictures/compare.png
"""

from pathlib import Path

import numpy as np

from numpy_llama import LlamaForCausalLM, LlamaTokenizer, embedded_model_folder, trace
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.study.compare import compare_traces
from numpy_llama.study.compare.figure import comparison_figure
from numpy_llama.study.subject import Subject, calls_of


def main() -> None:
    """Plant the mistake, compare, draw and save."""
    model = LlamaForCausalLM.from_pretrained(embedded_model_folder())
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder())
    with trace() as honest:
        model.generate(np.array([tokenizer.encode("Once upon a time")]), max_new_tokens=3, do_sample=False)
    subject = Subject(model.config, model.tensors, calls_of(honest))
    ((_, planted),) = CATALOGUE["cache-keys-before-rotation"].plant(subject)
    with trace() as theirs:
        planted.run()
    theirs.source = "theirs.safetensors"
    figure = comparison_figure(compare_traces(theirs, model))
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
