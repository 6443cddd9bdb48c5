"""What a batch of an encoder computes with: it keeps nothing between batches. Pure; `estimate` adds the rest."""

from __future__ import annotations

from paddock.store.layers import Layers

_ROWS = 512
"""The engine computes attention for so many tokens at a time on the CPU (`runner/engines/embedding/layers.py`)."""
_SCORE_COPIES = 3
"""Scores before and after their mask, and after the softmax."""
_MASK_BYTES = 8
"""For each pair of tokens, while the mask of a window is made: their distance in 32 bits, and what is compared."""


def batch_bytes(layers: Layers, num_ctx: int, num_batch: int, item_bytes: int, *, on_accelerator: bool) -> int:
    """The largest batch: `num_batch` tokens with their padding, or one text of `num_ctx`.

    For each token, of two layers (MLX hands out about one ahead): twice the feed-forward network's width with its gate
    and eight times the model's. Scores of attention, heads x tokens x rows, where they are written out. Masks of
    windows, tokens x tokens.
    """
    tokens = max(num_batch, num_ctx)
    activations = 2 * (3 * layers.feed_forward + 4 * layers.hidden + 4 * max(layers.hidden, layers.query_width))
    scores = 0 if on_accelerator else _SCORE_COPIES * layers.query_heads * min(num_ctx, _ROWS)
    return tokens * (activations + scores) * item_bytes + _MASK_BYTES * num_ctx * num_ctx
