"""What goes into the OpenAI-compatible door and comes out, as types: for checks and description.

The names are those of OpenAI's reference; keys that do not stand here are taken and mean nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sphinx_ros.prompt.checks import LEAST_SECONDS, MAX_SECONDS
from sphinx_ros.serve.schema import Item, Person, Pictured, Place, Took

MAX_MESSAGES = 256
"""Messages of a conversation. How long its text may be is a matter of tokens."""


class Loose(BaseModel):
    """An object that may have other keys, too."""

    model_config = ConfigDict(extra="allow")


class Message(Loose):
    """One message. In the last user message or an earlier one stands the picture."""

    role: str = Field(description="system, developer, user or assistant")
    content: Any = Field(
        None,
        description='a text, or a list of {"type": "text", "text": ...} and {"type": "image_url", '
        '"image_url": {"url": "data:image/jpeg;base64,..."}} in any order',
    )


class StreamOptions(Loose):
    """What a stream is to tell beside the text."""

    include_usage: bool | None = Field(None, description="a last chunk with the tokens")


class ChatRequest(Pictured):
    """A conversation to go on with."""

    model_config = ConfigDict(extra="allow")

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: str | None = Field(
        None,
        description="a name of /v1/models, any name where there are no adapters; one that ends "
        "in :tasks takes query lines",
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, description="0 (usual): the best token each time")
    top_p: float | None = None
    seed: int | None = Field(None, description="without one the draws are left to chance")
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Any = Field(None, description="a text, or a list of them, that ends the answer")
    n: int | None = Field(None, description="1")
    timeout: float | None = Field(
        None,
        ge=LEAST_SECONDS,
        le=MAX_SECONDS,
        description="seconds from the arrival; OpenAI's clients have it in extra_body",
    )


class Extra(BaseModel):
    """What OpenAI has no name for. Boxes and points are in pixels of the picture."""

    picture: str = Field(description="its name, by which it can be asked again")
    width: int
    height: int
    cached: bool = Field(description="it had been looked at before, by whomever")
    look_ms: float | None
    task: str
    status: str
    score: float | None = Field(description="of the words, 0..1")
    boxes: list[Item]
    keypoints: list[Place]
    poses: list[Person]
    unread: list[str]
    cost: Took
    seed: int | None = Field(description="of the draws; null where there were none")


class Said(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None = None
    sphinx: Extra


class Choice(BaseModel):
    """The one answer."""

    index: int
    message: Said
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class PromptDetails(BaseModel):
    """Of the prompt's tokens."""

    cached_tokens: int = Field(description="that were read before, by a look or an earlier turn")


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int = Field(description="the picture's included")
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class ChatCompletion(BaseModel):
    """The answer to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class Model(BaseModel):
    """A name that can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]
