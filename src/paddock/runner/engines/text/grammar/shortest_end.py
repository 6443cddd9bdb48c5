"""How an answer that has to obey a grammar comes to its end soon: the tokens that it takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, takewhile

from llguidance import LLMatcher

from paddock.runner.engines.text.grammar.json_place import JsonPlace
from paddock.runner.engines.text.grammar.lexicon import Lexicon, tokens_of, within

_BETWEEN_VALUES = b'}]:,"0123456789nft-'
"""What ends soonest, where several bytes may follow outside of strings."""
_TRIED_FIRST = 5
_QUOTE = b'"'
_MOST_LOOKS = 64
"""In one string, for a sample that ends it: one that only has to be long would be looked at for long."""


class EndFinder:
    """Finds the ends of answers that obey one grammar. Immutable; any thread may use it."""

    def __init__(self, lexicon: Lexicon, samples: Iterable[str]) -> None:
        """`samples` are texts that strings of the grammar may be, as far as some are known."""
        self._lexicon = lexicon
        written = {json.dumps(sample, ensure_ascii=False)[1:].encode() for sample in samples}
        endings = {text[start:] for text in written for start in range(len(text) - 1)}
        spelt = [(ending, self._tokens(ending)) for ending in sorted(endings, key=lambda each: (len(each), each))]
        self._ways_out = [tokens for ending, tokens in spelt if len(tokens) == len(ending)]

    def shortest_end(self, matcher: LLMatcher, place: JsonPlace, most_tokens: int) -> list[int] | None:
        """Tokens that bring the matcher to an end soon; None if `most_tokens` single bytes do not.

        A greedy walk, one byte at a time: out of a string and out of objects and lists as soon as it is allowed. Where
        it has to choose otherwise, it goes on as a sample does, or takes the byte that it took least often so far, in
        this string or outside of all, so that no loop of a grammar holds it. What it finds is then written with fewer,
        longer tokens.
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
        shorter = self._merged(path)
        return shorter if leads_to_end(matcher, shorter) else path

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
        return self._tokens(_QUOTE if place.in_string else _BETWEEN_VALUES)

    def _way_out(self, walker: LLMatcher) -> list[int]:
        """The shortest end of a sample that the string may end with; none if there is none."""
        return next((way for way in self._ways_out if walker.validate_tokens(way) == len(way)), [])

    def _tokens(self, text: bytes) -> list[int]:
        """The tokens of these bytes, as far as there are any."""
        return [self._lexicon.by_byte[byte] for byte in text if byte in self._lexicon.by_byte]

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


def leads_to_end(matcher: LLMatcher, path: list[int]) -> bool:
    """Whether these tokens may follow, and bring the matcher to an end."""
    walker = matcher.deep_copy()
    return bool(walker.consume_tokens(path) and walker.is_accepting())
