"""What is kept for one tenant: a tree of tokens, with rows on its edges and checkpoints at its nodes.

It knows no bound and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from paddock.runner.engines.text.model.kv_caches import leaves
from paddock.runner.engines.text.prefix import copies as cache_copies
from paddock.runner.engines.text.prefix.copies import Layout, Segment
from paddock.runner.engines.text.prefix.tree import Node, PrefixTree, Tokens

_ROOM_STEP_TOKENS = 256
"""mlx-lm's caches grow by so many tokens."""


@dataclass
class Checkpoint:
    """The states of all layers that are no sequences, at the end of a node."""

    states: tuple[Any, ...]
    used: int = 0

    @property
    def arrays(self) -> list[mx.array]:
        return [array for state in self.states for array in cache_copies.arrays_of(state)]

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    @property
    def can_be_cut(self) -> bool:
        return all(map(cache_copies.can_be_cut, self.states))


@dataclass
class Kept:
    """What a node holds: per sequence layer the rows of its edge, and perhaps a checkpoint at its end."""

    segments: tuple[Segment, ...] = ()
    checkpoint: Checkpoint | None = None
    used: int = 0
    """When a prompt last passed here, by the cache's own count of uses."""

    @property
    def size_bytes(self) -> int:
        rows_bytes = sum(array.nbytes for segment in self.segments for array in segment)
        return rows_bytes + (self.checkpoint.size_bytes if self.checkpoint else 0)


KeptNode = Node[Kept]


@dataclass(frozen=True)
class Source:
    """Where a prefix comes from."""

    rows: KeptNode
    """The path to it holds the rows of the sequence layers; the last of them may be too many."""
    length: int
    states: KeptNode | None
    """Its checkpoint holds the states of the other layers, at `length` or at a place from where they can be cut."""


class Shelf:
    """Everything kept for one tenant; `now` is a count that rises with every use."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.size_bytes = 0
        self._tree: PrefixTree[Kept] = PrefixTree(Kept())

    @property
    def is_empty(self) -> bool:
        return not self._tree.root.children

    def candidates(self) -> list[KeptNode]:
        """Nodes of which something can go: leaves, and checkpoints anywhere."""
        return [node for node in self._tree.nodes() if not node.children or node.held.checkpoint]

    def find(self, tokens: Tokens) -> tuple[int, Source | None]:
        """How many tokens are known, and the longest prefix that caches can be made of."""
        match = self._tree.match(tokens)
        if match.length == 0:
            return 0, None
        if not self.layout.has_states:
            return match.length, Source(match.node, match.length, None)
        marked = [node for node in match.node.path() if node.held.checkpoint and node.end <= match.length]
        if marked and marked[-1].end == match.length:
            return match.length, Source(marked[-1], match.length, marked[-1])
        longer = _cuttable_below(match.node)
        if longer is not None:
            return match.length, Source(match.node, match.length, longer)
        return match.length, Source(marked[-1], marked[-1].end, marked[-1]) if marked else None

    def copy(self, source: Source, wanted: int, now: int) -> list[Any]:
        """Fresh caches of `source.length` tokens, with room for `wanted` of them where rows can be added."""
        self._touch(source.rows, now)
        nodes = [node for node in source.rows.path() if node.start < source.length]
        capacity = -(-wanted // _ROOM_STEP_TOKENS) * _ROOM_STEP_TOKENS
        segments = zip(*(node.held.segments for node in nodes), strict=True)
        states = iter(self._revived(source, now))
        unfolded = [
            next(states) if form is None else cache_copies.join(form, next(segments), source.length, capacity)
            for form in self.layout.forms
        ]
        return cache_copies.assemble(self.layout, unfolded)

    def add(self, tokens: Tokens, caches: Sequence[Any], checkpoint: Checkpoint | None, now: int) -> KeptNode:
        """Keep what is not kept yet; returns the node for the whole of `tokens`.

        New arrays are only described, so they take no memory until `compute`.
        """
        match = self._tree.match(tokens)
        node = match.node
        if match.length == len(tokens) and _cuttable_below(node) is not None:
            checkpoint = None
        if match.length < node.end and (match.length < len(tokens) or checkpoint):
            node = self._tree.split(node, match.length, _divide)
        if match.length < len(tokens):
            fresh = sequence_leaves(self.layout, caches)
            segments = tuple(cache_copies.cut(leaf, match.length, len(tokens)) for leaf in fresh)
            node = self._tree.append(node, tokens[match.length :], Kept(segments))
            self.size_bytes += node.held.size_bytes
        if checkpoint is not None and node.held.checkpoint is None:
            self._attach(node, checkpoint)
        self._touch(node, now)
        return node

    def let_go(self, node: KeptNode) -> KeptNode | None:
        """Drop a leaf, or the checkpoint of a node within; the parent that thereby became a leaf, if one did.

        Rows after the last checkpoint are of no use to layers with states, so they go with it.
        """
        if node.children:
            self._drop_checkpoint(node)
            return None
        parent = node.parent
        assert parent is not None
        self.size_bytes -= node.held.size_bytes
        self._tree.remove(node)
        if parent is self._tree.root or parent.children:
            return None
        if self.layout.has_states and parent.held.checkpoint is None:
            return self.let_go(parent)
        return parent

    def _revived(self, source: Source, now: int) -> list[Any]:
        if source.states is None or source.states.held.checkpoint is None:
            return []
        self._touch(source.states, now)
        length = source.length if source.length < source.states.end else None
        return [cache_copies.revive(state, length) for state in source.states.held.checkpoint.states]

    def _attach(self, node: KeptNode, checkpoint: Checkpoint) -> None:
        """One that can be cut stands for all earlier ones on its path."""
        node.held.checkpoint = checkpoint
        self.size_bytes += checkpoint.size_bytes
        if checkpoint.can_be_cut:
            for earlier in node.path()[:-1]:
                self._drop_checkpoint(earlier)

    def _drop_checkpoint(self, node: KeptNode) -> None:
        if node.held.checkpoint is not None:
            self.size_bytes -= node.held.checkpoint.size_bytes
            node.held.checkpoint = None

    def _touch(self, node: KeptNode, now: int) -> None:
        """The way to a node was used, and the checkpoint at its end, but none on the way."""
        for passed in node.path():
            passed.held.used = now
        if node.held.checkpoint is not None:
            node.held.checkpoint.used = now


def _cuttable_below(node: KeptNode) -> KeptNode | None:
    """One whose checkpoint can stand for any position from this node on."""
    marked = ((other, other.held.checkpoint) for other in node.below())
    return next((other for other, checkpoint in marked if checkpoint and checkpoint.can_be_cut), None)


def last_use(node: KeptNode) -> int:
    """Of what could go first: of a leaf as a whole, or of the checkpoint within."""
    checkpoint = node.held.checkpoint
    return checkpoint.used if node.children and checkpoint else node.held.used


def sequence_leaves(layout: Layout, caches: Sequence[Any]) -> list[Any]:
    """The caches that hold one row per token."""
    pairs = zip(leaves(caches), layout.forms, strict=True)
    return [leaf for leaf, form in pairs if form is not None]


def take_checkpoint(layout: Layout, caches: Sequence[Any]) -> Checkpoint | None:
    """The states among the caches, if there are any; their arrays are only described so far."""
    pairs = zip(leaves(caches), layout.forms, strict=True)
    states = tuple(cache_copies.snapshot(leaf) for leaf, form in pairs if form is None)
    return Checkpoint(states) if states else None


def compute(node: KeptNode) -> None:
    """Have the arrays of a node made, layer by layer: MLX holds no more than one copy at a time besides."""
    for segment in node.held.segments:
        mx.eval(segment)
    if node.held.checkpoint is not None:
        mx.eval(node.held.checkpoint.arrays)


def _divide(held: Kept, count: int) -> tuple[Kept, Kept]:
    """Rows apart after `count` tokens, layer by layer, so that one layer at a time is held twice; at once, since a
    part that is only described would hold on to the whole."""
    upper: list[Segment] = []
    lower: list[Segment] = []
    remaining = list(held.segments)
    held.segments = ()
    while remaining:
        first, second = cache_copies.halve(remaining.pop(0), count)
        mx.eval(first, second)
        upper.append(first)
        lower.append(second)
    return Kept(tuple(upper), None, held.used), Kept(tuple(lower), held.checkpoint, held.used)
