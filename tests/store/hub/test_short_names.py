from __future__ import annotations

import pytest

from paddock.errors import InvalidOption
from paddock.store.hub.short_names import OWN_FILE, load_short_names, parse_short_names
from paddock.store.hub.source import HubSource
from paddock.store.names import ModelName


def key(text):
    return ModelName.parse(text).key


def test_the_packaged_table_knows_what_people_ask_for():
    names = load_short_names()
    for name in ("qwen3", "llama3.2", "gemma3", "z-image", "flux2-klein", "gpt-oss", "all-minilm", "qwen3:0.6b"):
        assert names[key(name)].repository.count("/") == 1


def test_the_users_own_table_goes_above_it(tmp_path):
    (tmp_path / OWN_FILE).write_text('[names]\nqwen3 = "me/mine:v2"\n"new:1b" = "hf.co/org/new"\n')
    names = load_short_names(tmp_path)
    assert names[key("qwen3")] == HubSource("me/mine", "v2")
    assert names[key("new:1b")] == HubSource("org/new")
    assert names[key("gemma3")] == load_short_names()[key("gemma3")]


def test_without_a_table_of_the_users_own_there_is_the_packaged_one(tmp_path):
    assert load_short_names(tmp_path) == load_short_names()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names", "is not TOML"),
        ("[others]\na = 'x/y'\n", "may have one table only"),
        ("names = 3\n", "may have one table only"),
        ('[names]\n"a/b" = "org/repo"\n', '"a/b" is no short name'),
        ('[names]\n"../x" = "org/repo"\n', "is no short name"),
        ("[names]\na = 3\n", '"a" must lead to a repository'),
        ('[names]\na = "b"\n', '"a" must lead to a repository'),
        ('[names]\na = "registry.io/org/repo"\n', '"a" must lead to a repository'),
        ('[names]\na = "https://evil/../x"\n', '"a" must lead to a repository'),
        ('[names]\nqwen = "org/repo"\nQwen = "org/other"\n', "is there twice"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused_with_a_sentence(tmp_path, text, words):
    (tmp_path / OWN_FILE).write_text(text)
    with pytest.raises(InvalidOption, match=words) as error:
        load_short_names(tmp_path)
    assert error.value.message.startswith(OWN_FILE)
    assert error.value.message.endswith(".")
    assert str(tmp_path) not in error.value.message


def test_a_table_that_is_no_text_is_refused(tmp_path):
    (tmp_path / OWN_FILE).write_bytes(b"\xff\xfe[names]")
    with pytest.raises(InvalidOption, match="is not text"):
        load_short_names(tmp_path)


def test_an_empty_table_is_one():
    assert parse_short_names("", "x") == {}
