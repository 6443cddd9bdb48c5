"""The embedding engine: texts in, vectors or scores out."""
