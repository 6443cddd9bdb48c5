from __future__ import annotations

import pytest

from paddock.errors import BadRequest, InvalidName, InvalidOption
from paddock.store.registry.settings import Credentials, Registry, load_registries
from paddock.store.registry.source import Asked, check_scheme, is_registry_named, registry_source
from tests.store.making import named

DEFAULT = "registry.ollama.ai"


def source_of(text, default=DEFAULT, registries=None, asked=None):
    return registry_source(named(text), default, registries or {}, asked or Asked())


@pytest.mark.parametrize(
    ("text", "endpoint", "repository", "tag"),
    [
        ("llama3", "https://registry.ollama.ai", "library/llama3", "latest"),
        ("me/model:v1", "https://registry.ollama.ai", "me/model", "v1"),
        ("registry.example.com/ns/model:v1", "https://registry.example.com", "ns/model", "v1"),
        ("127.0.0.1:5000/ns/model", "https://127.0.0.1:5000", "ns/model", "latest"),
        ("https://registry.example.com/ns/model", "https://registry.example.com", "ns/model", "latest"),
    ],
)
def test_a_name_leads_to_the_registry_of_its_host(text, endpoint, repository, tag):
    found = source_of(text)
    assert (found.endpoint, found.repository, found.tag) == (endpoint, repository, tag)


@pytest.mark.parametrize("text", ["hf.co/ORG/REPO", "huggingface.co/ORG/REPO"])
def test_names_of_the_hub_lead_to_no_registry(text):
    assert source_of(text) is None


def test_the_default_may_be_another_or_off():
    assert source_of("llama3", "off") is None
    assert source_of("me/model", "off") is None
    assert source_of("llama3", "http://mirror.lan:5000").endpoint == "http://mirror.lan:5000"
    assert source_of("llama3", "mirror.lan").endpoint == "https://mirror.lan"
    assert source_of("other.lan/a/b", "off").endpoint == "https://other.lan"


def test_plain_http_is_for_who_asks_for_it():
    assert source_of("host.lan/a/b", asked=Asked(is_insecure=True)).endpoint == "http://host.lan"
    assert source_of("host.lan/a/b", registries={"host.lan": Registry(insecure=True)}).endpoint == "http://host.lan"
    check_scheme("http://host.lan/a/b", source_of("host.lan/a/b", asked=Asked(is_insecure=True)))
    with pytest.raises(BadRequest, match="insecure protocol http"):
        check_scheme("HTTP://host.lan/a/b", source_of("host.lan/a/b"))


def test_credentials_belong_to_their_host_and_those_of_the_request_come_first():
    known = {"host.lan:5000": Registry("me", "secret", realm="https://auth.lan")}
    found = source_of("HOST.lan:5000/a/b", registries=known)
    assert (found.credentials, found.realm) == (Credentials("me", "secret"), "https://auth.lan")
    assert not source_of("host.lan/a/b", registries=known).credentials
    asked = Asked(credentials=Credentials("you", "other"))
    assert source_of("host.lan:5000/a/b", registries=known, asked=asked).credentials.username == "you"


def test_no_secret_is_shown_when_things_are_printed():
    found = source_of("host.lan/a/b", registries={"host.lan": Registry("me", "hush", "hushtoken")})
    assert "hush" not in repr(found)
    assert "hush" not in repr(Registry("me", "hush"))


@pytest.mark.parametrize("text", ["host:x/a/b", "host:5:6/a/b", "host:99999/a/b", "host:/a/b"])
def test_what_is_no_host_is_no_name(text):
    with pytest.raises(InvalidName):
        source_of(text)


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("registry.ollama.ai/me/model", True), ("https://Registry.Ollama.ai/library/x:1", True), ("me/model", False),
        ("llama3", False), ("registry.ollama.ai", False), ("other.lan/me/model", False),
    ],
)  # fmt: skip
def test_ollamas_registry_may_be_named_in_full(text, is_named):
    assert is_registry_named(text) is is_named


def test_the_users_table_is_read(tmp_path):
    assert load_registries(None) == {}
    assert load_registries(tmp_path) == {}
    (tmp_path / "registries.toml").write_text(
        '["Registry.lan:5000"]\nusername = "me"\npassword = "secret"\ninsecure = true\n["other.lan"]\ntoken = "t"\n'
    )
    found = load_registries(tmp_path)
    assert found == {"registry.lan:5000": Registry("me", "secret", insecure=True), "other.lan": Registry(token="t")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "is not TOML"),
        ("\xff", "is not TOML"),
        ('["a.lan"]\nname = "x"', '"a.lan" may have username'),
        ('["a.lan"]\ninsecure = "yes"', '"a.lan" may have username'),
        ("a = 3", '"a" may have username'),
        ('["a.lan"]\nrealm = "auth.lan"', 'the realm of "a.lan" must be a web address'),
    ],
)
def test_a_table_that_makes_no_sense_is_told_with_its_entry(tmp_path, text, words):
    (tmp_path / "registries.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidOption, match=words):
        load_registries(tmp_path)
