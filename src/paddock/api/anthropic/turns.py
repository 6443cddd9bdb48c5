"""Anthropic's turns of blocks as the turns of a conversation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from paddock.api.anthropic.schemas import Block, Citations, Source, SystemBlock, Turn
from paddock.api.anthropic.signatures import omitted_thinking
from paddock.api.anthropic.tool_ids import own_id
from paddock.api.schemas import WireCall, WireFunction
from paddock.api.tools import called_tools
from paddock.errors import InvalidField, Unsupported
from paddock.protocol import CalledTool, ChatMessage

BETWEEN_BLOCKS = "\n\n"
"""What stands between texts that were blocks of their own."""
MAX_TURNS = 100_000

_TEXTS = frozenset({"text", "document", "search_result", "image"})
_ALLOWED = {
    "user": _TEXTS | {"tool_result"},
    "assistant": frozenset({"text", "thinking", "redacted_thinking", "tool_use"}),
    "system": frozenset({"text"}),
}
_BILLING = "x-anthropic-billing-header:"
"""How Claude Code begins a block of its system prompt that is for no model, and is another one in every request."""


@dataclass(frozen=True)
class Conversation:
    """The turns, and how the answer to them begins."""

    turns: tuple[ChatMessage, ...]
    prefill: str = ""

    @property
    def has_calls(self) -> bool:
        """Whether tools were called in it."""
        return any(turn.tool_calls for turn in self.turns)


def conversation_of(messages: Sequence[Turn] | None, system: str | Sequence[SystemBlock] | None) -> Conversation:
    """The turns of a body. InvalidField for what breaks their form; Unsupported for what no model here can read."""
    if not messages:
        raise _invalid('"messages" must hold at least one turn.')
    if len(messages) > MAX_TURNS:
        raise _invalid(f'"messages" must hold at most {MAX_TURNS} turns.')
    turns = _merged(messages)
    prefill = _prefill(turns.pop()) if turns[-1].role == "assistant" else ""
    opening = _system(system)
    calls = _OpenCalls()
    found = [message for turn in turns for message in _messages(turn, calls)]
    calls.check_answered()
    if not found:
        raise _invalid('"messages" must hold a turn that the assistant can answer.')
    return Conversation((*([opening] if opening else []), *found), prefill)


@dataclass
class _Merged:
    role: str
    blocks: list[Block]


@dataclass
class _OpenCalls:
    """Calls of the turn before that have no result yet."""

    names: dict[str, str] = field(default_factory=dict)

    def answered(self, given: str) -> str:
        """Take note of a result; the name of the tool that was called."""
        if given not in self.names:
            raise _invalid(f'A "tool_result" is for "{given[:64]}", which is no "tool_use" of the turn before it.')
        return self.names.pop(given)

    def check_answered(self) -> None:
        """InvalidField if a call has had no result."""
        if self.names:
            waiting = next(iter(self.names))
            raise _invalid(f'The "tool_use" with the id "{waiting[:64]}" has no "tool_result" in the turn after it.')


def _invalid(message: str) -> InvalidField:
    return InvalidField(message, "messages")


def _merged(messages: Sequence[Turn]) -> list[_Merged]:
    """Neighbours of one role are one turn, as they are for Anthropic's models."""
    found: list[_Merged] = []
    for message in messages:
        if message.role not in _ALLOWED:
            raise _invalid('The role of a turn must be "user", "assistant" or "system".')
        if message.content is None:
            raise _invalid('Each turn must have a "content".')
        blocks = _blocks(message.content)
        for block in blocks:
            _check_place(block, message.role)
        if found and found[-1].role == message.role:
            found[-1].blocks.extend(blocks)
        else:
            found.append(_Merged(message.role, blocks))
    return found


def _blocks(content: str | Sequence[Block] | None) -> list[Block]:
    if isinstance(content, str):
        return [Block(type="text", text=content)]
    return list(content or ())


def _check_place(block: Block, role: str) -> None:
    if block.type in _ALLOWED[role]:
        return
    if any(block.type in allowed for allowed in _ALLOWED.values()):
        raise _invalid(f'A block of the type "{block.type}" cannot stand in a turn of the role "{role}".')
    _refuse(block)


def _refuse(block: Block) -> NoReturn:
    if not block.type:
        raise _invalid('Each block must have a "type".')
    raise Unsupported(f'Blocks of the type "{block.type[:64]}" are not supported: leave them out.')


# ---- one turn -------------------------------------------------------------------------------------------------------


def _messages(turn: _Merged, calls: _OpenCalls) -> list[ChatMessage]:
    if turn.role == "system":
        return [ChatMessage(role="system", content=_text(turn.blocks))]
    if turn.role == "assistant":
        calls.check_answered()
        return [_assistant(turn.blocks, calls)]
    found = _user(turn.blocks, calls)
    calls.check_answered()
    return found


def _user(blocks: Sequence[Block], calls: _OpenCalls) -> list[ChatMessage]:
    """Results are turns of their own, in their places between the texts."""
    found: list[ChatMessage] = []
    said: list[Block] = []
    for block in blocks:
        if block.type != "tool_result":
            said.append(block)
            continue
        if said:
            found.append(ChatMessage(role="user", content=_text(said)))
            said = []
        found.append(_result(block, calls))
    if said or not found:
        found.append(ChatMessage(role="user", content=_text(said)))
    return found


def _result(block: Block, calls: _OpenCalls) -> ChatMessage:
    given = block.tool_use_id or ""
    content = _text(_blocks(block.content))
    if block.is_error:
        content = f"The tool failed: {content}" if content else "The tool failed."
    return ChatMessage(role="tool", content=content, tool_name=calls.answered(given), tool_call_id=own_id(given))


def _assistant(blocks: Sequence[Block], calls: _OpenCalls) -> ChatMessage:
    used = [block for block in blocks if block.type == "tool_use"]
    for block in used:
        if not block.id or not block.name or block.input is None or block.id in calls.names:
            raise _invalid('Each "tool_use" must have an "id" of its own, a "name" and an "input".')
        calls.names[block.id] = block.name
    return ChatMessage(
        role="assistant",
        content=_text(block for block in blocks if block.type == "text"),
        thinking=BETWEEN_BLOCKS.join(filter(None, map(_thought, blocks))),
        tool_calls=_called(used),
    )


def _called(used: Sequence[Block]) -> tuple[CalledTool, ...]:
    functions = [(own_id(block.id or ""), WireFunction(name=block.name or "", arguments=block.input)) for block in used]
    return called_tools([WireCall(id=given, function=function) for given, function in functions])


def _thought(block: Block) -> str:
    """Redacted thinking is nothing that a model here could read."""
    if block.type != "thinking":
        return ""
    return block.thinking or omitted_thinking(block.signature or "")


def _prefill(turn: _Merged) -> str:
    """How the answer begins: what the last turn has said already."""
    if any(block.type == "tool_use" for block in turn.blocks):
        raise _invalid('A "tool_use" in the last turn has no "tool_result": add a turn of the user with it.')
    text = _text(block for block in turn.blocks if block.type == "text")
    if text != text.rstrip():
        raise _invalid("The last turn is how the answer begins, and must not end with white space.")
    return text


# ---- texts ----------------------------------------------------------------------------------------------------------


def _system(system: str | Sequence[SystemBlock] | None) -> ChatMessage | None:
    texts = [system] if isinstance(system, str) else list(map(_system_text, system or ()))
    text = BETWEEN_BLOCKS.join(text for text in texts if text and not text.startswith(_BILLING))
    return ChatMessage(role="system", content=text) if text else None


def _system_text(block: SystemBlock) -> str:
    if block.type != "text" or block.text is None:
        raise InvalidField('"system" must be a text, or blocks of the type "text".', "system")
    return block.text


def _text(blocks: Iterable[Block]) -> str:
    return BETWEEN_BLOCKS.join(filter(None, map(_words, blocks)))


def _words(block: Block) -> str:
    """What a block says to the model."""
    if block.type == "text":
        if block.text is None:
            raise _invalid('A block of the type "text" must have a "text".')
        return block.text
    if block.type == "image":
        raise Unsupported("The model does not support image input: leave the blocks of the type image out.")
    if block.type not in _TEXTS:
        _refuse(block)
    if isinstance(block.citations, Citations) and block.citations.enabled:
        raise Unsupported('"citations" are not supported: answers do not tell what they rest on.')
    return _document(block) if block.type == "document" else _search_result(block)


def _document(block: Block) -> str:
    if not isinstance(block.source, Source):
        raise _invalid('A block of the type "document" must have a "source".')
    return _tagged("document", title=block.title, context=block.context, text=_document_text(block.source))


def _document_text(source: Source) -> str:
    if source.type == "text" and source.media_type in (None, "text/plain") and source.data is not None:
        return source.data
    if source.type == "content" and source.content is not None:
        return _text(_blocks(source.content))
    raise Unsupported("Only documents of plain text are supported: send what they say in a source of the type text.")


def _search_result(block: Block) -> str:
    if not isinstance(block.source, str):
        raise _invalid('A block of the type "search_result" must have a text for its "source".')
    return _tagged("search_result", source=block.source, title=block.title, text=_text(_blocks(block.content)))


def _tagged(name: str, *, text: str, **facts: str | None) -> str:
    lines = (f"<{key}>{value}</{key}>" for key, value in facts.items() if value)
    return "\n".join([f"<{name}>", *lines, text, f"</{name}>"])
