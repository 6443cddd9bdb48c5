"""How well the model calls tools, thinks, goes by its name and writes JSON: mostly on wordings or values held out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from tokenizers import Tokenizer

from conversations import NAMING_SYSTEMS
from evaluate import answers, story_requests
from exercises import json_turn, sum_turn
from grammar import check_story
from invented import hero_name
from model import DemoModel
from qa import TOPICS
from tool_families import FAMILIES
from tool_turns import COMMON_NAMES, Tool, make_tool, make_tools, missing_turn, tool_turn
from turns import END_THINK, THINK, TOOL_CALL, Mode, Turn, called_text, calls_in, prompt_text, spoken

Asked = tuple[list[Tool], Turn]
Check = Callable[[str], bool]


class Abilities:
    """Asks one model, always greedily."""

    def __init__(self, model: DemoModel, tokenizer: Tokenizer, count: int) -> None:
        self._model, self._tokenizer, self._count = model, tokenizer, count

    def figures(self) -> dict[str, float]:
        """The share of right answers for each ability."""
        return {
            "exact_calls": self.exact_calls(Mode.AT_ONCE),
            "exact_calls_thinking": self.exact_calls(Mode.THINKING),
            "exact_calls_held_out": self.exact_calls(Mode.AT_ONCE, rephrased=True),
            "exact_calls_held_out_thinking": self.exact_calls(Mode.THINKING, rephrased=True),
            "results_told": self.results_told(Mode.AT_ONCE),
            "results_told_thinking": self.results_told(Mode.THINKING),
            "no_needless_calls": self.no_needless_calls(Mode.AT_ONCE),
            "no_needless_calls_thinking": self.no_needless_calls(Mode.THINKING),
            **self.thinking(),
            "thoughts_although_unwanted": self.thoughts_although_unwanted(),
            "sums_thinking": self.sums(Mode.THINKING),
            "sums_at_once": self.sums(Mode.AT_ONCE),
            "names_honoured": self.names_honoured(),
            "introductions": self.introductions(),
            "json_right": self.json_right(),
        }

    def _say(self, prompts: Sequence[str]) -> list[str]:
        return answers(self._model, self._tokenizer, prompts)

    def _asked_tools(self, seed: str, rephrased: bool = False) -> list[Asked]:
        """A question for every family in turn, with held-out values and perhaps words, among up to three tools."""
        asked: list[Asked] = []
        for number in range(self._count):
            rng = random.Random(f"{seed} {number}")
            tool = make_tool(rng, FAMILIES[number % len(FAMILIES)], COMMON_NAMES)
            drawn = make_tools(rng, rng.randint(0, 2), COMMON_NAMES)
            others = [other for other in drawn if other.family is not tool.family]
            tools = [tool, *others]
            rng.shuffle(tools)
            asked.append((tools, tool_turn(rng, tool, unseen=True, rephrased=rephrased)))
        return asked

    def exact_calls(self, mode: Mode, rephrased: bool = False) -> float:
        """Questions answered with exactly the right call: its name, its arguments and nothing else."""
        asked = self._asked_tools("calls", rephrased)
        said = self._say([_prompt(turn, tools, mode) for tools, turn in asked])
        return _share(calls_in(text) == _expected(turn) for text, (_, turn) in zip(said, asked, strict=True))

    def results_told(self, mode: Mode) -> float:
        """Answers after a tool's result that are the expected one to the letter, and so contain the result."""
        asked = self._asked_tools("results")
        told = self._say([_prompt(turn, tools, Mode.BARE) + called_text(turn, mode) for tools, turn in asked])
        return _share(spoken(text) == turn.answer for text, (_, turn) in zip(told, asked, strict=True))

    def no_needless_calls(self, mode: Mode) -> float:
        """Questions that need none of the tools beside them and are answered without a call.

        A third are about Paddock or small talk, a third ask for stories, a third for a tool that is not there.
        """
        stories = story_requests(self._count // 3, "needless", unseen_pairs=True)
        prompts = []
        for number in range(self._count):
            rng = random.Random(f"needless {number}")
            tools = make_tools(rng, rng.randint(1, 3), COMMON_NAMES)
            plain, missing = rng.choice(TOPICS).questions[0], missing_turn(rng, tools).question
            question = (plain, rng.choice(stories).question, missing)[number % 3]
            prompts.append(prompt_text(question, None, [tool.schema for tool in tools], mode))
        return _share(TOOL_CALL not in text for text in self._say(prompts))

    def _thoughtful(self) -> list[tuple[str, Check]]:
        """Questions to think about, and whether an answer is right: stories, questions about Paddock, sums."""
        stories = story_requests(self._count // 3, "thinking", unseen_pairs=True)
        sums = [sum_turn(random.Random(f"thinking {number}"), unseen=True) for number in range(self._count // 3)]
        return [
            *((story.question, partial(_tells, story.subject)) for story in stories),
            *((topic.questions[1], topic.answer.__eq__) for topic in TOPICS),
            *((turn.question, turn.answer.__eq__) for turn in sums),
        ]

    def thinking(self) -> dict[str, float]:
        """Answers with one thought that ends before the answer begins, and those whose answer is right as well."""
        asked = self._thoughtful()
        said = self._say([prompt_text(question, mode=Mode.THINKING) for question, _ in asked])
        right = [_well_thought(text) and check(spoken(text)) for text, (_, check) in zip(said, asked, strict=True)]
        return {"thoughts_closed": _share(map(_well_thought, said)), "right_after_a_thought": _share(right)}

    def thoughts_although_unwanted(self) -> float:
        """Answers to the same questions with a thought in them where thinking is switched off."""
        said = self._say([prompt_text(question, mode=Mode.AT_ONCE) for question, _ in self._thoughtful()])
        return _share(THINK in text or END_THINK in text for text in said)

    def sums(self, mode: Mode) -> float:
        """Right sums of pairs of numbers that training never saw."""
        asked = [sum_turn(random.Random(f"sum {number}"), unseen=True) for number in range(self._count)]
        said = self._say([prompt_text(turn.question, mode=mode) for turn in asked])
        return _share(spoken(text) == turn.answer for text, turn in zip(said, asked, strict=True))

    def names_honoured(self) -> float:
        """Answers to "Who are you?" that give the name of the system message, half of these in a held-out form."""
        prompts, names = [], []
        for number in range(self._count):
            rng = random.Random(f"name {number}")
            names.append(hero_name(rng))
            form = NAMING_SYSTEMS[-1] if number % 2 else rng.choice(NAMING_SYSTEMS[:-1])
            mode = rng.choice((Mode.AT_ONCE, Mode.THINKING))
            prompts.append(prompt_text("Who are you?", form.format(name=names[-1]), mode=mode))
        said = self._say(prompts)
        return _share(spoken(text).startswith(f"I am {name},") for text, name in zip(said, names, strict=True))

    def introductions(self) -> float:
        """Right answers to greetings and to "Who are you?" in all trained words, where the model was given no name."""
        topics = [topic for topic in TOPICS if topic.key in ("who", "hello")]
        modes = (Mode.AT_ONCE, Mode.THINKING)
        asked = [(topic, question, mode) for topic in topics for question in topic.trained for mode in modes]
        said = self._say([prompt_text(question, mode=mode) for _, question, mode in asked])
        return _share(spoken(text) == topic.answer for text, (topic, _, _) in zip(said, asked, strict=True))

    def json_right(self) -> float:
        """Facts told back as the JSON that was asked for (inventions are free, and so left out)."""
        turns = (json_turn(random.Random(f"json {number}")) for number in range(3 * self._count))
        asked = [turn for turn in turns if _is_told(turn)][: self._count]
        said = self._say([prompt_text(turn.question) for turn in asked])
        return _share(text == turn.answer for text, turn in zip(said, asked, strict=True))


def _share(outcomes: Iterable[bool]) -> float:
    counted = list(outcomes)
    return sum(counted) / len(counted)


def _prompt(turn: Turn, tools: Sequence[Tool], mode: Mode) -> str:
    return prompt_text(turn.question, None, [tool.schema for tool in tools], mode)


def _expected(turn: Turn) -> list[dict[str, object]]:
    return [{"name": call.name, "arguments": call.arguments} for call in turn.calls]


def _tells(subject: str, text: str) -> bool:
    return not check_story(text, subject)


def _well_thought(text: str) -> bool:
    """Whether an answer begins with a thought, ends it once, and then says something."""
    return text.startswith(f"{THINK}\n") and text.count(f"{END_THINK}\n\n") == 1 and bool(spoken(text))


def _is_told(turn: Turn) -> bool:
    """Whether every value of the answer stands in the question."""
    values = json.loads(turn.answer).values()
    return all(str(value) in turn.question for value in values)
