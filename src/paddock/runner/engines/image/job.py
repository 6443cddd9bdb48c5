"""One request on its way to pictures, in steps that each do one thing: a text, a tile, or one step of denoising."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from paddock.errors import DamagedModel
from paddock.protocol import Done, Frame, Image, Preview, Step
from paddock.runner.engines.base import EncodedText, PicturePrompt, Pixels
from paddock.runner.engines.image.families import Edits, Family, Scene, guided
from paddock.runner.engines.image.flow import first_step
from paddock.runner.engines.image.folder import AUTOENCODER, TEXT_ENCODER, TRANSFORMER
from paddock.runner.engines.image.layers import Work
from paddock.runner.engines.image.parts import Parts
from paddock.runner.engines.image.png import write_png
from paddock.runner.engines.image.previews import lead, preview_size, preview_steps
from paddock.runner.engines.image.tiling import Mosaic, Tile, Values

SLICE_SECONDS = 5.0
"""A step that takes longer is interrupted where it can be, so that everyone sees that it goes on, and can cancel it."""


_LEAST_TILE_CELLS = 8


class Stage(enum.Enum):
    """What a job's next step does."""

    READ = "read"
    """It reads a text."""
    LOOK = "look"
    """It encodes a tile of a given picture."""
    DENOISE = "denoise"
    """It makes one step of a batch of pictures."""
    PREVIEW = "preview"
    """It shows one picture of the batch as it is so far."""
    DEVELOP = "develop"
    """It decodes a tile of a picture; with the last the picture is done."""
    DONE = "done"


NEXT_STAGES: Mapping[Stage, frozenset[Stage]] = {
    Stage.READ: frozenset({Stage.LOOK, Stage.DENOISE}),
    Stage.LOOK: frozenset({Stage.DENOISE}),
    Stage.DENOISE: frozenset({Stage.PREVIEW, Stage.DEVELOP}),
    Stage.PREVIEW: frozenset({Stage.DENOISE}),
    Stage.DEVELOP: frozenset({Stage.DENOISE, Stage.DONE}),
    Stage.DONE: frozenset(),
}

_PART_OF = {
    Stage.READ: TEXT_ENCODER,
    Stage.LOOK: AUTOENCODER,
    Stage.DENOISE: TRANSFORMER,
    Stage.PREVIEW: AUTOENCODER,
    Stage.DEVELOP: AUTOENCODER,
    Stage.DONE: AUTOENCODER,
}


@dataclass(frozen=True)
class JobLimits:
    """How much of a job is done at once."""

    pictures_at_once: int
    tile_pixels: int


def make_noise(seed: int, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Standard normal numbers that are the same on every machine: numpy's Philox, keyed with the seed."""
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape, np.float32)


class Job:
    """The state of one request. Used by the thread that owns MLX."""

    def __init__(self, prompt: PicturePrompt, family: Family, parts: Parts, limits: JobLimits) -> None:
        self._prompt = prompt
        self._family = family
        self._parts = parts
        self._limits = limits
        self._stage = Stage.READ
        facts = family.facts
        self._size = (prompt.height // facts.cell, prompt.width // facts.cell)
        self._sigmas = family.sigmas(*self._size, prompt.steps)
        starts_from_picture = bool(prompt.pictures) and facts.edits is Edits.START
        self._first_step = first_step(prompt.steps, prompt.strength) if starts_from_picture else 0
        self._preview_steps = preview_steps(prompt.steps - self._first_step, prompt.previews)
        self._features: list[mx.array] = []
        self._looked: list[mx.array] = []
        self._scenes: list[Scene] = []
        self._batch_start = 0
        self._next_step = self._first_step
        self._latents = mx.zeros((0,))
        self._estimates: list[mx.array] = []
        self._developed = 0
        self._mosaic: Mosaic | None = None
        self._work: Work | None = None
        self._steps_done = 0
        self._read_ns = 0
        self._made_ns = 0

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def is_finished(self) -> bool:
        return self._stage is Stage.DONE

    @property
    def is_between_things(self) -> bool:
        """Whether nothing is half done, so that another job may go on without more memory."""
        return self._work is None

    @property
    def part(self) -> str:
        """The part of the model that the next step needs."""
        return _PART_OF[self._stage]

    @property
    def latents(self) -> mx.array:
        """What is being denoised or decoded: [batch, rows, columns, channels], float32."""
        return self._latents

    @property
    def sizes(self) -> list[int]:
        """Pixels of each picture that is made at once, and with them those of pictures that are looked at meanwhile."""
        looks = self._family.facts.edits is Edits.REFERENCES
        looked_at = sum(given.shape[0] * given.shape[1] for given in self._prompt.pictures) if looks else 0
        together = min(self._limits.pictures_at_once, self._prompt.count)
        return [self._prompt.width * self._prompt.height + looked_at] * together

    def step(self) -> list[Frame]:
        """Do what the stage says, once, or as much of it as a slice of time allows; the last frame of the last step is
        Done."""
        began_ns, stage = time.monotonic_ns(), self._stage
        work: dict[Stage, Callable[[], list[Frame]]] = {
            Stage.READ: self._read,
            Stage.LOOK: self._look,
            Stage.DENOISE: self._denoise,
            Stage.PREVIEW: self._preview,
            Stage.DEVELOP: self._develop,
        }
        frames = work[stage]()
        took_ns = time.monotonic_ns() - began_ns
        if stage in (Stage.READ, Stage.LOOK):
            self._read_ns += took_ns
        else:
            self._made_ns += took_ns
        return [*frames, self._done()] if self.is_finished else frames

    def close(self) -> None:
        """Let go of what is under way, which refers to this job: both would wait for the garbage collector."""
        self._work = None

    def _advanced(self, begin: Callable[[], Work]) -> mx.array | None:
        """The result of what is under way, or of what is begun now; None if the slice of time ends before."""
        if self._work is None:
            self._work = begin()
        ends_at = time.monotonic() + SLICE_SECONDS
        try:
            next(self._work)
            while time.monotonic() < ends_at:
                next(self._work)
        except StopIteration as end:
            self._work = None
            result: mx.array = end.value
            mx.eval(result)
            return result
        return None

    def _enter(self, stage: Stage) -> None:
        assert stage in NEXT_STAGES[self._stage], f"{self._stage} -> {stage}"
        self._stage = stage

    # ---- texts and given pictures ----

    def _read(self) -> list[Frame]:
        text: EncodedText = self._prompt.texts[len(self._features)]
        features = self._advanced(lambda: self._parts.text_encoder()(text.tokens, text.length))
        if features is None:
            return []
        self._features.append(features)
        if len(self._features) < len(self._prompt.texts):
            return []
        self._enter(Stage.LOOK if self._prompt.pictures else Stage.DENOISE)
        return [Step(done=0, total=self._steps_total)]

    def _look(self) -> list[Frame]:
        pixels = self._prompt.pictures[len(self._looked)]
        cell = self._family.facts.cell
        if self._mosaic is None:
            self._mosaic = Mosaic(pixels.shape[0] // cell, pixels.shape[1] // cell, self._tile_cells)
        tile = _next(self._mosaic)
        piece = pixels[
            tile.rows.start * cell : tile.rows.end * cell, tile.columns.start * cell : tile.columns.end * cell
        ]
        latents = self._advanced(
            lambda: self._parts.autoencoder.encode(mx.array(piece)[None].astype(mx.float32) / 127.5 - 1.0)
        )
        if latents is None:
            return []
        self._mosaic.place(np.array(latents[0]))
        if self._mosaic.next_tile is None:
            self._looked.append(mx.array(self._mosaic.whole())[None])
            self._mosaic = None
            if len(self._looked) == len(self._prompt.pictures):
                self._enter(Stage.DENOISE)
        return []

    # ---- denoising ----

    def _denoise(self) -> list[Frame]:
        if not self._scenes:
            self._look_around()
        if self._next_step == self._first_step and self.is_between_things:
            self._latents = self._first_latents()
        latents = self._advanced(self._next_latents)
        if latents is None:
            return []
        before, self._latents = self._latents, latents
        self._next_step += 1
        self._steps_done += 1
        if self._next_step == self._prompt.steps:
            self._enter(Stage.DEVELOP)
        elif self._next_step - self._first_step in self._preview_steps:
            estimates = before + lead(self._sigmas, self._next_step - 1) * (latents - before)
            self._estimates = [estimates[index : index + 1] for index in range(len(self._batch))]
            self._enter(Stage.PREVIEW)
        return [Step(done=self._steps_done, total=self._steps_total)]

    def _look_around(self) -> None:
        """Make of texts and references what the transformer sees of them."""
        transformer = self._parts.transformer()
        references = self._looked if self._family.facts.edits is Edits.REFERENCES else []
        self._scenes = [
            self._family.scene(transformer, features, self._size, references) for features in self._features
        ]
        self._features = []

    def _next_latents(self) -> Work:
        """The latents at the next noise level: one step of Euler's."""
        transformer = self._parts.transformer()
        sigma, next_sigma = (self._sigmas[place] for place in (self._next_step, self._next_step + 1))
        velocities = []
        for scene in self._scenes:
            velocity = yield from self._family.velocity(transformer, self._latents, float(sigma), scene)
            velocities.append(velocity)
        velocity = velocities[0]
        if len(velocities) > 1:
            velocity = guided(self._family.facts.guidance_kind, self._prompt.guidance, *velocities)
        return self._latents + float(next_sigma - sigma) * velocity

    def _preview(self) -> list[Frame]:
        """Show the next picture of the batch, smaller than it will be."""
        cell = self._family.facts.cell
        size = preview_size(*self._size, cell, self._tile_cells * cell)
        values = self._advanced(lambda: self._parts.autoencoder.decode_small(self._estimates[0], *size))
        if values is None:
            return []
        place = len(self._batch) - len(self._estimates)
        del self._estimates[0]
        if not self._estimates:
            self._enter(Stage.DENOISE)
        return [
            Preview(
                data=write_png(_pixels(np.array(values[0]))),
                index=self._batch_start + place,
                number=self._preview_steps.index(self._next_step - self._first_step),
            )
        ]

    def _first_latents(self) -> mx.array:
        """Noise, or a given picture under as much noise as the first step expects; one for each of the batch."""
        shape = (*self._size, self._family.facts.channels)
        noise = mx.array(np.stack([make_noise(self._prompt.seed + index, shape) for index in self._batch]))
        if self._first_step == 0:
            return noise
        sigma = float(self._sigmas[self._first_step])
        return sigma * noise + (1.0 - sigma) * self._looked[0]

    @property
    def _batch(self) -> range:
        """The pictures that are made now."""
        return range(self._batch_start, min(self._prompt.count, self._batch_start + self._limits.pictures_at_once))

    @property
    def _steps_total(self) -> int:
        batches = -(-self._prompt.count // self._limits.pictures_at_once)
        return batches * (self._prompt.steps - self._first_step)

    # ---- decoding ----

    def _develop(self) -> list[Frame]:
        cell = self._family.facts.cell
        if self._mosaic is None:
            self._mosaic = Mosaic(*self._size, self._tile_cells, scale=cell)
        tile = _next(self._mosaic)
        place = self._developed - self._batch_start
        rows, columns = slice(tile.rows.start, tile.rows.end), slice(tile.columns.start, tile.columns.end)
        values = self._advanced(lambda: self._parts.autoencoder.decode(self._latents[place : place + 1, rows, columns]))
        if values is None:
            return []
        self._mosaic.place(np.array(values[0]))
        if self._mosaic.next_tile is not None:
            return []
        picture = self._picture(_pixels(self._mosaic.whole()))
        self._mosaic = None
        self._developed += 1
        if self._developed == self._prompt.count:
            self._enter(Stage.DONE)
        elif self._developed == self._batch.stop:
            self._batch_start = self._developed
            self._next_step = self._first_step
            self._enter(Stage.DENOISE)
        return [picture]

    def _picture(self, pixels: Pixels) -> Image:
        seed = self._prompt.seed + self._developed
        return Image(
            data=write_png(pixels, {**self._prompt.details, "seed": seed}),
            index=self._developed,
            seed=seed,
            width=self._prompt.width,
            height=self._prompt.height,
        )

    @property
    def _tile_cells(self) -> int:
        return max(_LEAST_TILE_CELLS, self._limits.tile_pixels // self._family.facts.cell)

    def _done(self) -> Done:
        return Done(
            reason="stop",
            prompt_eval_count=sum(text.length for text in self._prompt.texts),
            prompt_eval_duration_ns=self._read_ns,
            eval_count=self._steps_done,
            eval_duration_ns=self._made_ns,
        )


def _next(mosaic: Mosaic) -> Tile:
    tile = mosaic.next_tile
    assert tile is not None, "every tile is placed"
    return tile


def _pixels(values: Values) -> Pixels:
    """Values of about -1 to 1 as bytes. It works in their own memory, which large pictures have much of."""
    if not np.isfinite(values).all():
        raise DamagedModel("The model makes pictures that are no numbers: pull or create the model again.")
    values *= 0.5
    values += 0.5
    np.clip(values, 0.0, 1.0, out=values)
    values *= 255.0
    return np.rint(values, out=values).astype(np.uint8)
