"""Paddock: a local model server in which every model runs in a supervised process of its own."""

__version__ = "0.1.0"
