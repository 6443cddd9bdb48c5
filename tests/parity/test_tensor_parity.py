"""Architectures whose checkpoints mlx-lm rearranges, stored one tensor at a time and quantised as Ollama does it: their
logits are those of the same checkpoint with the quantised numbers written out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from paddock.runner.engines.text.model.loading import load
from paddock.store.library import Library
from tests.fakes.tensor_models import KINDS, KindOf, folder_model, is_quantisable, stacked

pytest.importorskip("torch", reason="parity needs torch (the dependency group of that name)")

from tests.parity.architectures import ARCHITECTURES, Architecture
from tests.parity.checkpoints import make_checkpoint

PROMPT = mx.arange(24)[None]
TOLERANCE = 1e-5
"""Of the largest logit; the numbers are the same."""
BOTH_IN_ONE: dict[str, Architecture] = {
    "qwen3_5_moe": Architecture(
        "qwen3_5_moe_text",
        {
            **ARCHITECTURES["qwen3_5_text"].config,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 64,
        },
        within="qwen3_5_moe",
    ),
    "gemma4 with experts": Architecture(
        "gemma4_text",
        {
            **ARCHITECTURES["gemma4_text"].config,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 64,
        },
        embedding=0.5,
    ),
}
"""Those whose experts have two projections in one tensor."""
ALL = {**{name: each for name, each in ARCHITECTURES.items() if not each.packs_experts}, **BOTH_IN_ONE}
QUICK = (*BOTH_IN_ONE, "glm4_moe_lite", "qwen3_next", "gemma3_text")
KEPT = ("embed", "norm", "ln_", "conv", "wte", "wpe", "gate.weight", "router")


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(before)


def quantised_to(kind: str) -> KindOf:
    """About what Ollama quantises: weights, but for embeddings, norms, convolutions and what chooses experts."""

    def kind_of(name: str) -> str:
        is_weight = name.endswith((".weight", "experts.gate_up_proj", "experts.down_proj"))
        return kind if is_weight and not any(word in name for word in KEPT) else ""

    return kind_of


def written_out(folder: Path, kind_of: KindOf, target: Path) -> Path:
    """The same checkpoint with the numbers that its weights have once they are quantised."""
    shutil.copytree(folder, target)
    for path in target.glob("*.safetensors"):
        tensors = dict(mx.load(str(path)))
        for name, array in tensors.items():
            kind = kind_of(name)
            if kind and is_quantisable(array, kind):
                tensors[name] = mx.dequantize(*mx.quantize(array, **KINDS[kind]), **KINDS[kind], dtype=mx.float32)
        mx.eval(tensors)
        mx.save_safetensors(str(path), tensors, metadata={"format": "pt"})
    return target


def join_projections(folder: Path) -> None:
    """Experts as they are published, where transformers has saved them one by one."""
    [path] = folder.glob("*.safetensors")
    tensors = stacked(dict(mx.load(str(path))))
    for name in [name for name in tensors if name.endswith(".experts.gate_proj.weight")]:
        group = name.removesuffix(".gate_proj.weight")
        both = [tensors.pop(f"{group}.{projection}.weight") for projection in ("gate_proj", "up_proj")]
        tensors[f"{group}.gate_up_proj"] = mx.concatenate(both, axis=-2)
        tensors[f"{group}.down_proj"] = tensors.pop(f"{group}.down_proj.weight")
    mx.eval(tensors)
    mx.save_safetensors(str(path), tensors, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name) for name in sorted(ALL)]
)
def test_logits_are_those_of_the_numbers_written_out(tmp_path: Path, name: str) -> None:
    checkpoint = tmp_path / "checkpoint"
    make_checkpoint(checkpoint, ALL[name])
    if name in BOTH_IN_ONE:
        join_projections(checkpoint)

    for kind, stacks in (("int8", False), ("nvfp4", True)):
        kind_of = quantised_to(kind)
        library = Library(tmp_path / kind)
        model = folder_model(checkpoint, kind_of, stacks=stacks).put_into(library, "stored")
        ours = load(library.view(model), lambda _: None)
        reference = load(written_out(checkpoint, kind_of, tmp_path / f"{kind} written out"), lambda _: None)
        expected = reference.model(PROMPT)

        assert mx.max(mx.abs(ours.model(PROMPT) - expected)).item() <= TOLERANCE * mx.max(mx.abs(expected)).item()
        assert model.facts.quantization_level == kind
        assert ours.weights_bytes == model.facts.dense_bytes
