"""Make edge_cases.json: what both libraries make of awkward texts, with Llama 2's vocabulary.

    python make_edge_cases.py FOLDER      # a folder with Llama 2's tokenizer.model

"legacy" is sentencepiece, "default" is transformers' LlamaTokenizer; neither adds <s> or </s>. "decoded" is what each
makes of its own ids again. Needs sentencepiece and transformers; nothing of numpy_llama is used.
"""

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

TEXTS = [
    # spaces
    "",
    " ",
    "  ",
    "   ",
    "hi",
    " hi",
    "  hi",
    "   hi",
    "hi ",
    "hi  there",
    "Hello  world   and    more",
    "a\tb",
    "\t",
    "\n",
    "\n\nhi",
    "line one\nline two\n",
    "\r\n",
    "\u00a0hi",
    "a\u3000b",
    # the mark that stands for a space
    "\u2581",
    "\u2581hi",
    "a\u2581b",
    "hi \u2581 there",
    # special tokens, and what looks like them
    "<s>",
    "</s>",
    "<s>hi",
    "<s> hi",
    "hi</s>",
    "hi <s> there",
    "<s>hi</s>",
    "<unk>",
    "<s",
    "<pad>",
    "[INST] hi [/INST]",
    "<0x41>",
    "<0xE2><0x96>",
    # characters
    "é",
    "e\u0301",
    "ﬁ ligature",
    "日本語",
    "한국어",
    "😀",
    "👩\u200d👩\u200d👧",
    "\x00",
    "\u200b",
    "\U0010ffff",
    # digits
    "3.14159 and 2048",
]


def main(folder: Path) -> None:
    """Write edge_cases.json beside this file."""
    import sentencepiece
    from transformers import LlamaTokenizer

    path = folder / "tokenizer.model"
    legacy = sentencepiece.SentencePieceProcessor(model_file=str(path))
    default = LlamaTokenizer.from_pretrained(folder, add_bos_token=False)
    cases = []
    for text in TEXTS:
        old, new = legacy.encode(text), default.encode(text)
        cases.append(
            {
                "text": text,
                "legacy": {"ids": old, "decoded": legacy.decode(old)},
                "default": {"ids": new, "decoded": default.decode(new)},
                "same_ids": old == new,
            }
        )
    content = {
        "what": "Token ids of awkward texts with Llama 2's vocabulary: by sentencepiece, and by transformers",
        "made_with": {name: version(name) for name in ("sentencepiece", "transformers", "tokenizers")},
        "made_by": "data/published_tokens/make_edge_cases.py",
        "tokenizer_model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "cases": len(cases),
        "cases_that_differ": sum(not case["same_ids"] for case in cases),
    }
    rows = ",\n    ".join(json.dumps(case, ensure_ascii=True) for case in cases)
    head = json.dumps(content, indent=2)[:-2]
    Path(__file__).with_name("edge_cases.json").write_text(f'{head},\n  "table": [\n    {rows}\n  ]\n}}\n')


if __name__ == "__main__":
    main(Path(sys.argv[1]))
