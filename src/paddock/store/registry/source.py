"""Which registry and which repository of it a name means. Pure: whether there is such a model, the registry knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from paddock.errors import BadRequest, InvalidName
from paddock.store.names import DEFAULT_HOST, DEFAULT_NAMESPACE, ModelName
from paddock.store.registry.settings import Credentials, Registry

OFF = "off"
"""As the default registry: names without a host are not asked for anywhere."""


@dataclass(frozen=True)
class RegistrySource:
    """A tag of a repository, and how its registry is spoken to."""

    endpoint: str
    """`https://host[:port]`, without a slash at its end."""
    repository: str
    """`namespace/model`"""
    tag: str
    credentials: Credentials = field(default_factory=Credentials)
    realm: str = ""
    """Where else than at the registry tokens may be asked for; set by the user."""

    @property
    def host(self) -> str:
        """As messages call it."""
        return urlsplit(self.endpoint).netloc

    @property
    def key(self) -> tuple[str, ...]:
        """The same for what is asked of the same registry in the same person's name."""
        shown = self.credentials
        return (self.endpoint, self.repository, self.tag, shown.username, shown.password, shown.token)

    def __str__(self) -> str:
        return f"{self.repository.removeprefix(f'{DEFAULT_NAMESPACE}/')}:{self.tag}"


@dataclass(frozen=True)
class Asked:
    """How a caller wants a registry to be spoken to."""

    is_insecure: bool = False
    """Over plain http."""
    credentials: Credentials = field(default_factory=Credentials)


def is_registry_named(text: str) -> bool:
    """Whether a name as it was written says Ollama's registry in full; parsed, it is the same as one that says none."""
    return text.rpartition("://")[2].lower().startswith(f"{DEFAULT_HOST}/")


def check_scheme(text: str, source: RegistrySource) -> None:
    """BadRequest for a name that begins with http:// where nobody has asked for plain http otherwise."""
    if text.lower().startswith("http://") and source.endpoint.startswith("https:"):
        raise BadRequest("insecure protocol http")


def registry_source(
    name: ModelName, default: str, registries: Mapping[str, Registry], asked: Asked
) -> RegistrySource | None:
    """Where a model of this name comes from, or goes to, if that is a registry: that of its host, or for a name
    without one the default, which is a host or a URL or OFF. None for names of the Hub, and where it is off.
    """
    if name.is_on_hub:
        return None
    host = name.host
    if host.lower() == DEFAULT_HOST:
        if default == OFF:
            return None
        host = default or DEFAULT_HOST
    scheme, separator, rest = host.partition("://")
    host = _checked(rest if separator else host)
    known = registries.get(host.lower(), Registry())
    is_plain = asked.is_insecure or known.insecure or (bool(separator) and scheme.lower() == "http")
    own = Credentials(known.username, known.password, known.token)
    return RegistrySource(
        endpoint=f"{'http' if is_plain else 'https'}://{host}",
        repository=f"{name.namespace}/{name.model}",
        tag=name.tag,
        credentials=asked.credentials or own,
        realm=known.realm,
    )


def _checked(host: str) -> str:
    """InvalidName for what is no host with perhaps a port."""
    try:
        parts = urlsplit(f"https://{host.rstrip('/')}")
        is_host = bool(parts.hostname) and parts.port != 0 and not (parts.path or parts.username)
    except ValueError:
        is_host = False
    if not is_host:
        raise InvalidName("invalid model name")
    return host.rstrip("/")
