"""/v1/responses: made, asked for again, deleted; and what they answered."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api import sse
from paddock.api.answering import answer
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing, keep_alive_of
from paddock.api.caller import client_of, tenant_of
from paddock.api.chunks import Piece
from paddock.api.models import find_model, json_response
from paddock.api.openai.fields import new_id
from paddock.api.openai.responses.answers import DeletedAnswer, Failure, InputTokensAnswer, ItemsAnswer
from paddock.api.openai.responses.checks import check_include, check_value
from paddock.api.openai.responses.events import Event
from paddock.api.openai.responses.inputs import references_in
from paddock.api.openai.responses.items import Item
from paddock.api.openai.responses.memory import Kept, ResponseMemory
from paddock.api.openai.responses.orders import Order, Origin, order_of
from paddock.api.openai.responses.schemas import InputTokensBody, PromptBody, ResponseBody, StreamOptions
from paddock.api.openai.responses.telling import Stage, Telling
from paddock.api.services import services_of
from paddock.api.stream import JSON, Stream
from paddock.errors import BadRequest, InvalidField, NotFound, PaddockError, PreviousGone
from paddock.protocol import ChatRequest
from paddock.store.library import StoredModel

PADDED_CHARACTERS = 32
"""Deltas are padded to multiples of it, where that is asked for."""

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class _Work:
    """All that one response takes."""

    order: Order
    borrowing: Borrowing
    telling: Telling
    began: int
    memory: ResponseMemory
    owner: str
    is_streamed: bool
    pads: bool
    """Whether the lengths of deltas are hidden."""

    def written(self, events: Iterable[Event]) -> bytes:
        """Events as they go over the wire."""
        return b"".join(
            sse.event(event.type, _padded(event) if self.pads else _encoder.encode(event)) for event in events
        )

    def failed(self, error: PaddockError) -> bytes:
        """The end of a stream that an error cuts short."""
        return self.written(self.telling.fail(Failure(code="server_error", message=error.message)))

    def keep(self) -> bytes:
        """The whole response, kept where it is to be."""
        response = self.telling.response
        written = _encoder.encode(response)
        if response.store:
            self.memory.keep(self.owner, response.id, Kept(written, self.order.items, response.output))
        return written


async def create(request: Request) -> Response:
    """POST /v1/responses: the answer to an input, as items."""
    work = await _work(request)
    if work.is_streamed:
        return Stream(_stream(work), sse.EVENTS, work.failed)
    return Stream(_whole(work), JSON)


async def _work(request: Request) -> _Work:
    """The request, ready to be served."""
    began = time.monotonic_ns()
    body = await read_json(request, ResponseBody)
    model = await find_model(services_of(request), body.model or "")
    order = _order(request, body, model)
    return _Work(
        order=order,
        borrowing=Borrowing(services_of(request), model, order.wish, keep_alive_of(body.keep_alive)),
        telling=Telling(order.response, new_id, order.summarises, order.encrypts),
        began=began,
        memory=memory_of(request),
        owner=client_of(request),
        is_streamed=bool(body.stream),
        pads=bool((body.stream_options or StreamOptions()).include_obfuscation),
    )


def _order(request: Request, body: ResponseBody, model: StoredModel) -> Order:
    memory, owner = memory_of(request), client_of(request)
    origin = Origin(
        client=owner,
        tenant=tenant_of(request),
        created_at=int(time.time()),
        history=_history(memory, owner, body.previous_response_id),
        referred=memory.items(owner, references_in(body.input)),
    )
    return order_of(body, model, origin, new_id)


def _history(memory: ResponseMemory, owner: str, previous: str | None) -> tuple[Item, ...]:
    if not previous:
        return ()
    kept = memory.find(owner, previous)
    if kept is None:
        raise PreviousGone(
            f"Previous response with id '{previous[:80]}' not found: send the whole conversation as input.",
            "previous_response_id",
        )
    return kept.conversation


async def _events(work: _Work) -> AsyncGenerator[list[Event], None]:
    wanted = work.order.wanted
    async with aclosing(answer(work.borrowing, lambda server: server.chat(wanted), work.began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                yield work.telling.add(piece)
            else:
                yield work.telling.end(piece.done, int(time.time()))


async def _stream(work: _Work) -> AsyncGenerator[bytes, None]:
    """The events as they come. The response is kept before the last of them tells that it is there."""
    async with aclosing(_events(work)) as told:
        async for events in told:
            if work.telling.stage is Stage.ENDED:
                work.keep()
            if events:
                yield work.written(events)


async def _whole(work: _Work) -> AsyncGenerator[bytes, None]:
    """The same as one object."""
    async with aclosing(_events(work)) as told:
        async for _ in told:
            pass
    yield work.keep()


def _padded(event: Event) -> bytes:
    """An event with as many characters more as hide the length of its delta."""
    delta = getattr(event, "delta", None)
    if delta is None:
        return _encoder.encode(event)
    missing = -len(delta) % PADDED_CHARACTERS
    fields = msgspec.to_builtins(event)
    return _encoder.encode({**fields, "obfuscation": secrets.token_urlsafe(PADDED_CHARACTERS)[:missing]})


# ---- counted, not answered ------------------------------------------------------------------------------------------


async def input_tokens(request: Request) -> Response:
    """POST /v1/responses/input_tokens: how many tokens the prompt of a response would have."""
    body = await read_json(request, InputTokensBody)
    if body.personality is not None:
        raise InvalidField('"personality" is not supported: say in "instructions" how to answer.', "personality")
    model = await find_model(services_of(request), body.model or "")
    fields = {field: getattr(body, field) for field in PromptBody.__struct_fields__}
    order = _order(request, ResponseBody(**fields), model)
    return Stream(_counted(Borrowing(services_of(request), model, order.wish), order.wanted), JSON)


async def _counted(borrowing: Borrowing, wanted: ChatRequest) -> AsyncGenerator[bytes, None]:
    """Counting reads nothing, so it does not wait for those who use the model."""
    async with borrowing.lease(takes_slot=False) as lease:
        tokens = await lease.server.count(wanted)
    yield _encoder.encode(InputTokensAnswer(input_tokens=tokens))


# ---- kept responses -------------------------------------------------------------------------------------------------


async def retrieve(request: Request) -> Response:
    """GET /v1/responses/{id}: a response that was kept."""
    query = request.query_params
    if query.get("stream", "false") != "false" or "starting_after" in query:
        raise BadRequest("A kept response is whole and cannot be streamed again: ask for it without stream.")
    check_include(query.getlist("include") + query.getlist("include[]"))
    return Response(_kept(request).answer, media_type=JSON)


async def delete(request: Request) -> Response:
    """DELETE /v1/responses/{id}: forget a response."""
    name = request.path_params["id"]
    if not memory_of(request).forget(client_of(request), name):
        raise _not_found(name)
    return json_response(DeletedAnswer(id=name))


async def cancel(request: Request) -> Response:
    """POST /v1/responses/{id}/cancel: only those that work in the background could be, and there are none."""
    _kept(request)
    raise BadRequest("Only a response in the background can be cancelled: to end another, close its connection.")


async def input_items(request: Request) -> Response:
    """GET /v1/responses/{id}/input_items: the whole conversation that it answered, the latest first."""
    query = request.query_params
    order = query.get("order", "desc")
    check_value("order", order, ("asc", "desc"))
    check_include(query.getlist("include") + query.getlist("include[]"))
    given = _kept(request).given
    items = given if order == "asc" else given[::-1]
    after, limit = query.get("after", ""), _limit(query.get("limit", "20"))
    start = next((place + 1 for place, item in enumerate(items) if item.id == after), 0)
    if after and not start:
        raise InvalidField('"after" must be the id of one of the items.', "after")
    page = items[start : start + limit]
    answer = ItemsAnswer(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=start + limit < len(items),
    )
    return json_response(answer)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100):
        raise InvalidField('"limit" must be 1 to 100.', "limit")
    return int(text)


def _kept(request: Request) -> Kept:
    name = request.path_params["id"]
    kept = memory_of(request).find(client_of(request), name)
    if kept is None:
        raise _not_found(name)
    return kept


def _not_found(name: str) -> NotFound:
    return NotFound(f"Response with id '{name[:80]}' not found.")


def memory_of(request: Request) -> ResponseMemory:
    """What this server keeps of its responses."""
    memory = request.app.state.response_memory
    assert isinstance(memory, ResponseMemory)
    return memory
