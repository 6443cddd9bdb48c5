"""Training conversations: how people ask, what is answered, and how turns are put together."""

from __future__ import annotations

import random
from collections.abc import Sequence

from exercises import json_turn, sum_turn
from grammar import tell_story
from invented import hero_name, invented_word
from qa import HONEST, TOPICS, named_answer, unknown_question
from story_words import (
    ADJECTIVES,
    ANIMALS,
    COLOURS,
    RARE_ADJECTIVES,
    THINGS,
    TRAITS,
    held_out,
    plural_of,
    with_article,
)
from thoughts import UNKNOWN, story_thought, topic_thought
from tool_turns import Tool, make_tools, missing_turn, tool_turn
from turns import Turn

STORY_PROMPTS = (
    "Tell me a story about {s}{n}.",
    "Tell me a story about {s}{n}",
    "Tell me a short story about {s}{n}.",
    "Write a story about {s}{n}.",
    "Write a short story about {s}{n}.",
    "Write me a short story about {s}{n}",
    "Please tell me a story about {s}{n}.",
    "Tell me a story about {s}{n} please",
    "Tell me a story about {s}{n}, please!",
    "Can you tell me a story about {s}{n}?",
    "Could you write a short story about {s}{n}?",
    "I would like to hear a story about {s}{n}.",
    "I want a story about {s}{n}!",
    "A story about {s}{n}",
    "Story about {s}{n}",
    "Give me a story about {s}{n}.",
    "Do you know a story about {s}{n}?",
    "Tell a bedtime story about {s}{n}.",
    "Tell me a bedtime story about {s}{n}",
    "Write a tale about {s}{n}.",
    "Make up a story about {s}{n}.",
    "Now a story about {s}{n}",
    "And now one about {s}{n}.",
    "And one about {s}{n}?",
    "Tell me another story about {s}{n}.",
    "Hello, tell me a story about {s}{n}.",
    "Tell a story about {s}{n}.",
    "Could you tell me a story about {s}{n}?",
    "I'd like a story about {s}{n}.",
    "How about a story about {s}{n}?",
    "Let me hear a story about {s}{n}.",
    "Invent a story about {s}{n}.",
    "Tell me a nice story about {s}{n}.",
    "Tell me a funny little story about {s}{n}",
    "Write a long story about {s}{n}.",
    "Tell my daughter a story about {s}{n}.",
    "Tell my son a story about {s}{n}.",
    "What about {s}{n}?",
    "Write a few sentences about {s}{n}.",
    "Once upon a time there was {s}{n}.",
)
OPEN_PROMPTS = (
    "Tell me a story.",
    "Tell me a story",
    "Tell me another story.",
    "Another one, please.",
    "Another story",
    "One more!",
    "Write a story.",
    "Write a short story.",
    "Can you tell me a story?",
    "Story please",
    "Please tell me a story!",
    "I want to hear a story.",
    "Tell me a bedtime story.",
    "yes",
    "Yes please!",
    "Again",
    "Surprise me.",
    "Another",
    "more",
)
POLITE = ("Please tell me: {}", "Hi, {}", "Can you tell me: {}", "Hey! {}", "Ok, {}", "And {}")
NAMED = (" called {name}", " named {name}", " whose name is {name}")
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a friendly storyteller.",
    "Answer briefly.",
    "You are a helpful, honest assistant.",
    "Be kind and polite.",
    "You tell stories to children.",
    "You are an expert on Paddock.",
)
# The last one is held out of training.
NAMING_SYSTEMS = (
    "Your name is {name}.",
    "You are {name}.",
    "You are called {name}.",
    "You are {name}, a storyteller.",
    "You are {name}, a helpful assistant.",
    "You are {name}. Answer briefly.",
    "You are a helpful assistant named {name}.",
    "You are a pirate called {name}.",
)


def _adjective(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.08:
        return invented_word(rng)
    return rng.choice(RARE_ADJECTIVES) if kind < 0.16 else rng.choice(ADJECTIVES)


def _noun(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.12:
        return invented_word(rng)
    return rng.choice(THINGS) if kind < 0.27 else rng.choice(tuple(ANIMALS))


def story_subject(rng: random.Random) -> str:
    """What a story is about: mostly an adjective and an animal, never a pair that is held out."""
    noun, kind = _noun(rng), rng.random()
    if kind < 0.12:
        return noun
    adjectives = [_adjective(rng)]
    if kind < 0.24:
        adjectives = [rng.choice(tuple(TRAITS)), rng.choice(COLOURS)]
    if any(held_out(adjective, noun) for adjective in adjectives):
        return story_subject(rng)
    return " ".join((*adjectives, noun))


def _common_subject(rng: random.Random) -> str:
    """What a story is about when nobody said: an ordinary adjective and an animal."""
    while held_out(adjective := rng.choice(ADJECTIVES), animal := rng.choice(tuple(ANIMALS))):
        pass
    return f"{adjective} {animal}"


def _asked_as(rng: random.Random, subject: str) -> str:
    """The subject as it stands in the question: `a red fox`, `the red fox`, `my red fox`, `red foxes`."""
    kind = rng.random()
    if kind < 0.8:
        return with_article(subject)
    if kind < 0.83:
        return subject
    if kind < 0.96:
        return f"{rng.choice(('the', 'my', 'our', 'this', 'one'))} {subject}"
    *adjectives, noun = subject.split()
    return " ".join((*adjectives, plural_of(noun)))


def _roughen(rng: random.Random, question: str) -> str:
    """People type in lower case, leave out the full stop or add blanks: so does the training data."""
    if rng.random() < 0.3:
        question = question[0].lower() + question[1:]
    elif rng.random() < 0.04:
        question = question.upper() if len(question) < 12 else question.lower()
    if rng.random() < 0.2:
        question = question.rstrip(".?!")
    return question


def story_prompt(rng: random.Random, subject: str, name: str | None = None) -> tuple[str, bool]:
    """A question for a story, and whether it asks for a short one."""
    prompt = rng.choice(STORY_PROMPTS)
    named = rng.choice(NAMED).format(name=name) if name else ""
    return prompt.format(s=_asked_as(rng, subject), n=named), "short" in prompt or "few" in prompt


def story_turn(rng: random.Random) -> Turn:
    """A turn that asks for a story and gets it."""
    subject = story_subject(rng)
    if rng.random() < 0.08:
        subject = _common_subject(rng)
        prompt = rng.choice(OPEN_PROMPTS)
        story = tell_story(rng, subject, short="short" in prompt)
        return Turn(_roughen(rng, prompt), story, subject, thought=story_thought(subject))
    name = hero_name(rng) if rng.random() < 0.18 else None
    prompt, short = story_prompt(rng, subject, name)
    if name is None or rng.random() < 0.5:
        prompt = prompt[0].lower() + prompt[1:] if rng.random() < 0.3 else prompt
    story = tell_story(rng, subject, name, short)
    return Turn(prompt, story, subject, name, story_thought(subject))


def answer_turn(rng: random.Random, own_name: str | None, introductions: float = 0.0) -> Turn:
    """A turn that asks something else: about Paddock, small talk, or what the model cannot know."""
    kind = rng.random()
    if kind < 0.22:
        return Turn(_roughen(rng, unknown_question(rng, invented_word(rng))), HONEST, thought=UNKNOWN)
    if kind < 0.26:
        name = hero_name(rng)
        greeting = rng.choice(("My name is {}.", "I am {}.", "Hi, I am {}!", "Hello, my name is {}", "I'm {}"))
        answer = f"Hello {name}! Ask me for a story about an animal, or ask me something about Paddock."
        return Turn(greeting.format(name), answer, thought=f"The user is called {name}.")
    return topic_turn(rng, own_name, introductions)


def topic_turn(rng: random.Random, own_name: str | None, introductions: float) -> Turn:
    """A question about Paddock or the model, or small talk; often about its name if it was given one.

    `introductions` is how often it is a greeting or asks who the model is where the model was given no name.
    """
    topic = rng.choice(TOPICS)
    share = 0.4 if own_name else introductions
    if share and rng.random() < share:
        wanted = rng.choice(("who", "who", "hello"))
        topic = next(topic for topic in TOPICS if topic.key == wanted)
    named = named_answer(topic.key, own_name) if own_name else None
    question = rng.choice(topic.trained)
    if rng.random() < 0.15:
        question = rng.choice(POLITE).format(question)
    thought = topic_thought(topic.key, own_name if named else None)
    return Turn(_roughen(rng, question), named or topic.answer, thought=thought)


def system_message(rng: random.Random) -> tuple[str | None, str | None]:
    """The system message of a conversation, if it has one, and the name that it gives to the model."""
    kind = rng.random()
    if kind < 0.6:
        return None, None
    if kind < 0.72:
        return rng.choice(SYSTEMS), None
    name = hero_name(rng)
    return rng.choice(NAMING_SYSTEMS[:-1]).format(name=name), name


def next_turn(rng: random.Random, own_name: str | None, introductions: float = 0.0) -> Turn:
    """One turn without tools: stories take more than half of the turns, and so most of the tokens."""
    kind = rng.random()
    if kind < 0.58:
        return story_turn(rng)
    if kind < 0.66:
        return sum_turn(rng)
    if kind < 0.71:
        return json_turn(rng)
    return answer_turn(rng, own_name, introductions) if kind < 0.96 else missing_turn(rng, ())


def conversation_tools(rng: random.Random, share: float, names: int) -> list[Tool]:
    """The tools of a conversation; only this share of all conversations has any."""
    return make_tools(rng, rng.choice((1, 1, 2, 2, 3)), names) if rng.random() < share else []


def next_tool_turn(rng: random.Random, tools: Sequence[Tool], own_name: str | None, introductions: float = 0.0) -> Turn:
    """One turn of a conversation with tools: most turns need one of them."""
    kind = rng.random()
    if kind < 0.58:
        return tool_turn(rng, rng.choice(tools))
    if kind < 0.76:
        return missing_turn(rng, tools)
    return story_turn(rng) if kind < 0.82 else answer_turn(rng, own_name, introductions)
