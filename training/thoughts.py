"""What the model thinks before it answers: one short sentence for each kind of turn."""

from __future__ import annotations

from story_words import with_article

_ABOUT = {
    "paddock": "what Paddock is",
    "commands": "which commands there are",
    "create": "how a model is created",
    "place": "where models are kept",
    "move": "about the folder for models",
    "address": "about the address of the server",
    "stop": "how a model is stopped",
    "keep_alive": "how long a model stays in memory",
    "runner": "what a runner is",
    "crash": "what happens in a crash",
    "api": "about the API",
    "serve": "how the server is started",
    "run": "how a model is run",
    "list": "about the list of models",
    "ps": "which models are running",
    "show": "what paddock show does",
    "cp": "how a model is copied",
    "rm": "how a model is removed",
    "local": "where Paddock runs",
    "who": "who I am",
    "can": "what I can do",
    "how_are_you": "how I am",
    "size": "how big I am",
    "made": "how I was made",
}
_SMALL_TALK = {
    "hello": "The user says hello.",
    "thanks": "The user says thank you.",
    "bye": "The user says goodbye.",
}
UNKNOWN = "I do not know that."


def topic_thought(key: str, own_name: str | None = None) -> str:
    """The thought before an answer to one of the topics; a name that the model was given comes first."""
    thought = _SMALL_TALK.get(key) or f"The user asks {_ABOUT[key]}."
    return f"{thought} My name is {own_name}." if own_name else thought


def story_thought(subject: str) -> str:
    """The thought before a story: what it is about."""
    return f"The user wants a story about {with_article(subject)}."
