import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import BadRequest, ContextTooLong
from paddock.protocol import ChatMessage
from paddock.runner.engines.text.prompt import chat


def conversation(*turns: str) -> list[ChatMessage]:
    """ "s:be kind" is a system message, "u:" one of the user's, "a:" an answer."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [ChatMessage(role=roles[turn[0]], content=turn[2:]) for turn in turns]


def letters(messages):
    """One token per character."""
    return [ord(letter) for message in messages for letter in message.content]


def text_of(tokens):
    return "".join(map(chr, tokens))


def test_what_fits_is_left_alone():
    assert text_of(chat.fit(conversation("u:one", "a:two", "u:three"), letters, 11, 12)) == "onetwothree"


def test_the_oldest_messages_go_first_and_system_messages_stay():
    messages = conversation("s:SYS", "u:one", "a:two", "u:three", "a:four", "u:five")

    assert text_of(chat.fit(messages, letters, 16, 17)) == "SYSthreefourfive"
    assert text_of(chat.fit(messages, letters, 15, 16)) == "SYSfourfive"
    assert text_of(chat.fit(messages, letters, 7, 8)) == "SYSfive"


def test_the_last_message_is_never_dropped():
    with pytest.raises(ContextTooLong) as caught:
        chat.fit(conversation("s:SYS", "u:one", "u:twelve letters"), letters, 9, 10)

    expected = "The input has 17 tokens but the context holds only 10: shorten it or raise num_ctx."
    assert caught.value.message == expected


def test_a_template_that_refuses_a_shortened_conversation_gets_a_shorter_one():
    def user_first(messages):
        if messages[0].role != "user":
            raise BadRequest("Conversations begin with the user.")
        return letters(messages)

    messages = conversation("u:one", "a:two", "u:three", "a:four", "u:five")

    assert text_of(chat.fit(messages, user_first, 14, 15)) == "threefourfive"
    assert text_of(chat.fit(messages, user_first, 12, 13)) == "five"


def test_a_template_that_refuses_the_whole_conversation_is_heard():
    def refuse(messages):
        raise BadRequest("No.")

    with pytest.raises(BadRequest, match="No"):
        chat.fit(conversation("u:one"), refuse, 14, 15)


@given(st.lists(st.tuples(st.sampled_from("sua"), st.integers(1, 9)), min_size=1, max_size=12), st.integers(1, 60))
def test_it_drops_as_few_as_it_takes(turns, limit):
    messages = conversation(*(f"{role}:{'x' * length}" for role, length in turns))
    droppable = [index for index, message in enumerate(messages[:-1]) if message.role != "system"]
    lengths = [
        sum(len(message.content) for index, message in enumerate(messages) if index not in droppable[:count])
        for count in range(len(droppable) + 1)
    ]
    fitting = [length for length in lengths if length <= limit]
    if not fitting:
        with pytest.raises(ContextTooLong):
            chat.fit(messages, letters, limit, limit + 1)
    else:
        assert len(chat.fit(messages, letters, limit, limit + 1)) == fitting[0]
