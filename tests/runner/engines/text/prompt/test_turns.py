from paddock.protocol import CalledTool, ChatMessage
from paddock.runner.engines.text.prompt.turns import turns_of


def asks(*calls: CalledTool, **more) -> ChatMessage:
    return ChatMessage(role="assistant", content="", tool_calls=calls, **more)


def answers(content: str, **more) -> ChatMessage:
    return ChatMessage(role="tool", content=content, **more)


ADD, WEATHER = CalledTool(name="add", arguments={"a": 1}), CalledTool(name="weather", arguments={"city": "Bürglen"})


def test_plain_messages_are_role_and_content_and_nothing_else():
    assert turns_of([ChatMessage(role="user", content="Hi")]) == [{"role": "user", "content": "Hi"}]


def test_thinking_comes_under_the_names_that_templates_know():
    [turn] = turns_of([ChatMessage(role="assistant", content="Yes", thinking="Hm")])

    assert turn == {"role": "assistant", "content": "Yes", "thinking": "Hm", "reasoning_content": "Hm"}


def test_calls_are_written_as_openai_does():
    [turn] = turns_of([asks(CalledTool(name="add", arguments={"a": 1}, id="call_1"))])

    function = {"name": "add", "arguments": {"a": 1}}
    assert turn["tool_calls"] == [{"type": "function", "id": "call_1", "function": function}]


def test_arguments_may_be_wanted_as_text():
    [turn] = turns_of([asks(WEATHER)], as_text=True)

    assert turn["tool_calls"][0]["function"]["arguments"] == '{"city": "Bürglen"}'


def test_calls_and_answers_without_ids_get_some_that_every_template_takes():
    turns = turns_of([asks(ADD, WEATHER), answers("sunny", tool_name="weather"), answers("1"), asks(ADD), answers("2")])

    ids = [call["id"] for turn in turns for call in turn.get("tool_calls", ())]
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert len(set(ids)) == 3
    told = [(turn["content"], turn["tool_call_id"], turn["name"]) for turn in turns if turn["role"] == "tool"]
    assert told == [("sunny", ids[1], "weather"), ("1", ids[0], "add"), ("2", ids[2], "add")]


def test_ids_that_are_there_stay_and_name_the_tool():
    call = CalledTool(name="add", arguments={}, id="call_1")

    turns = turns_of([asks(call), answers("2", tool_call_id="call_1")])

    assert (turns[1]["tool_call_id"], turns[1]["name"]) == ("call_1", "add")


def test_an_answer_that_fits_no_call_is_told_without_one():
    assert turns_of([answers("2", tool_name="add")]) == [{"role": "tool", "content": "2", "name": "add"}]
    assert turns_of([answers("2")]) == [{"role": "tool", "content": "2"}]
