"""The kinds of model that a runner can run."""
