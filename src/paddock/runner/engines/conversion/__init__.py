"""Makes other weights of a model's own: quantised ones, or ones with an adapter in them."""
