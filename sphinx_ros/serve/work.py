"""What a request asks of which picture, as plain values, and what answers it. Knows no HTTP.

Doors (the task door, the OpenAI-compatible door, the page, MCP) make :class:`Work`; a
:class:`Backend` does it and tells what comes as JSON, event by event, so that it may as well be in
another process or on another machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.tasks import Task

Json = dict[str, Any]


def picture_id(encoded: bytes) -> str:
    """The name of a picture: 32 hexadecimal digits, BLAKE2b-128 of the bytes that were sent."""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Options:
    """How a request is to be answered; None and 0 leave it to the server.

    Attributes:
        max_new_tokens: longest answer of each query.
        timeout: seconds from its arrival. verify, free, coordinates: as the keywords of
            :class:`sphinx_ros.seen.Seen`. threshold: boxes that score less are left out.
        short: a question (ASK) is for a word or phrase, in the official wording.
        temperature, top_p, seed: of the draws, for turns alone; temperature 0 is greedy.
        stop: texts that end an answer, for turns alone.
    """

    max_new_tokens: int = 0
    timeout: float | None = None
    verify: bool = True
    free: bool = False
    coordinates: str = ""
    threshold: float = 0.0
    short: bool = True
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """Queries, or the turns of a conversation, about one picture.

    Attributes:
        picture: its name, see :func:`picture_id`.
        encoded: its file's bytes (JPEG, PNG, ...); None: one that was looked at before.
        queries: what is asked, as one batch. Empty where ``turns`` are given.
        turns: (question, answer) pairs of a conversation in the official template, the last answer
            None; a question is the whole Human text. It counts as one query of the task ASK.
        options: see there.
        tokens: whether pieces of text and found items are wanted while they are written.
        model: the adapter that is asked, of those of :class:`Health`; "": the checkpoint itself.
        after: name of an earlier picture of the same camera, whose answers are guesses: fewer
            passes, the same answers. "": none; nor is one that is not known any more.

    Equal works in flight are done once, for all who asked.
    """

    picture: str
    encoded: bytes | None = field(default=None, compare=False)
    queries: tuple[Query, ...] = ()
    turns: tuple[tuple[str, str | None], ...] = ()
    options: Options = Options()
    tokens: bool = False
    model: str = ""
    after: str = field(default="", compare=False)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The task of each query, in order; that of turns is ASK."""
        return (Task.ASK,) if self.turns else tuple(query.task for query in self.queries)


class Busy(SphinxError):
    """Too many requests are under way. retry_after: whole seconds until another try is wise."""

    status = Status.BUSY

    def __init__(self, message: str, retry_after: int = 1):
        super().__init__(message)
        self.retry_after = retry_after


class NoModel(SphinxError):
    """There is no model. retry_after: as of :class:`Busy`; None where there will be none."""

    status = Status.NOT_ACTIVE

    def __init__(self, message: str, retry_after: int | None = 2):
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Health:
    """Whether a backend can answer.

    Attributes:
        state: "loading", "ready" or "failed". message: why, or how far; "" where ready.
        model: the checkpoint's name. device: where its weights are, "" where unknown.
        adapters: names of adapters of the checkpoint, each of which can be asked as well.
    """

    state: str
    message: str = ""
    model: str = ""
    device: str = ""
    adapters: tuple[str, ...] = ()


class Backend(Protocol):
    """What answers.

    ``do`` yields, as JSON:

        {"type": "look", "picture", "width", "height", "cached", "look_ms"}      first
        {"type": "piece", "number", "text"}            with ``work.tokens``
        {"type": "found", "number", "detection" | "pose" | "keypoint"}           likewise
        {"type": "finished", "number", "answer"}       each query once; see remote.wire

    Closing it (``aclose``) cancels the work within one pass, unless others wait for the same. It
    raises :class:`~sphinx_ros.errors.SphinxError` where nothing of the work can be answered:
    NO_IMAGE (the picture is not known: send its bytes), BAD_IMAGE, BAD_REQUEST, NOT_ACTIVE, BUSY.
    What goes wrong with one query is the status of its answer.
    """

    def health(self) -> Health:
        """Whether it can answer now."""
        ...

    def do(self, work: Work) -> AsyncIterator[Json]:
        """Answer."""
        ...

    def figures(self) -> Mapping[str, float]:
        """What it has done so far, by the names of docs/serve.md."""
        ...
