"""The half of the embedding engine that makes requests ready: tokenised, cut, checked. It runs beside the thread that
owns MLX and touches none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from paddock.errors import BadRequest, ContextTooLong, DamagedModel, Unsupported
from paddock.protocol import ChatRequest, CompletionRequest, EmbeddingRequest, RerankRequest, TokenizeRequest
from paddock.runner.engines.base import Passages
from paddock.runner.engines.embedding.loading import LoadedEncoder
from paddock.runner.engines.embedding.tokenizer import Encoded


class Preparation:
    """Makes the requests of one loaded model ready."""

    def __init__(self, loaded: LoadedEncoder, context_length: int) -> None:
        self._loaded = loaded
        self._context_length = context_length

    def prepare(self, request: CompletionRequest | ChatRequest | EmbeddingRequest | RerankRequest) -> Passages:
        """As `Engine.prepare`. Unsupported for what this model is not made for."""
        if isinstance(request, RerankRequest) and self._loaded.is_reranker:
            return self._pairs(request)
        if isinstance(request, EmbeddingRequest) and not self._loaded.is_reranker:
            return self._texts(request)
        what = "compares texts with a query" if self._loaded.is_reranker else "makes embeddings"
        raise Unsupported(f"This model {what} and cannot do anything else.")

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """As `Engine.tokenize`."""
        size = len(request.text.encode(errors="replace")) * 4 + 1024
        return list(self._loaded.tokenizer.encode(request.text, size, special=request.add_special_tokens).tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """As `Engine.detokenize`."""
        self._check_ids(tokens)
        return self._loaded.tokenizer.decode(tokens)

    def _texts(self, request: EmbeddingRequest) -> Passages:
        if request.dimensions is not None and request.dimensions < 1:
            raise BadRequest("dimensions must be at least 1.")
        encoded = [self._input(text) for text in request.inputs]
        return self._passages(encoded, request.truncate, request.dimensions, is_unit=request.normalise)

    def _pairs(self, request: RerankRequest) -> Passages:
        most = self._context_length
        encode = self._loaded.tokenizer.encode_pair
        encoded = [encode(request.query, document, most) for document in request.documents]
        return self._passages(encoded, request.truncate, None, is_unit=False)

    def _input(self, text: str | tuple[int, ...]) -> Encoded:
        if isinstance(text, str):
            return self._loaded.tokenizer.encode(text, self._context_length)
        self._check_ids(text)
        cut = text[: self._context_length]
        return Encoded(cut, (0,) * len(cut), len(text))

    def _passages(self, encoded: list[Encoded], truncate: bool, dimensions: int | None, *, is_unit: bool) -> Passages:
        if not encoded:
            raise BadRequest("There is no input.")
        for one in encoded:
            if not one.tokens:
                raise BadRequest("An input is empty: it has no tokens.")
            if not truncate and one.full_length > self._context_length:
                raise ContextTooLong(
                    f"An input has {one.full_length} tokens, but the context holds {self._context_length}: shorten it."
                )
            if max(one.tokens) >= self._loaded.vocabulary:
                raise DamagedModel(
                    "The model's tokenizer has tokens that its weights do not know: create the model again."
                )
        # A model with one kind of tokens was trained without telling the two texts apart.
        kinds = tuple(one.kinds if max(one.kinds) < self._loaded.kinds else () for one in encoded)
        return Passages(
            texts=tuple(one.tokens for one in encoded),
            kinds=tuple(kind or (0,) * len(one.tokens) for kind, one in zip(kinds, encoded, strict=True)),
            dimensions=dimensions,
            is_unit=is_unit,
        )

    def _check_ids(self, tokens: Sequence[int]) -> None:
        """An id outside of the embedding would make MLX read memory that is not the model's."""
        known = self._loaded.vocabulary
        for token in tokens:
            if not 0 <= token < known:
                raise BadRequest(f"There is a token id {token}, but this model's vocabulary has {known} tokens.")
