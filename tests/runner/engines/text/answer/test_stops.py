from hypothesis import given
from hypothesis import strategies as st

from paddock.runner.engines.text.answer.stops import StopMatcher


def run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    shown = ""
    for piece in pieces:
        shown += matcher.feed(piece)
        if matcher.matched:
            return shown, True
    return shown + matcher.flush(), False


def naive(stops: list[str], text: str) -> tuple[str, bool]:
    """Read character by character until the text ends in a stop string; of several the longest."""
    for end in range(len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


def test_a_stop_string_across_pieces_is_found_and_removed():
    assert run(["END"], ["one E", "N", "D two"]) == ("one ", True)


def test_what_could_be_a_stop_string_is_held_back_and_then_shown_when_it_is_not():
    matcher = StopMatcher(["STOP"])

    assert matcher.feed("a ST") == "a "
    assert matcher.feed("AR") == "STAR"
    assert not matcher.matched


def test_held_text_is_not_lost_at_the_end():
    assert run(["STOP"], ["a STO"]) == ("a STO", False)


def test_of_two_stop_strings_the_one_that_ends_first_wins_however_the_text_is_cut():
    assert run(["abcd", "bc"], ["abcd"]) == run(["abcd", "bc"], list("abcd")) == ("a", True)


def test_nothing_comes_after_a_match():
    matcher = StopMatcher(["x"])
    matcher.feed("x")

    assert matcher.feed("more") == "" == matcher.flush()


letters = st.text(alphabet="ab\n", max_size=12)


@given(
    stops=st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3),
    pieces=st.lists(letters, max_size=8),
)
def test_streaming_equals_reading_character_by_character(stops, pieces):
    assert run(stops, pieces) == naive(stops, "".join(pieces))


@given(stops=st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3), pieces=st.lists(letters))
def test_no_more_is_held_back_than_the_longest_stop_string_needs(stops, pieces):
    matcher = StopMatcher(stops)
    fed = ""
    shown = ""
    for piece in pieces:
        fed += piece
        shown += matcher.feed(piece)
        if matcher.matched:
            break
        assert len(fed) - len(shown) < max(map(len, stops))
