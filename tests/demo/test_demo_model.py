"""The shipped demo model: its files, its stories and its answers, through mlx-lm as the server runs it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from conversations import story_prompt
from grammar import check_story
from paddock.demo import model_folder
from qa import HONEST, TOPICS
from story_words import ADJECTIVES, ANIMALS, held_out

ASK = Any
MEGABYTE = 1_000_000


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def requests(seed: int, seen: int, unseen: int) -> list[tuple[str, str]]:
    """Questions for stories and their subjects: pairs that training has seen, and pairs that it has not."""
    rng, wanted = random.Random(seed), {False: seen, True: unseen}
    found: list[tuple[str, str]] = []
    while any(wanted.values()):
        adjective, animal = rng.choice(ADJECTIVES), rng.choice(tuple(ANIMALS))
        kind = held_out(adjective, animal)
        if wanted[kind]:
            wanted[kind] -= 1
            found.append((story_prompt(rng, f"{adjective} {animal}")[0], f"{adjective} {animal}"))
    return found


def test_is_small_and_complete() -> None:
    sizes = {path.name: path.stat().st_size for path in model_folder().iterdir()}
    assert sum(sizes.values()) <= 5 * MEGABYTE
    needed = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}
    assert needed | {"LICENSE"} == set(sizes)


def test_config_is_of_the_classic_style() -> None:
    config = json.loads((model_folder() / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["rope_theta"], config["torch_dtype"]) == ("llama", 10000.0, "float16")
    assert config["hidden_size"] % 128 == 0
    assert config["intermediate_size"] % 128 == 0
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize(
    "text", ["Tell me a story.", "naïve 🦊 — 狐", "  two  blanks\n\n\tand a tab ", "PADDOCK_MODELS=~/x"]
)
def test_tokenizer_gives_back_what_it_was_given(demo: tuple[Any, Any], text: str) -> None:
    _, tokenizer = demo
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_model_ends_its_turn_with_a_token_that_ends_answers(demo: tuple[Any, Any]) -> None:
    _, tokenizer = demo
    text = tokenizer.apply_chat_template(user("Hi"), add_generation_prompt=True, tokenize=False)
    ids = tokenizer.apply_chat_template(user("Hi"), add_generation_prompt=True)
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.encode("<|im_end|>", add_special_tokens=False)[0] in tokenizer.eos_token_ids


def test_fifty_stories_are_well_formed_and_about_their_subject(ask: ASK) -> None:
    asked = requests(seed=20, seen=30, unseen=20)
    told = ask([user(question) for question, _ in asked])
    wrong = {question: check_story(text, subject) for (question, subject), text in zip(asked, told, strict=True)}
    wrong = {question: violations for question, violations in wrong.items() if violations}
    # The report measures 87% over more stories.
    assert len(wrong) <= 9, wrong


def test_stories_stay_well_formed_at_the_default_sampling(ask: ASK) -> None:
    import mlx.core as mx
    from mlx_lm.sample_utils import make_sampler

    mx.random.seed(5)
    asked = requests(seed=21, seen=25, unseen=15)
    sampler = make_sampler(temp=0.8, top_p=0.9, top_k=40)
    told = ask([user(question) for question, _ in asked], sampler=sampler)
    good = [not check_story(text, subject) for (_, subject), text in zip(asked, told, strict=True)]
    # The report measures 83% over more stories; forty of them, drawn otherwise on every backend, scatter around that.
    assert sum(good) >= 0.7 * len(good)


def test_the_story_on_the_first_page_of_the_manual(ask: ASK) -> None:
    (told,) = ask([user("Tell me a story about a red fox")])
    assert check_story(told, "red fox") == []


def test_a_hero_gets_the_name_that_was_asked_for(ask: ASK) -> None:
    (told,) = ask([user("Tell me a story about a red fox called Tom.")])
    assert check_story(told, "red fox", "Tom") == []


def test_later_turns_are_answered_for_themselves(ask: ASK) -> None:
    history: list[dict[str, str]] = []
    well_formed = 0
    for subject in ("red fox", "sleepy bear", "golden fish", "shy owl", "clever mouse"):
        history += user(f"Tell me a story about {'an' if subject[0] in 'aeiou' else 'a'} {subject}.")
        (told,) = ask([history])
        assert subject in told
        well_formed += check_story(told, subject) == []
        history += [{"role": "assistant", "content": told}]
    assert well_formed >= 4
    (answer,) = ask([history + user("Which port does Paddock use?")])
    assert "11434" in answer


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is Paddock?", "local model server"),
        ("Which commands are there?", "create"),
        ("How do I create a model?", "paddock create"),
        ("Where are models kept?", "~/.paddock/models"),
        ("What is the default address?", "127.0.0.1:11434"),
        ("How do I stop a model?", "paddock stop"),
        ("How long does a model stay in memory?", "5 minutes"),
        ("What is a runner?", "process"),
        ("Which APIs does Paddock speak?", "Ollama"),
        ("Hello", "Hello!"),
        ("Who are you?", "demo model"),
        ("What can you do?", "stories"),
        ("Thank you", "welcome"),
        ("What is the capital of France?", HONEST),
    ],
)
def test_answers(ask: ASK, question: str, expected: str) -> None:
    assert expected in ask([user(question)])[0]


def test_most_questions_are_answered_to_the_letter(ask: ASK) -> None:
    asked = [(question, topic.answer) for topic in TOPICS for question in topic.questions[:2]]
    answers = ask([user(question) for question, _ in asked])
    assert sum(answer == expected for (_, expected), answer in zip(asked, answers, strict=True)) >= 0.9 * len(asked)


def test_a_system_message_does_not_get_in_the_way(ask: ASK) -> None:
    system = {"role": "system", "content": "You are a helpful assistant."}
    about, told = ask([[system, *user("What is Paddock?")], [system, *user("Tell me a story about a red fox.")]])
    assert "local model server" in about
    assert check_story(told, "red fox") == []
