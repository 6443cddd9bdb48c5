"""Every message between the server and a runner, and its encoding.

The two are separate programs that share only this package, `errors.py` and `vetting`. A runner speaks HTTP/1.1 on a
Unix socket:

    GET  /health        -> Health
    POST /load          LoadRequest       -> Health (a runner without a model only)
    POST /completion    CompletionRequest -> NDJSON of Frame
    POST /chat          ChatRequest       -> NDJSON of Frame
    POST /image         ImageRequest      -> NDJSON of Frame
    POST /template      ChatRequest       -> TemplateReply
    POST /count         ChatRequest       -> CountReply
    POST /tokenize      TokenizeRequest   -> TokenizeReply
    POST /detokenize    DetokenizeRequest -> DetokenizeReply
    POST /embedding     EmbeddingRequest  -> EmbeddingReply
    POST /rerank        RerankRequest     -> RerankReply
    POST /shrink        ShrinkRequest     -> ShrinkReply

A stream of frames ends in exactly one Done or Failed; nothing follows it. Errors before the first frame come as a
non-200 status with one Failed as the body. Closing the connection cancels the request within one engine step.
"""

from paddock.protocol.frames import (
    Done,
    Failed,
    Frame,
    Image,
    Likelihood,
    Preview,
    PromptProgress,
    Step,
    Text,
    Thinking,
    TokenLogprobs,
    ToolCall,
    Vectors,
    decode_frame,
    encode_line,
)
from paddock.protocol.health import Activity, Health, MemoryTerms, RunnerState
from paddock.protocol.message import AnyMessage, Message, decode, encode
from paddock.protocol.replies import (
    CountReply,
    DetokenizeReply,
    EmbeddingReply,
    RerankReply,
    ShrinkReply,
    TemplateReply,
    TokenizeReply,
)
from paddock.protocol.requests import (
    CalledTool,
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    ImageRequest,
    LoadRequest,
    RerankRequest,
    Sampling,
    ShrinkRequest,
    TokenizeRequest,
)

__all__ = [
    "Activity",
    "AnyMessage",
    "CalledTool",
    "ChatMessage",
    "ChatRequest",
    "CompletionRequest",
    "CountReply",
    "DetokenizeReply",
    "DetokenizeRequest",
    "Done",
    "EmbeddingReply",
    "EmbeddingRequest",
    "Failed",
    "Frame",
    "Health",
    "Image",
    "ImageRequest",
    "Likelihood",
    "LoadRequest",
    "MemoryTerms",
    "Message",
    "Preview",
    "PromptProgress",
    "RerankReply",
    "RerankRequest",
    "RunnerState",
    "Sampling",
    "ShrinkReply",
    "ShrinkRequest",
    "Step",
    "TemplateReply",
    "Text",
    "Thinking",
    "TokenLogprobs",
    "TokenizeReply",
    "TokenizeRequest",
    "ToolCall",
    "Vectors",
    "decode",
    "decode_frame",
    "encode",
    "encode_line",
]
