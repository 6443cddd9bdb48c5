"""The Hugging Face Hub: which repository a name means, what of it is needed, and bringing that into the store."""
