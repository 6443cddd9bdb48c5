"""What is kept of earlier prompts."""
