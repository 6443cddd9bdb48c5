"""POST /api/pull and /api/push: a model brought in from the Hub, a registry or the package, or sent to a registry."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.model_schemas import Progress, TransferBody
from paddock.api.models import find_model
from paddock.api.services import Services, services_of
from paddock.api.steps import Report, Steps, in_thread, told
from paddock.errors import BadRequest, Forbidden, InvalidName, NotFound, Unsupported
from paddock.store.hub import pull as hub
from paddock.store.hub.short_names import load_short_names
from paddock.store.hub.source import HubSource, hub_source
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.store.packaged import PACKAGED_NAMES, install_demo
from paddock.store.registry import pull as registry
from paddock.store.registry import push as pushing
from paddock.store.registry.settings import Credentials, load_registries
from paddock.store.registry.source import Asked, RegistrySource, check_scheme, is_registry_named, registry_source
from paddock.store.transfer.progress import Line

_LAYER = re.compile(r"(?:creating new|using existing) layer (sha256:([0-9a-f]{12})[0-9a-f]{52})")
_NOBODY = Asked()


async def pull(request: Request) -> Response:
    """POST /api/pull: bring a model in from the Hub, a registry, or out of the package."""
    body = await read_json(request, TransferBody)
    asked, services, is_streamed = _asked(body), services_of(request), body.stream is not False
    try:
        name = ModelName.parse(body.wanted)
    except InvalidName:
        raise InvalidName("invalid model name") from None
    library = services.library
    if name in PACKAGED_NAMES:
        return told(in_thread(lambda report: _install(library, name, report)), is_streamed=is_streamed)
    order = await pull_order(services, body.wanted, asked)
    if order is None:
        raise NotFound(
            f"model '{body.wanted[:200]}' cannot be pulled: name a repository of the Hugging Face Hub as ORG/REPO, "
            "or a short name such as qwen3."
        )
    return told(followed(services, order), is_streamed=is_streamed)


async def pull_order(services: Services, text: str, asked: Asked = _NOBODY) -> hub.Order | registry.Order | None:
    """What to pull for a name as somebody wrote it; None where it says from nowhere. InvalidName, InvalidOption;
    Forbidden if the caller may have no model of that name."""
    name, home = ModelName.parse(text), services.config.home
    source: HubSource | RegistrySource | None = None
    if not is_registry_named(text):
        source = hub_source(name, await asyncio.to_thread(load_short_names, home))
    if source is None:
        source = await _registry(services, name, text, asked)
    if source is None:
        return None
    if not services.library.shows(name):
        raise Forbidden(f"This API key may not make a model named '{name.display}'.")
    return hub.Order(name, source) if isinstance(source, HubSource) else registry.Order(name, source)


async def _registry(services: Services, name: ModelName, text: str, asked: Asked) -> RegistrySource | None:
    registries = await asyncio.to_thread(load_registries, services.config.home)
    source = registry_source(name, services.config.registry, registries, asked)
    if source is not None:
        check_scheme(text, source)
    return source


async def push(request: Request) -> Response:
    """POST /api/push: send a model to the registry that its name begins with."""
    body = await read_json(request, TransferBody)
    asked, services = _asked(body), services_of(request)
    name = (await find_model(services, body.wanted)).name
    source = await _registry(services, name, body.wanted, asked)
    if source is None:
        place = "the Hugging Face Hub" if name.is_on_hub else "a registry that its name does not say"
        raise Unsupported(
            f"model '{name.display}' cannot be pushed to {place}: copy it to HOST/NAMESPACE/MODEL and push that."
        )
    return told(followed(services, pushing.Order(name, source)), is_streamed=body.stream is not False)


def _asked(body: TransferBody) -> Asked:
    if body.password and not body.username:
        raise BadRequest("A password was given without a username.")
    return Asked(bool(body.insecure), Credentials(body.username or "", body.password or ""))


async def followed(services: Services, order: hub.Order | registry.Order | pushing.Order) -> Steps:
    """The steps of a pull or a push. Whoever closes them leaves it."""
    lines: AsyncGenerator[Line, None] = services.pulls.follow(services.library, order)
    async with aclosing(lines):
        async for line in lines:
            yield Progress(line.status, line.digest, line.total, line.completed, line.file)


def _install(library: Library, name: ModelName, report: Report) -> None:
    """The steps of making a model of the package, told as those of fetching it."""
    report(Progress(status="pulling manifest"))
    install_demo(library, lambda status: report(_fetched(library, status)), name)


def _fetched(library: Library, status: str) -> Progress:
    layer = _LAYER.fullmatch(status)
    if layer is None:
        return Progress(status=status)
    digest, short = layer.groups()
    size = library.blobs.size(digest) if library.blobs.has(digest) else 0
    return Progress(status=f"pulling {short}", digest=digest, total=size, completed=size)
