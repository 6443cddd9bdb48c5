"""What stands in `input`, as items: each with an id, its parts checked, references looked up. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from paddock.api.openai.call_arguments import object_of
from paddock.api.openai.responses.items import (
    FunctionCall,
    FunctionCallOutput,
    InputText,
    Item,
    Message,
    NewId,
    OutputText,
    Reasoning,
    ReasoningText,
    Refusal,
    SummaryText,
)
from paddock.api.openai.responses.schemas import InputItem, Part
from paddock.api.openai.responses.thoughts import unsealed
from paddock.errors import InvalidField, Unsupported

ROLES = ("user", "assistant", "system", "developer")
MAX_ITEMS = 10_000
_OF_FILES = ("detail", "file_id", "file_url", "file_data", "filename")


def items_of(given: str | Sequence[InputItem] | None, referred: Mapping[str, Item], new_id: NewId) -> tuple[Item, ...]:
    """The items of a request; `referred` are kept ones by their ids. InvalidField, Unsupported."""
    if isinstance(given, str):
        return (Message(id=new_id("msg_"), role="user", content=(InputText(text=given),)),)
    if given and len(given) > MAX_ITEMS:
        raise InvalidField(f'"input" may hold at most {MAX_ITEMS} items: send fewer.', "input")
    return tuple(_item(item, f"input[{place}]", referred, new_id) for place, item in enumerate(given or ()))


def references_in(given: str | Sequence[InputItem] | None) -> set[str]:
    """The ids of kept items that the input refers to."""
    if given is None or isinstance(given, str):
        return set()
    return {item.id for item in given if item.id and _kind(item) == "item_reference"}


def _kind(item: InputItem) -> str:
    if item.type is not None:
        return item.type
    return "item_reference" if item.id and item.role is None and item.content is None else "message"


def _item(item: InputItem, where: str, referred: Mapping[str, Item], new_id: NewId) -> Item:
    kind = _kind(item)
    for part in _parts_of(item):
        _check_is_text(part, where)
    if item.namespace:
        raise Unsupported(f'"{where}" is of a namespace of tools, and there are none here: leave "namespace" out.')
    if kind == "item_reference":
        return _referred(item, where, referred)
    if kind not in _READERS:
        raise Unsupported(
            f'"{where}" is of the type "{kind[:64]}", which is not known here: send messages, function calls and their '
            "outputs, reasoning and references."
        )
    return _READERS[kind](item, where, new_id)


def _parts_of(item: InputItem) -> Iterator[Part]:
    for parts in (item.content, item.output, item.summary):
        yield from parts if isinstance(parts, list) else ()


def _check_is_text(part: Part, where: str) -> None:
    if part.type == "input_image" or part.image_url is not None:
        raise Unsupported(f'"{where}" holds a picture, and no model here looks at pictures in a conversation.')
    if part.type == "input_file" or any(getattr(part, name) is not None for name in _OF_FILES):
        raise Unsupported(f'"{where}" holds a file, and files are not read here: send its text as input_text.')


def _referred(item: InputItem, where: str, referred: Mapping[str, Item]) -> Item:
    if not item.id or item.id not in referred:
        name = (item.id or "")[:80]
        raise InvalidField(f"\"{where}\" refers to the item '{name}', which is not kept here: send it whole.", where)
    return referred[item.id]


# ---- messages -------------------------------------------------------------------------------------------------------


def _message(item: InputItem, where: str, new_id: NewId) -> Item:
    if item.role not in ROLES:
        raise InvalidField(f'The role of "{where}" must be {", ".join(ROLES[:-1])} or {ROLES[-1]}.', where)
    if item.content is None:
        raise InvalidField(f'"{where}" must have a content.', where)
    is_answer = item.role == "assistant"
    if isinstance(item.content, str):
        text = OutputText(text=item.content) if is_answer else InputText(text=item.content)
        return Message(id=item.id or new_id("msg_"), role=item.role, content=(text,))
    parts = tuple(_part(part, f"{where}.content[{place}]", is_answer) for place, part in enumerate(item.content))
    return Message(id=item.id or new_id("msg_"), role=item.role, content=parts)


def _part(part: Part, where: str, is_answer: bool) -> InputText | OutputText | Refusal:
    if part.type == "refusal":
        return Refusal(refusal=_text(part.refusal, where))
    if part.type not in ("input_text", "output_text"):
        raise InvalidField(f'The type of "{where}" must be input_text, output_text or refusal.', where)
    text = _text(part.text, where)
    return OutputText(text=text) if is_answer else InputText(text=text)


def _text(text: str | None, where: str) -> str:
    if text is None:
        raise InvalidField(f'"{where}" has no text.', where)
    return text


# ---- calls and thinking ---------------------------------------------------------------------------------------------


def _call(item: InputItem, where: str, new_id: NewId) -> Item:
    if not item.name or not item.call_id:
        raise InvalidField(f'"{where}" must have a "call_id" and a "name".', where)
    arguments = item.arguments or "{}"
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    object_of(arguments, where)
    return FunctionCall(id=item.id or new_id("fc_"), call_id=item.call_id, name=item.name, arguments=arguments)


def _call_output(item: InputItem, where: str, new_id: NewId) -> Item:
    if not item.call_id:
        raise InvalidField(f'"{where}" must have the "call_id" of the call that it answers.', where)
    if item.output is None:
        raise InvalidField(f'"{where}" must have an output.', where)
    if isinstance(item.output, str):
        output: str | tuple[InputText, ...] = item.output
    else:
        output = tuple(_input_text(part, f"{where}.output[{place}]") for place, part in enumerate(item.output))
    return FunctionCallOutput(id=item.id or new_id("fco_"), call_id=item.call_id, output=output)


def _input_text(part: Part, where: str) -> InputText:
    if part.type != "input_text":
        raise InvalidField(f'The type of "{where}" must be input_text.', where)
    return InputText(text=_text(part.text, where))


def _reasoning(item: InputItem, where: str, new_id: NewId) -> Item:
    content = item.content if isinstance(item.content, list) else ()
    found = Reasoning(
        id=item.id or new_id("rs_"),
        content=tuple(ReasoningText(text=text) for text in _texts(content)),
        summary=tuple(SummaryText(text=text) for text in _texts(item.summary or ())),
        encrypted_content=item.encrypted_content,
    )
    if found.encrypted_content and not found.content and unsealed(found.encrypted_content) is None:
        raise InvalidField(f'The encrypted_content of "{where}" is not of this server: leave the item out.', where)
    return found


def _texts(parts: Iterable[Part]) -> list[str]:
    return [part.text for part in parts if part.text]


_READERS: Mapping[str, Callable[[InputItem, str, NewId], Item]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _call_output,
    "reasoning": _reasoning,
}
