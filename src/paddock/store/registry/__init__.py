"""Registries that speak the protocol of Docker's and of Ollama's: models brought in and sent there."""
