"""How an answer that has to obey a grammar comes to its end soon: the tokens that it takes."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, takewhile

from llguidance import LLMatcher

from paddock.runner.engines.text.grammar.json_place import JsonPlace
from paddock.runner.engines.text.grammar.lexicon import Lexicon, tokens_of, within

_BETWEEN_VALUES = b'}]:,"0123456789nft-'
"""What ends soonest, where several bytes may follow outside of strings."""
_TRIED_FIRST = 5
_QUOTE = b'"'
_MOST_LOOKS = 64
"""In one string, for a sample that ends it: one that only has to be long would be looked at for long."""
_GLANCE_TOKENS = 4
"""Of a known end, that mostly tell whether it may follow."""


class EndFinder:
    """Finds the ends of answers that obey one grammar. Immutable; any thread may use it."""

    def __init__(self, lexicon: Lexicon, samples: Iterable[str]) -> None:
        """`samples` are texts that strings of the grammar may be, as far as some are known."""
        self._lexicon = lexicon
        written = {json.dumps(sample, ensure_ascii=False)[1:].encode() for sample in samples}
        endings = {text[start:] for text in written for start in range(len(text) - 1)}
        shortest_first = sorted(endings, key=lambda each: (len(each), each))
        spelt = [(ending, lexicon.tokens_of_bytes(ending)) for ending in shortest_first]
        self._ways_out = [tokens for ending, tokens in spelt if len(tokens) == len(ending)]

    def shortest_end(
        self, matcher: LLMatcher, place: JsonPlace, most_tokens: int, known: KnownEnd | None = None
    ) -> list[int] | None:
        """Tokens that bring the matcher to an end soon; None if `most_tokens` single bytes do not.

        A greedy walk, one byte at a time: out of a string and out of objects and lists as soon as it is allowed. Where
        it has to choose otherwise, it goes on as a sample does, or takes the byte that it took least often so far, in
        this string or outside of all, so that no loop of a grammar holds it. As soon as the rest of a known end may
        follow, outside of strings, that is the way. What it finds is then written with fewer, longer tokens.
        """
        walker, place = matcher.deep_copy(), place.copy()
        taken_outside, taken_within = Counter[int](), Counter[int]()
        path: list[int] = []
        while not walker.is_accepting():
            was_in_string = place.in_string
            taken = taken_within if was_in_string else taken_outside
            tokens = self._forced(walker) or self._next(walker, place, taken)
            if not tokens or len(path) >= most_tokens or not walker.consume_tokens(tokens):
                return None
            taken.update(tokens)
            path += tokens
            place.feed(b"".join(map(self._lexicon.bytes_of, tokens)))
            if place.in_string and not was_in_string:
                taken_within.clear()
            if known and not place.in_string and (rest := known.rest(walker)):
                path += rest
                break
        shorter = self._merged(path)
        return shorter if _may_follow(matcher, [*shorter, self._lexicon.end_token]) else path

    def _forced(self, walker: LLMatcher) -> list[int]:
        """The bytes that must come next, as far as there are tokens for them."""
        known = (self._lexicon.by_byte.get(byte) for byte in walker.compute_ff_bytes())
        return list(takewhile(lambda token: token is not None, known))  # type: ignore[arg-type]

    def _next(self, walker: LLMatcher, place: JsonPlace, taken: Counter[int]) -> list[int]:
        preferred = self._soonest(place)
        for token in preferred[:_TRIED_FIRST]:
            if walker.validate_tokens([token]):
                return [token]
        if place.in_string and taken.total() < _MOST_LOOKS and (way := self._way_out(walker)):
            return way
        row = self._lexicon.fill(walker)
        allowed = within(row, preferred) or within(row, self._lexicon.plainest_first) or tokens_of(row)
        fresh = next((token for token in allowed if token not in taken), None)
        if fresh is not None or not allowed:
            return [] if fresh is None else [fresh]
        return [min(allowed, key=taken.__getitem__)]

    def _soonest(self, place: JsonPlace) -> list[int]:
        """The tokens of what ends soonest."""
        if place.is_escaped:
            return []
        return self._lexicon.tokens_of_bytes(_QUOTE if place.in_string else _BETWEEN_VALUES)

    def _way_out(self, walker: LLMatcher) -> list[int]:
        """The shortest end of a sample that the string may end with; none if there is none."""
        return next((way for way in self._ways_out if _may_follow(walker, way)), [])

    def _merged(self, path: list[int]) -> list[int]:
        runs = groupby(path, self._lexicon.is_special)
        return [token for is_special, run in runs for token in self._run(is_special, run)]

    def _run(self, is_special: bool, run: Iterator[int]) -> list[int]:
        tokens = list(run)
        try:
            text = b"".join(map(self._lexicon.bytes_of, tokens)).decode()
        except UnicodeDecodeError:
            return tokens
        return tokens if is_special else list(self._lexicon.native.greedy_tokenize(text))


class KnownEnd:
    """An end that was found before, of which the rest may still do: to see that takes far less than to find another."""

    def __init__(self, tokens: Sequence[int], lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._tokens = [*tokens, lexicon.end_token]
        texts = [lexicon.bytes_of(token) for token in tokens]
        self._text = b"".join(texts)
        self._begins = list(accumulate(map(len, texts), initial=0))
        """Where in the text each token does."""
        self._firsts = self._first_tokens()
        self._at: int | None = 0
        """Where in the text its rest does; None if that is to be looked for."""
        self._is_sure = True
        """Whether nothing else was said since."""

    def took(self, text: bytes, *, in_string: bool) -> None:
        """This was said, in whatever tokens; `in_string`: whether it began within a string.

        What else is said in a string, and blanks between two parts, may leave the rest as it is.
        """
        if self._at is None:
            return
        if not self._text.startswith(text, self._at):
            self._is_sure = False
            _, quote, after = text.partition(_QUOTE) if in_string else (b"", b"", text)
            text = b"".join((quote + after).split())
        self._at = self._at + len(text) if self._text.startswith(text, self._at) else None

    def rest(self, matcher: LLMatcher) -> list[int] | None:
        """Of its last tokens about as few as bring the matcher to an end; None if none do."""
        is_sure = self._is_sure and None not in self._firsts
        if self._at is None or not (is_sure or _may_follow(matcher, self._rest(self._at))):
            self._at = self._found(matcher)
        self._is_sure = True
        return None if self._at is None else self._rest(self._at)[:-1]

    def _rest(self, at: int) -> list[int]:
        """The tokens from there on, and the one that ends the answer."""
        number = bisect_left(self._begins, at)
        return [*self._lexicon.tokens_of_bytes(self._text[at : self._begins[number]]), *self._tokens[number:]]

    def _first_tokens(self) -> list[int | None]:
        """What comes first from each place on; None where no token is so short."""
        firsts = [*map(self._lexicon.by_byte.get, self._text), None]
        for begin, token in reversed(list(zip(self._begins, self._tokens, strict=True))):
            firsts[begin] = token
        return firsts

    def _found(self, matcher: LLMatcher) -> int | None:
        """The last place from which it may follow, told by a few tokens first."""
        may_come = {first: first is not None and _may_follow(matcher, [first]) for first in set(self._firsts)}
        glances: dict[tuple[int, ...], bool] = {}
        for at in reversed(range(len(self._firsts))):
            if may_come[self._firsts[at]]:
                rest = self._rest(at)
                glance = tuple(rest[:_GLANCE_TOKENS])
                if glance not in glances:
                    glances[glance] = _may_follow(matcher, rest[:_GLANCE_TOKENS])
                if glances[glance] and _may_follow(matcher, rest):
                    return at
        return None


def _may_follow(matcher: LLMatcher, tokens: list[int]) -> bool:
    return bool(matcher.validate_tokens(tokens) == len(tokens))
