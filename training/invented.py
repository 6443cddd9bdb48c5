"""Names and words that do not exist: they can only be copied, and so teach copying."""

from __future__ import annotations

import random

from story_words import HE_NAMES, SHE_NAMES, words

_ONSETS = words(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sh sl sm sn sp st t th tr v w wh y z"
)
_VOWELS = words("a e i o u ee oo ai ea ou")
_CODAS = words("b ck d ff g l ll m n nd ng nt p r rk rt s sh ss st t x z")


def invented_word(rng: random.Random) -> str:
    """A word that does not exist: it can only be copied, and so teaches copying."""
    word = rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
    if rng.random() < 0.5:
        word += rng.choice(_VOWELS) + rng.choice(_CODAS)
    if rng.random() < 0.3:
        word = rng.choice("aeiou") + word
    return word + rng.choice(("", "", "", "y", "o", "a", "er"))


def hero_name(rng: random.Random) -> str:
    """A name that somebody might ask for: mostly a common one, otherwise an invented one."""
    if rng.random() < 0.6:
        return rng.choice((*HE_NAMES, *SHE_NAMES))
    return invented_word(rng).capitalize()
