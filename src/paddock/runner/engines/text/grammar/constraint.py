"""Answers that have to obey a JSON schema, or to be calls of tools: which tokens may follow, one after the other.

Of an answer that ends with "stop" it is guaranteed that it is whole: valid JSON of the schema, or whole calls. Numbers
have no exponent and no more than about 24 characters (unless the schema has no shorter ones), and whitespace is one
blank, or one line break with its indentation, between two parts. So nothing can go on for ever but strings, lists and
objects. These are closed when the tokens that are left come near to what closing takes: an answer ends whole if it may
have as many tokens as the shortest one has, and four times as many as the largest part that one token can open.
With fewer, and where the caller does not say how many are left, it may end with "length", in the middle.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from llguidance import LLMatcher, LLParserLimits
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer

from paddock.errors import BadRequest, PaddockError, Unsupported
from paddock.runner.engines.text.grammar import tool_grammar
from paddock.runner.engines.text.grammar.json_place import JsonPlace
from paddock.runner.engines.text.grammar.lexicon import Lexicon, Row, has, only, row_of
from paddock.runner.engines.text.grammar.samples import samples_of
from paddock.runner.engines.text.grammar.schema_size import largest_part_bytes
from paddock.runner.engines.text.grammar.schema_vetting import vet
from paddock.runner.engines.text.grammar.shortest_end import EndFinder, KnownEnd
from paddock.runner.engines.text.grammar.tool_grammar import CallableTool, CallStyle
from paddock.runner.watch import Watch

logger = logging.getLogger(__name__)

COMPILE_SECONDS = 2.0
MAX_KEPT_GRAMMARS = 64
MAX_KEPT_BYTES = 4 * 1024 * 1024
"""Of the texts of schemas and grammars that are kept."""
MAX_NUMBER_CHARACTERS = 24
MAX_SHORTEST_TOKENS = 4096
"""In single bytes. A schema is refused if its shortest answer is longer, since the end could not be found in time."""
MAX_SAMPLES = 100
"""Of patterns and formats."""
_NEAR_END_TOKENS = 4
"""So close to its end, one token may end a call and begin another."""
MIN_MARGIN_TOKENS = 16
_BYTES_PER_TOKEN = 2
"""Fewer than any tokenizer has in the names and punctuation that a schema prescribes."""

_WHITESPACE = r" |\n {0,16}"
JSON_OPTIONS: Any = {"whitespace_pattern": _WHITESPACE, "lenient": False, "coerce_one_of": False}
_LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000,
    step_lexer_fuel=200_000,
    max_lexer_states=20_000,
    max_grammar_size=60_000,
    verbose_errors=False,
)
_TOO_SLOW = "Compiling the JSON schema of a request took far too long."
_TOO_COMPLEX = "The JSON schema is too complex to be enforced: make it simpler."


@dataclass(frozen=True)
class Grammar:
    """A grammar that was compiled once and found sound."""

    text: str
    shortest: tuple[int, ...]
    """The tokens of a whole answer that is short."""
    margin_tokens: int
    """How much longer one token can make the shortest end of an answer."""
    ends: EndFinder
    reopening_tokens: int = 0
    """How much longer a token can make it that begins one more call where the answer could have ended."""
    opening_token: int | None = None
    """What begins a call where that is one token; in thinking it would begin one as well."""


class Constraint:
    """What one answer may still say. Made anywhere, then used by one thread."""

    is_for_calls = False

    def __init__(self, grammar: Grammar, lexicon: Lexicon) -> None:
        self._grammar = grammar
        self._lexicon = lexicon
        self._matcher = _matcher(grammar.text, lexicon)
        self._begin()

    def _begin(self) -> None:
        self._place = JsonPlace()
        self._budget: int | None = None
        self._check_at = 0
        self._end = KnownEnd(self._grammar.shortest, self._lexicon)
        self._closing: deque[int] | None = None
        self._forced: deque[int] = deque()
        """What comes next in any case, as far as it was looked at."""

    def begin_again(self) -> None:
        """Forget what was said."""
        self._matcher.reset()
        self._begin()

    @cached_property
    def before(self) -> Row:
        """What may come before the answer: everything but its end, and no call in the middle of thinking."""
        opening = self._grammar.opening_token
        return self._lexicon.row_without_end(*(() if opening is None else (opening,)))

    @property
    def is_finished(self) -> bool:
        """Whether only an end token could follow."""
        if self._closing is not None:
            return not self._closing
        return bool(self._matcher.is_stopped())

    def prescribed(self, remaining: int) -> int | None:
        """The token that has to come next, if it is known: the answer is being closed, or what `allowed` was told last
        prescribes more than one token. Otherwise None.

        `remaining` is how many tokens the answer may still have, the next one included; it may start at any number and
        goes down with every token.
        """
        if self._closing is None:
            self._mind(remaining)
        if self._closing is not None:
            return self._closing[0] if self._closing else self._lexicon.end_token
        return self._forced[0] if self._forced else None

    def permits(self, token: int) -> bool:
        """Whether the token may follow. Where only one text can come, `allowed` has its usual spelling only, and this
        permits the others too, as the model may prefer them. BadRequest as for `allowed`."""
        if self._closing is not None or self._lexicon.is_of_long_number(token, self._place, MAX_NUMBER_CHARACTERS):
            return has(self.allowed(), token)
        is_permitted = self._lexicon.permits(self._matcher, token)
        self._check()
        return is_permitted

    def allowed(self) -> Row:
        """A row of ceil(vocabulary / 32) words, the bits of the tokens that may follow set. BadRequest if the grammar
        turns out to be too complex, or the model has no token for what it demands."""
        if self._closing is not None:
            return row_of([self._closing[0]], self._lexicon.words) if self._closing else self._lexicon.end_row
        row = self._lexicon.fill(self._matcher)
        self._check()
        if not row.any():
            raise BadRequest("This model has no tokens for what the JSON schema demands: leave out rare characters.")
        if only(row) is not None:
            self._forced = deque(self._matcher.compute_ff_tokens())
        return self._lexicon.without_long_numbers(row, self._place, MAX_NUMBER_CHARACTERS)

    def accept(self, token: int) -> None:
        """Take the token that was chosen, one of the allowed ones. BadRequest as above."""
        if self.is_finished:
            return
        if self._closing is not None and self._closing.popleft() != token:
            raise AssertionError("a token that was not allowed")
        if self._forced and self._forced.popleft() != token:
            self._forced.clear()
        if not self._matcher.consume_token(token):
            self._check()
        text = self._lexicon.bytes_of(token)
        self._end.took(text, in_string=self._place.in_string)
        self._place.feed(text)

    def _check(self) -> None:
        if self._matcher.is_error():
            logger.warning("a grammar failed: %s", self._matcher.get_error())
            raise BadRequest(_TOO_COMPLEX)

    def _mind(self, remaining: int) -> None:
        """Begin to close when it is time. In between, look again only when it could be.

        One token lengthens the shortest end by no more than the margin, so if `spare` tokens are left beyond that end
        and the margin, the next look is due after a share of them.
        """
        if self._budget is None:
            self._budget = remaining
            self._look_again(remaining, len(self._grammar.shortest))
        if remaining > self._check_at:
            return
        known = self._end.rest(self._matcher)
        if known is not None and self._look_again(remaining, len(known)):
            return
        by_way_of = self._end if known is None else None
        found = self._grammar.ends.shortest_end(self._matcher, self._place, MAX_SHORTEST_TOKENS, by_way_of)
        if found is None:
            self._check_at = remaining // 2
            return
        self._end = KnownEnd(found, self._lexicon)
        if not self._look_again(remaining, len(found)):
            self._closing = deque(found)

    def _look_again(self, remaining: int, shortest_tokens: int) -> bool:
        """Say when to look again; False if now is the time to close."""
        assert self._budget is not None
        margin, reopening = min(self._grammar.margin_tokens, self._budget // 4), self._grammar.reopening_tokens
        spare = remaining - shortest_tokens - margin - reopening
        self._check_at = remaining - max(1, spare // (margin + 1)) if spare > 0 else remaining
        return spare > 0 or (shortest_tokens > _NEAR_END_TOKENS and spare + reopening > 0)


class CallsConstraint:
    """What the calls of one answer may say, which begin with one token; all else is free. Used as `Constraint`."""

    is_for_calls = True
    is_finished = False
    before = None

    def __init__(self, rest: Constraint, opening_token: int) -> None:
        """`rest` is for what follows that token in a call."""
        self._rest = rest
        self._opening_token = opening_token
        self.is_in_call = False
        """Whether the next token is a part of one."""

    def prescribed(self, remaining: int) -> int | None:
        """As `Constraint.prescribed`."""
        return self._rest.prescribed(remaining) if self.is_in_call else None

    def permits(self, token: int) -> bool:
        """As `Constraint.permits`."""
        return not self.is_in_call or self._rest.permits(token)

    def allowed(self) -> Row:
        """As `Constraint.allowed`, in a call."""
        return self._rest.allowed()

    def accept(self, token: int) -> None:
        """As `Constraint.accept`."""
        if self.is_in_call:
            self._rest.accept(token)
            self.is_in_call = not self._rest.is_finished
        elif token == self._opening_token:
            self._rest.begin_again()
            self.is_in_call = True


class Constraints:
    """Compiles schemas and tools for one tokenizer, and keeps the latest that were sound. One thread at a time."""

    def __init__(self, tokenizer: TokenizerWrapper, vocabulary: int, end_tokens: frozenset[int], watch: Watch) -> None:
        self._lexicon = _lexicon(tokenizer, vocabulary, end_tokens)
        self._watch = watch
        self._kept: OrderedDict[str, Grammar] = OrderedDict()

    def compile(self, schema_text: str) -> Constraint:
        """The constraint to answers of a JSON schema. BadRequest in a sentence for one that cannot be enforced."""
        grammar = self._kept.pop(schema_text, None)
        if grammar is None:
            schema = vet(schema_text)
            text = LLMatcher.grammar_from_json_schema(json.dumps(schema, ensure_ascii=False), overrides=JSON_OPTIONS)
            grammar = self._approved(text, [schema])
        self._keep(schema_text, grammar)
        return Constraint(grammar, self._known)

    def for_tools(
        self, tools: Sequence[Mapping[str, Any]], choice: str, name: str, style: CallStyle
    ) -> Constraint | None:
        """The constraint to calls of tools whose arguments obey the tools' own schemas; None where nothing is forced.

        "required" demands at least one call, of the tool `name` if there is one; anything else leaves the answer free.
        BadRequest for a tool that does not exist, and as for `compile`.
        """
        if choice != "required":
            return None
        return self._of_calls(tool_grammar.chosen(tools, name), style, None)

    def for_tools_or_schema(self, tools: Sequence[Mapping[str, Any]], style: CallStyle, schema_text: str) -> Constraint:
        """The constraint to either: calls of tools, or an answer of the schema. BadRequest as for the other two."""
        return self._of_calls(tool_grammar.chosen(tools, ""), style, vet(schema_text))

    def for_strict_calls(
        self, tools: Sequence[Mapping[str, Any]], style: CallStyle, mark: str
    ) -> CallsConstraint | None:
        """The constraint to nothing but calls, if there are any, whose arguments obey the schemas of the strict tools.

        `mark` is what begins a call. None where no tool is strict, or where a call cannot be told by its first token.
        BadRequest as for `for_tools`.
        """
        callable_tools = tool_grammar.strict(tools)
        opening_token = None if self._lexicon is None else self._lexicon.marks.get(mark)
        if not callable_tools or opening_token is None:
            return None
        rest = replace(style, opening=style.opening.removeprefix(mark), may_repeat=False)
        return CallsConstraint(self._of_calls(callable_tools, rest, None), opening_token)

    def _of_calls(
        self, tools: Sequence[CallableTool], style: CallStyle, answer: Mapping[str, Any] | None
    ) -> Constraint:
        text = tool_grammar.lark(tools, style, self._known.special_tokens, JSON_OPTIONS, answer)
        schemas = [*(tool.parameters for tool in tools), *(() if answer is None else (answer,))]
        grammar = self._kept.pop(text, None) or self._approved(text, schemas)
        self._keep(text, grammar)
        opening_token = next(
            (token for mark, token in self._known.marks.items() if style.opening.startswith(mark)), None
        )
        reopening_tokens = _most_tokens_around_a_call(tools, style) if style.may_repeat else 0
        return Constraint(replace(grammar, opening_token=opening_token, reopening_tokens=reopening_tokens), self._known)

    @property
    def _known(self) -> Lexicon:
        if self._lexicon is None:
            raise Unsupported("This model's tokenizer is of a kind whose answers cannot be constrained to a schema.")
        return self._lexicon

    def _keep(self, key: str, grammar: Grammar) -> None:
        self._kept[key] = grammar
        while len(self._kept) > MAX_KEPT_GRAMMARS or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept.popitem(last=False)

    @property
    def _kept_bytes(self) -> int:
        return sum(len(key) + len(grammar.text) for key, grammar in self._kept.items())

    def _approved(self, text: str, schemas: Sequence[Mapping[str, Any]]) -> Grammar:
        """The grammar, once it has been compiled and its shortest answer found."""
        largest_bytes = max(map(largest_part_bytes, schemas), default=0)
        samples = dict.fromkeys(sample for schema in schemas for sample in samples_of(schema))
        ends = EndFinder(self._known, islice(samples, MAX_SAMPLES))
        with self._watch.allow(COMPILE_SECONDS, _TOO_SLOW):
            matcher = _matcher(text, self._known)
            if not matcher.is_error():
                self._known.fill(matcher)
            if matcher.is_error():
                raise _refusal(matcher.get_error())
            shortest = ends.shortest_end(matcher, JsonPlace(), MAX_SHORTEST_TOKENS)
        if shortest is None:
            raise BadRequest("The JSON schema has no answer that is short enough to ever end: check its bounds.")
        margin_tokens = max(MIN_MARGIN_TOKENS, largest_bytes // _BYTES_PER_TOKEN)
        return Grammar(text, tuple(shortest), margin_tokens, ends)


def _most_tokens_around_a_call(tools: Sequence[CallableTool], style: CallStyle) -> int:
    """Of all that is prescribed of one more call, its arguments aside."""
    longest_name = max((tool.name for tool in tools), key=len, default="")
    written = f"{style.between}{style.opening}{json.dumps(longest_name)}{style.middle}{style.closing}"
    return len(written.encode()) // _BYTES_PER_TOKEN


def _matcher(grammar_text: str, lexicon: Lexicon) -> LLMatcher:
    """A matcher of its own for each answer: copies of one would share the states of a lexer, and their limit."""
    return LLMatcher(lexicon.native, grammar_text, log_level=0, limits=_LIMITS)


_REFUSALS = (
    ("Unsatisfiable", "No answer can satisfy the JSON schema: check its bounds and combinations."),
    ("NoExtension", "No answer can satisfy the JSON schema: check its references."),
    ("circular", "The JSON schema refers to itself without getting anywhere: check its references."),
    ("look-around", "A pattern of the JSON schema looks ahead or behind, which cannot be enforced: write it without."),
    ("backreferences", "A pattern of the JSON schema refers back to a group, which cannot be enforced."),
    ("regex parse error", "A pattern of the JSON schema is not a valid regular expression: check it."),
    ("oneOf", '"oneOf" can only be enforced where its branches exclude each other by a constant: use "anyOf".'),
    ("multipleOf", '"multipleOf" in the JSON schema has too many digits to be enforced: round it.'),
)


def _refusal(error: str) -> PaddockError:
    logger.debug("a grammar was refused: %s", error)
    return BadRequest(next((sentence for mark, sentence in _REFUSALS if mark in error), _TOO_COMPLEX))


def _lexicon(tokenizer: TokenizerWrapper, vocabulary: int, end_tokens: frozenset[int]) -> Lexicon | None:
    """None for the few that are not of the tokenizers library, or of a kind that llguidance does not know."""
    backend = getattr(getattr(tokenizer, "_tokenizer", None), "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    try:
        return Lexicon(backend, vocabulary, end_tokens)
    except (ValueError, RuntimeError) as error:
        logger.debug("answers cannot be constrained: %s", error)
        return None
