"""The story grammar: one set of templates that both tells stories and checks them.

A story is a row of stages (opening, trait, wish, ...), and each stage has a handful of sentence templates with slots.
`tell_story` fills the slots; `check_story` reads a text back through the very same templates and demands that the
stages come in order and that every slot keeps its value: the hero's name and pronoun, the place, the helper, the plot.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import cache

from story_plots import PLOTS, Plot
from story_words import (
    ADJECTIVES,
    ANIMALS,
    COLOURS,
    HE_NAMES,
    LAND_HELPERS,
    NOUN_PRONOUNS,
    PAL_NAMES,
    PLACES,
    RARE_ADJECTIVES,
    SHE_NAMES,
    TRAITS,
    WATER_HELPERS,
    habitat_of,
    with_article,
)

Slots = dict[str, str]

STAGES = ("opening", "trait", "wish", "obstacle", "feeling", "helper", "solution", "fulfilment", "ending")
OPTIONAL = frozenset({"trait", "feeling"})
PARAGRAPHS_BEFORE = frozenset({"obstacle", "fulfilment"})
MIN_SENTENCES, MAX_SENTENCES = 5, 9

FRAMES: dict[str, tuple[str, ...]] = {
    "opening": (
        "Once upon a time there was {a_subject} called {name}, who lived {place}.",
        "Once upon a time, {a_subject} called {name} lived {place}.",
        "Long ago, {a_subject} called {name} made {his} home {place}.",
        "There was once {a_subject} called {name}, and {he} lived {place}.",
    ),
    "wish": (
        "More than anything else, {name} wanted {wish}.",
        "{name} had one big wish, and that was {wish}.",
        "Every night {he} dreamed of one thing: {wish}.",
        "The {subject} had always wanted {wish}.",
    ),
    "obstacle": (
        "One bright morning {name} set to work, but {obstacle}.",
        "So one fine day {he} gave it a try, but {obstacle}.",
        "{name} tried with all {his} might, but {obstacle}.",
        "On the first day of spring the {subject} began at last, but {obstacle}.",
    ),
    "feeling": (
        "{name} sat down and let out a long sigh.",
        "A tear ran down {his} cheek, but {he} did not give up.",
        "For a while, the {subject} did not know what to do.",
        "{He} thought and thought, but no idea came.",
    ),
    "helper": (
        "Just then {helper} called {pal} came along and offered to help.",
        "Luckily, {helper} called {pal} had seen it all and wanted to help.",
        '"Let us try it together," said {helper} called {pal}.',
    ),
    "solution": (
        "Together, {name} and {pal} {solution}.",
        "{pal} had a good idea, and together they {solution}.",
        "With the help of {pal}, the {subject} {solution}.",
    ),
    "fulfilment": ("At last {fulfilled}.", "In the end {fulfilled}.", "And before long {fulfilled}."),
    "ending": (
        "From that day on, the {subject} and {pal} were the best of friends.",
        "That night {name} fell asleep with a smile, the happiest {noun} in the whole wide world.",
        "And everybody {here} still tells the story of the {subject} who never gave up.",
        "{name} thanked {pal} with a big hug, and the two of them laughed until the stars came out.",
    ),
}
COLOUR_TRAITS = (
    "{His} {adjective} {cover} shone in the morning sun.",
    "Everybody {here} admired {his} {adjective} {cover}.",
    "{His} {adjective} {cover} could be seen from far away.",
)
OTHER_TRAITS = (
    "Nobody else {here} was quite as {adjective} as {name}.",
    "Everybody {here} had heard of the {adjective} {noun}.",
)
PLAIN_TRAITS = ("Everybody {here} knew {name} and liked {him}.", "{He} was the only {noun} for miles around.")

PRONOUNS: dict[str, Slots] = {
    "he": {"he": "he", "He": "He", "his": "his", "His": "His", "him": "him", "himself": "himself"},
    "she": {"he": "she", "He": "She", "his": "her", "His": "Her", "him": "her", "himself": "herself"},
}
_GENDER = {**dict.fromkeys(HE_NAMES, "he"), **dict.fromkeys(SHE_NAMES, "she")}
_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def parse_subject(subject: str) -> tuple[list[str], str]:
    """Split `small red fox` into its adjectives and its noun."""
    *adjectives, noun = subject.split()
    return adjectives, noun


def split_sentences(text: str) -> list[str]:
    """The sentences of a text; no template has a full stop inside, so a stop and a blank always end one."""
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


@cache
def favourites(key: str, count: int) -> tuple[int, ...]:
    """Weights of `count` options for this key: each animal prefers some places, plots and phrases.

    Without this all options would be equally likely, and greedy decoding would tell every animal the same story.
    """
    start = zlib.crc32(key.encode()) % count
    return tuple(12 if i == start else 4 if i == (start * 3 + 1) % count else 1 for i in range(count))


def _pick(rng: random.Random, key: str, options: Sequence[str] | Sequence[int]) -> int:
    return rng.choices(range(len(options)), weights=favourites(key, len(options)))[0]


def initial_slots(subject: str, name: str | None = None) -> Slots:
    """What is known before the first sentence."""
    _, noun = parse_subject(subject)
    slots = {"subject": subject, "a_subject": with_article(subject), "noun": noun}
    if noun in ANIMALS:
        slots["cover"] = ANIMALS[noun].cover
    if name:
        slots["name"] = name
        slots |= PRONOUNS.get(_GENDER.get(name, ""), {})
    return slots


def _plot(slots: Slots) -> Plot:
    return next(plot for plot in PLOTS[habitat_of(slots["noun"])] if plot.key == slots["plot"])


def _trait_templates(slots: Slots) -> Iterator[str]:
    adjectives, _ = parse_subject(slots["subject"])
    for adjective in adjectives:
        if adjective in TRAITS:
            yield TRAITS[adjective]
            continue
        frames = COLOUR_TRAITS if adjective in COLOURS and "cover" in slots else OTHER_TRAITS
        yield from (frame.replace("{adjective}", adjective) for frame in frames)
    if not adjectives:
        yield from PLAIN_TRAITS


def variants(stage: str, slots: Slots) -> list[tuple[str, Slots]]:
    """Every template that this stage allows here, with what choosing it would fix for the later stages."""
    if stage == "trait":
        return [(template, {}) for template in _trait_templates(slots)]
    if stage == "wish":
        plots = PLOTS[habitat_of(slots["noun"])]
        return [(frame.replace("{wish}", p.wish), {"plot": p.key}) for p in plots for frame in FRAMES[stage]]
    if stage == "obstacle":
        ways = _plot(slots).obstacles
        return [(f.replace("{obstacle}", w[0]), {"solution": w[1]}) for w in ways for f in FRAMES[stage]]
    if stage == "fulfilment":
        return [(frame.replace("{fulfilled}", _plot(slots).fulfilled), {}) for frame in FRAMES[stage]]
    return [(frame, {}) for frame in FRAMES[stage]]


def _helpers(slots: Slots) -> list[str]:
    helpers = WATER_HELPERS if habitat_of(slots["noun"]) == "water" else LAND_HELPERS
    return [helper for helper in helpers if not helper.endswith(" " + slots["noun"])]


def _choices(slot: str, slots: Slots) -> list[str]:
    """The values that an unfilled slot can take."""
    if slot == "place":
        return [place for place, _ in PLACES[habitat_of(slots["noun"])]]
    if slot == "helper":
        return _helpers(slots)
    if slot == "pal":
        return [name for name in PAL_NAMES if name != slots.get("name")]
    raise KeyError(slot)


def _after(slots: Slots) -> None:
    """Fill in what follows from the other slots: the short name of the place, the pronouns of a known name."""
    if "place" in slots and "here" not in slots:
        slots["here"] = dict(PLACES[habitat_of(slots["noun"])])[slots["place"]]
    if "name" in slots and "he" not in slots and slots["name"] in _GENDER:
        slots |= PRONOUNS[_GENDER[slots["name"]]]


def own_name(rng: random.Random, noun: str) -> str:
    """A name for a hero that was given none: one with the first letter of the noun, as in Felix the fox."""
    wanted = NOUN_PRONOUNS.get(noun)
    fitting = [name for name, pronoun in _GENDER.items() if wanted in (None, pronoun)]
    names = [name for name in fitting if name[0].lower() == noun[0].lower()] or fitting
    return names[_pick(rng, f"name {noun}", names)]


def stages_of(rng: random.Random, noun: str, short: bool) -> list[str]:
    """Which stages a story has: short ones go without the optional stages, the others may skip the feeling."""
    if short:
        return [stage for stage in STAGES if stage not in OPTIONAL]
    feeling = _pick(rng, f"feeling {noun}", (0, 1))
    return [stage for stage in STAGES if stage != "feeling" or feeling]


def _tell_stage(rng: random.Random, stage: str, slots: Slots) -> str:
    adjectives, noun = parse_subject(slots["subject"])
    options = variants(stage, slots)
    key = f"{stage} {(adjectives or [noun])[-1] if stage == 'wish' else noun}"
    template, fixed = options[_pick(rng, key, [text for text, _ in options])]
    slots |= fixed
    for slot in _SLOT.findall(template):
        if slot not in slots:
            choices = _choices(slot, slots)
            slots[slot] = choices[_pick(rng, f"{slot} {slots.get('helper', noun)}", choices)]
    _after(slots)
    return template.format(**slots)


def tell_story(rng: random.Random, subject: str, name: str | None = None, short: bool = False) -> str:
    """One story about `subject`, whose hero is called `name` if one is given."""
    _, noun = parse_subject(subject)
    slots = initial_slots(subject, name or own_name(rng, noun))
    if "he" not in slots:
        slots |= PRONOUNS[rng.choice(("he", "she"))]
    story = ""
    for stage in stages_of(rng, noun, short):
        gap = "" if not story else "\n\n" if stage in PARAGRAPHS_BEFORE and not short else " "
        story += gap + _tell_stage(rng, stage, slots)
    return story


def _pattern(template: str, slots: Slots) -> re.Pattern[str]:
    """A template as a pattern: filled slots must repeat literally, open ones take any of their values."""
    seen: set[str] = set()

    def slot_pattern(slot: str) -> str:
        if slot in slots:
            return re.escape(slots[slot])
        if slot in seen:
            return f"(?P={slot})"
        seen.add(slot)
        values = "[A-Z][a-z]+" if slot == "name" else "|".join(map(re.escape, _choices(slot, slots)))
        return f"(?P<{slot}>{values})"

    parts = _SLOT.split(template)
    return re.compile("".join(slot_pattern(p) if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def _match(sentence: str, stage: str, slots: Slots) -> Slots | None:
    """The slots after reading `sentence` as this stage, or None if no template fits."""
    for template, fixed in variants(stage, slots):
        pronouns = set(_SLOT.findall(template)) & set(PRONOUNS["he"])
        readings = list(PRONOUNS.values()) if pronouns and "he" not in slots else [{}]
        for reading in readings:
            found = _pattern(template, slots | reading).fullmatch(sentence)
            if found:
                after = slots | reading | fixed | found.groupdict()
                if reading and _GENDER.get(after["name"], reading["he"]) != reading["he"]:
                    continue
                _after(after)
                return after
    return None


def check_story(text: str, subject: str, name: str | None = None) -> list[str]:
    """What is wrong with this story about `subject` (and about `name`, if given); an empty list means nothing is."""
    slots, violations, stage = initial_slots(subject, name), [], 0
    sentences = split_sentences(text)
    for number, sentence in enumerate(sentences, 1):
        for index in range(stage, len(STAGES)):
            after = _match(sentence, STAGES[index], slots)
            if after is not None:
                slots, stage = after, index + 1
                break
            if STAGES[index] not in OPTIONAL:
                violations.append(f"sentence {number} does not fit as {STAGES[index]}: {sentence}")
                break
        else:
            violations.append(f"sentence {number} comes after the ending: {sentence}")
    violations += [f"the story has no {missing}" for missing in STAGES[stage:] if missing not in OPTIONAL]
    if not MIN_SENTENCES <= len(sentences) <= MAX_SENTENCES:
        violations.append(f"{len(sentences)} sentences, not {MIN_SENTENCES} to {MAX_SENTENCES}")
    return violations


def known_adjectives() -> tuple[str, ...]:
    """Every adjective that training uses, the rare ones included."""
    return (*ADJECTIVES, *RARE_ADJECTIVES)
