"""Where a JSON text stands after each of its bytes."""

import pytest

from paddock.runner.engines.text.grammar.json_place import JsonPlace


@pytest.mark.parametrize(
    ("text", "in_string", "number_length"),
    [
        (b"", False, 0),
        (b'{"a', True, 0),
        (b'{"a\\"', True, 0),
        (b'{"a\\\\"', False, 0),
        (b'{"12', True, 0),
        (b'{"a":12', False, 2),
        (b'{"a":-1.5', False, 4),
        (b'{"a":12,', False, 0),
        (b"[true", False, 0),
        (b"[1e5", False, 3),
    ],
)
def test_strings_and_numbers_are_told_apart(text, in_string, number_length):
    place = JsonPlace()

    place.feed(text)

    assert (place.in_string, place.number_length) == (in_string, number_length)


def test_the_pieces_of_a_text_do_not_matter():
    text = b'{"a\\"b": [-1.25, "x\\\\"], "c": 10'
    for cut in range(len(text)):
        whole, pieces = JsonPlace(), JsonPlace()
        whole.feed(text)
        pieces.feed(text[:cut])
        pieces.feed(text[cut:])
        assert vars(whole) == vars(pieces)


def test_a_copy_goes_on_by_itself():
    place = JsonPlace()
    place.feed(b'"a\\')

    other = place.copy()
    other.feed(b'"b"')

    assert (place.in_string, other.in_string) == (True, False)
