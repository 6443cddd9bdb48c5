"""Answers that obey a schema or are calls."""
