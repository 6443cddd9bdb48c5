"""POST /api/show: what a model is, what it is made of, and what it needs of this machine's memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.model_schemas import ShowAnswer, ShowBody, ShownComponent, ShownOrigin, ShownRecipe
from paddock.api.models import details_of, find_model, json_response
from paddock.api.pictures.options import picture_options
from paddock.api.services import Services, services_of
from paddock.api.shown_memory import shown_memory
from paddock.options import parse_options
from paddock.store.capabilities import own_template
from paddock.store.components import Component, components
from paddock.store.library import StoredModel
from paddock.store.show import parameters_text, show_modelfile, tokenizer_info


async def show(request: Request) -> Response:
    """POST /api/show: what a model is."""
    body = await read_json(request, ShowBody)
    services = services_of(request)
    model = _as_asked(await find_model(services, body.wanted), body)
    answer = await asyncio.to_thread(_shown, services, model, bool(body.verbose))
    if services.caller.manages:
        answer = msgspec.structs.replace(answer, memory=shown_memory(services, model))
    return json_response(answer)


def _as_asked(model: StoredModel, body: ShowBody) -> StoredModel:
    """The model with what the request puts in place of its own. BadRequest for an option that no request may have."""
    options = body.options or {}
    if model.facts.image:
        picture_options(model.parameters, options)
    else:
        parse_options(options)
    given = {name: value for name, value in options.items() if value is not None}
    return replace(
        model,
        system=body.system or model.system,
        template=body.template or model.template,
        parameters={**model.parameters, **given},
    )


def _shown(services: Services, model: StoredModel, is_verbose: bool) -> ShowAnswer:
    """All but the memory: what follows from the model's files."""
    library = services.library
    files = library.files(model)
    more = tokenizer_info(files) if is_verbose and not model.facts.image else {}
    return ShowAnswer(
        license="\n".join(model.licenses),
        modelfile=show_modelfile(model),
        parameters=parameters_text(model),
        template=model.template or own_template(files),
        system=model.system,
        details=details_of(model),
        messages=model.messages,
        model_info={**library.model_info(model), **more},
        tensors=library.tensors(model) if is_verbose else None,
        capabilities=model.facts.capabilities,
        modified_at=model.modified_at.isoformat(),
        draft=model.draft_model,
        size=model.size_bytes,
        components=tuple(map(_component, components(files, model.facts))),
        origin=ShownOrigin(repository=model.origin.repository, commit=model.origin.commit) if model.origin else None,
        recipe=ShownRecipe(**msgspec.structs.asdict(model.recipe)) if model.recipe else None,
    )


def _component(part: Component) -> ShownComponent:
    return ShownComponent(
        name=part.name,
        parameters=part.parameter_count,
        size=part.size_bytes,
        loaded=part.loaded_bytes,
        quantization_level=part.quantization_level,
    )
