"""What a model will need in memory, in terms, from its own facts and the options of its runner. It reads nothing.

The formulas were found by reading MLX and mlx-lm and checked against running models: docs/memory.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from paddock.memory import image
from paddock.memory.encoders import batch_bytes
from paddock.memory.shape import ModelShape, Weights
from paddock.store.images import ImageFacts
from paddock.store.layers import CacheLayers, Layers

MIB = 1024 * 1024

WORKER_BYTES = 16 * MIB
"""The process beside a runner that renders chat templates: an interpreter and Jinja. Measured, private pages only."""
RUNTIME_BYTES = 72 * MIB + WORKER_BYTES
"""A runner's own process on the CPU: the interpreter, MLX, the tokenizer and OpenBLAS; and that worker. Measured,
private pages only."""
ACCELERATOR_RUNTIME_BYTES = 512 * MIB
"""As above with an accelerator's driver, context and kernels. A bound that was not measured."""

KV_STEP_TOKENS = 256
"""MLX's caches grow in steps of this many tokens."""
SPARE_BYTES = 40 * MIB
"""Freed buffers that MLX's allocator keeps for the next step, 32 MiB on the CPU; and what lies between those in use, so
that the C library cannot give it back."""
SCAN_STEP_TOKENS = 256
"""mlx-lm computes state-space layers in steps of this many tokens."""

JUDGED_TOKENS = 9
"""A token and as many as a draft foresees at most, which the model reads in one pass."""

_JUDGED_VALUE_BYTES = 16
"""Of each of their logits: in single precision, as it is chosen from, and the draft's probability in double."""
_FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_ACCELERATOR_ITEM_BYTES = 2
_CPU_ITEM_BYTES = 4
_LOAD_GROUP_BYTES = 64 * MIB
"""The engine reads weights in groups of this size."""
_WITHOUT_SCALES = 9 / 8
"""What 4 bit weights in groups of 64 take with their scales and biases, in 16 bits each, to what they take without."""
_SCAN_MATRICES = 12
_GROUP_SIZES = (64, 32)
"""Numbers that share a scale and a bias in a quantised cache, best first, as the engine chooses them."""
_BLOCK_SCORES, _LEAST_ROWS, _BLOCKS = 1 << 20, 8, 3
"""Of plain attention on the CPU: scores of a block, queries of a block at least, and blocks in memory at once."""
_ACTIVATIONS_PER_WIDTH = 24
"""Where the layers are not known: vectors of the model's width that one layer has in flight for each token."""


@dataclass(frozen=True)
class Settings:
    """What of a runner's options its memory depends on."""

    num_ctx: int
    parallel: int = 1
    num_batch: int = 512
    kv_bits: int = 0
    """Of each number in the cache: 8 or 4; 0 leaves it as the model computes."""
    prefix_cache_bytes: int = 0
    """What may be kept of earlier prompts."""
    keep_packed: bool = False
    """Whether quantised weights stay as they are stored; only the CPU computes with another form."""
    speculates: bool = False
    """Whether the draft is loaded too, where the model has one."""
    picture_pixels: int = 0
    """Most of one picture, of which an image model makes `parallel` at once. This and the rest are for those alone."""
    references: int = 0
    """Pictures that may be looked at while one is made."""
    tile_pixels: int = 0
    """Side of what is decoded at once; 0 is the engine's own."""
    staged: bool = False
    """Whether the text encoder and the transformer are in memory in turn."""

    @property
    def longest(self) -> int:
        """What one sequence may have at most: tokens; of a picture pixels, those that are looked at beside it too."""
        return self.picture_pixels + self.references * image.reference_pixels(self.picture_pixels) or self.num_ctx


@dataclass(frozen=True)
class Need:
    """The memory of one runner at its worst, in bytes."""

    weights_bytes: int
    kv_bytes: int
    """What is kept of all sequences at their full length: keys, values and recurrent state."""
    workspace_bytes: int
    """Intermediate results of the longest step, and spare buffers."""
    runtime_bytes: int = RUNTIME_BYTES
    load_bytes: int = 0
    """Beyond the weights, while they are read. It is gone before the first token."""
    prefix_cache_bytes: int = 0
    """What may be kept of earlier prompts."""
    draft_bytes: int = 0
    """All of the draft model: its weights, its context, and what its tokens are judged with."""

    @property
    def working_bytes(self) -> int:
        """What comes with requests."""
        return self.kv_bytes + self.workspace_bytes + self.prefix_cache_bytes

    @property
    def total_bytes(self) -> int:
        """All terms; loading and working are not at the same time."""
        return self.weights_bytes + self.draft_bytes + self.runtime_bytes + max(self.load_bytes, self.working_bytes)

    def describe(self) -> str:
        """The terms for a user: "weights 12.0 GB, context 0.2 GB, workspace 0.1 GB, runtime 0.2 GB"."""
        terms = {
            "weights": self.weights_bytes,
            "context": self.kv_bytes,
            "workspace": self.workspace_bytes,
            "runtime": self.runtime_bytes,
        }
        if self.draft_bytes:
            terms["draft model"] = self.draft_bytes
        if self.prefix_cache_bytes:
            terms["prefix cache"] = self.prefix_cache_bytes
        if self.load_bytes > self.working_bytes:
            terms["loading"] = self.load_bytes
        return ", ".join(f"{name} {gigabytes(size_bytes)}" for name, size_bytes in terms.items())


def gigabytes(size_bytes: int) -> str:
    """ "12.3 GB", in units of 10^9 bytes; smaller ones as "210 MB"."""
    if abs(size_bytes) < 1_000_000_000:
        return f"{round(size_bytes / 1e6)} MB"
    return f"{size_bytes / 1e9:.1f} GB"


def estimate(shape: ModelShape, settings: Settings, *, on_accelerator: bool) -> Need:
    """The memory that a runner may come to hold with these options: each term has its own function."""
    if shape.image is not None:
        return _of_pictures(shape.image, settings, on_accelerator)
    weights = weights_bytes(shape, on_accelerator, keep_packed=settings.keep_packed)
    item_bytes = item_bytes_of(shape, on_accelerator)
    draft = shape.draft if settings.speculates else None
    draft_weights = weights_bytes(draft, on_accelerator, keep_packed=settings.keep_packed) if draft else 0
    return Need(
        weights_bytes=weights,
        kv_bytes=kv_bytes(shape, settings, item_bytes),
        workspace_bytes=workspace_bytes(shape, settings, item_bytes, on_accelerator) + SPARE_BYTES,
        runtime_bytes=ACCELERATOR_RUNTIME_BYTES if on_accelerator else RUNTIME_BYTES,
        load_bytes=max(load_bytes(shape, weights), load_bytes(draft, draft_weights) if draft else 0),
        prefix_cache_bytes=settings.prefix_cache_bytes,
        draft_bytes=draft_weights + draft_context_bytes(draft, settings, on_accelerator) if draft else 0,
    )


def _of_pictures(facts: ImageFacts, settings: Settings, on_accelerator: bool) -> Need:
    """The same of an image model (`memory/image.py`)."""
    in_form = {"on_accelerator": on_accelerator, "keep_packed": settings.keep_packed}
    parts = (facts.text_encoder, facts.transformer, facts.autoencoder)
    return Need(
        weights_bytes=image.resident_bytes(facts, staged=settings.staged, **in_form),
        kv_bytes=image.kept_bytes(facts, settings),
        workspace_bytes=image.work_bytes(facts, settings, on_accelerator=on_accelerator) + SPARE_BYTES,
        runtime_bytes=ACCELERATOR_RUNTIME_BYTES if on_accelerator else RUNTIME_BYTES,
        load_bytes=max(load_bytes(part, image.part_bytes(part, **in_form)) for part in parts),
    )


def item_bytes_of(shape: ModelShape, on_accelerator: bool) -> int:
    """Of a number in a cache or between layers: on the CPU the engine computes in float32, else in half precision
    unless the model's own weights are wider."""
    if not on_accelerator:
        return _CPU_ITEM_BYTES
    return max(_ACCELERATOR_ITEM_BYTES, min(4, _FLOAT_BYTES.get(shape.quantization_level.upper(), 0)))


# ---- weights --------------------------------------------------------------------------------------------------------


def weights_bytes(shape: ModelShape, on_accelerator: bool, *, keep_packed: bool = False) -> int:
    """As stored; without an accelerator the engine turns all that is floating into float32 (`model.set_dtype`), the
    scales of quantised weights too, and the packed numbers only where it is not to keep them (`mx.dequantize`)."""
    if on_accelerator:
        return shape.weights_bytes
    if shape.dense_bytes and not keep_packed:
        return shape.dense_bytes
    if shape.float32_bytes:
        return shape.float32_bytes
    stored_item_bytes = _FLOAT_BYTES.get(shape.quantization_level.upper())
    return shape.weights_bytes if stored_item_bytes is None else shape.weights_bytes * 4 // stored_item_bytes


def load_bytes(shape: Weights, held_bytes: int) -> int:
    """Beyond the weights, while they are read.

    MLX reads a tensor into the memory where it stays. Where it is converted, or experts are stacked, what was read and
    what it becomes exist at once: for a group of tensors (half of it, as stored), or for the largest one. Unpacking
    (`mx.dequantize` on the CPU) has the largest tensor a second time as it becomes: as many times larger as all are,
    and by the share of the scales. `held_bytes`: the weights as they are held in the end.
    """
    if held_bytes == shape.weights_bytes:
        return 0
    if held_bytes == shape.dense_bytes != shape.float32_bytes:
        growth = held_bytes / max(1, shape.weights_bytes) * _WITHOUT_SCALES
        return max(_LOAD_GROUP_BYTES, round(shape.largest_tensor_bytes * growth))
    return max(min(_LOAD_GROUP_BYTES // 2, shape.weights_bytes), shape.largest_tensor_bytes)


# ---- what is kept of each sequence ----------------------------------------------------------------------------------


def kv_bytes(shape: ModelShape, settings: Settings, item_bytes: int) -> int:
    """Of all sequences at their full length: for each the sum over its layers, by the kind of their cache.

    Where the layers are not known, plain attention (`_bound_per_token`).
    """
    layers = shape.layers
    if shape.engine == "embedding":
        return 0
    if layers is None:
        return _whole_steps(settings.num_ctx) * settings.parallel * _bound_per_token(shape, item_bytes)
    cached = sum(group.count * layer_bytes(group, settings, item_bytes) for group in layers.caches)
    return settings.parallel * (cached + _state_bytes(layers, settings, item_bytes))


def layer_bytes(group: CacheLayers, settings: Settings, item_bytes: int) -> int:
    """One layer's keys and values of one sequence: heads x tokens x (width of a key + of a value) x bytes of an item.

    Full: all tokens, in whole steps of 256 (`mlx_lm.models.cache.KVCache`). Window w: w tokens, and while a prompt is
    read the chunk on top (`RotatingKVCache`, w + chunk - 1); one that is not full yet grows by a step at once.
    Quantised: bits of each number, and a scale and a bias for each group (`QuantizedKVCache`).
    """
    width = group.heads * (group.key_width + group.value_width)
    if group.window:
        tokens = min(_whole_steps(settings.num_ctx) + KV_STEP_TOKENS, group.window + settings.num_batch)
        return tokens * width * item_bytes
    tokens = _whole_steps(settings.num_ctx)
    if settings.kv_bits and (size := quantised_group(group)):
        return tokens * width * settings.kv_bits // 8 + tokens * 2 * item_bytes * width // size
    return tokens * width * item_bytes


def quantised_group(group: CacheLayers) -> int:
    """Numbers to a group where such layers can keep their numbers in fewer bits; 0 where they cannot.

    Whole contexts only, of attention that reads them (`CacheLayers.is_plain`), where a group size divides both widths.
    """
    if group.window or not group.is_plain:
        return 0
    widths = (group.key_width, group.value_width)
    return next((size for size in _GROUP_SIZES if all(width and width % size == 0 for width in widths)), 0)


def draft_context_bytes(draft: ModelShape, settings: Settings, on_accelerator: bool) -> int:
    """What a draft has beside its weights: one context, whatever `parallel` is, since only a sequence that decodes
    alone is foreseen for, and never in fewer bits; and the numbers of the tokens that are judged at once."""
    own = replace(settings, parallel=1, kv_bits=0)
    judged = JUDGED_TOKENS * draft.layers.vocabulary * _JUDGED_VALUE_BYTES if draft.layers else 0
    return kv_bytes(draft, own, item_bytes_of(draft, on_accelerator)) + judged


def _state_bytes(layers: Layers, settings: Settings, item_bytes: int) -> int:
    """Recurrent layers (`ArraysCache`): their state, which mlx-lm keeps in float32 and which does not grow; and the
    convolutions' inputs of the step that was last computed, which the next one needs a few of but which stay whole."""
    step = min(settings.num_batch, settings.num_ctx)
    return layers.state_values * 4 + layers.scanned_width * step * item_bytes


def _whole_steps(tokens: int) -> int:
    return -(-tokens // KV_STEP_TOKENS) * KV_STEP_TOKENS


def _bound_per_token(shape: ModelShape, item_bytes: int) -> int:
    """Exact for plain attention where the sizes are known.

    Else a bound: a layer's keys are at most as wide as the model (d), and a transformer's layer has about 12 d^2
    weights, so L layers of P weights in all keep 2 x L x d = P / (6 d) values for each token. The weights are taken
    for 4 bit ones where they are not known to be floating, which errs on the safe side.
    """
    if shape.block_count and shape.head_count_kv and shape.head_dim:
        return 2 * shape.block_count * shape.head_count_kv * shape.head_dim * item_bytes
    if not shape.embedding_length:
        return 0
    stored_item_bytes = _FLOAT_BYTES.get(shape.quantization_level.upper(), 0.5)
    weights = shape.weights_bytes / stored_item_bytes
    return int(weights / (6 * shape.embedding_length)) * item_bytes


# ---- what one step computes -----------------------------------------------------------------------------------------


def workspace_bytes(shape: ModelShape, settings: Settings, item_bytes: int, on_accelerator: bool) -> int:
    """Intermediate results of the longest step: a chunk of a prompt at the end of the context.

    Activations of a chunk, and the larger of what attention and what recurrence has on top; they are in different
    layers. Sequences read their prompts one after the other, so `parallel` does not multiply it. Logits are made for
    one position only, and a few vectors of them by the sampler of each sequence.
    """
    layers = shape.layers
    if layers is not None and shape.engine == "embedding":
        return batch_bytes(layers, settings.num_ctx, settings.num_batch, item_bytes, on_accelerator=on_accelerator)
    chunk = min(settings.num_batch, settings.num_ctx)
    if layers is None:
        return chunk * shape.embedding_length * _ACTIVATIONS_PER_WIDTH * item_bytes
    on_top = max(_attention_bytes(layers, chunk, settings, item_bytes, on_accelerator), _scan_bytes(layers, chunk))
    logits = settings.parallel * 4 * layers.vocabulary * 4
    return chunk * activation_values(layers) * item_bytes + on_top + logits


def activation_values(layers: Layers) -> int:
    """Numbers in flight for each token of a chunk. MLX hands out the work of about a layer ahead of computing it, so a
    layer's parts exist together: three of the feed-forward network's width (gate, up, their product), four of the
    model's, three of the queries' (before and after their positions, the result), and the new keys and values twice."""
    widest = max((group.heads * (group.key_width + group.value_width) for group in layers.caches), default=0)
    return 3 * layers.feed_forward + 4 * layers.hidden + 3 * layers.query_width + widest


def _attention_bytes(layers: Layers, chunk: int, settings: Settings, item_bytes: int, on_accelerator: bool) -> int:
    """The scores of one layer and its mask, and a second copy of one layer's keys and values of all sequences, while
    they grow, or come together, or one of them leaves (`BatchKVCache`).

    On the CPU the engine goes through plain attention block by block (`runner/engines/text/model/cpu_forms.py`): a few
    blocks at once, and the mask as truth values and as numbers. Attention of other kinds has its scores written out
    there, heads x chunk x context, and so have quantised keys (`quantized_scaled_dot_product_attention`), on
    accelerators too (scores and their softmax, a bound that was not measured); otherwise those compute them in tiles.
    """
    tokens = _whole_steps(settings.num_ctx)
    widest = max(
        (group.heads * (group.key_width + group.value_width) for group in layers.caches if not group.window), default=0
    )
    copied = settings.parallel * tokens * widest
    places = chunk * min(tokens, settings.num_ctx)
    is_quantised = settings.kv_bits > 0 and any(quantised_group(group) for group in layers.caches)
    is_whole = is_quantised or not all(group.is_plain for group in layers.caches)
    written = places * layers.query_heads
    if on_accelerator:
        scores, mask_bytes = (2 * written, 1) if is_quantised else (0, 0)
    elif is_whole:
        scores, mask_bytes = written, 1
    else:
        sharing = layers.query_heads // max(1, min((group.heads for group in layers.caches), default=1))
        scores, mask_bytes = min(written, _BLOCKS * max(_BLOCK_SCORES, _LEAST_ROWS * tokens * sharing)), 5
    return scores * item_bytes + places * mask_bytes + copied * item_bytes


def _scan_bytes(layers: Layers, chunk: int) -> int:
    """Recurrent layers, in float32. State-space ones make about twelve matrices of heads x step x step, in steps of 256
    tokens (`mlx_lm.models.ssm.ssm_attn`); ones with the delta rule hold the state after each token of the chunk
    (`gated_delta_ops`), which Metal's kernel would not."""
    step = min(chunk, SCAN_STEP_TOKENS)
    state_space = _SCAN_MATRICES * layers.scan_heads * step * step
    return 4 * max(state_space, chunk * layers.delta_state)
