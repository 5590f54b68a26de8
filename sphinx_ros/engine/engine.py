"""A network and its tokenizer: pixels -> a frame, questions about it -> ids and probabilities.

Any number of threads may call: looks take turns, questions are answered together. Knows no ROS.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sphinx_ros.engine.decoding import BEST, Decoding
from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.frame import ROOM, Frame, Frames
from sphinx_ros.engine.inflight import InFlight
from sphinx_ros.engine.prefix import common_length, question_prefix
from sphinx_ros.engine.rooms import Rooms
from sphinx_ros.engine.row import Row
from sphinx_ros.engine.sampling import STOP
from sphinx_ros.engine.style import Habits, Pieces
from sphinx_ros.engine.talk import Talk
from sphinx_ros.engine.watch import Watch
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.network import Network
from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.runtime.forks import OwnLock
from sphinx_ros.runtime.memory import memory_named, out_of_memory
from sphinx_ros.tasks import Language

LEAST_ANSWER = 32
"""Positions that a question must leave for its answer."""

BUDGET = 128 << 20
"""Bytes for the prefixes of the frames that are alive, on a CPU."""

BUDGET_SHARE = 0.05
"""The same on an accelerator, as a share of its memory."""


@dataclass(frozen=True)
class Question:
    """One question about a frame.

    Attributes:
        text: the Human text. limit: most tokens of its answer. watch: what may end it.
        doing: what is done, for the message of an error.
        language: of the answer. free: let it be written without constraints.
        draft: ids that the answer may turn out to be, end signal included.
        report: ids whose probabilities as the first token are wanted.
        earlier: questions and answers of the conversation before it. talk: that conversation,
        whose tokens need not be fed again. decoding: how its tokens are chosen; with draws
        ``language`` is FREE.
        begun: what stands behind "Assistant:", as if the model had written it.
    """

    text: str
    limit: int
    watch: Watch
    doing: str = "answering"
    language: Language = Language.FREE
    free: bool = False
    draft: Sequence[int] = ()
    report: Sequence[int] = ()
    earlier: Sequence[tuple[str, str]] = ()
    talk: Talk | None = None
    decoding: Decoding = BEST
    begun: str = ""


class Engine:
    """Looks and answers. ``lock`` is held during each pass of the network; who uses the network
    otherwise takes it as well.

    budget: bytes for the prefixes of frames; None chooses by the device. lock: that of another
    engine, whose passes take turns with those of this one; None: its own.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        budget: int | None = None,
        lock: OwnLock | None = None,
    ):
        self.network, self.tokenizer = network, tokenizer
        self.lock = lock or OwnLock()
        self.ending = Ending(tokenizer.decode, tokenizer.eos_id)
        self.prefix_ids = question_prefix(tokenizer)
        self.frames = Frames(_budget(network.device) if budget is None else budget)
        self.habits = Habits(Pieces(tokenizer))
        self._rooms = rooms = Rooms(network, self.frames)
        self._in_flight = InFlight(network, self.lock, rooms.make, rooms.give_up)
        network.prepare()

    def question_ids(
        self, asked: str, earlier: Sequence[tuple[str, str]] = (), begun: str = ""
    ) -> list[int]:
        """The prompt ids of one question (the Human text), BOS first.

        earlier: questions and answers of a conversation before it. begun: how its answer begins.

        Raises:
            BadRequest: they leave no room for an answer; the limit is in tokens.
        """
        most = self.network.config.max_seq_len - self.network.config.image_words - LEAST_ANSWER
        frame = len(self.prefix_ids)
        turns = [*earlier, (asked, None)]
        least = len(asked) // self._longest_piece  # a text of megabytes is not even tokenised
        if least <= most:
            ids = self.tokenizer.encode(conversation(turns) + begun, True, False)
            if len(ids) <= most:
                return ids
            least = len(ids) - frame
        what = f"conversation of {len(turns)} questions" if earlier else "question"
        raise BadRequest(
            f"the {what} has {least} tokens or more, and {max(most - frame, 0)} fit behind a "
            f"picture: {'begin another one' if earlier else 'shorten the text'}"
        )

    @functools.cached_property
    def _longest_piece(self) -> int:
        return max(len(self.tokenizer.piece(i)) for i in range(self.tokenizer.n_words))

    def look(self, pixels: Tensor, key: bytes = b"") -> tuple[Frame, bool]:
        """Encode one picture [1, 3, S, S] and prefill what all questions about it begin with.

        key: of the picture's content. A frame of the same key is found again, and only what its
        memory no longer holds is computed; without a key the frame is nobody else's.

        Returns:
            The frame, and whether it was there already.

        Raises:
            BadRequest: the sequence is too short for a picture and a question.
            SphinxError: out of memory.
        """
        with self.lock:
            found = self.frames.find(key) if key else None
            if found is not None:
                return found, True
            (frame,) = self.look_all(pixels, [key])
            return frame, False

    @torch.inference_mode()
    def look_all(self, pixels: Tensor, keys: Sequence[bytes] = ()) -> list[Frame]:
        """Encode pictures [B, 3, S, S] at once; otherwise as :meth:`look`."""
        config, ids = self.network.config, self.prefix_ids
        start = len(ids) + config.image_words
        if config.max_seq_len < start + LEAST_ANSWER:
            raise BadRequest(
                f"max_seq_len {config.max_seq_len} leaves {config.max_seq_len - start} positions "
                f"behind the picture's {start}; allow at least {start + LEAST_ANSWER}"
            )
        with self.lock, memory_named("looking at a picture"):
            begun = time.perf_counter()
            images = self._encoded(pixels.to(self.network.device))
            encoded = time.perf_counter()
            frames = []
            for image, key in zip(images.split(1), keys or [b""] * len(pixels), strict=True):
                frame, since = Frame(key, ids, image), time.perf_counter()
                self._rooms.prefill(frame, ROOM)
                frame.encode_ms = 1e3 * (encoded - begun) / len(pixels)
                frame.prefill_ms = 1e3 * (time.perf_counter() - since)
                frames.append(frame)
                if key:
                    self.frames.keep(frame)
        return frames

    def _encoded(self, pixels: Tensor) -> Tensor:
        try:
            return self.network.encode_image(pixels)
        except Exception as error:
            if out_of_memory(error) and self._rooms.give_up():
                return self.network.encode_image(pixels)
            raise

    def check_outside(self) -> None:
        """Raises BadRequest: this thread is making a pass, so that nothing may be waited for."""
        self._in_flight.check_outside()

    def answer(self, questions: Sequence[tuple[Frame, Question]]) -> list[Row]:
        """Answer questions, each about its frame, together with those that others ask meanwhile.

        Returns:
            A row for each: its ``answer()`` raises what ended it, as out of memory.

        Raises:
            BadRequest: a question is too long, or asked from within a pass.
        """
        rows = [self._row(frame, question) for frame, question in questions]
        for frame in {id(row.frame): row.frame for row in rows}.values():
            if frame.key:
                self.frames.keep(frame)
        self._in_flight.run(rows)
        for row, (_, question) in zip(rows, questions, strict=True):
            if row.error is None and row.reason == STOP:
                self.habits.learn(question.language, row.written)
        return rows

    def _row(self, frame: Frame, question: Question) -> Row:
        ids = self.question_ids(question.text, question.earlier, question.begun)
        # A tokenizer whose pieces reach over the prefix's end shares less of it.
        shared = common_length(ids, frame.ids)
        left = self.network.config.max_seq_len - self.network.config.image_words - len(ids)
        return Row(
            frame,
            ids[shared:],
            shared,
            guide=self.habits.guide(question.language, question.free),
            ending=self.ending.also(question.decoding.stop),
            limit=min(question.limit, left),
            watch=question.watch,
            draft=question.draft,
            report=question.report,
            doing=question.doing,
            talk=question.talk,
            draw=question.decoding.draw(self.network.device),
        )

    def let_go(self, talk: Talk) -> None:
        """A conversation is over. Waits for nothing, so that any thread can clean up."""
        self._in_flight.let_go(talk)


def _budget(device: torch.device) -> int:
    if device.type != "cuda":
        return BUDGET
    return int(BUDGET_SHARE * torch.cuda.get_device_properties(device).total_memory)
