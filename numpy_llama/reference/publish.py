"""Write data/published_logits/ and data/published_sampler/: `make published`.

    python -m numpy_llama.reference.publish [--model FOLDER] [--output FOLDER]

Inputs and weights come out the same byte for byte, everywhere. So do outputs on the same kind of processor with the
same versions; elsewhere torch's last bits differ, and the tolerances in the files hold.
"""

import argparse
from pathlib import Path

import torch
import transformers

from numpy_llama.checkpoints import data_folder
from numpy_llama.files import write_json
from numpy_llama.reference.case_cover import cover_cases
from numpy_llama.reference.case_written import written_cases
from numpy_llama.reference.publish_blocks import publish_blocks
from numpy_llama.reference.publish_cases import publish_cases
from numpy_llama.reference.publish_generation import publish_generation
from numpy_llama.reference.publish_storyteller import publish_storyteller
from numpy_llama.reference.sampler_cases import sampler_cases

COMMAND = "python -m numpy_llama.reference.publish"
SIZE_LIMIT = 8_000_000  # bytes, all of published_logits/


def publish(model_folder: Path, logits_folder: Path, sampler_folder: Path) -> None:
    """Write every published value that Transformers makes.

    raises  SystemExit where the logits take more room than they may
    """
    torch.set_num_threads(1)  # sums of several threads may be added up in another order each time
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    publish_storyteller(model_folder, logits_folder, COMMAND)
    cases = publish_cases([*cover_cases(), *written_cases()], logits_folder / "cases", COMMAND)
    blocks = publish_blocks(logits_folder / "blocks", COMMAND)
    generation = publish_generation(logits_folder / "generation", COMMAND)
    write_json(sampler_folder / "cases.json", sampler_cases())
    for name, sizes in (("cases", cases), ("blocks", blocks), ("generation", generation)):
        print(f"{logits_folder / name}: {len(sizes)} files, {sum(sizes):,} bytes")
    size = sum(path.stat().st_size for path in logits_folder.rglob("*") if path.is_file())
    print(f"{logits_folder}: {size:,} bytes in all")
    if size > SIZE_LIMIT:
        raise SystemExit(f"{logits_folder}: {size:,} bytes; expected at most {SIZE_LIMIT:,}: publish fewer numbers")


def main() -> None:
    """The command."""
    data = data_folder()
    parser = argparse.ArgumentParser(prog=COMMAND, description="Make the published values again with Transformers.")
    parser.add_argument("--model", type=Path, default=data / "storyteller", help="checkpoint folder")
    parser.add_argument("--output", type=Path, default=data, help="folder to write published_*/ into")
    given = parser.parse_args()
    publish(given.model, given.output / "published_logits", given.output / "published_sampler")


if __name__ == "__main__":
    main()
