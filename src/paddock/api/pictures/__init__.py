"""Pictures: Ollama's and OpenAI's dialects of asking for them, on one internal request."""
