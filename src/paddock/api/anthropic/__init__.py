"""Anthropic's dialect: messages in blocks become our requests, our frames become its answers and events."""
