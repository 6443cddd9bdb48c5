"""A small model foresees what the large one will say, which then reads several tokens in one pass."""
