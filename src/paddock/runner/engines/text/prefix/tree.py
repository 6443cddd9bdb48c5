"""A radix tree over sequences of tokens, which carries something on every node. It knows no caches and no bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import ReferenceType, ref

Held = TypeVar("Held")
Tokens = tuple[Hashable, ...]


@dataclass(eq=False)
class Node(Generic[Held]):
    """The tokens between a node's parent and itself, and what is held for them."""

    edge: Tokens
    end: int
    """Tokens from the root to the end of the edge."""
    held: Held
    children: dict[Hashable, Node[Held]] = field(default_factory=dict)
    _parent: ReferenceType[Node[Held]] | None = None

    @property
    def parent(self) -> Node[Held] | None:
        """None for the root, and for a node that was removed.

        A weak reference, since with a strong one whatever nodes hold would stay until Python next looks for circles.
        """
        return self._parent() if self._parent is not None else None

    @parent.setter
    def parent(self, parent: Node[Held] | None) -> None:
        self._parent = ref(parent) if parent is not None else None

    @property
    def start(self) -> int:
        """Tokens from the root to the beginning of the edge."""
        return self.end - len(self.edge)

    def path(self) -> list[Node[Held]]:
        """The nodes from below the root to this one, which is the last."""
        nodes: list[Node[Held]] = []
        node, parent = self, self.parent
        while parent is not None:
            nodes.append(node)
            node, parent = parent, parent.parent
        return nodes[::-1]

    def below(self) -> Iterator[Node[Held]]:
        """This node and all that come after it, in no particular order."""
        pending = [self]
        while pending:
            node = pending.pop()
            pending.extend(node.children.values())
            yield node


@dataclass(frozen=True)
class Match(Generic[Held]):
    """How far a sequence is known."""

    node: Node[Held]
    """The last node reached; `length` may lie inside its edge."""
    length: int


class PrefixTree(Generic[Held]):
    """Sequences that share their beginnings; no two children of a node begin with the same token."""

    def __init__(self, held_at_root: Held) -> None:
        self.root: Node[Held] = Node((), 0, held_at_root)

    def nodes(self) -> Iterator[Node[Held]]:
        """All nodes but the root."""
        return (node for node in self.root.below() if node is not self.root)

    def match(self, tokens: Tokens) -> Match[Held]:
        """The longest known beginning of `tokens`. Its cost is a few comparisons of tuples, whatever else is known."""
        node, length = self.root, 0
        while length < len(tokens):
            child = node.children.get(tokens[length])
            if child is None:
                break
            common = _common(child.edge, tokens[length : length + len(child.edge)])
            node, length = child, length + common
            if common < len(child.edge):
                break
        return Match(node, length)

    def append(self, parent: Node[Held], edge: Tokens, held: Held) -> Node[Held]:
        """A new leaf."""
        assert edge, "an edge has tokens"
        assert edge[0] not in parent.children, "two children of a node begin differently"
        node = Node(edge, parent.end + len(edge), held)
        node.parent = parent
        parent.children[edge[0]] = node
        return node

    def split(self, node: Node[Held], length: int, divide: Callable[[Held, int], tuple[Held, Held]]) -> Node[Held]:
        """Have a node end after `length` tokens from the root, which lie inside its edge; returns the upper part.

        `divide` makes two of what the node held, given the tokens of the first. The node itself stays the lower part.
        """
        count = length - node.start
        parent = node.parent
        assert parent is not None
        assert 0 < count < len(node.edge), "a split lies inside an edge"
        upper_held, lower_held = divide(node.held, count)
        upper = Node(node.edge[:count], length, upper_held)
        upper.parent = parent
        parent.children[upper.edge[0]] = upper
        node.edge, node.held, node.parent = node.edge[count:], lower_held, upper
        upper.children[node.edge[0]] = node
        return upper

    def remove(self, node: Node[Held]) -> None:
        """Take away a leaf."""
        parent = node.parent
        assert parent is not None
        assert not node.children, "only leaves can go"
        del parent.children[node.edge[0]]
        node.parent = None


def _common(first: Tokens, second: Tokens) -> int:
    """How many tokens two sequences have in common at their beginnings.

    Halving compares slices, so that the work is done in C: a loop over tokens takes fifty times as long.
    """
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
