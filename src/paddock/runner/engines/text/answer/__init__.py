"""From tokens to what the client sees: text, thinking and calls."""
