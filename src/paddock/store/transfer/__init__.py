"""Bringing files in from other servers, and sending them there: what pulls from the Hub and from registries share."""
