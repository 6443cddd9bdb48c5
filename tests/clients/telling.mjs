// What a script of a client for Node tells: one line of JSON for each ability, as telling.py does.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export { assert };
export const URL_ = process.env.PADDOCK_URL ?? "http://127.0.0.1:11434";
export const MODELS = { demo: "demo-at-once", painter: "demo-image", caller: "caller", thinker: "thinker", vectors: "vectors" };
export const STORY = "Tell me a story about a red fox";
export const QUESTION = "How is the weather in Paris?";
export const ANSWER = "It is sunny in Paris.";
export const SCHEMA = {
  type: "object",
  properties: { name: { type: "string", maxLength: 8 }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};
export const WEATHER = {
  name: "get_weather",
  description: "The weather in a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
export const TOOL = { type: "function", function: WEATHER };

// Show all abilities, an object of functions by their names; none is left out because another failed.
export async function tell(client, packageName, abilities) {
  const { version } = JSON.parse(readFileSync(`node_modules/${packageName}/package.json`, "utf8"));
  for (const [ability, show] of Object.entries(abilities)) {
    let line;
    try {
      line = { ok: true, detail: String(await show()) };
    } catch (error) {
      line = { ok: false, detail: `${error?.name}: ${error?.message}` };
    }
    console.log(JSON.stringify({ client, version, ability, ok: line.ok, detail: line.detail.slice(0, 500) }));
  }
}
