"""OpenAI's dialect: its bodies become our requests, our frames become its answers."""
