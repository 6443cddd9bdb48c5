"""The engine that makes pictures."""
