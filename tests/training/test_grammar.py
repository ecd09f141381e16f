"""The grammar that tells the storyteller's stories: what it tells, what it states about it, and what it refuses."""

import itertools
import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.training.grammar import Grammar, Story, Variable, Word, parse_template
from data.training.plots import GRAMMAR, PLOTS
from data.training.words import BOYS, COLOURS, GIRLS, NAMES, PLACES, SPOTS, THINGS, VARIABLES

SOME = list(itertools.islice(GRAMMAR.stories(seed=5), 120))
seeds = st.integers(0, 2**32)


def tell(seed: int) -> Story:
    return GRAMMAR.tell(random.Random(seed))


@pytest.fixture(scope="module")
def toy() -> Grammar:
    """Small enough to list by hand: 2 * (2 * 3 + 1 * 3 * 2) = 24 stories."""
    variables = {
        "pet": Variable((Word("cat", {"it": "she"}), Word("dog", {"it": "he"}))),
        "day": Variable((Word("Monday", {}), Word("Friday", {}), Word("Sunday", {}))),
        "next": Variable((Word("Monday", {}), Word("Friday", {}), Word("Sunday", {})), unlike={"day": ""}),
    }
    plots = {
        "short": "The {pet} (ran|slept) on {day}, and {pet.it} sang.",
        "long": "On {day} the {pet} ran. {pet.It} sang on {next}.",
    }
    return Grammar(plots, {}, variables)


def test_it_is_as_rich_as_promised() -> None:
    assert len(PLOTS) >= 12
    assert len({word.text for word in NAMES}) >= 30
    assert len({word.text for word in THINGS}) >= 40
    assert len({word.text for word in PLACES + SPOTS}) >= 20
    assert GRAMMAR.spread()[1] > 10**9
    for template in GRAMMAR.plots.values():
        assert GRAMMAR.spread(template)[1] > 10**9


def test_every_plot_is_told() -> None:
    told = {GRAMMAR.tell(random.Random(seed)).choices[0].taken for seed in range(300)}
    assert told == set(range(len(PLOTS)))


def test_names_are_girls_or_boys_and_never_both() -> None:
    assert not {word.text for word in GIRLS} & {word.text for word in BOYS}


def test_words_of_a_variable_differ() -> None:
    for name, variable in VARIABLES.items():
        texts = [word.text for word in variable.words]
        assert len(set(texts)) == len(texts), name


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_story_obeys_and_has_one_derivation_of_the_stated_probability(seed: int) -> None:
    story = tell(seed)
    verdict = GRAMMAR.judge(story.text)
    assert verdict.obeys
    assert verdict.derivations == (story,)
    product = math.prod(1 / choice.among for choice in verdict.derivations[0].choices)
    assert story.nats == pytest.approx(-math.log(product))


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_story_is_well_formed_english(seed: int) -> None:
    text = tell(seed).text
    assert 60 <= len(text.split()) <= 200
    assert text.isascii() and text == text.strip() and "  " not in text and "\n" not in text
    assert text.count('"') % 2 == 0
    assert text[-1] in '.!"'
    assert not re.search(r"[(){}|<>]| [.,!?]|\.\.|,,", text)
    assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text)  # no word here starts with a silent h or a long u
    for start in re.findall(r'(?:^|[.!?]"? )"?(\w)', text):
        assert start.isupper() or re.search(r'[!?]" ' + start, text)  # "Hooray!" cried Lily.


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_he_and_she_always_say_who_is_meant(seed: int) -> None:
    text = tell(seed).text
    present = {word.text for word in NAMES if re.search(rf"\b{word.text}\b", text)}
    girls, boys = present & {word.text for word in GIRLS}, present & {word.text for word in BOYS}
    assert 1 <= len(girls | boys) <= 2 and len(girls) <= 1 and len(boys) <= 1
    if re.search(r"\b([Ss]he|[Hh]er)\b", text):
        assert girls
    if re.search(r"\b([Hh]e|[Hh]is|[Hh]im)\b", text):
        assert boys


@given(seeds)
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    assert tell(seed) == tell(seed)


def test_a_stream_can_be_entered_anywhere() -> None:
    stream = list(itertools.islice(GRAMMAR.stories(seed=8), 6))
    assert list(itertools.islice(GRAMMAR.stories(seed=8, start=4), 2)) == stream[4:]
    assert stream[:2] != list(itertools.islice(GRAMMAR.stories(seed=9), 2))


def test_most_stories_open_as_stories_do() -> None:
    assert sum(story.text.startswith("Once upon a time") for story in SOME) > len(SOME) / 2


# What the grammar states about all of its stories.


def every_story(grammar: Grammar) -> list[Story]:
    """Walk all choices instead of drawing them."""
    told, open_walks = [], [(grammar.start(), "", 0.0)]
    while open_walks:
        state, said, nats = open_walks.pop()
        if state.rest is None:
            told.append((said, nats))
            continue
        text, ways, what = grammar.expand(state)
        cost = math.log(len(ways)) if what else 0.0
        open_walks += [(way, said + text, nats + cost) for way in ways]
    return told


def test_probabilities_sum_to_one_and_the_entropy_is_exact(toy: Grammar) -> None:
    told = every_story(toy)
    assert len({text for text, _ in told}) == len(told) == toy.spread()[1] == 24
    assert sum(math.exp(-nats) for _, nats in told) == pytest.approx(1)
    assert sum(nats * math.exp(-nats) for _, nats in told) == pytest.approx(toy.spread()[0])


def test_the_mean_story_costs_what_the_entropy_says() -> None:
    costs = [story.nats for story in itertools.islice(GRAMMAR.stories(seed=6), 500)]
    mean = sum(costs) / len(costs)
    error = math.sqrt(sum((cost - mean) ** 2 for cost in costs)) / len(costs)
    assert abs(mean - GRAMMAR.spread()[0]) < 5 * error


def test_how_many_words_are_left_never_depends_on_which_were_taken() -> None:
    """`spread` relies on it: the number of candidates depends on which variables are bound, not on their words."""
    for name, variable in VARIABLES.items():
        counts = set()
        for seed in range(50):
            rng = random.Random(seed)
            bound: dict[str, Word] = {}
            for other in variable.unlike:
                bound[other] = rng.choice(VARIABLES[other].candidates(bound))
            counts.add(len(variable.candidates(bound)))
        assert len(counts) == 1, name


# What the judge refuses, and where.


def later_mentions(text: str, words: tuple[Word, ...]) -> list[re.Match]:
    """The mentions of a word after its first, as long as no other of these words is in the text."""
    found = {word.text for word in words if re.search(rf"\b{word.text}\b", text)}
    if len(found) != 1:
        return []
    return list(re.finditer(rf"\b{found.pop()}\b", text))[1:]


def refuses(text: str, position: int, wrong: str, wanted: str) -> None:
    verdict = GRAMMAR.judge(text)
    assert not verdict.obeys
    assert verdict.position == text.rfind(" ", 0, position) + 1, verdict.problem
    assert wrong in verdict.problem.split(": expected")[0]
    assert any(word.startswith(wanted) for word in verdict.expected)


@given(st.sampled_from(SOME), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_another_colour_is_refused_where_it_stands(story: Story, rng: random.Random) -> None:
    mentions = later_mentions(story.text, COLOURS)
    if mentions:
        mention = rng.choice(mentions)
        kin = [w.text for w in COLOURS if w.text != mention[0] and (w.text[0] in "aeiou") == (mention[0][0] in "aeiou")]
        if kin:
            wrong = rng.choice(kin)
            text = story.text[: mention.start()] + wrong + story.text[mention.end() :]
            refuses(text, mention.start(), wrong, mention[0])


@given(st.sampled_from(SOME), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_another_name_is_refused_where_it_stands(story: Story, rng: random.Random) -> None:
    hero = re.search(r"(?:named|called) (\w+)", story.text)
    assert hero
    present = {word.text for word in NAMES if word.text in story.text}
    mention = rng.choice(list(re.finditer(rf"\b{hero[1]}\b", story.text))[1:])
    wrong = rng.choice([word.text for word in NAMES if word.text not in present])
    text = story.text[: mention.start()] + wrong + story.text[mention.end() :]
    refuses(text, mention.start(), wrong, hero[1])


@given(st.sampled_from(SOME), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_another_pronoun_is_refused_where_it_stands(story: Story, rng: random.Random) -> None:
    mentions = list(re.finditer(r"\b([Ss]?[Hh]e)\b", story.text))
    if mentions:
        mention = rng.choice(mentions)
        wrong = {"he": "she", "He": "She", "she": "he", "She": "He"}[mention[0]]
        text = story.text[: mention.start()] + wrong + story.text[mention.end() :]
        refuses(text, mention.start(), wrong, mention[0])


@given(st.sampled_from(SOME), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_quotation_that_does_not_close_is_refused(story: Story, rng: random.Random) -> None:
    closing = [match.start() for match in re.finditer('"', story.text)][1::2]
    if closing:
        position = rng.choice(closing)
        verdict = GRAMMAR.judge(story.text[:position] + story.text[position + 1 :])
        assert not verdict.obeys
        assert abs(verdict.position - position) < 25


@given(st.sampled_from(SOME), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_story_cut_short_or_run_on_is_refused(story: Story, rng: random.Random) -> None:
    cut = story.text[: rng.randrange(len(story.text))]
    assert not GRAMMAR.judge(cut).obeys
    run_on = GRAMMAR.judge(story.text + " Then it rained.")
    assert not run_on.obeys and "Then" in run_on.problem


@given(st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_other_text_is_refused(text: str) -> None:
    assert not GRAMMAR.judge(text).obeys


def test_the_judge_does_not_read_without_end() -> None:
    assert "longer than" in GRAMMAR.judge("Once upon a time " * 10_000).problem


# The template language.


def test_choices_slots_and_passages() -> None:
    variables = {"x": Variable((Word("ox", {"a": "an ox"}),))}
    grammar = Grammar({"only": "<start>(, (very |)well|)!"}, {"start": "See {x.a}: {x.A}"}, variables)
    told = {text for text, _ in every_story(grammar)}
    assert told == {"See an ox: An ox, very well!", "See an ox: An ox, well!", "See an ox: An ox!"}


@pytest.mark.parametrize("broken", ["(a|b", "a)b", "a|b", "{x", "x}", "<here"])
def test_a_broken_template_is_an_error(broken: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_template(broken, {})
