"""The text engine against transformers: the same logits within 2e-3, and the same greedy text over 64 tokens, alone
and in a mixed batch of eight, read anew and after a prefix that was kept. `make parity` prints the whole table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from paddock.errors import UnsupportedModel
from paddock.runner.engines.text.model import loading
from paddock.runner.engines.text.model.loading import load

torch = pytest.importorskip("torch", reason="parity needs torch (the dependency group of that name)")

from tests.parity.architectures import ARCHITECTURES, VOCABULARY, WRONG, Architecture  # noqa: E402
from tests.parity.checkpoints import make_checkpoint  # noqa: E402
from tests.parity.greedy import (  # noqa: E402
    LOGIT_TOLERANCE,
    NEW_TOKENS,
    PARALLEL,
    PROMPT,
    TIE,
    Parity,
    Subject,
    alone,
    compare,
)

QUICK = (
    "llama with llama3 rope",
    "gemma3_text",
    "gpt_oss",
    "deepseek_v3",
    "mamba2",
    "falcon_h1",
    "qwen3_next",
    "llama4_text",
)
"""One for each way of keeping what was read; the others are a campaign's."""
EVERY_WAY = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name) for name in sorted(ARCHITECTURES)
]
ONE_AT_A_TIME = {"gemma2", "gpt_bigcode", "llama4_text"}
"""mlx-lm's code for them knows one position only, so each sequence has its own forward pass."""


def difference(folder: Path, architecture: Architecture) -> float:
    """Between our logits and transformers' of a fresh checkpoint, at the most."""
    torch.set_num_threads(1)
    reference = make_checkpoint(folder, architecture)
    ours = load(folder, lambda _progress: None)
    with torch.no_grad():
        expected = reference(torch.tensor([PROMPT]), use_cache=False).logits[0].numpy()
    assert ours.vocabulary == VOCABULARY
    assert expected.std() > 0.1, "logits this even would be equal by accident"
    logits = np.array(ours.model(mx.array([PROMPT]))[0].astype(mx.float32))
    return float(np.abs(logits - expected).max())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_equal_those_of_transformers(tmp_path: Path, name: str) -> None:
    assert difference(tmp_path, ARCHITECTURES[name]) <= LOGIT_TOLERANCE


@pytest.mark.parametrize("name", WRONG)
def test_what_would_be_computed_wrongly_is_refused_and_for_a_reason(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_checkpoint(tmp_path, WRONG[name])
    with pytest.raises(UnsupportedModel, match="its answers would be wrong"):
        load(tmp_path, lambda _progress: None)

    monkeypatch.setattr(loading, "misread", lambda _config: "")

    assert difference(tmp_path, WRONG[name]) > 10 * LOGIT_TOLERANCE, "it is right now: let it be loaded"


def test_a_token_that_is_not_the_references_is_found(tmp_path: Path) -> None:
    subject = Subject.make(tmp_path, ARCHITECTURES["qwen3"])
    answer = alone(subject.engine, PROMPT, "")
    first, second, *others = answer.tokens

    assert subject.judge(answer).equal == NEW_TOKENS
    assert subject.judge(replace(answer, tokens=(first, (second + 1) % VOCABULARY, *others))).equal == 1


@pytest.fixture(scope="module")
def table() -> Iterator[list[Parity]]:
    rows: list[Parity] = []
    yield rows
    print("\n\n" + rendered(rows))


def rendered(rows: list[Parity]) -> str:
    ways = list(rows[0].answers) if rows else []
    lines = [f"{'architecture':<24} {'logits differ by':>16} {'nearest two':>12}  " + "  ".join(ways)]
    for row in rows:
        counts = [f"{row.verdicts[way].equal}/{NEW_TOKENS}".rjust(len(way)) for way in ways]
        lines.append(f"{row.name:<24} {row.logit_difference:>16.1e} {row.nearest:>12.1e}  " + "  ".join(counts))
    ties = sum(verdict.ties for row in rows for verdict in row.verdicts.values())
    return "\n".join([*lines, f"{len(rows)} architectures; {ties} tokens are ties, nearer than {TIE:.0e}"])


@pytest.mark.parametrize("name", EVERY_WAY)
def test_greedy_text_equals_that_of_transformers_in_every_way(tmp_path: Path, name: str, table: list[Parity]) -> None:
    parity = compare(name, Subject.make(tmp_path, ARCHITECTURES[name]))
    table.append(parity)

    assert parity.logit_difference <= LOGIT_TOLERANCE
    assert {way: verdict.equal for way, verdict in parity.verdicts.items()} == dict.fromkeys(parity.answers, NEW_TOKENS)
    for way, answer in parity.answers.items():
        assert (answer.cached_tokens > 0) == way.startswith(("cached", "continued")), way
        assert answer.most_at_once == (PARALLEL if "batch" in way else 1), way
    assert len(set(parity.answers["alone"].tokens)) > 3, "a text this monotonous proves little"
    assert parity.decodes_together == (name not in ONE_AT_A_TIME)
