from paddock.protocol import Done, Text, Thinking, TokenLogprobs, ToolCall
from paddock.runner.joining import add_to

ONE, TWO = TokenLogprobs(token="a", logprob=-1.0), TokenLogprobs(token="b", logprob=-2.0)
CALL = ToolCall(id="1", name="add", arguments={})
DONE = Done(
    reason="stop", prompt_eval_count=1, prompt_eval_duration_ns=1, eval_count=1, eval_duration_ns=1, cached_tokens=0
)


def joined(*frames):
    waiting = []
    for frame in frames:
        add_to(waiting, frame)
    return waiting


def test_words_of_one_kind_become_one_frame_with_the_logprobs_of_both():
    frames = joined(Text(content="a", logprobs=(ONE,)), Text(content="b", logprobs=(TWO,)), Text(content="c"))

    assert frames == [Text(content="abc", logprobs=(ONE, TWO))]
    assert joined(Thinking(content="a"), Thinking(content="b")) == [Thinking(content="ab")]


def test_whatever_is_of_another_kind_stays_a_frame_of_its_own_and_in_its_place():
    frames = [Thinking(content="a"), Text(content="b"), CALL, Text(content="c"), DONE]

    assert joined(*frames) == frames
