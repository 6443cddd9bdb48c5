"""OpenAI's /v1/responses: items in, items out, and the stream of typed events between."""
