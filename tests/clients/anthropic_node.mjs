// Anthropic's client for JavaScript, as published.
import Anthropic from "@anthropic-ai/sdk";
import { ANSWER, MODELS, QUESTION, STORY, URL_, WEATHER, assert, tell } from "./telling.mjs";

const client = new Anthropic({ baseURL: URL_, apiKey: "none", maxRetries: 0 });
const asked = (content) => [{ role: "user", content }];
const tool = { name: WEATHER.name, description: WEATHER.description, input_schema: WEATHER.parameters };
const weather = { model: MODELS.caller, messages: asked(QUESTION), tools: [tool], max_tokens: 100 };

await tell("@anthropic-ai/sdk (npm)", "@anthropic-ai/sdk", {
  messages: async () => {
    const answer = await client.messages.create({ model: MODELS.demo, messages: asked(STORY), max_tokens: 24 });
    assert.equal(answer.content[0].type, "text");
    assert.equal(answer.usage.output_tokens, 24);
    return answer.stop_reason;
  },
  "messages, streamed": async () => {
    const stream = client.messages.stream({ model: MODELS.demo, messages: asked(STORY), max_tokens: 24 });
    let text = "";
    stream.on("text", (part) => (text += part));
    assert.equal(await stream.finalText(), text);
    return `${text.length} characters`;
  },
  tools: async () => {
    const first = await client.messages.create(weather);
    const call = first.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call.input, { city: "Paris" });
    const result = { type: "tool_result", tool_use_id: call.id, content: "sunny" };
    const messages = [
      ...weather.messages,
      { role: "assistant", content: first.content },
      { role: "user", content: [result] },
    ];
    const last = await client.messages.create({ ...weather, messages });
    assert.equal(last.content[0].text, ANSWER);
    return call.name;
  },
  "tools, streamed": async () => {
    const message = await client.messages.stream(weather).finalMessage();
    assert.deepEqual(message.content.find((block) => block.type === "tool_use").input, { city: "Paris" });
    return message.stop_reason;
  },
  "counting tokens": async () => {
    const { input_tokens } = await client.messages.countTokens({ model: MODELS.demo, messages: asked(STORY) });
    assert(input_tokens > 5);
    return `${input_tokens} tokens`;
  },
  errors: async () => {
    await assert.rejects(
      client.messages.create({ model: "absent", messages: asked(STORY), max_tokens: 8 }),
      Anthropic.NotFoundError,
    );
    return "404";
  },
});
