"""What the user wants of pictures."""

import pytest

from paddock.cli.picture_wish import Look, PictureFlags, other_model_warning, picture_request, repeated
from paddock.errors import BadRequest

DETAILS = {
    "prompt": "a fox",
    "negative_prompt": "",
    "width": 64,
    "height": 32,
    "steps": 4,
    "guidance": 0.0,
    "seed": 7,
    "model": "painter",
    "model_digest": "sha256:0123456789abcdef",
    "version": "0.1.0",
}


def test_a_request_has_only_what_was_said():
    assert picture_request("painter", "a fox", Look()) == {"model": "painter", "prompt": "a fox"}


def test_a_request_has_everything_where_the_api_wants_it():
    look = Look(width=64, height=32, steps=4, seed=0, negative="blur", guidance=0.0, strength=0.5)
    assert picture_request("painter", "a fox", look, [b"one", b"two"]) == {
        "model": "painter",
        "prompt": "a fox",
        "width": 64,
        "height": 32,
        "steps": 4,
        "negative_prompt": "blur",
        "images": ["b25l", "dHdv"],
        "options": {"seed": 0, "guidance": 0.0, "strength": 0.5},
    }


def test_a_look_gives_way_to_what_another_says():
    assert Look(width=64, seed=7).under(Look(seed=0, steps=2)) == Look(width=64, steps=2, seed=0)


def test_a_picture_is_repeated_from_what_its_file_tells():
    assert repeated(DETAILS, "fox.png", has_images=False) == (
        "a fox",
        Look(width=64, height=32, steps=4, seed=7, negative="", guidance=0.0),
    )


def test_what_a_file_tells_in_the_wrong_type_is_passed_over():
    details = {"prompt": 3, "width": "64", "seed": 1.5, "guidance": "much", "strength": 1, "images": "one"}
    assert repeated(details, "fox.png", has_images=False) == ("", Look(strength=1))


@pytest.mark.parametrize(("count", "words"), [(1, "a picture: give it"), (3, "3 pictures: give them")])
def test_a_picture_that_was_made_from_others_needs_them_again(count, words):
    with pytest.raises(BadRequest, match=rf"^fox\.png was made from {words} again with --image\.$"):
        repeated({**DETAILS, "images": count}, "fox.png", has_images=False)
    assert repeated({**DETAILS, "images": count, "strength": 0.5}, "fox.png", has_images=True)[1].strength == 0.5


def test_another_model_is_warned_of_in_one_line():
    assert other_model_warning(DETAILS, "fox.png", "painter", "fedcba9876543210") == (
        "Warning: fox.png was made by painter (0123456789ab), not by painter as it is now (fedcba987654): "
        "the picture will differ.\n"
    )


def test_the_same_model_and_one_that_cannot_be_told_are_not_warned_of():
    assert other_model_warning(DETAILS, "fox.png", "painter", "0123456789abcdef") == ""
    assert other_model_warning(DETAILS, "fox.png", "painter", "") == ""
    assert other_model_warning({}, "fox.png", "painter", "0123456789abcdef") == ""


def test_flags_are_named_as_the_user_writes_them():
    assert PictureFlags().given == []
    flags = PictureFlags(Look(width=1, seed=0, negative=""), count=1, output="x", images=("y",), source="z")
    assert flags.given == ["--width", "--seed", "--negative", "--n", "--output", "--image", "--from"]
