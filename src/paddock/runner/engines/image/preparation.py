"""The half of the image engine that makes requests ready: checked, completed and tokenised, pictures decoded. It runs
beside the thread that owns MLX and touches none of it.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.tokenizer_utils import TokenizerWrapper

import paddock
from paddock.errors import BadRequest, ContextTooLong, DamagedModel, InvalidOption, Unsupported
from paddock.protocol import ImageRequest, TokenizeRequest
from paddock.runner.engines.base import EncodedText, PicturePrompt, Pixels
from paddock.runner.engines.image import pictures
from paddock.runner.engines.image.families import Edits, Facts, Guidance
from paddock.runner.engines.text.model.loading import check_tokenizer_file
from paddock.runner.engines.text.prompt.encoding import Encoding
from paddock.runner.engines.text.prompt.renderer import Renderer
from paddock.runner.watch import Watch

logger = logging.getLogger(__name__)

MAX_COUNT = 16
MAX_STEPS = 150
MAX_PREVIEWS = 3
MAX_GUIDANCE = 100.0
MAX_SEED = 2**63 - 1
_DRAWN_SEED_BITS = 32
_REFERENCE_PIXELS = 1024 * 1024
"""Most pixels of a picture to work from; larger ones are made smaller, as in diffusers' Flux2KleinPipeline."""
_REFERENCE_SIDE = 64
_REFERENCE_ASPECT = 8
_DECODE_SECONDS = 20.0
_TOO_SLOW = "The images of this request take far too long to decode: send smaller ones."


def load_tokenizer(folder: Path) -> TokenizerWrapper:
    """The tokenizer in a folder of its own. DamagedModel."""
    check_tokenizer_file(folder)
    try:
        # Never asked about code of the folder: nobody is there to answer, and the answer is no.
        return mlx_lm_utils.load_tokenizer(folder, {"trust_remote_code": False})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, StrictDataclassError) as error:
        logger.debug("the tokenizer could not be loaded", exc_info=error)
        raise DamagedModel("The tokenizer files are missing or damaged: pull or create the model again.") from None


class Preparation:
    """Makes the requests of one loaded model ready."""

    def __init__(
        self,
        facts: Facts,
        tokenizer: TokenizerWrapper,
        renderer: Renderer,
        watch: Watch,
        *,
        vocabulary: int,
        most_pixels: int,
    ) -> None:
        """`most_pixels` of one picture; 0 leaves it to the model."""
        self._facts = facts
        self._tokenizer = tokenizer
        self._encoding = Encoding(tokenizer, watch)
        self._renderer = renderer
        self._watch = watch
        self._vocabulary = vocabulary
        self._most_pixels = most_pixels
        try:
            self._template = str(tokenizer._tokenizer.get_chat_template())
        except ValueError:
            raise DamagedModel("The tokenizer has no chat template: pull or create the model again.") from None
        self._fill_token: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else -1
        if facts.fills_up and (self._fill_token < 0 or tokenizer._tokenizer.padding_side != "right"):
            raise DamagedModel("The tokenizer has no token that fills up at the right: create the model again.")

    def prepare(self, request: ImageRequest) -> PicturePrompt:
        """As `Engine.prepare`."""
        self._check(request)
        seed = request.seed if request.seed >= 0 else secrets.randbits(_DRAWN_SEED_BITS)
        steps = request.steps or self._facts.steps
        guidance = self._guidance(request)
        strength = self._strength(request)
        width, height, given = self._sizes_and_pictures(request)
        self._check_size(width, height)
        prompts = [request.prompt]
        if guidance > self._facts.turns_off:
            prompts.append(request.negative_prompt)
        return PicturePrompt(
            texts=tuple(self._encoded(text) for text in prompts),
            width=width,
            height=height,
            steps=steps,
            guidance=guidance,
            seed=seed,
            count=request.count,
            pictures=given,
            strength=strength,
            previews=request.previews,
            details=_details(request, self._facts.edits, width, height, steps, guidance, strength),
            client=request.client,
            tenant=request.tenant,
        )

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """As `Engine.tokenize`."""
        return self._encoding.encode(request.text, special=request.add_special_tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """As `Engine.detokenize`."""
        for token in tokens:
            if not 0 <= token < self._vocabulary:
                raise BadRequest(f"tokens holds id {token}, but the vocabulary has {self._vocabulary} tokens.")
        return self._encoding.decode(tokens)

    # ---- what a request asks for ----

    def _check(self, request: ImageRequest) -> None:
        if not request.prompt.strip():
            raise BadRequest("A picture needs a prompt.")
        _check_range("count", request.count, 1, MAX_COUNT)
        _check_range("steps", request.steps, 0, MAX_STEPS)
        _check_range("previews", request.previews, 0, MAX_PREVIEWS)
        _check_range("width", request.width, 0, self._facts.side_most)
        _check_range("height", request.height, 0, self._facts.side_most)
        if request.seed > MAX_SEED - MAX_COUNT:
            raise InvalidOption(f"seed must be at most {MAX_SEED - MAX_COUNT}.")
        if bool(request.width) != bool(request.height):
            raise InvalidOption("Give width and height together, or neither.")

    def _guidance(self, request: ImageRequest) -> float:
        facts = self._facts
        if facts.guidance_kind is Guidance.NONE:
            if request.negative_prompt or (request.guidance is not None and request.guidance > 1.0):
                raise Unsupported("This model works without guidance: leave out guidance and the negative prompt.")
            return facts.guidance
        guidance = facts.guidance if request.guidance is None else request.guidance
        if not math.isfinite(guidance):
            raise InvalidOption("guidance must be a number.")
        _check_range("guidance", guidance, 0, MAX_GUIDANCE)
        if request.negative_prompt and guidance <= facts.turns_off:
            raise BadRequest(f"A negative prompt needs guidance {facts.guidance_kind.value}: give that as well.")
        return guidance

    def _strength(self, request: ImageRequest) -> float:
        if request.strength is None:
            return 0.6 if request.images and self._facts.edits is Edits.START else 1.0
        if self._facts.edits is not Edits.START or not request.images:
            raise Unsupported("strength is only for models that start from a picture, with a picture to start from.")
        if not 0.0 < request.strength <= 1.0:
            raise InvalidOption("strength must be above 0 and at most 1.")
        return request.strength

    def _sizes_and_pictures(self, request: ImageRequest) -> tuple[int, int, tuple[Pixels, ...]]:
        """Width, height, and the given pictures in the sizes that the pipeline sees."""
        facts = self._facts
        if not request.images:
            return request.width or facts.width, request.height or facts.height, ()
        if len(request.images) > facts.references_most:
            some = "one image" if facts.references_most == 1 else f"{facts.references_most} images"
            raise BadRequest(f"This model takes at most {some} to work from.")
        with self._watch.allow(_DECODE_SECONDS, _TOO_SLOW):
            found = pictures.read_pictures(request.images)
            for number, picture in enumerate(found, start=1):
                _check_shape(number, *picture.size)
            seen = [pictures.within_area(picture, self._reference_pixels, facts.side_multiple) for picture in found]
            height, width = seen[0].shape[:2]
            width, height = request.width or width, request.height or height
            if facts.edits is Edits.START:
                self._check_size(width, height)
                seen = [pictures.fitted(found[0], width, height)]
        return width, height, tuple(seen)

    @property
    def _reference_pixels(self) -> int:
        return min(_REFERENCE_PIXELS, self._most_pixels or _REFERENCE_PIXELS)

    def _check_size(self, width: int, height: int) -> None:
        multiple = self._facts.side_multiple
        for name, side in (("width", width), ("height", height)):
            if side % multiple or not multiple <= side <= self._facts.side_most:
                most = self._facts.side_most
                raise InvalidOption(f"{name} must be a multiple of {multiple} up to {most}, and is {side}.")
        if self._most_pixels and width * height > self._most_pixels:
            raise BadRequest(
                f"Width times height may be at most {self._most_pixels} pixels: ask for a smaller picture."
            )

    # ---- texts ----

    def _encoded(self, text: str) -> EncodedText:
        tokens = self._encoding.encode(self._rendered(text), special=True)
        most = self._facts.text_tokens
        if len(tokens) > most:
            raise ContextTooLong(f"The prompt has {len(tokens)} tokens, but this model reads only {most}: shorten it.")
        if not tokens:
            raise DamagedModel("The tokenizer makes nothing of the prompt: pull or create the model again.")
        if max(tokens) >= self._vocabulary or (self._facts.fills_up and self._fill_token >= self._vocabulary):
            raise DamagedModel("The model's tokenizer has tokens that its weights do not know: create the model again.")
        fill = [self._fill_token] * (most - len(tokens)) if self._facts.fills_up else []
        return EncodedText((*tokens, *fill), len(tokens))

    def _rendered(self, text: str) -> str:
        # What transformers gives to every template (its apply_chat_template), special tokens by name among it.
        variables = {
            **self._tokenizer.special_tokens_map,
            "messages": [{"role": "user", "content": text}],
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
            "enable_thinking": self._facts.thinks,
        }
        return self._renderer.render(self._template, variables, self._facts.text_tokens)


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidOption(f"{name} must be {least:g} to {most:g}, and is {value:g}.")


def _check_shape(number: int, width: int, height: int) -> None:
    """Bounds of diffusers' Flux2ImageProcessor, for all pipelines alike."""
    if min(width, height) < _REFERENCE_SIDE:
        raise BadRequest(f"Image {number} is {width} x {height} pixels; each side needs at least {_REFERENCE_SIDE}.")
    if max(width, height) > _REFERENCE_ASPECT * min(width, height):
        raise BadRequest(f"Image {number} is too narrow: one side is over {_REFERENCE_ASPECT} times the other.")


def _details(
    request: ImageRequest, edits: Edits, width: int, height: int, steps: int, guidance: float, strength: float
) -> dict[str, str | int | float]:
    details: dict[str, str | int | float] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance": guidance,
        "model": request.model,
        "model_digest": request.model_digest,
        "version": paddock.__version__,
    }
    if request.images:
        details["images"] = len(request.images)
        if edits is Edits.START:  # elsewhere strength means nothing, and would be refused when the picture is repeated
            details["strength"] = strength
    return details
