"""Settings as people write them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from paddock.config import FOREVER, Config, parse_address, parse_duration, parse_keep_alive, read_config
from paddock.errors import InvalidOption


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("300ms", 0.3),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1h.5m", 3630),
        ("-0s", 0),
        ("0", 0),
        ("0s", 0),
        ("2us", 2e-6),
        ("-1s", FOREVER),
        ("-1h2m", FOREVER),
    ],
)
def test_a_duration_is_what_go_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "300", "5 m", "m", "5x", "1h-2m", "five minutes", "1e3s", "٣s"])
def test_what_is_no_duration_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "seconds"), [(300, 300), (0.5, 0.5), (0, 0), (-1, FOREVER), ("10m", 600), ("-1s", FOREVER), ("0", 0)]
)
def test_keep_alive_takes_seconds_and_durations(value: object, seconds: float) -> None:
    assert parse_keep_alive(value) == seconds


@pytest.mark.parametrize("value", [True, None, [], {}, "300", "soon", math.nan, math.inf])
def test_keep_alive_refuses_the_rest(value: object) -> None:
    with pytest.raises(ValueError, match=r"keep_alive|duration"):
        parse_keep_alive(value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("1.2.3.4:99", "http://1.2.3.4:99"),
        (":99", "http://127.0.0.1:99"),
        ("box", "http://box:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:99", "http://[::1]:99"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("https://box/paddock/", "https://box:443/paddock"),
        ("'box:1'", "http://box:1"),
    ],
)
def test_an_address_is_what_ollamas_users_write(text: str, url: str) -> None:
    assert parse_address(text).url == url


@pytest.mark.parametrize("text", ["ftp://box", "box:99999", "box:x"])
def test_an_address_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="is not an address"):
        parse_address(text)


def test_without_any_variable_the_defaults_hold() -> None:
    assert read_config({}) == Config()


def test_paddocks_names_go_before_ollamas() -> None:
    config = read_config({"OLLAMA_KEEP_ALIVE": "1m", "PADDOCK_KEEP_ALIVE": "2m", "OLLAMA_MAX_QUEUE": "7"})

    assert config.keep_alive_seconds == 120
    assert config.max_queue == 7


def test_the_store_lies_in_the_home_unless_it_is_set() -> None:
    assert read_config({"PADDOCK_HOME": "/a"}).models == Path("/a/models")
    assert read_config({"PADDOCK_HOME": "/a", "OLLAMA_MODELS": "/b"}).models == Path("/b")


@pytest.mark.parametrize(
    ("text", "seconds"), [("-1", FOREVER), ("0", 0), ("90", 90), ("1.5", 1.5), ("5m", 300), (' "5m" ', 300)]
)
def test_the_default_keep_alive_may_be_seconds_too(text: str, seconds: float) -> None:
    assert read_config({"PADDOCK_KEEP_ALIVE": text}).keep_alive_seconds == seconds


def test_a_load_timeout_of_zero_is_no_limit() -> None:
    assert read_config({"PADDOCK_LOAD_TIMEOUT": "0"}).load_timeout_seconds == FOREVER


@pytest.mark.parametrize(("name", "text"), [("MAX_QUEUE", "-1"), ("NUM_PARALLEL", "two"), ("KEEP_ALIVE", "soon")])
def test_a_setting_that_makes_no_sense_is_named(name: str, text: str) -> None:
    with pytest.raises(InvalidOption, match=name):
        read_config({f"PADDOCK_{name}": text})
