// Ollama's client for JavaScript, as published.
import { Ollama } from "ollama";
import { ANSWER, MODELS, QUESTION, SCHEMA, STORY, TOOL, URL_, assert, tell } from "./telling.mjs";

const client = new Ollama({ host: URL_ });
const options = { temperature: 0, num_predict: 24 };
const asked = (content) => [{ role: "user", content }];

async function gathered(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

await tell("ollama (npm)", "ollama", {
  chat: async () => {
    const answer = await client.chat({ model: MODELS.demo, messages: asked(STORY), options });
    assert.match(answer.message.content, /fox/);
    return answer.done_reason;
  },
  "chat, streamed": async () => {
    const chunks = await gathered(await client.chat({ model: MODELS.demo, messages: asked(STORY), options, stream: true }));
    assert.match(chunks.map((chunk) => chunk.message.content).join(""), /fox/);
    assert(chunks.at(-1).done);
    return `${chunks.length} chunks`;
  },
  abort: async () => {
    const stream = await client.chat({ model: MODELS.demo, messages: asked(STORY), stream: true, options: { num_predict: 400 } });
    let count = 0;
    await assert.rejects(
      async () => {
        for await (const _ of stream) if (++count === 3) client.abort();
      },
      { name: "AbortError" },
    );
    return `after ${count} chunks`;
  },
  generate: async () => {
    const answer = await client.generate({ model: MODELS.demo, prompt: STORY, options });
    assert.equal(answer.context.length, answer.prompt_eval_count + answer.eval_count);
    return `${answer.eval_count} tokens`;
  },
  tools: async () => {
    const messages = asked(QUESTION);
    const first = await client.chat({ model: MODELS.caller, messages, tools: [TOOL] });
    const [call] = first.message.tool_calls;
    const result = { role: "tool", tool_name: call.function.name, content: "sunny" };
    const last = await client.chat({ model: MODELS.caller, messages: [...messages, first.message, result], tools: [TOOL] });
    assert.equal(last.message.content, ANSWER);
    return `${call.function.name}(${JSON.stringify(call.function.arguments)})`;
  },
  thinking: async () => {
    const answer = await client.chat({ model: MODELS.thinker, messages: asked(QUESTION), think: true });
    assert.equal(answer.message.content, ANSWER);
    assert(answer.message.thinking);
    return answer.message.thinking;
  },
  "structured output": async () => {
    const answer = await client.chat({ model: MODELS.demo, messages: asked(STORY), format: SCHEMA, options: { num_predict: 100 } });
    assert.deepEqual(Object.keys(JSON.parse(answer.message.content)).sort(), ["age", "name"]);
    return answer.message.content;
  },
  embeddings: async () => {
    const answer = await client.embed({ model: MODELS.vectors, input: ["one", "two"] });
    assert.equal(answer.embeddings.length, 2);
    return `${answer.embeddings[0].length} numbers`;
  },
  "models: list, show, ps": async () => {
    await client.generate({ model: MODELS.demo, prompt: "", keep_alive: "1m" });
    assert((await client.list()).models.some((model) => model.model === `${MODELS.demo}:latest`));
    assert((await client.ps()).models.some((model) => model.model === `${MODELS.demo}:latest`));
    return (await client.show({ model: MODELS.demo })).capabilities.join(", ");
  },
  "models: create, copy, delete": async () => {
    const made = await client.create({ model: "made-js", from: MODELS.demo, parameters: { num_predict: 3 } });
    await client.copy({ source: "made-js", destination: "made-js-copy" });
    await client.delete({ model: "made-js" });
    await client.delete({ model: "made-js-copy" });
    return made.status;
  },
  errors: async () => {
    await assert.rejects(client.chat({ model: "absent", messages: asked(STORY) }), { status_code: 404 });
    return "404";
  },
});
