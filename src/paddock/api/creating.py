"""POST /api/create: a new model, of uploaded files or of one that is here or on its way, as it is or converted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.model_schemas import CreateBody, Progress
from paddock.api.refusals import check_create
from paddock.api.schemas import WireMessage
from paddock.api.services import Services, services_of
from paddock.api.steps import Steps, in_thread, told
from paddock.api.transfers import followed, pull_order
from paddock.errors import BadRequest, Forbidden, InvalidName, NotFound
from paddock.scheduler.conversions import Work, convert
from paddock.store.conversion import Conversion, ConversionWish, canonical_kind
from paddock.store.create import CreateSpec, check_spec, create
from paddock.store.library import Library
from paddock.store.names import ModelName

_PULLED = "success"
"""How a pull ends, which is not the end of what follows it."""


async def create_model(request: Request) -> Response:
    """POST /api/create: make a model of uploaded files, or of one that is here or on its way."""
    body = await read_json(request, CreateBody)
    check_create(body)
    spec, wish = _spec(body), _wish(body)
    services = services_of(request)
    if not services.library.shows(spec.name):
        raise Forbidden(f"This API key may not make a model named '{spec.name.display}'.")
    await asyncio.to_thread(check_spec, spec)  # before anything is pulled for it
    return told(_steps(services, spec, wish), is_streamed=body.stream is not False)


def _spec(body: CreateBody) -> CreateSpec:
    if not body.from_ and not body.files:
        raise BadRequest("neither 'from' or 'files' was specified")
    try:
        name = ModelName.parse(body.wanted)
    except InvalidName:
        raise InvalidName("invalid model name") from None
    return CreateSpec(
        name=name,
        from_=body.from_,
        files=body.files or {},
        parameters=body.parameters or {},
        system=body.system,
        template=body.template,
        licenses=_licenses(body.license),
        messages=_opening(body.messages),
        draft=body.draft,
    )


def _wish(body: CreateBody) -> ConversionWish:
    kind = body.quantize or body.quantization
    return ConversionWish(canonical_kind(kind) if kind else "", body.adapters or {})


def _licenses(license: str | list[str] | None) -> tuple[str, ...] | None:  # noqa: A002 - the wire's own word
    if license is None:
        return None
    return (license,) if isinstance(license, str) else tuple(license)


def _opening(messages: list[WireMessage] | None) -> tuple[dict[str, str], ...] | None:
    if messages is None:
        return None
    return tuple({"role": message.role.lower(), "content": message.content or ""} for message in messages)


async def _steps(services: Services, spec: CreateSpec, wish: ConversionWish) -> Steps:
    library = services.library
    if spec.from_ and not spec.files:
        async with aclosing(_brought(services, spec.from_)) as pulled:
            async for step in pulled:
                yield step
    made = (
        _converted(services, spec, wish)
        if wish
        else in_thread(lambda report: create(library, spec, lambda status: report(Progress(status=status))))
    )
    async with aclosing(made) as steps:
        async for step in steps:
            yield step


async def _brought(services: Services, text: str) -> Steps:
    """Pull a model that is not here, where its name says from where; nothing for one that is, or cannot be pulled."""
    if await asyncio.to_thread(_is_here, services.library, ModelName.parse(text)):
        return
    order = await pull_order(services, text)
    if order is None:
        return
    async with aclosing(followed(services, order)) as steps:
        async for step in steps:
            if step.status != _PULLED:
                yield step


def _is_here(library: Library, name: ModelName) -> bool:
    try:
        library.get(name)
    except NotFound:
        return False
    return True


async def _converted(services: Services, spec: CreateSpec, wish: ConversionWish) -> Steps:
    """Have a runner make the weights, then make the model. Where it is left early, nothing stays."""
    async with _conversion(services.library, spec, wish) as conversion:
        doing, total_bytes = _doing(wish), conversion.facts.weights_bytes
        work = Work(conversion.model, conversion.folder, conversion.adapter_bytes)
        async with aclosing(convert(services.scheduler, work)) as shares:
            async for share in shares:
                yield Progress(doing, conversion.source, total_bytes, round(share * total_bytes))
        making = in_thread(lambda report: conversion.finish(lambda status: report(Progress(status=status))))
        async with aclosing(making) as steps:
            async for step in steps:
                yield step


@asynccontextmanager
async def _conversion(library: Library, spec: CreateSpec, wish: ConversionWish) -> AsyncGenerator[Conversion, None]:
    """A conversion that is set up, and taken down after the block, also where it was left while it was being set up."""
    setting_up = asyncio.create_task(asyncio.to_thread(Conversion, library, spec, wish))
    try:
        yield await asyncio.shield(setting_up)
    finally:
        await asyncio.wait({setting_up})
        if setting_up.exception() is None:
            await asyncio.to_thread(setting_up.result().close)


def _doing(wish: ConversionWish) -> str:
    if not wish.kind:
        return "adding the adapter"
    return f"quantizing to {wish.kind}" + (" with the adapter" if wish.adapter else "")
