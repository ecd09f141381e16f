"""What `numpy-llama compare` says to a person."""

from typing import TYPE_CHECKING

from numpy_llama.cli.terminal import table, visible
from numpy_llama.model.values import layer_of, table_name, value_named
from numpy_llama.study.compare.comparison import ELSEWHERE, Comparison, Finding, formula_of, grouped
from numpy_llama.study.compare.error_bars import HIDDEN
from numpy_llama.study.compare.places import ranges

if TYPE_CHECKING:
    from numpy_llama.study.compare.greedy_texts import GreedyReport
    from numpy_llama.study.compare.quantized import Prediction, QuantizedReport

FEW = 6  # lines of a list
_LAYER = "model.layers.{i}."
_MEASURES = ("KL divergence, mean (nats)", "largest of a token", "same likeliest token", "perplexity")


def as_text(comparison: Comparison, show_all: bool = False) -> str:
    """The comparison: what was compared, the first that disagrees, what follows from it, what doesn't."""
    lines = [_heading(comparison), *_notes(comparison), ""]
    first = comparison.first
    if first is None:
        lines += _agreement(comparison)
    else:
        lines += [*_first(comparison, first), "", *_rest(comparison, first)]
    lines += _left_out(comparison)
    if show_all:
        lines += ["", _every(comparison)]
    return "\n".join(lines)


def _heading(comparison: Comparison) -> str:
    calls = len(comparison.kinds)
    kinds = ", ".join(f"{comparison.kinds.count(kind)} {kind}" for kind in dict.fromkeys(comparison.kinds))
    count = len(comparison.findings)
    values = f"{count:,} value{'s' * (count != 1)}"
    return (
        f"{visible(comparison.theirs)}, held to {visible(comparison.ours)}\n"
        f"  {values} of {calls} call{'s' * (calls != 1)} ({kinds}), computed in {comparison.dtype}; "
        f"error bars {comparison.bars}"
    )


def _notes(comparison: Comparison) -> list[str]:
    by_note: dict[str, dict[str, None]] = {}
    for finding in comparison.findings:
        if finding.note and finding.verdict != "misfit":
            by_note.setdefault(finding.note, {})[table_name(finding.name).removeprefix(_LAYER)] = None
    lines = [f"  note: {visible(note)}" for note in comparison.notes]
    lines += [f"  {_several(list(names))}: {visible(note)}" for note, names in by_note.items()]
    return lines if len(lines) <= FEW else [*lines[:FEW], f"  … and {len(lines) - FEW} more notes"]


def _agreement(comparison: Comparison) -> list[str]:
    agreeing = [finding for finding in comparison.findings if finding.verdict == "agrees"]
    if not agreeing:
        return []
    worst = max(agreeing, key=lambda finding: finding.worst)
    what = (
        "All agree"
        if len(agreeing) == len(comparison.findings)
        else f"{len(agreeing):,} value{'s agree' if len(agreeing) != 1 else ' agrees'}"
    )
    return [
        f"✓ {what}. The number farthest from ours, in {worst.full_name}, is off by",
        f"  {worst.worst:.1f} error bars; up to 25 counts as rounding.",
    ]


def _first(comparison: Comparison, first: Finding) -> list[str]:
    how = first.difference
    kind = comparison.kinds[first.place]
    lines = [f"✗ First to disagree: {first.full_name}   ({kind})", f"    {formula_of(first.name)}"]
    if how is None:
        return lines
    where = how.place or "everywhere"
    lines.append(f"  how    {how.says}")
    lines.append(f"  where  {where}: {how.bad[0]:,} of {how.bad[1]:,} numbers")
    token = _token(comparison, first)
    index = ", ".join(str(i) for i in how.worst)
    write = _hidden_or if first.name.endswith("scores") else "{:.7g}".format
    ours, theirs = write(how.ours), write(how.theirs)
    lines.append(f"  worst  [{index}]{token}: ours {ours}, theirs {theirs}")
    units = f"{how.units:,.0f} error bars apart" if how.units < 1e15 else "farther apart than can be counted"
    if how.kind != "mask":
        lines.append(f"         {units} (a bar is {how.bar:.2g}; up to 25 counts as rounding)")
    if comparison.between:
        between = comparison.between
        span = visible(between[0]) if len(between) == 1 else f"{visible(between[0])} … {visible(between[-1])}"
        if comparison.before:
            lines.append(f"  after  {_several(comparison.before)}: agree{'s' * (len(comparison.before) == 1)}")
        values = "a value" if len(between) == 1 else f"{len(between)} values"
        lines.append(f"  lacks  {values} in between, in any of which it may begin: {span}")
        if kind != "prefill" and any(name.endswith((".keys", ".values")) for name in between):
            lines.append("         or in a call before, whose keys and values stay in the cache")
    elif comparison.before:
        lines.append(f"  reads  {_several(comparison.before)}: agree{'s' * (len(comparison.before) == 1)}")
        if first.name.endswith((".keys", ".values")) and not first.sourced:
            lines.append("         and what calls before left in the cache, which theirs lacks: it may begin there")
    return lines


def _hidden_or(score: float) -> str:
    return f"{score:.7g}" if score > -HIDDEN else "hidden"


def _token(comparison: Comparison, first: Finding) -> str:
    """The token at which the worst number stands."""
    how, value = first.difference, value_named(first.name)
    if how is None or value is None or not comparison.tokens or len(value.shape) != len(how.worst):
        return ""
    if "T" not in value.shape or value.shape[0] not in ("B", "1|B"):
        return ""
    rows = comparison.tokens[first.place]
    row, position = how.worst[0], how.worst[value.shape.index("T")]
    return f" (token “{visible(rows[row][position])}”)" if row < len(rows) and position < len(rows[row]) else ""


def _rest(comparison: Comparison, first: Finding) -> list[str]:
    after = sum(finding.place > first.place or finding is not first for finding in comparison.findings)
    lines = []
    following, others, unsure = comparison.following, comparison.others, comparison.unsure
    if following:
        kinds = {comparison.kinds[finding.place] for finding in following}
        count = f"{len(following):,} more value{'s disagree' if len(following) > 1 else ' disagrees'}"
        lines.append(f"  {count} ({', '.join(sorted(kinds))}), because of what is before:")
        if first.local is None:
            lines.append("  each reads one that disagrees. (Without a model that is all that can be told.)")
        else:
            lines.append(
                "  computed from their own values before, it agrees."
                if len(following) == 1
                else "  computed from their own values before, they agree."
            )
    elif not others and not unsure:
        lines.append(f"  Nothing else disagrees, of {after:,} values.")
    if others:
        own = "itself" if len(others) == 1 else "themselves"
        lines.append(f"  {len(others):,} not because of what is before: wrong by {own}")
        lines += _groups(first, others)
    if unsure:
        more = "more value" if following or others else "value"
        count = f"{len(unsure):,} {more}{'s disagree' if len(unsure) > 1 else ' disagrees'}"
        reads = "they read" if len(unsure) > 1 else "it reads"
        lines.append(f"  {count}, and may follow from what is before: theirs lacks some of what {reads}")
        lines += _groups(first, unsure)
    return lines


def _groups(first: Finding, others: list[Finding]) -> list[str]:
    lines = []
    groups = grouped([first, *others])
    for group in groups[:FEW]:
        how = group[0].difference
        says = "" if how is None else f": {how.says}" + (f" ({how.place})" if how.place else "")
        shown = [finding for finding in group if finding is not first]
        if shown:
            same = "the same again in " if group[0] is first else ""
            lines.append(f"    {same}{_group(shown)}{says if group[0] is not first else ''}")
    if len(groups) > FEW:
        lines.append(f"    … and {len(groups) - FEW} more kinds")
    return lines


def _group(group: list[Finding]) -> str:
    layers = sorted({layer for finding in group if (layer := layer_of(finding.name)) is not None})
    calls = sorted({finding.call for finding in group})
    name = table_name(group[0].name)
    if len(layers) == 1:
        name = group[0].name
    at = f" in layers {ranges(layers)}" if len(layers) > 1 else ""
    return f"{name}{at}, call{'s' * (len(calls) > 1)} {ranges(calls)}"


def _left_out(comparison: Comparison) -> list[str]:
    lines = []
    by_words: dict[str, list[str]] = {}
    for group in grouped([finding for finding in comparison.findings if finding.verdict == ELSEWHERE]):
        how = group[0].difference
        by_words.setdefault("" if how is None else how.says, []).append(table_name(group[0].name).removeprefix(_LAYER))
    for says, names in by_words.items():
        lines.append(f"  No mistake: {_several(names)} differ{'s' * (len(names) == 1)}, and all that is computed from")
        lines.append(f"    {'it' if len(names) == 1 else 'them'} agrees ({says})")
    for misfit in comparison.misfits[:FEW]:
        lines.append(f"  can't be compared: {misfit.full_name}: {misfit.note}")
    missing = sum(len(names) for names in comparison.missing)
    if missing:
        every = [names for names in comparison.missing if names]
        lines.append(f"  Not in theirs: {missing:,} values ({_several(every[0])})")
    if comparison.unknown:
        lines.append(f"  Names that no Llama has, not compared: {_several(_with_nearest(comparison))}")
    return ["", *lines] if lines else []


def _with_nearest(comparison: Comparison) -> list[str]:
    """Each unknown name once, whatever the call, with the name of ours that may be meant."""
    names = dict.fromkeys(full.partition("/")[2] for full in comparison.unknown)
    near = comparison.nearest
    return [f"{name} (meant: {near[name]}?)" if name in near else name for name in names]


def _every(comparison: Comparison) -> str:
    rows = [("value", "verdict", "typical", "worst", "from theirs")]
    for finding in comparison.findings:
        local = "" if finding.local is None else f"{finding.local:.3g}"
        verdict = "follows" if finding.explained and finding.verdict == "differs" else finding.verdict
        rows.append((visible(finding.full_name), verdict, f"{finding.typical:.3g}", f"{finding.worst:.3g}", local))
    return "Distances in error bars\n" + table(rows, "llrrr")


def _several(names: list[str]) -> str:
    shown = ", ".join(visible(name) for name in names[:4])
    return shown + (f", … ({len(names)})" if len(names) > 4 else "")


def quantized_text(report: "QuantizedReport", name: str) -> str:
    """The verdict on a port with quantized weights."""
    verdict = "✓ As near as honest kernels are." if report.status == 0 else "✗ Farther away than honest kernels are."
    columns = {"theirs": report.theirs, "ours, 8-bit activations": report.honest}
    if report.weights is not None:
        columns["ours, beside OURS"] = report.weights
    rows = [("", *columns)]
    rows += zip(*([_MEASURES] + [_prediction(one) for one in columns.values()]), strict=True)
    return "\n".join(
        [
            f"{visible(name)}, held to our model with the same dequantized weights",
            f"  {report.theirs.tokens:,} predictions",
            "",
            table(rows, "l" + "r" * len(columns)),
            "",
            verdict,
            f"  Their kernels round activations to 8 bits. That costs ours {report.honest.divergence:.2g} nats;",
            f"  a port may be ten times as far, {report.allowed:.2g}: others round in larger blocks.",
        ]
    )


def _prediction(prediction: "Prediction") -> tuple[str, ...]:
    perplexity = "" if prediction.perplexity is None else "{:.4g} for {:.4g}".format(*prediction.perplexity[::-1])
    shares = f"{prediction.same_top:.2%}"
    return f"{prediction.divergence:.3g}", f"{prediction.worst:.3g}", shares, perplexity


def greedy_text(reports: "list[GreedyReport]", name: str, decode: object) -> str:
    """The verdict on greedy texts."""
    steps = sum(report.steps for report in reports)
    texts = f"{len(reports)} text{'s' * (len(reports) != 1)}"
    lines = [f"{visible(name)}: {texts}, {steps:,} greedy tokens, held to our model step by step", ""]
    for index, report in enumerate(reports):
        at = f"text {index}, " if len(reports) > 1 else ""
        for fork in report.stepped_over:
            lines.append(
                f"  near-tie at {at}step {fork.step}: ours {_say(fork.chosen, decode)}, theirs "
                f"{_say(fork.expected, decode)}; logits {fork.gap:.2g} apart, a bar is {report.bars[fork.step]:.2g}"
            )
        for fork in report.differences[:FEW]:
            lines.append(
                f"✗ {at}step {fork.step}: ours {_say(fork.chosen, decode)}, theirs {_say(fork.expected, decode)}; "
                f"logits {fork.gap:.3g} apart, {fork.gap / report.bars[fork.step]:,.0f} error bars"
            )
        if len(report.differences) > FEW:
            lines.append(f"  … and {len(report.differences) - FEW} more")
    wrong = sum(len(report.differences) for report in reports)
    over = sum(len(report.stepped_over) for report in reports)
    if wrong:
        lines.append(f"  {wrong:,} of {steps:,} tokens are others than ours, and no near-ties.")
    else:
        ties = f", but for {over} near-tie{'s' * (over != 1)}, where either is right" if over else ""
        lines.append(f"✓ All tokens are ours{ties}.")
    return "\n".join(lines)


def _say(token: int, decode: object) -> str:
    return f"{token} “{visible(decode(token))}”" if callable(decode) else str(token)
