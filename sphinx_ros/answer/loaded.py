"""A network, its tokenizer and its calibration: pictures -> looks, raw prompts -> text.

    rgb -> pixels -> image tokens -> key/value prefix        look(): once per picture
    question -> prompt ids -> answer ids -> text -> numbers -> source pixels     each question

What the methods promise is told by :class:`sphinx_ros.pipeline.Sphinx`. Knows no ROS and no
drawing.
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
from sphinx_ros.answer.looked import Looked
from sphinx_ros.answer.presence import YesNo
from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.answer.subject import Drafts, Subject
from sphinx_ros.checkpoint.hub import beside
from sphinx_ros.checkpoint.loading import load_checkpoint
from sphinx_ros.checkpoint.names import check_adapter, parted
from sphinx_ros.engine.engine import Engine
from sphinx_ros.engine.frame import Frame
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
    checked_list,
    checked_prompts,
    checked_seed,
    checked_stop,
    checked_temperature,
    checked_tokens,
    checked_top_p,
)
from sphinx_ros.prompt.conversation import (
    END_SIGNAL,
    LONGEST_ANSWER,
    checked_turns,
    conversation,
)
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.prompt.wording import question
from sphinx_ros.runtime.allocator import give_back
from sphinx_ros.runtime.device import choose_device, choose_dtype, request_large_pages
from sphinx_ros.runtime.forks import OwnLock
from sphinx_ros.runtime.memory import memory_named
from sphinx_ros.runtime.spread import load_network


class Loaded:
    """What :class:`Sphinx` asks where the network is in this process, or is led by it."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        name: str = "",
        calibration: Calibration | None = None,
        lock: OwnLock | None = None,
    ):
        self.engine = Engine(network, tokenizer, lock=lock)
        self.judge = Judge(YesNo.of(self.engine.habits.pieces), calibration)
        self.model, self.tokenizer, self.name = network, tokenizer, name

    @classmethod
    def read(
        cls,
        checkpoint: str | Path,
        device: str | torch.device | None,
        devices: Sequence[str | torch.device],
        dtype: str | torch.dtype | None,
        quantise: str | None,
        progress: Callable[[int, int], None] | None,
        **given: Any,
    ) -> Loaded:
        """As :meth:`Sphinx.from_pretrained`; the other keywords are None where not given."""
        request_large_pages()
        if quantise not in (None, *KINDS):
            raise BadRequest(f"quantise {quantise!r} is unknown; use one of {', '.join(KINDS)}")
        if devices and device is not None:
            raise BadRequest(f"device {device} and devices {list(devices)}: give one of them")
        chosen = [choose_device(one) for one in devices or [device]]
        if len({one.type for one in chosen}) > 1:
            raise BadRequest(f"devices {list(map(str, chosen))} are of several kinds; use one")
        kind = choose_dtype(dtype, chosen[0])
        given |= {"dtype": kind, "quantise": quantise}
        load = functools.partial(
            load_checkpoint, **{name: value for name, value in given.items() if value is not None}
        )
        with memory_named(f"loading {checkpoint} in {kind} on {', '.join(map(str, chosen))}"):
            network, read, _ = load_network(checkpoint, chosen, load, progress)
        calibration = Calibration.first(beside(checkpoint))
        return cls(network, read, str(checkpoint), calibration)

    def adapt(self, adapter: str | Path | None) -> Loaded:
        """As :meth:`Sphinx.adapt`."""
        origin = self.model.origin
        if origin is None:
            raise BadRequest(
                "several processes share this network, or no files are known for it: an adapter "
                "can't be changed while it is loaded. Load it anew, with X+ADAPTER for a "
                "checkpoint and its adapter"
            )
        home = origin.base.layout.folder
        name = parted(self.name or home)[0]
        folder = None if adapter is None else Path(adapter).expanduser()
        if folder is not None:
            check_adapter(folder)
            name = f"{name}+{folder}"
        give_back()  # weights of before, which nobody asks any more
        with memory_named(f"changing the adapter of {name}"):
            network = origin.adapted(self.model, folder)
            calibration = Calibration.first([*filter(None, (folder, home))])
            with self.engine.lock:  # passes read what getting ready moves
                return Loaded(network, self.tokenizer, name, calibration, self.engine.lock)

    def close(self) -> None:
        """End the other processes of the network."""
        self.engine.frames.clear()
        end = getattr(self.model, "close", None)
        if end is not None:
            end()

    @property
    def trouble(self) -> str:
        """Why the network can't answer any more; or ""."""
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
        """The query, if its text leaves room for an answer. Raises BadRequest."""
        if query.task.row.takes.words:
            self.engine.question_ids(question(query.task, query.text))
        return query

    def look(self, rgb: np.ndarray, after: Any = None) -> Looked:
        """As :meth:`Sphinx.look`."""
        drafts = getattr(after, "drafts", None)
        if after is not None and not isinstance(drafts, Mapping):
            raise BadRequest(f"after is {quoted(after)}: give what look() returned, or None")
        pixels = self.pixels(rgb)
        frame, cached = self.engine.look(pixels, _content(pixels))
        height, width = rgb.shape[:2]
        return self._looked(frame, width, height, cached, drafts)

    def recall(self, key: bytes, width: int, height: int) -> Looked | None:
        """As :meth:`Sphinx.recall`."""
        frame = self.engine.frames.find(key)
        return None if frame is None else self._looked(frame, width, height, True, None)

    def _usable(self, drafts: Drafts) -> Drafts:
        """Those whose ids are tokens here: another checkpoint's may have a larger vocabulary."""
        words = self.tokenizer.n_words
        return {
            asked: ids
            for asked, ids in drafts.items()
            if ids and min(ids) >= 0 and max(ids) < words
        }

    def _looked(
        self, frame: Frame, width: int, height: int, cached: bool, drafts: Drafts | None
    ) -> Looked:
        subject = Subject(
            self.engine,
            frame,
            Letterbox.of(width, height),
            self.config.coordinate_decimals,
            self.judge,
            cached=cached,
            drafts=self._usable(drafts or {}),
        )
        return Looked(subject)

    def pixels(self, rgb: np.ndarray) -> torch.Tensor:
        """[1, 3, S, S] float32 on the network's device, of [H, W, 3] uint8. Raises BadImage."""
        return torch.from_numpy(preprocess(rgb, self.config.image_size))[None].to(self.device)

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[int], rgb: np.ndarray | None = None) -> torch.Tensor:
        """As :meth:`Sphinx.logits`."""
        words = 0 if rgb is None else self.config.image_words
        known = checked_ids(token_ids, self.config.vocab_size)
        most = self.config.max_seq_len - words
        if len(known) > most:
            raise BadRequest(
                f"{len(known)} token ids, and the sequence holds {most}: shorten the text"
            )
        ids = torch.tensor([known], device=self.device)
        with self.engine.lock, memory_named("computing logits"):
            image = None if rgb is None else self.model.encode_image(self.pixels(rgb))
            return self.model(ids, image)[0].cpu()

    def generate(
        self,
        prompts: Sequence[str],
        images: Sequence[np.ndarray] | None = None,
        *,
        max_new_tokens: int = LONGEST_ANSWER,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
    ) -> list[str]:
        """As :meth:`Sphinx.generate`."""
        return self._generate(
            checked_prompts(prompts),
            None if images is None else checked_list(images, "images", "pictures"),
            checked_stop(stop),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )

    @torch.inference_mode()
    def _generate(
        self,
        prompts: Sequence[str],
        images: Sequence[np.ndarray] | None,
        stop: Sequence[str],
        *,
        max_new_tokens: int = LONGEST_ANSWER,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int | None = None,
    ) -> list[str]:
        temperature, top_p = checked_temperature(temperature), checked_top_p(top_p)
        seed, max_new_tokens = checked_seed(seed), checked_tokens(max_new_tokens)
        if images is not None and len(images) != len(prompts):
            raise BadRequest(f"{len(prompts)} prompts and {len(images)} images: give one for each")
        rows = [self.tokenizer.encode(p, True, False) for p in prompts]
        with self.engine.lock, memory_named("generating"):
            image = None
            if images is not None:
                image = torch.cat([self.model.encode_image(self.pixels(i)) for i in images])
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
        rgb: np.ndarray | None,
        *,
        stop: str | Sequence[str] = (),
        **sampling: Any,
    ) -> str:
        """As :meth:`Sphinx.chat`."""
        prompt, images = conversation(checked_turns(turns)), None if rgb is None else [rgb]
        (text,) = self._generate([prompt], images, (END_SIGNAL, *checked_stop(stop)), **sampling)
        return text.strip()


def _content(pixels: torch.Tensor) -> bytes:
    """What tells pictures of different content apart: 128 bits of the network's input."""
    return hashlib.blake2b(pixels.cpu().numpy().data, digest_size=16).digest()
