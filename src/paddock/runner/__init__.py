"""The other program: one loaded model, in a process of its own. Only here is MLX imported."""
