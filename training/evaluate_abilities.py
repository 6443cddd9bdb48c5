"""How well the model calls tools, thinks, goes by its name and writes JSON: all on wordings or values held out."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from conversations import NAMING_SYSTEMS
from evaluate import answer, story_requests
from exercises import json_turn, sum_turn
from invented import hero_name
from model import DemoModel
from qa import TOPICS
from tool_families import FAMILIES
from tool_turns import Tool, double_turn, make_tool, make_tools, tool_turn
from turns import THINK, Mode, Turn, called_text, calls_in, prompt_text, spoken


class Abilities:
    """Asks one model, always greedily."""

    def __init__(self, model: DemoModel, tokenizer: Tokenizer, count: int) -> None:
        self._model, self._tokenizer, self._count = model, tokenizer, count

    def figures(self) -> dict[str, float]:
        """The share of right answers for each ability."""
        return {
            "exact_calls": self.exact_calls(Mode.AT_ONCE),
            "exact_calls_thinking": self.exact_calls(Mode.THINKING),
            "exact_double_calls": self.exact_double_calls(),
            "results_told": self.results_told(),
            "plain_answers_beside_tools": self.plain_answers(),
            "thoughts_closed": self.thoughts_closed(),
            "sums_thinking": self.sums(Mode.THINKING),
            "sums_at_once": self.sums(Mode.AT_ONCE),
            "names_honoured": self.names_honoured(),
            "json_right": self.json_right(),
        }

    def _say(self, prompt: str) -> str:
        return answer(self._model, self._tokenizer, prompt)

    def _asked_tools(self, seed: str) -> Iterator[tuple[list[Tool], Turn]]:
        """A question for every family in turn, in held-out words and with held-out values, among up to three tools."""
        for number in range(self._count):
            rng = random.Random(f"{seed} {number}")
            tool = make_tool(rng, FAMILIES[number % len(FAMILIES)])
            group = tool.family.key.split("_")[0]
            others = [other for other in make_tools(rng, 2) if not other.family.key.startswith(group)]
            tools = [tool, *others]
            rng.shuffle(tools)
            yield tools, tool_turn(rng, tool, unseen=True)

    def exact_calls(self, mode: Mode) -> float:
        """Questions answered with exactly the right call: its name, its arguments and nothing else."""
        asked = list(self._asked_tools("calls"))
        right = sum(calls_in(self._say(_prompt(turn, tools, mode))) == _expected(turn) for tools, turn in asked)
        return right / len(asked)

    def exact_double_calls(self) -> float:
        """Two questions at once (for seen values and wordings), answered with exactly the two right calls."""
        right = 0
        for number in range(self._count // 2):
            rng = random.Random(f"double {number}")
            tools = make_tools(rng, 2)
            turn = double_turn(rng, tools)
            right += calls_in(self._say(_prompt(turn, tools, Mode.AT_ONCE))) == _expected(turn)
        return right / (self._count // 2)

    def results_told(self) -> float:
        """Answers after a tool's result that are the expected one to the letter, and so contain the result."""
        asked = list(self._asked_tools("results"))
        told = (self._say(_prompt(t, tools, Mode.BARE) + called_text(t, Mode.AT_ONCE)) for tools, t in asked)
        return sum(text == turn.answer for text, (_, turn) in zip(told, asked, strict=True)) / len(asked)

    def plain_answers(self) -> float:
        """Questions about Paddock, asked beside tools, that are answered to the letter without a call."""
        right = 0
        for number, topic in enumerate(TOPICS):
            tools = make_tools(random.Random(f"plain {number}"), 2)
            turn = Turn(topic.questions[0], topic.answer)
            right += self._say(_prompt(turn, tools, Mode.AT_ONCE)) == topic.answer
        return right / len(TOPICS)

    def thoughts_closed(self) -> float:
        """Answers that begin with a thought, end it, and then say something."""
        stories = [request.question for request in story_requests(self._count // 3, "thinking", unseen_pairs=True)]
        topics = [topic.questions[-1] for topic in TOPICS]
        sums = [sum_turn(random.Random(f"thinking {n}"), unseen=True).question for n in range(self._count // 3)]
        asked = [*stories, *topics, *sums]
        said = (self._say(prompt_text(question, mode=Mode.THINKING)) for question in asked)
        return sum(text.startswith(f"{THINK}\n") and bool(spoken(text)) for text in said) / len(asked)

    def sums(self, mode: Mode) -> float:
        """Right sums of pairs of numbers that training never saw."""
        asked = [sum_turn(random.Random(f"sum {number}"), unseen=True) for number in range(self._count)]
        return sum(spoken(self._say(prompt_text(t.question, mode=mode))) == t.answer for t in asked) / len(asked)

    def names_honoured(self) -> float:
        """Answers to "Who are you?" that give the name of the system message, half of these in a held-out form."""
        right = 0
        for number in range(self._count):
            rng = random.Random(f"name {number}")
            name = hero_name(rng)
            form = NAMING_SYSTEMS[-1] if number % 2 else rng.choice(NAMING_SYSTEMS[:-1])
            system = form.format(name=name)
            said = self._say(prompt_text("Who are you?", system, mode=rng.choice((Mode.AT_ONCE, Mode.THINKING))))
            right += spoken(said).startswith(f"I am {name},")
        return right / self._count

    def json_right(self) -> float:
        """Facts told back as the JSON that was asked for (lists and inventions are free, and so left out)."""
        turns = (json_turn(random.Random(f"json {number}")) for number in range(3 * self._count))
        asked = [turn for turn in turns if _is_told(turn)][: self._count]
        said = (self._say(prompt_text(turn.question)) for turn in asked)
        return sum(text == turn.answer for text, turn in zip(said, asked, strict=True)) / len(asked)


def _prompt(turn: Turn, tools: Sequence[Tool], mode: Mode) -> str:
    return prompt_text(turn.question, None, [tool.schema for tool in tools], mode)


def _expected(turn: Turn) -> list[dict[str, object]]:
    return [{"name": call.name, "arguments": call.arguments} for call in turn.calls]


def _is_told(turn: Turn) -> bool:
    """Whether every value of the answer stands in the question."""
    values = json.loads(turn.answer).values()
    return all(str(value) in turn.question for value in values)
