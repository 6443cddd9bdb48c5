"""The words that stories are made of: animals, adjectives, names, places and helpers.

Plain data and a few look-ups, kept apart from the grammar so that a word can be added without reading code.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Animal:
    """Where an animal lives, and what a colour is seen on (its fur, its feathers ...)."""

    habitat: str
    cover: str


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    """The words of a text: long lists stay readable when they are written as one."""
    return tuple(text.split(separator))


def _animals(habitat: str, text: str) -> dict[str, Animal]:
    """Read `noun:cover` pairs: a table that one can read at a glance."""
    pairs = (item.split(":") for item in text.split())
    return {noun: Animal(habitat, cover) for noun, cover in pairs}


ANIMALS: dict[str, Animal] = {
    **_animals(
        "forest",
        "fox:fur bear:fur wolf:fur deer:coat rabbit:fur squirrel:tail hedgehog:nose badger:fur mouse:fur mole:fur "
        "raccoon:tail beaver:fur weasel:fur hare:fur moose:coat lynx:fur chipmunk:tail snail:shell",
    ),
    **_animals(
        "farm",
        "cow:coat horse:coat pig:nose sheep:wool goat:coat hen:feathers duck:feathers goose:feathers donkey:coat "
        "dog:fur cat:fur kitten:fur puppy:fur pony:coat lamb:wool rooster:feathers turkey:feathers hamster:fur",
    ),
    **_animals(
        "jungle",
        "lion:mane tiger:fur elephant:skin monkey:fur giraffe:coat zebra:coat panda:fur koala:fur kangaroo:fur "
        "camel:coat hippo:skin leopard:fur sloth:fur lizard:scales snake:scales crocodile:scales llama:wool",
    ),
    **_animals(
        "water",
        "fish:scales whale:skin dolphin:skin octopus:skin crab:shell seal:fur turtle:shell shark:skin frog:skin "
        "otter:fur penguin:feathers seahorse:scales lobster:shell",
    ),
    **_animals(
        "sky",
        "owl:feathers sparrow:feathers robin:feathers eagle:feathers crow:feathers parrot:feathers swan:feathers "
        "butterfly:wings bee:wings bat:wings dragonfly:wings raven:feathers",
    ),
    **_animals(
        "wonder",
        "dragon:scales unicorn:mane robot:paint dinosaur:scales griffin:feathers fairy:wings gnome:hat wizard:hat "
        "pirate:hat princess:dress knight:armour giant:beard",
    ),
}

# Heroes that are no animals at all: they teach the model to take the noun from the question.
THINGS = words(
    "teapot computer car train tree flower cloud moon star boat king queen prince teacher baker farmer painter sailor "
    "astronaut girl boy cookie apple potato pumpkin snowman scarecrow clock lamp umbrella sock shoe book pencil piano "
    "drum kite balloon bicycle rocket tractor lighthouse castle mountain river ghost monster witch mermaid clown "
    "detective doctor chef cactus mushroom tomato carrot pancake cupcake spoon button pillow mirror door window chair "
    "table bell candle stone feather leaf raindrop snowflake shadow spider ant worm beetle caterpillar grasshopper"
)

PLURALS = {
    "wolf": "wolves",
    "mouse": "mice",
    "goose": "geese",
    "deer": "deer",
    "sheep": "sheep",
    "fish": "fish",
    "pony": "ponies",
    "puppy": "puppies",
    "fairy": "fairies",
    "butterfly": "butterflies",
    "dragonfly": "dragonflies",
    "lynx": "lynxes",
    "fox": "foxes",
    "octopus": "octopuses",
    "princess": "princesses",
    "walrus": "walruses",
    "ostrich": "ostriches",
    "moose": "moose",
}

COLOURS = words("red blue green yellow white black brown grey golden silver orange pink purple")

# One sentence for each adjective that says how it shows. Colours have templates of their own in the grammar.
TRAITS: dict[str, str] = {
    "little": "{He} was so little that {he} could sleep in a teacup.",
    "small": "{He} was so small that {he} could hide behind a single leaf.",
    "tiny": "{He} was so tiny that a raindrop could knock {him} over.",
    "big": "{He} was so big that {his} bed was made from two haystacks.",
    "huge": "{He} was so huge that the ground shook whenever {he} laughed.",
    "tall": "{He} was so tall that {he} could talk to the clouds.",
    "brave": "{He} was not afraid of thunder, nor of the dark.",
    "shy": "{He} hid behind the nearest stone whenever somebody said hello.",
    "curious": "{He} asked at least a hundred questions every day.",
    "sleepy": "{He} yawned so often that everybody around {him} yawned as well.",
    "hungry": "{He} thought about breakfast, lunch and dinner all day long.",
    "grumpy": "{He} grumbled at the rain, and {he} grumbled at the sun.",
    "lonely": "{He} often sat by {himself} and wished for a friend.",
    "clever": "{He} could count every star and solve every riddle.",
    "happy": "{He} whistled a merry tune wherever {he} went.",
    "sad": "{He} sighed a lot, and nobody knew why.",
    "kind": "{He} always shared {his} food with anybody who was hungry.",
    "old": "{He} had seen a great many winters and remembered them all.",
    "young": "{He} was still learning how the world worked.",
    "lazy": "{He} never got out of bed before noon.",
    "noisy": "{He} sang so loudly that the windows rattled.",
    "quiet": "{He} walked so softly that nobody ever heard {him} coming.",
    "quick": "{He} could run around the whole place before breakfast.",
    "slow": "{He} took {his} time and noticed every flower on the way.",
    "gentle": "{He} never stepped on a flower or an ant.",
    "silly": "{He} liked to wear a flowerpot as a hat.",
    "proud": "{He} held {his} head high wherever {he} went.",
    "polite": "{He} said please and thank you even to the trees.",
    "clumsy": "{He} tripped over {his} own feet at least twice a day.",
    "lucky": "{He} found a clover with four leaves every single morning.",
    "friendly": "{He} knew everybody by name and waved at them all.",
    "wise": "{He} always thought twice before {he} said a word.",
    "fluffy": "{He} was so soft that {he} looked like a small cloud.",
    "hopeful": "{He} believed that every morning brought something good.",
    "dreamy": "{He} could watch the clouds for hours.",
    "playful": "{He} turned every chore into a game.",
}
ADJECTIVES = (*COLOURS, *TRAITS)

# What is not in the lists above still has to be understood: these are seen in questions only now and then.
RARE_ADJECTIVES = words(
    "wooden magic invisible musical wild famous secret round square sparkling rusty frozen electric dusty fancy cosy "
    "nervous jolly mighty forgetful talking flying dancing singing lost strange funny beautiful angry rich poor"
)

HE_NAMES = words(
    "Arthur Albert Barney Bruno Casper Charlie Dexter Duncan Edgar Ernie Felix Finn George Gus Henry Hugo Ivan Igor "
    "Jasper Jack Kasimir Karl Leo Linus Max Milo Nico Ned Oscar Oliver Percy Pip Quentin Quincy Rufus Rory Sam Simon "
    "Theo Tom Ulrich Umberto Victor Vincent Walter Willy Xaver Yuri Yannick Zack Zeno"
)
SHE_NAMES = words(
    "Alice Amber Bella Betty Clara Coco Daisy Dora Ella Emma Flora Fern Greta Gwen Hazel Holly Ida Iris Julia Josie "
    "Kate Kira Lily Luna Maya Molly Nora Nelly Olive Ophelia Penny Poppy Queenie Quilla Ruby Rosie Sally Sophie Tilda "
    "Tess Una Ursula Vera Viola Willow Wanda Xenia Yara Yvonne Zoe Zelda"
)
# Nouns that say whether the hero is a she or a he; every other hero can be either.
NOUN_PRONOUNS = {
    **dict.fromkeys(words("princess queen girl witch mermaid hen cow fairy"), "she"),
    **dict.fromkeys(words("prince king boy wizard rooster knight"), "he"),
}
PAL_NAMES = words("Mabel Otto Benno Hilda Fritz Pearl Basil Ginger Toby Martha Cosmo Ada Jonas Peggy Rollo Winnie")

# How a place is introduced, and how it is called afterwards.
PLACES: dict[str, tuple[tuple[str, str], ...]] = {
    "forest": (
        ("in a quiet forest", "in the forest"),
        ("at the edge of a dark wood", "in the wood"),
        ("under the roots of an old oak", "by the old oak"),
        ("in a green valley", "in the valley"),
        ("near a silver brook", "by the brook"),
        ("on a mossy hill", "on the hill"),
    ),
    "farm": (
        ("on a sunny farm", "on the farm"),
        ("behind a red barn", "by the barn"),
        ("in a small village", "in the village"),
        ("next to an old mill", "by the mill"),
        ("in a wide meadow", "in the meadow"),
    ),
    "jungle": (
        ("in a deep jungle", "in the jungle"),
        ("on a wide plain", "on the plain"),
        ("beside a slow brown river", "by the river"),
        ("in the shade of a great fig tree", "by the fig tree"),
        ("near a warm waterfall", "by the waterfall"),
    ),
    "water": (
        ("in a clear blue bay", "in the bay"),
        ("beside a coral reef", "at the reef"),
        ("in a round green pond", "in the pond"),
        ("near a small island", "around the island"),
        ("at the bottom of a deep lake", "in the lake"),
    ),
    "sky": (
        ("at the top of a tall pine", "by the tall pine"),
        ("in an old church tower", "around the tower"),
        ("in a garden full of roses", "in the garden"),
        ("high up on a windy cliff", "on the cliff"),
        ("in a blossoming orchard", "in the orchard"),
    ),
    "wonder": (
        ("in a land behind the clouds", "behind the clouds"),
        ("in a castle made of glass", "in the castle"),
        ("on an island that nobody knew", "on the island"),
        ("in a cave full of crystals", "in the cave"),
        ("at the end of the rainbow", "under the rainbow"),
    ),
}
PLACES["other"] = (PLACES["farm"][2], PLACES["forest"][3], PLACES["wonder"][0], PLACES["sky"][2])

LAND_HELPERS = (
    "a wise old owl",
    "a friendly beaver",
    "a cheerful mouse",
    "a patient snail",
    "a kind grey goose",
    "a clever magpie",
    "a gentle bear",
    "a busy little ant",
    "a jolly toad",
    "a quick brown hare",
)
WATER_HELPERS = (
    "an old sea turtle",
    "a friendly dolphin",
    "a tiny crab",
    "a clever octopus",
    "a gentle whale",
    "a cheerful seal",
)

HELD_OUT_SHARE = 10


def held_out(adjective: str, noun: str) -> bool:
    """Whether this pair is kept out of training, so that stories about it show what was generalised."""
    return zlib.crc32(f"{adjective} {noun}".encode()) % HELD_OUT_SHARE == 0


def habitat_of(noun: str) -> str:
    """The habitat of a hero; `other` for whatever is not in the table."""
    animal = ANIMALS.get(noun)
    return animal.habitat if animal else "other"


def plural_of(noun: str) -> str:
    """The plural, for questions such as `a story about foxes`."""
    return PLURALS.get(noun, noun + "s")


def with_article(phrase: str) -> str:
    """`a red fox`, `an old owl`: by the first letter, which is right for every word in these lists."""
    return f"{'an' if phrase[:1].lower() in 'aeiou' else 'a'} {phrase}"
