"""Text generation over mlx-lm's architectures."""
