"""A loaded checkpoint: pictures to :class:`~sphinx_ros.seen.Seen`, raw prompts to text.

    rgb -> pixels -> image tokens -> key/value prefix        look(): once per picture
    question -> prompt ids -> answer ids -> text -> numbers -> source pixels     each question

Knows no ROS, no camera, no drawing.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sphinx_ros.answer.judge import Judge
from sphinx_ros.answer.presence import YesNo
from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.answer.subject import Subject
from sphinx_ros.engine.engine import Engine
from sphinx_ros.engine.official import generate_official
from sphinx_ros.engine.sampling import seeded
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.network import Network
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.prompt.checks import (
    checked_ids,
    checked_seed,
    checked_temperature,
    checked_tokens,
    checked_top_p,
)
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.prompt.wording import question
from sphinx_ros.runtime.device import choose_device, choose_dtype, request_large_pages
from sphinx_ros.runtime.memory import memory_named
from sphinx_ros.runtime.spread import load_network
from sphinx_ros.seen import Seen


class Sphinx:
    """A loaded checkpoint. Threads may share it: they take turns, a question or a look each."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        name: str = "",
        calibration: Calibration | None = None,
    ):
        self.engine = Engine(network, tokenizer)
        self.judge = Judge(YesNo.of(self.engine.habits.pieces), calibration)
        self.model, self.tokenizer, self.name = network, tokenizer, name

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path = "demo",
        *,
        device: str | torch.device | None = None,
        devices: Sequence[str | torch.device] = (),
        dtype: str | torch.dtype | None = None,
        quantise: str | None = None,
        max_seq_len: int | None = None,
        variant: str | None = None,
        tokenizer: str | Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Sphinx:
        """Load a checkpoint.

        Args:
            checkpoint: "demo" (the bundled miniature), the name of a published checkpoint such as
                "sphinx-tiny-1k", "hf://owner/repo/folder", or a folder.
            device: "cpu", "cuda", "cuda:1"; default the first CUDA device, else the CPU.
            devices: several, ["cuda:0", "cuda:1"], which then share the network: a process for
                each but the first is started, and ends with this one. Under torchrun the
                processes are there already, and each takes its own device.
            dtype: "float32", "bfloat16", "float16" or a torch type; default bfloat16 on CUDA and
                float32 on the CPU.
            quantise: "int8", "int4" or "nf4" stores the decoder in fewer bits.
            max_seq_len: longest sequence, image and text; default the checkpoint's.
            variant: ``llama_type`` of a folder that holds weights alone; default what it says, or
                what its tensors can only be.
            tokenizer: a sentencepiece model file, for a folder that has none.
            progress: called with (bytes read, bytes in all) while one process reads the files.

        Raises:
            CheckpointError: the name or the files can't be used; the message says what to do.
            SphinxError: the device does not exist, or is out of memory.
        """
        from sphinx_ros.checkpoint import load_checkpoint
        from sphinx_ros.checkpoint.hub import resolve

        request_large_pages()
        if quantise not in (None, *KINDS):
            raise BadRequest(f"quantise {quantise!r} is unknown; use one of {', '.join(KINDS)}")
        if devices and device is not None:
            raise BadRequest(f"device {device} and devices {list(devices)}: give one of them")
        chosen = [choose_device(one) for one in devices or [device]]
        if len({one.type for one in chosen}) > 1:
            raise BadRequest(f"devices {list(map(str, chosen))} are of several kinds; use one")
        kind = choose_dtype(dtype, chosen[0])
        given: dict[str, Any] = {"dtype": kind, "quantise": quantise, "max_seq_len": max_seq_len}
        given |= {"variant": variant, "tokenizer": tokenizer}
        load = functools.partial(
            load_checkpoint, **{name: value for name, value in given.items() if value is not None}
        )
        with memory_named(f"loading {checkpoint} in {kind} on {', '.join(map(str, chosen))}"):
            network, read, _ = load_network(checkpoint, chosen, load, progress)
        calibration = Calibration.read(resolve(checkpoint))
        return cls(network, read, str(checkpoint), calibration)

    def close(self) -> None:
        """End the other processes of a network that several share; without them nothing."""
        self.engine.frames.clear()
        end = getattr(self.model, "close", None)
        if end is not None:
            end()

    @property
    def trouble(self) -> str:
        """Why the network can't answer any more, as when a process that shares it ended; or ""."""
        found = getattr(type(self.model), "trouble", None)
        return "" if found is None else found(self.model)

    @property
    def config(self) -> ModelConfig:
        """Sizes of the network."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def check(self, query: Query) -> Query:
        """The query, stripped, if it can be asked of any picture.

        Raises:
            BadRequest: it lacks something, or its text leaves no room for an answer.
        """
        if not isinstance(query, Query):
            raise BadRequest(f"a Query is needed, not {quoted(query)}: use read_query for a line")
        query = query.checked()
        if query.task.row.takes.words:
            self.engine.question_ids(question(query.task, query.text))
        return query

    def look(self, rgb: np.ndarray, after: Seen | None = None) -> Seen:
        """Encode one picture, so that any number of questions can follow.

        The same pixels again cost nothing, whoever looked at them, while there is memory for them.

        Args:
            rgb: [H, W, 3] uint8, red first, any aspect ratio.
            after: an earlier picture of the same camera. What was answered about it is offered as
                a guess where the same is asked again: fewer passes, the same answer.

        Raises:
            BadImage: another shape or type, or an empty picture.
            BadRequest: ``after`` is no picture that was looked at.
            SphinxError: out of memory.
        """
        drafts = getattr(after, "drafts", None)
        if after is not None and not isinstance(drafts, Mapping):
            raise BadRequest(f"after is {quoted(after)}: give what look() returned, or None")
        pixels = self._pixels(rgb)
        frame, cached = self.engine.look(pixels, _content(pixels))
        height, width = rgb.shape[:2]
        subject = Subject(
            self.engine,
            frame,
            Letterbox.of(width, height),
            self.config.coordinate_decimals,
            self.judge,
            cached=cached,
            drafts=drafts,
        )
        return Seen(subject)

    def _pixels(self, rgb: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(preprocess(rgb, self.config.image_size))[None].to(self.device)

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[int], rgb: np.ndarray | None = None) -> torch.Tensor:
        """[T, vocabulary] float32 logits of a token sequence, as the official compute_logits.

        token_ids: BOS first; with a picture its tokens are put behind the first id and row 0
        belongs to the last of them. What parity is checked with.
        """
        words = 0 if rgb is None else self.config.image_words
        known = checked_ids(token_ids, self.config.vocab_size)
        most = self.config.max_seq_len - words
        if len(known) > most:
            raise BadRequest(
                f"{len(known)} token ids, and the sequence holds {most}: shorten the text"
            )
        ids = torch.tensor([known], device=self.device)
        with self.engine.lock, memory_named("computing logits"):
            image = None if rgb is None else self.model.encode_image(self._pixels(rgb))
            return self.model(ids, image)[0].cpu()

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        images: Sequence[np.ndarray] | None = None,
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Continue raw prompt strings with the official batch semantics; greedy by default.

        Args:
            prompts: whole prompts, templates included.
            images: one picture per prompt, or None.
            max_new_tokens: see :func:`sphinx_ros.engine.official.generate_official`.
            temperature, top_p: see :func:`sphinx_ros.engine.sampling.choose`.
            stop: texts that end an answer, beside the end-of-text token.
            seed: of the draws at temperature > 0; None draws from torch's global generator.
        """
        if isinstance(prompts, str) or not prompts:
            raise BadRequest(
                f"generate needs a list of prompts, at least one, and got {quoted(prompts)}"
            )
        temperature, top_p = checked_temperature(temperature), checked_top_p(top_p)
        seed, max_new_tokens = checked_seed(seed), checked_tokens(max_new_tokens)
        if images is not None and len(images) != len(prompts):
            raise BadRequest(f"{len(prompts)} prompts and {len(images)} images: give one for each")
        rows = [self.tokenizer.encode(p, True, False) for p in prompts]
        with self.engine.lock, memory_named("generating"):
            image = None
            if images is not None:
                image = torch.cat([self.model.encode_image(self._pixels(i)) for i in images])
            made = generate_official(
                self.model,
                rows,
                image,
                max_new_tokens=max_new_tokens,
                stop=self._stop_ids(stop),
                temperature=temperature,
                top_p=top_p,
                generator=None if seed is None else seeded(seed, self.device),
            )
        return [self.tokenizer.decode(one.ids) for one in made]

    def _stop_ids(self, symbols: Sequence[str]) -> list[list[int]]:
        ids = [[self.tokenizer.eos_id]]
        for symbol in symbols:
            ids.append(self.tokenizer.encode_segment(symbol))
            ids.append(self.tokenizer.encode_wo_prefix_space(symbol))
        return ids

    def chat(
        self,
        turns: Sequence[tuple[str, str | None]],
        rgb: np.ndarray | None = None,
        **sampling: Any,
    ) -> str:
        """Answer the last, open turn of a conversation in the official template.

        turns: (question, answer) pairs; the last answer is None. Keyword arguments as
        :meth:`generate`. The answer comes without surrounding spaces.
        """
        images = None if rgb is None else [rgb]
        (text,) = self.generate([conversation(turns)], images, stop=[END_SIGNAL], **sampling)
        return text.strip()


def _content(pixels: torch.Tensor) -> bytes:
    """What tells pictures of different content apart: 128 bits of the network's input."""
    return hashlib.blake2b(pixels.cpu().numpy().data, digest_size=16).digest()
