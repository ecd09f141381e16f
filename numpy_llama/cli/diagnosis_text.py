"""A diagnosis in words: what is wrong, how sure that is, how to mend it, what to look at next."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from numpy_llama.cli.terminal import table, visible
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.study.diagnose.token_mistakes import TOKEN_MISTAKES

if TYPE_CHECKING:
    from numpy_llama.study.diagnose import Diagnosis
    from numpy_llama.study.diagnose.diagnosis import CallSeen
    from numpy_llama.study.diagnose.tokens import TokenDiagnosis

WIDTH = 80
LABEL = 14  # columns of what stands before a paragraph
FEW_CALLS = 3  # that are described one by one


def as_text(found: "Diagnosis", every: bool = False) -> str:
    """The diagnosis for a person.

    every  name each mistake that the calls can't show, instead of how many there are
    """
    parts = [_paragraph(_verdict(found)), _facts(found)]
    for key, label in zip(found.mistakes, found.labels, strict=True):
        parts.append(_mistake(key, label, found.dump))
    if found.candidates and found.verdict != "agrees":
        parts.append(_candidates(found))
    if found.unseen:
        parts.append(_unseen(found, every))
    return "\n\n".join(part for part in parts if part)


def _verdict(found: "Diagnosis") -> str:
    says = [CATALOGUE[key].says + (f" ({visible(label)})" if label else "") for key, label in
            zip(found.mistakes, found.labels, strict=True)]  # fmt: skip
    blamed = ", and ".join(says)
    twins = [CATALOGUE[key].says for key in found.equals]
    what = "logits" if found.positions else "values"  # without any logits, what was judged are inner values
    if found.verdict == "agrees":
        return (
            f"No mistake found. These are the reference's {what}, as near as {found.dtype}'s rounding lets them be: "
            f"the largest difference is {found.before:.2g}."
        )
    if found.verdict == "unknown":
        return (
            f"The {what} differ from the reference's by up to {found.before:.2g}, which rounding doesn't explain, nor "
            f"does {_none_of_them(found)}. {_next_step(found)}"
        )
    other = f" Or of one {'; or '.join(twins)}: these {what} can't tell; {_to_know(found)}." if twins else ""
    if twins and not found.tell_apart:
        other = f" Or of one {'; or '.join(twins)}: in these calls, that is the same."
    if found.verdict == "partly":
        return (
            f"A suspicion: a Llama {blamed} comes much nearer to these {what}, but isn't the whole explanation.{other}"
        )
    if found.last_bits is not None:
        value, before, after = found.last_bits
        return (
            f"Your values are those of a Llama {blamed}.{other} The logits don't show it, but {value} does: "
            f"{before:.1%} of its numbers are right as it is, {after:.1%} with that planted."
        )
    return (
        f"Your {what} are those of a Llama {blamed}.{other} With that planted in the reference, the largest difference "
        f"falls from {found.before:.2g} to {found.after:.2g}."
    )


def _none_of_them(found: "Diagnosis") -> str:
    if found.first is not None:
        return "any mistake of the catalogue that begins where the first value disagrees"
    return "any mistake of the catalogue, nor two of them together"


def _next_step(found: "Diagnosis") -> str:
    if found.first is not None and found.unexplained is not None:
        return "`numpy-llama compare` shows where, and what follows from it."
    if found.first is not None:
        return f"`numpy-llama compare` says how {visible(found.first)} differs, the first value that does."
    return (
        "`numpy-llama compare` says which call is the first that differs; write down inner values as well, and it says "
        "which of them is, and how."
    )


def _to_know(found: "Diagnosis") -> str:
    if any(name in EXPOSURES for name in found.tell_apart):
        return "to know, add " + " and ".join(EXPOSURES[name].meaning for name in found.tell_apart)
    return f"dump {' and '.join(found.tell_apart)} to know"


def _facts(found: "Diagnosis") -> str:
    rows = [("", "largest", "root mean square")]
    rows.append(("without a mistake", f"{found.before:.2e}", f"{found.before_rms:.2e}"))
    if found.mistakes and found.last_bits is None:
        rows.append((f"with {' + '.join(found.mistakes)}", f"{found.after:.2e}", f"{found.after_rms:.2e}"))
    rows.append((f"what {found.dtype} makes of an honest run", "", f"{found.rounding:.2e}"))
    judged = _count(found.positions, "logit vector") if found.positions else "inner values; there are no logits"
    lines = [table(rows, "lrr"), f"  judged: {judged}"]
    if found.first is not None:
        lines.append(f"  the first value that disagrees: {visible(found.first)}")
    if found.unexplained is not None:
        name, how = found.unexplained
        lines.append(_paragraph(f"how {'it' if name == found.first else visible(name)} differs: {visible(how)}", "  "))
    if found.calls:
        lines.append(_paragraph(_calls(found.calls), "  "))
    lines += [_paragraph(visible(line), indent="  ") for line in found.assumptions]
    return "\n".join(lines)


def _calls(calls: "tuple[CallSeen, ...]") -> str:
    """As "calls 0–2 and 4 agree without any mistake; call 3 (chunk of 5 after 14) doesn't"."""
    agreeing, others = ([one for one in calls if one.agrees is so] for so in (True, False))
    if not agreeing:
        return f"none of the {len(calls)} calls agrees without a mistake"
    kinds = {one.given for one in others}
    shown = f"{_numbered(others)} ({others[0].given})" if len(kinds) == 1 else ""
    if not shown and len(others) <= FEW_CALLS:
        shown = "calls " + _and([f"{one.call} ({one.given})" for one in others])
    return (
        f"{_numbered(agreeing)} agree{'s' * (len(agreeing) == 1)} without any mistake; "
        f"{shown or _numbered(others)} {'do' if len(others) > 1 else 'does'}n't"
    )


def _numbered(calls: "list[CallSeen]") -> str:
    """ "call 3", "calls 0–2 and 4" """
    spans: list[list[int]] = []
    for one in calls:
        if spans and one.call == spans[-1][1] + 1:
            spans[-1][1] = one.call
        else:
            spans.append([one.call, one.call])
    names = [str(a) if a == b else f"{a}–{b}" if b > a + 1 else f"{a} and {b}" for a, b in spans]
    return f"call{'s' * (len(calls) > 1)} {_and(names)}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _mistake(key: str, label: str, dump: Iterable[str]) -> str:
    mistake = CATALOGUE[key]
    lines = [key + (f" ({visible(label)})" if label else "")]
    lines.append(_labelled("looks like", mistake.looks_like))
    lines.append(_labelled("to mend it", mistake.mend))
    first = mistake.first.replace("{i}", "0")
    lines.append(_labelled("to be sure", f"dump {first}, the first value that is wrong" if first in dump else ""))
    lines += [_labelled("made before" if place == 0 else "", wild) for place, wild in enumerate(mistake.wild)]
    return "\n".join(line for line in lines if line)


def _candidates(found: "Diagnosis") -> str:
    rows = [("next nearest", "largest left", "root mean square")]
    candidates = found.candidates if found.verdict in ("partly", "unknown") else found.candidates[:2]
    if not candidates:
        return ""
    for one in candidates:
        names = " + ".join(
            key + (f" ({visible(label)})" if label else "") for key, label in zip(one.mistakes, one.labels, strict=True)
        )
        rows.append((names, f"{one.after:.2e}", f"{one.rms:.2e}"))
    return table(rows, "lrr")


def _unseen(found: "Diagnosis", every: bool) -> str:
    said = "These calls can't show " + _count(len(found.unseen), "mistake") + " of the catalogue"
    lines = [_paragraph(f"{said}: {', '.join(found.unseen)}." if every else f"{said} (--all names them).")]
    if found.add:
        lines.append("Of these, other calls would show some. Add:")
        lines += [
            _paragraph(f"{EXPOSURES[name].meaning}: {_some(keys, every)}", indent="  ", more="    ")
            for name, keys in found.add.items()
        ]
    return "\n".join(lines)


def _some(keys: Iterable[str], every: bool, few: int = 3) -> str:
    keys = list(keys)
    if every or len(keys) <= few + 1:
        return ", ".join(keys)
    return f"{', '.join(keys[:few])} and {len(keys) - few} more"


def tokens_as_text(found: "TokenDiagnosis", every: bool = False) -> str:
    """The diagnosis of a tokenizer for a person.

    every  name each mistake that the texts can't show, and what would
    """
    parts = [_paragraph(found.sentence())]
    for mistake in found.blamed:
        lines = [mistake.key]
        lines.append(_labelled("looks like", mistake.looks_like))
        lines.append(_labelled("to mend it", mistake.mend))
        lines += [_labelled("made before" if place == 0 else "", wild) for place, wild in enumerate(mistake.wild)]
        parts.append("\n".join(line for line in lines if line))
    if found.example is not None:
        parts.append(_example(found.example))
    if found.verdict != "agrees" and found.candidates:
        rows = [("next nearest", "texts that it explains")]
        rows += [(key, f"{count} of {found.texts}") for key, count in found.candidates.items()]
        parts.append(table(rows, "lr"))
    if found.unseen:
        said = f"These texts can't show {_count(len(found.unseen), 'mistake')} of the catalogue"
        if every:
            rows = [(key, TOKEN_MISTAKES[key].shown_by) for key in found.unseen]
            parts.append(f"{said}. If at all, these would:\n" + table(rows, "ll"))
        else:
            parts.append(_paragraph(f"{said} (--all names them, and texts that would)."))
    return "\n\n".join(parts)


def _example(example: Mapping[str, Any]) -> str:
    rows = [
        ("text", visible(repr(example["text"]))[:WIDTH]),
        ("ours", _ids(example["ours"], example["our_pieces"])),
        ("theirs", _ids(example["theirs"], example["their_pieces"])),
    ]
    return f"The first text that differs is number {example['number']}; from token {example['token']} on:\n" + table(
        rows, "ll"
    )


def _ids(ids: Iterable[int], pieces: Iterable[str]) -> str:
    return "  ".join(f"{token} {visible(piece)}" for token, piece in zip(ids, pieces, strict=True)) or "nothing"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _labelled(label: str, text: str) -> str:
    return _paragraph(visible(text), indent=f"  {label:<{LABEL}}", more=" " * (LABEL + 2)) if text else ""


def _paragraph(text: str, indent: str = "", more: str | None = None) -> str:
    """Lines of at most 80 columns; addresses stay whole."""
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent if more is None else more,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
