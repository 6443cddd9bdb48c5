"""From a folder to a model in memory, and its caches."""
