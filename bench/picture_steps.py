"""The time of single denoising steps in a process of its own, of Paddock's engine or of another program's pipeline.

    python bench/picture_steps.py PROGRAM MODEL FOLDER [SIDE]

A line of standard input is {"steps"}; its answer {"seconds": [...], "processor_seconds"}: from the end of each step to
that of the next, one number less than there are steps, and the process's own time for one. SIDE is that of the engine's
picture, in pixels. PROGRAM is engine, mflux or
mlx-vlm, MODEL z-image or klein, FOLDER the checkpoint.

Of the others the transformer has the checkpoint's sizes and random weights (the values cost no time), and a text's
features are random ones of the same length: mflux has sizes built in, and neither lets its text encoder and its
autoencoder be left out. What makes the steps (latents, schedule, prediction, compiled or not) is their own code. The
environment variable BENCH_SAME_WORK has them compute in single precision and read as many text tokens as Paddock does;
without it they do what they do for their users, with bfloat16 weights.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

PIXELS = 256
"""Sides of the picture, for autoencoders that make 8 pixels of a latent cell."""
TEXT_TOKENS = {"z-image": 30, "klein": 512}
PROMPT = "a red circle on"
IS_SAME_WORK = bool(os.environ.get("BENCH_SAME_WORK"))

Figures = dict[str, Any]


class Finished(Exception):
    """The last step is made; what would follow is not measured."""


class Ends:
    """The moments at which steps end."""

    def __init__(self, processor_seconds: Callable[[], float] = time.process_time) -> None:
        self._processor_seconds = processor_seconds
        self._times: list[tuple[float, float]] = []

    def note(self, *_arguments: Any, **_more: Any) -> None:
        """A step has ended."""
        self._times.append((time.perf_counter(), self._processor_seconds()))

    def stop(self, *_arguments: Any, **_more: Any) -> None:
        """The last one has, and nothing is to follow."""
        self.note()
        raise Finished

    def figures(self, left_out: int = 0) -> Figures:
        """What lies between the moments, the first so many left out."""
        times = self._times[left_out:]
        processor_seconds = (times[-1][1] - times[0][1]) / (len(times) - 1)
        seconds = [after[0] - before[0] for before, after in pairwise(times)]
        return {"seconds": seconds, "processor_seconds": processor_seconds}


Run = Callable[[int], Figures]
"""Makes so many steps."""


# ---- this engine, with nothing around it ----


def of_engine(folder: Path, side: int) -> Run:
    """The engine's own steps without frames, slices of time or HTTP."""
    from paddock.protocol import ImageRequest
    from paddock.runner.engines.base import EngineOptions
    from paddock.runner.engines.image.job import Stage
    from paddock.runner.engines.image.layers import finish
    from paddock.runner.engines.registry import choose_blas, make_engine
    from paddock.runner.hygiene import prepare_environment

    prepare_environment(os.environ, num_gpu=0)
    choose_blas()
    engine: Any = make_engine("image", EngineOptions(folder, num_ctx=512))
    engine.load(lambda _share: None)
    import mlx.core as mx

    def run(steps: int) -> Figures:
        request = ImageRequest(prompt=PROMPT, seed=1, steps=steps, width=side, height=side)
        job = engine._new_job(engine.prepare(request))
        while job.stage is not Stage.DENOISE:
            job.step()
        job._look_around()
        job._latents = job._first_latents()
        ends = Ends()
        for _ in range(steps):
            job._latents = finish(job._next_latents())
            mx.eval(job._latents)
            job._next_step += 1
            ends.note()
        return ends.figures()

    return run


# ---- mflux ----


def of_mflux(model: str, folder: Path) -> Run:
    """Its own generate_image, up to the last step."""
    import mlx.core as mx
    import mlx.nn as nn
    from mflux.callbacks.callback_registry import CallbackRegistry
    from mflux.models.common.config import ModelConfig

    if IS_SAME_WORK:
        ModelConfig.precision = mx.float32
    config = json.loads((folder / "transformer" / "config.json").read_text())
    program, transformer, texts = (_mflux_z_image if model == "z-image" else _mflux_klein)(config)
    pipeline = program.__new__(program)
    nn.Module.__init__(pipeline)
    pipeline.model_config = ModelConfig.z_image_turbo() if model == "z-image" else ModelConfig.flux2_klein_4b()
    pipeline.tiling_config = None
    pipeline.transformer = _in_precision(transformer, ModelConfig.precision)
    pipeline.vae = object()
    setattr(pipeline, *texts)

    def run(steps: int) -> Figures:
        ends = Ends()
        pipeline.callbacks = CallbackRegistry()
        pipeline.callbacks.register(_Callbacks(ends))
        with contextlib.suppress(Finished):
            pipeline.generate_image(seed=1, prompt=PROMPT, num_inference_steps=steps, width=PIXELS, height=PIXELS)
        # A call comes before its own step is computed, so there are as many spans as steps; the first has compiling.
        return ends.figures(left_out=1)

    return run


class _Callbacks:
    def __init__(self, ends: Ends) -> None:
        self.call_in_loop = ends.note
        self.call_after_loop = ends.stop


def _mflux_z_image(config: dict[str, Any]) -> tuple[Any, Any, tuple[str, Any]]:
    import mlx.core as mx
    from mflux.models.common.config import ModelConfig
    from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
    from mflux.models.z_image.variants.z_image import ZImage

    names = ("in_channels", "dim", "n_layers", "n_refiner_layers", "n_heads", "cap_feat_dim", "axes_dims", "axes_lens")
    transformer = ZImageTransformer(**{name: config[name] for name in names})
    features = mx.random.normal((TEXT_TOKENS["z-image"], config["cap_feat_dim"])).astype(ModelConfig.precision)
    return ZImage, transformer, ("_encode_prompts", lambda **_arguments: (features, None))


def _mflux_klein(config: dict[str, Any]) -> tuple[Any, Any, tuple[str, Any]]:
    import mlx.core as mx
    from mflux.models.common.config import ModelConfig
    from mflux.models.flux2.model.flux2_text_encoder.prompt_encoder import Flux2PromptEncoder
    from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
    from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein

    shape = (1, TEXT_TOKENS["klein"], config["joint_attention_dim"])
    features = mx.random.normal(shape).astype(ModelConfig.precision)
    places = Flux2PromptEncoder.prepare_text_ids(features)
    encode = ("_encode_prompt_pair", lambda **_arguments: (features, places, None, None))
    return Flux2Klein, Flux2Transformer(**_klein_sizes(config)), encode


def _klein_sizes(config: dict[str, Any]) -> dict[str, Any]:
    names = (
        "num_layers",
        "num_single_layers",
        "attention_head_dim",
        "num_attention_heads",
        "joint_attention_dim",
        "axes_dims_rope",
    )
    return {name: tuple(value) if isinstance(value := config[name], list) else value for name in names}


def _in_precision(module: Any, kind: Any) -> Any:
    module.set_dtype(kind)
    import mlx.core as mx

    mx.eval(module.parameters())
    return module


# ---- mlx-vlm ----


def of_mlx_vlm(model: str, folder: Path) -> Run:
    """Its own loop over the steps."""
    config = json.loads((folder / "transformer" / "config.json").read_text())
    return (_vlm_z_image if model == "z-image" else _vlm_klein)(config)


def _vlm_z_image(config: dict[str, Any]) -> Run:
    import mlx.core as mx
    from mlx_vlm.models.mage_flow.scheduler import FlowMatchEulerDiscreteScheduler
    from mlx_vlm.models.z_image.config import ZImageTransformerConfig
    from mlx_vlm.models.z_image.pipeline import ZImagePipeline
    from mlx_vlm.models.z_image.transformer import ZImageTransformer

    kind = mx.float32 if IS_SAME_WORK else mx.bfloat16
    pipeline = ZImagePipeline.__new__(ZImagePipeline)
    pipeline.transformer = _in_precision(ZImageTransformer(ZImageTransformerConfig.from_dict(config)), kind)
    features = mx.random.normal((1, TEXT_TOKENS["z-image"], config["cap_feat_dim"])).astype(kind)

    def run(steps: int) -> Figures:
        scheduler = FlowMatchEulerDiscreteScheduler(num_inference_steps=steps, shift=3.0)
        with _stopwatch(pipeline) as ends:
            pipeline._denoise(
                mx.random.normal((1, config["in_channels"], 1, PIXELS // 8, PIXELS // 8)),
                scheduler=scheduler,
                start_index=0,
                cap_feats=features,
                negative_cap_feats=None,
                guidance=0.0,
                cfg_truncation=1.0,
            )
        return ends.figures()

    return run


def _vlm_klein(config: dict[str, Any]) -> Run:
    import mlx.core as mx
    from mlx_vlm.models.flux2.constants import ModelConfig
    from mlx_vlm.models.flux2.pipeline import Flux2Image
    from mlx_vlm.models.flux2.prompt import prepare_text_ids
    from mlx_vlm.models.flux2.transformer import Flux2Transformer

    if IS_SAME_WORK:
        ModelConfig.precision = mx.float32
    # For its users it reads only as many tokens as the prompt has, filled up to a power of two.
    tokens = TEXT_TOKENS["klein"] if IS_SAME_WORK else 32
    features = mx.random.normal((1, tokens, config["joint_attention_dim"])).astype(ModelConfig.precision)
    pipeline = Flux2Image.__new__(Flux2Image)
    pipeline.transformer = _in_precision(Flux2Transformer(**_klein_sizes(config)), ModelConfig.precision)
    pipeline._encode_prompt = lambda *_arguments, **_more: (features, prepare_text_ids(features))
    pipeline._ensure_transformer_and_vae = lambda: None
    pipeline.vae = None

    class Runtime:
        max_sequence_length = tokens

    pipeline.runtime_config = Runtime()

    def run(steps: int) -> Figures:
        with _stopwatch(pipeline) as ends, contextlib.suppress(AttributeError):
            # It stumbles over the missing autoencoder when the steps are made.
            pipeline.generate_array(PROMPT, seed=1, steps=steps, width=PIXELS, height=PIXELS)
        return ends.figures()

    return run


@contextlib.contextmanager
def _stopwatch(pipeline: Any) -> Iterator[Ends]:
    """Notes when each step begins, which is when the one before it has ended."""
    transformer, ends = pipeline.transformer, Ends()

    def called(*arguments: Any, **more: Any) -> Any:
        ends.note()
        return transformer(*arguments, **more)

    pipeline.transformer = called
    try:
        yield ends
    finally:
        pipeline.transformer = transformer


def main() -> None:
    """Answer lines until there are no more."""
    program, model, folder, *side = sys.argv[1:]
    if program == "engine":
        run = of_engine(Path(folder), int(side[0]))
    else:
        run = {"mflux": of_mflux, "mlx-vlm": of_mlx_vlm}[program](model, Path(folder))
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line)["steps"])), flush=True)


if __name__ == "__main__":
    main()
