"""Figures for Prometheus: what is counted as requests end, and what is looked at when it asks."""
