"""A grammar whose stories are programs of choices: it tells stories, weighs them exactly, and judges any text.

A plot is a template. It holds plain text and three kinds of brackets:

    (big|small|)     one of these, each equally likely; an option may be empty or hold further brackets
    {toy} {hero.he}  a variable, in one of its forms; the first mention chooses a word, later ones repeat that word;
                     a form that starts with a capital capitalises ({hero.He}, {sound.Text})
    <opening>        a passage shared between plots, put in as if it were written out here

Telling a story walks through the template and chooses at random. Judging a text walks through the same template and
takes every choice that agrees with the text. Both walk with `Grammar.expand`, so they cannot disagree. Every choice is
uniform: the probability of a story is the product of 1/n over its choices, because no story can be told in two ways
(the tests hold the grammar to that).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, eq=False)
class Word:
    """A word or short phrase, with the forms that agreement asks for ("girl", "he", "a", ...)."""

    text: str
    forms: Mapping[str, str]

    def form(self, name: str) -> str:
        if not name:
            return self.text
        if name == "Text":
            return self.text[0].upper() + self.text[1:]
        found = self.forms.get(name)
        if found is None:
            found = self.forms[name.lower()]
            found = found[0].upper() + found[1:]
        return found


@dataclass(frozen=True, eq=False)
class Variable:
    """The words a variable may stand for; `unlike` names variables from which it must differ in a form."""

    words: tuple[Word, ...]
    unlike: Mapping[str, str] = field(default_factory=dict)

    def candidates(self, bound: Mapping[str, Word]) -> list[Word]:
        taken = [(form, bound[other].form(form)) for other, form in self.unlike.items() if other in bound]
        return [word for word in self.words if all(word.form(form) != said for form, said in taken)]


@dataclass(frozen=True, eq=False)
class Slot:
    """A mention of a variable."""

    variable: str
    form: str


@dataclass(frozen=True, eq=False)
class OneOf:
    """A choice between templates; `what` names it where choices are listed."""

    options: tuple[Template, ...]
    what: str = "words"


Template = tuple["str | Slot | OneOf", ...]


class State(NamedTuple):
    """How far a walk has come: the nodes still to walk, as a linked list, and what the variables stand for."""

    rest: tuple | None
    bound: Mapping[str, Word]


class Choice(NamedTuple):
    """One choice that a walk made: what was chosen, which of the options, and how many there were."""

    what: str
    taken: int
    among: int


class Expansion(NamedTuple):
    """What one step of a walk says, and where it may go on. More than one way on is a choice."""

    said: str
    ways: list[State]
    what: str = ""


@dataclass(frozen=True)
class Story:
    """A story with the choices that told it."""

    text: str
    choices: tuple[Choice, ...]

    @property
    def nats(self) -> float:
        """-log of the story's probability."""
        return sum(math.log(choice.among) for choice in self.choices)


@dataclass(frozen=True)
class Verdict:
    """What the judge found: the derivations of the text (one if it is a story), or else where it stops being one."""

    derivations: tuple[Story, ...]
    problem: str = ""
    position: int = -1
    expected: tuple[str, ...] = ()

    @property
    def obeys(self) -> bool:
        return bool(self.derivations)


def parse_template(source: str, passages: Mapping[str, str]) -> Template:
    """Read a template. Line breaks count as one space, and as none beside a bracket or bar of a choice."""
    source = re.sub(r"(?<=[(|])\s*\n\s*|\s*\n\s*(?=[|)])", "", source.strip())
    source = re.sub(r"\s*\n\s*", " ", source)
    tokens = re.findall(r"[(|)]|\{[^}]*\}|<[^>]*>|[^(|){}<>]+", source)
    if "".join(tokens) != source:
        raise ValueError(f"stray bracket in template {source!r}")
    tokens.reverse()

    def sequence() -> Template:
        nodes: list[str | Slot | OneOf] = []
        while tokens and tokens[-1] not in ("|", ")"):
            token = tokens.pop()
            if token == "(":
                options = [sequence()]
                while tokens and tokens[-1] == "|":
                    tokens.pop()
                    options.append(sequence())
                if not tokens:
                    raise ValueError(f"a choice never closes in template {source!r}")
                tokens.pop()
                nodes.append(OneOf(tuple(options)))
            elif token[0] == "{":
                variable, _, form = token[1:-1].partition(".")
                nodes.append(Slot(variable, form))
            elif token[0] == "<":
                nodes.extend(parse_template(passages[token[1:-1]], passages))
            else:
                nodes.append(token)
        return tuple(nodes)

    template = sequence()
    if tokens:
        raise ValueError(f"{tokens[-1]!r} without a choice in template {source!r}")
    return template


class Grammar:
    """Plots over variables. `tell` makes stories, `judge` reads them, `spread` counts and weighs all of them."""

    MAX_CHARACTERS = 4000  # no story is longer; the judge rejects longer texts unread
    MAX_STEPS = 100_000  # a story takes some thousands of steps

    def __init__(self, plots: Mapping[str, str], passages: Mapping[str, str], variables: Mapping[str, Variable]):
        self.variables = variables
        self.plots = {name: parse_template(source, passages) for name, source in plots.items()}
        self.root: Template = (OneOf(tuple(self.plots.values()), "plot"),)

    def expand(self, state: State) -> Expansion:
        """Walk one node on. Both the teller and the judge know the grammar through this method only."""
        assert state.rest is not None
        node, rest = state.rest
        if isinstance(node, str):
            return Expansion(node, [State(rest, state.bound)])
        if isinstance(node, OneOf):
            return Expansion("", [State(_before(option, rest), state.bound) for option in node.options], node.what)
        if node.variable in state.bound:
            return Expansion(state.bound[node.variable].form(node.form), [State(rest, state.bound)])
        words = self.variables[node.variable].candidates(state.bound)
        return Expansion("", [State(state.rest, {**state.bound, node.variable: word}) for word in words], node.variable)

    def start(self) -> State:
        return State(_before(self.root, None), {})

    def tell(self, rng: random.Random) -> Story:
        """Tell one story. The same generator state tells the same story."""
        state, said, choices = self.start(), [], []
        while state.rest is not None:
            text, ways, what = self.expand(state)
            said.append(text)
            taken = rng.randrange(len(ways)) if len(ways) > 1 else 0
            if what:
                choices.append(Choice(what, taken, len(ways)))
            state = ways[taken]
        return Story("".join(said), tuple(choices))

    def stories(self, seed: int, start: int = 0) -> Iterator[Story]:
        """An endless stream of stories. Story number i depends on the seed and on i only."""
        index = start
        while True:
            yield self.tell(random.Random((seed << 40) + index))
            index += 1

    def judge(self, text: str) -> Verdict:
        """Find every way to tell this text, or else the first place that no story shares with it.

        The problem reads like "at 'blue ball.': expected 'red'"; the position is the index of that word in the text.
        """
        if len(text) > self.MAX_CHARACTERS:
            return Verdict((), f"longer than {self.MAX_CHARACTERS} characters", self.MAX_CHARACTERS)
        found: list[Story] = []
        furthest, expected = -1, set[str]()
        # Depth first. A path is (state, characters read, choices made as a linked list).
        paths: list[tuple[State, int, tuple | None]] = [(self.start(), 0, None)]
        steps = 0
        while paths:
            steps += 1
            if steps > self.MAX_STEPS:
                return Verdict((), "too many readings", max(furthest, 0))
            state, read, choices = paths.pop()
            if state.rest is None:
                if read == len(text):
                    found.append(Story(text, _unlinked(choices)))
                    continue
                said, ways, what = Expansion("\n", [])  # the story is over, the text is not
            else:
                said, ways, what = self.expand(state)
            if not text.startswith(said, read):
                agree = next(i for i in range(len(said) + 1) if text[read + i : read + i + 1] != said[i : i + 1])
                word = _word_start(text, read + agree)
                if word >= furthest:
                    if word > furthest:
                        furthest, expected = word, set()
                    expected.add("the end" if said == "\n" else _word_around(text[:read] + said, read + agree))
                continue
            for taken in reversed(range(len(ways))):
                made = (Choice(what, taken, len(ways)), choices) if what else choices
                paths.append((ways[taken], read + len(said), made))
        if found:
            return Verdict(tuple(found))
        here = " ".join(text[furthest:].split()[:3]) or "the end"
        wanted = " or ".join(repr(word) for word in sorted(expected)[:6]) + (" ..." if len(expected) > 6 else "")
        return Verdict((), f"at {here!r}: expected {wanted}", furthest, tuple(sorted(expected)))

    def spread(self, template: Template | None = None) -> tuple[float, int]:
        """(entropy in nats, number of stories) of a template, or of the whole grammar, both exact.

        Words are chosen uniformly, and how many there are never depends on which word another variable holds (the tests
        check it). So it is enough to carry along which variables are bound, with the probability and the number of
        ways of that.
        """
        entropy = 0.0

        def walk(nodes: Template, before: dict[frozenset, tuple[float, int]]) -> dict[frozenset, tuple[float, int]]:
            nonlocal entropy
            for node in nodes:
                after: dict[frozenset, tuple[float, int]] = {}
                if isinstance(node, str):
                    continue
                for names, (chance, ways) in before.items():
                    if isinstance(node, OneOf):
                        n = len(node.options)
                        branches = [walk(option, {names: (chance / n, ways)}) for option in node.options]
                        entropy += chance * math.log(n)
                    elif node.variable in names:
                        branches = [{names: (chance, ways)}]
                    else:
                        variable = self.variables[node.variable]
                        n = len(variable.candidates(self._example(names)))
                        branches = [{names | {node.variable}: (chance, ways * n)}]
                        entropy += chance * math.log(n)
                    for branch in branches:
                        for key, (p, w) in branch.items():
                            known = after.get(key, (0.0, 0))
                            after[key] = (known[0] + p, known[1] + w)
                before = after
            return before

        ends = walk(self.root if template is None else template, {frozenset(): (1.0, 1)})
        return entropy, sum(ways for _, ways in ends.values())

    def _example(self, names: frozenset[str]) -> dict[str, Word]:
        """Some words that these variables could hold together."""
        bound: dict[str, Word] = {}
        for name, variable in self.variables.items():
            if name in names:
                bound[name] = variable.candidates(bound)[0]
        return bound


def _before(template: Template, rest: tuple | None) -> tuple | None:
    for node in reversed(template):
        rest = (node, rest)
    return rest


def _unlinked(choices: tuple | None) -> tuple[Choice, ...]:
    listed = []
    while choices is not None:
        choice, choices = choices
        listed.append(choice)
    return tuple(reversed(listed))


def _word_start(text: str, position: int) -> int:
    return text.rfind(" ", 0, position) + 1


def _word_around(text: str, position: int) -> str:
    """The word that holds this position; where a space stands there, the word before it."""
    start = _word_start(text, position)
    end = text.find(" ", position)
    return text[start:] if end < 0 else text[start:end]
