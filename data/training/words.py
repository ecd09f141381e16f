"""The words a story draws from, each with the forms in which it can stand in a sentence.

A form is looked up by name: `{hero.he}` in a template asks the bound name for its form "he". Forms hold all the
agreement there is: pronouns hang on names, articles on colours and things, prepositions on places, so that a template
cannot get them wrong.
"""

from .grammar import Variable, Word


def _a(text: str) -> str:
    """The text with its article, chosen by the first letter (no word below starts with a silent h or a long u)."""
    return ("an " if text[0] in "aeiou" else "a ") + text


def _names(texts: str, girl: str, he: str, him: str, his: str) -> tuple[Word, ...]:
    return tuple(Word(text, {"girl": girl, "he": he, "him": him, "his": his}) for text in texts.split())


def _nouns(texts: str) -> tuple[Word, ...]:
    """Regular nouns and adjectives: `.a` with the article, `.s` the plural (which adjectives never ask for)."""
    return tuple(Word(text, {"a": _a(text), "s": text + "s"}) for text in texts.split())


def _plain(*texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, {}) for text in texts)


def _places(*texts: str) -> tuple[Word, ...]:
    """Where something happens ("by the pond"), with the way there ("to the pond")."""
    return tuple(Word(text, {"to": "to " + text.split(" ", 1)[1]}) for text in texts)


GIRLS = _names(
    "Lily Mia Anna Rosa Ella Zoe Nina Ruby Clara Maya Sofia Hana Ivy Leila Tara Amy", "girl", "she", "her", "her"
)
BOYS = _names("Ben Tom Max Sam Leo Jack Finn Omar Noah Hugo Ravi Milo Theo Ken Paul Luca", "boy", "he", "him", "his")
NAMES = GIRLS + BOYS
ELDERS = _plain("Mom", "Dad", "Grandma", "Grandpa")
PETS = _plain("Pip", "Dot", "Sunny", "Coco", "Biscuit", "Pepper", "Button", "Lucky")  # names without he or she: "it"

COLOURS = _nouns("red blue green yellow purple orange pink white")
TOYS = _nouns("ball kite boat drum truck train doll robot top bear puppet whistle wagon horn rocket horse")
CLOTHES = _nouns("hat scarf coat cap sweater jacket cape shawl")
WRAPS = tuple(word for word in CLOTHES if word.text not in ("hat", "cap"))  # big enough to wrap a kitten in
TREASURES = _nouns("shell stone feather button bead marble acorn coin pebble chestnut")
FOODS = _nouns("apple pear peach plum cookie muffin bun pancake waffle banana")
BAKES = _nouns("cake pie tart pudding pizza")
HOLDERS = _nouns("bucket basket bag box jar")
THINGS = TOYS + CLOTHES + TREASURES + FOODS + BAKES + HOLDERS

ANIMALS = tuple(
    Word(text, {"a": _a(text), "noise": noise})
    for text, noise in [
        ("kitten", "meow"),
        ("puppy", "woof"),
        ("duck", "quack"),
        ("bird", "tweet"),
        ("owl", "hoot"),
        ("mouse", "squeak"),
        ("lamb", "baa"),
        ("piglet", "oink"),
        ("hen", "cluck"),
        ("frog", "croak"),
    ]
)

PLACES = _places(
    "in the garden",
    "at the park",
    "by the pond",
    "by the river",
    "on the hill",
    "in the forest",
    "in the meadow",
    "on the beach",
    "at the farm",
    "near the bridge",
    "by the lake",
    "under the old oak",
    "in the orchard",
    "in the field",
    "by the mill",
    "in the yard",
)
SPOTS = _places(
    "under the bed",
    "behind the sofa",
    "in the closet",
    "on the shelf",
    "under the table",
    "behind the door",
    "in the cupboard",
    "under the stairs",
    "in the kitchen",
    "behind the curtain",
)
GOALS = _plain("big rock", "tall tree", "old gate", "stone well", "wooden fence", "little hut")
SKILLS = _plain(
    "whistle", "juggle", "dance", "jump rope", "ride a bike", "fly a kite", "do a cartwheel", "play the flute"
)
SOUNDS = _plain("tap", "bump", "scratch", "creak", "thump")
MONSTERS = _plain("monster", "dragon", "ghost", "giant")

_COUNT = "one two three four five six seven eight nine".split()
NUMBERS = tuple(Word(_COUNT[n - 1], {"count": ", ".join(_COUNT[:n]), "more": _COUNT[n]}) for n in range(3, 9))

# What each variable of the plots may stand for. The friend is a boy where the hero is a girl and the other way round:
# "he" and "she" then always say who is meant. Where two colours, foods or spots stand side by side in a story,
# each comes from words of its own, so they are never the same.
VARIABLES = {
    "hero": Variable(NAMES),
    "friend": Variable(NAMES, unlike={"hero": "he"}),
    "elder": Variable(ELDERS),
    "pet": Variable(PETS),
    "colour": Variable(COLOURS),
    "ribbon_colour": Variable(COLOURS[:4]),
    "other_colour": Variable(COLOURS[4:]),
    "toy": Variable(TOYS),
    "garment": Variable(CLOTHES),
    "wrap": Variable(WRAPS),
    "treasure": Variable(TREASURES),
    "food": Variable(FOODS),
    "snack": Variable(FOODS[:6]),
    "other_snack": Variable(FOODS[6:]),
    "bake": Variable(BAKES),
    "holder": Variable(HOLDERS),
    "animal": Variable(ANIMALS),
    "place": Variable(PLACES),
    "spot": Variable(SPOTS),
    "first_spot": Variable(SPOTS[:4]),
    "next_spot": Variable(SPOTS[4:7]),
    "last_spot": Variable(SPOTS[7:]),
    "goal": Variable(GOALS),
    "skill": Variable(SKILLS),
    "sound": Variable(SOUNDS),
    "monster": Variable(MONSTERS),
    "number": Variable(NUMBERS),
}
