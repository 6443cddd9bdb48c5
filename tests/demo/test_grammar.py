"""The story checker accepts what the grammar tells and refuses what it does not."""

from __future__ import annotations

import random

import pytest

from conversations import story_turn
from grammar import MAX_SENTENCES, MIN_SENTENCES, check_story, split_sentences, tell_story
from story_words import ADJECTIVES, ANIMALS, held_out, with_article


def subjects(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.choice(ADJECTIVES)} {rng.choice(tuple(ANIMALS))}" for _ in range(count)]


def stories(count: int) -> list[tuple[str, str]]:
    rng = random.Random(2)
    return [(subject, tell_story(rng, subject)) for subject in subjects(count)]


def test_accepts_what_the_grammar_tells() -> None:
    wrong = {story: found for subject, story in stories(500) if (found := check_story(story, subject))}
    assert wrong == {}


def test_accepts_every_kind_of_training_story() -> None:
    rng = random.Random(3)
    turns = [story_turn(rng) for _ in range(300)]
    assert [turn for turn in turns if check_story(turn.answer, turn.subject or "", turn.name)] == []


def test_stories_have_five_to_nine_sentences() -> None:
    assert {MIN_SENTENCES <= len(split_sentences(story)) <= MAX_SENTENCES for _, story in stories(100)} == {True}


def test_a_story_depends_on_nothing_but_its_seed() -> None:
    assert tell_story(random.Random(4), "red fox") == tell_story(random.Random(4), "red fox")


def test_rejects_the_wrong_subject() -> None:
    for (_, story), other in zip(stories(100), subjects(100, seed=9), strict=True):
        if other not in story:
            assert check_story(story, other)


def test_rejects_sentences_in_another_order() -> None:
    for subject, story in stories(100):
        first, second, *others = split_sentences(story)
        assert check_story(" ".join((second, first, *others)), subject)


def test_rejects_a_truncated_story() -> None:
    for subject, story in stories(100):
        assert check_story(" ".join(split_sentences(story)[:-1]), subject)
        assert check_story(story[:-12], subject)


def test_rejects_the_sentences_of_another_story() -> None:
    for (subject, story), (_, other) in zip(stories(60), reversed(stories(60)), strict=True):
        if story != other:
            assert check_story(" ".join((*split_sentences(story)[:3], *split_sentences(other)[3:])), subject)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Felix stood", "Rufus stood"),
        ("he dreamed", "she dreamed"),
        ("red fox and Mabel", "red fox and Otto"),
        ("Everybody in the forest", "Everybody in the wood"),
        ("his red fur", "his blue fur"),
        ("his red fur", "his red feathers"),
        ("found a row of stepping stones and hopped across", "shook the tree until the apples tumbled down"),
        ("Felix and Mabel", "Felix and Felix"),
    ],
)
def test_rejects_a_slot_that_changes_on_the_way(old: str, new: str) -> None:
    story = (
        "There was once a red fox called Felix, and he lived in a quiet forest. "
        "Everybody in the forest admired his red fur. "
        "Every night he dreamed of one thing: to see the sea. "
        "Felix tried with all his might, but a wide river lay across the path. "
        "Just then a wise old owl called Mabel came along and offered to help. "
        "Together, Felix and Mabel found a row of stepping stones and hopped across. "
        "At last Felix stood on the warm sand and watched the blue waves roll in. "
        "From that day on, the red fox and Mabel were the best of friends."
    )
    assert check_story(story, "red fox", "Felix") == []
    assert old in story
    assert check_story(story.replace(old, new), "red fox")


def test_rejects_another_name_than_the_one_asked_for() -> None:
    story = tell_story(random.Random(5), "red fox", "Tom")
    assert check_story(story, "red fox", "Tom") == []
    assert check_story(story, "red fox", "Felix")


def test_rejects_text_that_is_no_story() -> None:
    for text in ("", "Hello!", "I do not know any stories.", "red fox " * 40):
        assert check_story(text, "red fox")


def test_articles_and_held_out_pairs() -> None:
    assert (with_article("red fox"), with_article("old owl")) == ("a red fox", "an old owl")
    pairs = [(adjective, animal) for adjective in ADJECTIVES for animal in ANIMALS]
    assert 0.05 < sum(held_out(*pair) for pair in pairs) / len(pairs) < 0.15


def test_training_never_tells_about_a_held_out_pair() -> None:
    rng = random.Random(6)
    for _ in range(2000):
        *adjectives, noun = (story_turn(rng).subject or "").split()
        assert not any(held_out(adjective, noun) for adjective in adjectives)
