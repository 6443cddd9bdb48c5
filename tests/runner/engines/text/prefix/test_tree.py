from __future__ import annotations

import random

from paddock.runner.engines.text.prefix.tree import PrefixTree, Tokens
from tests.runner.engines.text.cached_models import shared_length


def cut_name(held: str, count: int) -> tuple[str, str]:
    return held[:count], held[count:]


def insert(tree: PrefixTree[str], word: str) -> None:
    """Each node holds the letters of its edge, so that what it holds shows whether it was divided with it."""
    tokens = tuple(word)
    match = tree.match(tokens)
    node = match.node
    if match.length < node.end:
        node = tree.split(node, match.length, cut_name)
    if match.length < len(tokens):
        tree.append(node, tokens[match.length :], word[match.length :])


def spelled(tree: PrefixTree[str]) -> set[str]:
    leaves = [node for node in tree.nodes() if not node.children]
    return {"".join(node.held for node in leaf.path()) for leaf in leaves}


def test_finds_the_longest_known_beginning_of_anything() -> None:
    chance = random.Random(3)
    for _ in range(40):
        words = ["".join(chance.choices("ab", k=chance.randint(1, 24))) for _ in range(chance.randint(1, 12))]
        tree: PrefixTree[str] = PrefixTree("")
        for word in words:
            insert(tree, word)
        for _ in range(20):
            asked = "".join(chance.choices("ab", k=chance.randint(0, 30)))

            match = tree.match(tuple(asked))

            assert match.length == max(shared_length(asked, word) for word in words)
            assert match.node.start <= match.length <= match.node.end


def test_what_nodes_hold_is_divided_with_their_edges() -> None:
    tree: PrefixTree[str] = PrefixTree("")

    for word in ("window", "winter", "wind", "win", "sun"):
        insert(tree, word)

    assert spelled(tree) == {"window", "winter", "sun"}
    assert all(node.held == "".join(map(str, node.edge)) for node in tree.nodes())
    assert sorted(node.end for node in tree.nodes()) == [3, 3, 4, 6, 6]


def test_a_removed_leaf_leaves_the_others() -> None:
    tree: PrefixTree[str] = PrefixTree("")
    for word in ("window", "winter"):
        insert(tree, word)

    tree.remove(tree.match(tuple("winter")).node)

    assert spelled(tree) == {"window"}
    assert tree.match(tuple("winter")).length == 3


def test_tokens_may_be_anything_hashable() -> None:
    tree: PrefixTree[str] = PrefixTree("")
    first: Tokens = (1, ("image", b"digest"), 2)
    tree.append(tree.root, first, "abc")

    assert tree.match((1, ("image", b"digest"), 3)).length == 2
    assert tree.match((1, ("image", b"another"), 2)).length == 1
