// OpenAI's client for JavaScript, as published.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { ANSWER, MODELS, QUESTION, STORY, TOOL, URL_, WEATHER, assert, tell } from "./telling.mjs";

const client = new OpenAI({ baseURL: `${URL_}/v1`, apiKey: "none", maxRetries: 0 });
const asked = (content) => [{ role: "user", content }];
const short = { model: MODELS.demo, messages: asked(STORY), temperature: 0, max_tokens: 24 };
const Person = z.object({ name: z.string(), age: z.number().int() });
const flatTool = { type: "function", strict: false, ...WEATHER };

async function gathered(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

await tell("openai (npm)", "openai", {
  chat: async () => {
    const answer = await client.chat.completions.create(short);
    assert.match(answer.choices[0].message.content, /fox/);
    assert.equal(answer.usage.completion_tokens, 24);
    return answer.choices[0].finish_reason;
  },
  "chat, streamed with usage": async () => {
    const options = { ...short, stream: true, stream_options: { include_usage: true } };
    const chunks = await gathered(await client.chat.completions.create(options));
    assert.match(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), /fox/);
    assert.equal(chunks.at(-1).usage.completion_tokens, 24);
    return `${chunks.length} chunks`;
  },
  abort: async () => {
    const stream = await client.chat.completions.create({ ...short, max_tokens: 400, stream: true });
    let count = 0;
    for await (const _ of stream) if (++count === 3) stream.controller.abort();
    assert(count < 20);
    return `after ${count} chunks`;
  },
  "tools, run by the client": async () => {
    const tool = { type: "function", function: { ...WEATHER, parse: JSON.parse, function: ({ city }) => `sunny in ${city}` } };
    const runner = client.chat.completions.runTools({ model: MODELS.caller, messages: asked(QUESTION), tools: [tool] });
    assert.equal(await runner.finalContent(), ANSWER);
    return `${runner.messages.length} messages`;
  },
  "tools, streamed": async () => {
    const stream = client.chat.completions.stream({ model: MODELS.caller, messages: asked(QUESTION), tools: [TOOL] });
    const [call] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
    return call.function.name;
  },
  "structured output, parsed": async () => {
    const form = zodResponseFormat(Person, "person");
    const answer = await client.chat.completions.parse({ ...short, max_tokens: 200, response_format: form });
    assert.equal(typeof answer.choices[0].message.parsed.age, "number");
    return JSON.stringify(answer.choices[0].message.parsed);
  },
  responses: async () => {
    const answer = await client.responses.create({ model: MODELS.demo, input: STORY, temperature: 0, max_output_tokens: 24 });
    assert.match(answer.output_text, /fox/);
    return answer.status;
  },
  "responses, streamed": async () => {
    const stream = client.responses.stream({ model: MODELS.demo, input: STORY, temperature: 0, max_output_tokens: 24 });
    const events = await gathered(stream);
    assert.match((await stream.finalResponse()).output_text, /fox/);
    return `${events.length} events`;
  },
  "responses, tools": async () => {
    const input = asked(QUESTION);
    const first = await client.responses.create({ model: MODELS.caller, input, tools: [flatTool] });
    const call = first.output.find((item) => item.type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
    const result = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
    const last = await client.responses.create({
      model: MODELS.caller,
      input: [...input, ...first.output, result],
      tools: [flatTool],
    });
    assert.equal(last.output_text, ANSWER);
    return call.name;
  },
  "responses, parsed": async () => {
    const text = { format: zodTextFormat(Person, "person") };
    const answer = await client.responses.parse({ model: MODELS.demo, input: STORY, max_output_tokens: 200, text });
    assert.equal(typeof answer.output_parsed.age, "number");
    return JSON.stringify(answer.output_parsed);
  },
  embeddings: async () => {
    const answer = await client.embeddings.create({ model: MODELS.vectors, input: ["one", "two"] });
    assert.equal(answer.data.length, 2);
    return `${answer.data[0].embedding.length} numbers`;
  },
  pictures: async () => {
    const answer = await client.images.generate({
      model: MODELS.painter,
      prompt: "a red circle",
      size: "64x64",
      response_format: "b64_json",
      steps: 2,
    });
    const data = Buffer.from(answer.data[0].b64_json, "base64");
    assert.equal(data.subarray(1, 4).toString(), "PNG");
    return `${data.length} bytes`;
  },
  models: async () => {
    const models = await gathered(await client.models.list());
    assert(models.some((model) => model.id.startsWith(MODELS.demo)));
    return (await client.models.retrieve(models[0].id)).id;
  },
  errors: async () => {
    await assert.rejects(client.chat.completions.create({ ...short, model: "absent" }), OpenAI.NotFoundError);
    return "404";
  },
});
