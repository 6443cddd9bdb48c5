"""The body of /v1/images/edits, which comes as a form with files, or as JSON."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from paddock.api.body import bounded, has_long_integer, in_words, read_json
from paddock.api.pictures.inputs import MAX_BYTES, decoded
from paddock.api.pictures.openai_fields import texts_of
from paddock.api.pictures.openai_schemas import EditBody
from paddock.errors import BadRequest

_MOST_FILES = 17
"""As at OpenAI: sixteen pictures and a mask, which is refused in words of its own."""
_MOST_FIELDS = 64
_PICTURES = ("image", "image[]")


async def read_edit(request: Request) -> tuple[EditBody, tuple[bytes, ...]]:
    """The fields, and the files of the pictures. BadRequest."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _read_form(request)
    body = await read_json(request, EditBody)
    return body, await asyncio.to_thread(decoded, texts_of(body))


async def _read_form(request: Request) -> tuple[EditBody, tuple[bytes, ...]]:
    parser = _Parser(request.headers, bounded(request), max_files=_MOST_FILES, max_fields=_MOST_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BadRequest(f"The form cannot be read: {error.message.rstrip('.')}.") from None
    try:
        return _fields(form), await _files(form)
    finally:
        await form.close()


class _Parser(MultiPartParser):
    spool_max_size = MAX_BYTES
    """What is taken at all stays in memory, and is bounded with the body."""


def _fields(form: FormData) -> EditBody:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name not in _PICTURES:
            raise BadRequest(f'A file is not supported as "{name[:80]}": leave it out.')
        if not isinstance(value, UploadFile) and name in (*_PICTURES, "images"):
            raise BadRequest(f'"{name}" must be a file in a form: send JSON with data URIs otherwise.')
    given = {name: value for name, value in form.multi_items() if isinstance(value, str) and value}
    try:
        edit = msgspec.convert(given, EditBody, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(in_words(str(error))) from None
    if has_long_integer(edit):
        raise BadRequest("The form holds an integer of more than 64 bits.")
    return edit


async def _files(form: FormData) -> tuple[bytes, ...]:
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    return tuple([await upload.read() for upload in uploads])
