"""The Python interface: a checkpoint that looks at pictures, in this process or on a server.

A :class:`Sphinx` hands on what it is asked: to :class:`sphinx_ros.answer.loaded.Loaded`, which
brings torch, or to one that asks a server, which needs none. Knows no ROS, no camera, no drawing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.conversation import LONGEST_ANSWER
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.address import BUSY, QUALITY, SILENCE
from sphinx_ros.runtime.interrupts import load_torch
from sphinx_ros.seen import Seen

if TYPE_CHECKING:
    import torch

    from sphinx_ros.answer.judge import Judge
    from sphinx_ros.answer.score_calibration import Calibration
    from sphinx_ros.engine.engine import Engine
    from sphinx_ros.model.network import Network
    from sphinx_ros.prompt.tokenizer import Tokenizer


class Sphinx:
    """A checkpoint to ask. Threads may share it: looks take turns, questions are answered at once.

    :meth:`from_pretrained` loads one into this process; :meth:`connect` asks one on a server.

    Attributes:
        name: of the checkpoint.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        name: str = "",
        calibration: Calibration | None = None,
    ):
        from sphinx_ros.answer.loaded import Loaded

        self._hand_to(Loaded(network, tokenizer, name, calibration))

    def _hand_to(self, answering: Any) -> Sphinx:
        self._answering, self.name = answering, answering.name
        return self

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
        load_torch()
        from sphinx_ros.answer.loaded import Loaded

        loaded = Loaded.read(
            checkpoint,
            device,
            devices,
            dtype,
            quantise,
            progress,
            max_seq_len=max_seq_len,
            variant=variant,
            tokenizer=tokenizer,
        )
        return cls.__new__(cls)._hand_to(loaded)

    @classmethod
    def connect(
        cls,
        servers: str | Sequence[str],
        *,
        fallback: str = "",
        token: str | None = None,
        quality: int | str | None = QUALITY,
        silence: float = SILENCE,
        heartbeat: float = 0.0,
        busy: float = BUSY,
    ) -> Sphinx:
        """Ask a model on a server: ``sphinx-ros serve`` there. Loads no torch.

        A picture is sent once, with its first question. A server that is lost is looked for, and
        asked again as soon as it is back. What needs the network itself, as :meth:`generate`, is
        refused.

        Args:
            servers: "http://gpu-box:8000", or several, in a list or with commas between; the first
                that can be reached is asked.
            fallback: a checkpoint, "demo" or a folder, that is loaded here when no server can be
                reached, and answers until one is back; "" for none. This needs torch.
            token: of the bearer; None: the environment's ``SPHINX_ROS_TOKEN``.
            quality: of the JPEG that a picture is sent as, 1..100; None or "png" sends PNG.
            silence: seconds without a byte after which a server is given up, where a question
                has no time limit.
            heartbeat: seconds between two looks whether the servers are well, 0 for none; then
                :attr:`trouble` tells of a loss while nothing is asked.
            busy: seconds for which a server that has too much to do is asked again, when it says,
                where a question has no time limit; ``math.inf``: until it answers.

        Raises:
            Unreachable: there is nobody to ask; the status is NOT_ACTIVE.
            BadRequest: an address, the token or a number can't be used.
        """
        from sphinx_ros.remote.client import RemoteSphinx

        load = functools.partial(cls.from_pretrained, fallback) if fallback else None
        remote = RemoteSphinx(servers, token, quality, load, silence, heartbeat, busy)
        return cls.__new__(cls)._hand_to(remote)

    def adapt(self, adapter: str | Path | None) -> Sphinx:
        """The same checkpoint with another adapter in place of the one it has, or with none.

        A new object: this one keeps its weights, and the pictures that were looked at with them
        can still be asked. Both share all weights that no adapter changes, and the answers of the
        new one are those of ``from_pretrained("X+ADAPTER")``, bit for bit.

        Args:
            adapter: folder of one that ``sphinx-ros tune`` made for this checkpoint; None: none.
                Of a checkpoint on a server, the name of an adapter that is served there.

        Raises:
            CheckpointError: no adapter is there, or it was made for another checkpoint.
            BadRequest: several processes share the network; the server has no such adapter.
            SphinxError: out of memory: what the adapter changes is there twice for a while.
        """
        return type(self).__new__(type(self))._hand_to(self._answering.adapt(adapter))

    def close(self) -> None:
        """End the other processes of a network that several share, or the connections."""
        self._answering.close()

    @property
    def trouble(self) -> str:
        """Why the network can't answer any more, as when a process that shares it ended; or ""."""
        return self._answering.trouble

    @property
    def connection(self) -> dict[str, str]:
        """The servers and what went there, in words by name; empty for a model in this process."""
        return getattr(self._answering, "connection", {})

    @property
    def config(self) -> Any:
        """Sizes of the network, a :class:`~sphinx_ros.model.config.ModelConfig`.

        None where it is on a server.
        """
        return self._answering.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._answering.device

    @property
    def engine(self) -> Engine:
        """The engine; only of a network in this process, as are the next three."""
        return self._answering.engine

    @property
    def judge(self) -> Judge:
        """What boxes are worth."""
        return self._answering.judge

    @property
    def model(self) -> Network:
        """The network."""
        return self._answering.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self._answering.tokenizer

    def check(self, query: Query) -> Query:
        """The query, stripped, if it can be asked of any picture.

        Raises:
            BadRequest: it lacks something, or its text leaves no room for an answer.
        """
        if not isinstance(query, Query):
            raise BadRequest(f"a Query is needed, not {quoted(query)}: use read_query for a line")
        return self._answering.check(query.checked())

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
        return self._answering.look(rgb, after)

    def recall(self, key: bytes, width: int, height: int) -> Seen | None:
        """A picture that was looked at, without its pixels; None where it is not in memory now.

        key: its :attr:`Seen.key`. width, height: of that picture, pixels.
        """
        recall = getattr(self._answering, "recall", None)  # one that asks a server has no memory
        return None if recall is None or not key else recall(key, width, height)

    def pixels(self, rgb: np.ndarray) -> torch.Tensor:
        """[1, 3, S, S] float32, what the network reads of [H, W, 3] uint8. Raises BadImage."""
        return self._answering.pixels(rgb)

    def logits(self, token_ids: Sequence[int], rgb: np.ndarray | None = None) -> torch.Tensor:
        """[T, vocabulary] float32 logits of a token sequence, as the official compute_logits.

        token_ids: BOS first; with a picture its tokens are put behind the first id and row 0
        belongs to the last of them. What parity is checked with.
        """
        return self._answering.logits(token_ids, rgb)

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
        """Continue raw prompt strings with the official batch semantics; greedy by default.

        Args:
            prompts: whole prompts, templates included.
            images: one picture per prompt, or None.
            max_new_tokens: see :func:`sphinx_ros.engine.official.generate_official`.
            temperature, top_p: see :func:`sphinx_ros.engine.sampling.choose`.
            stop: a text or several that end an answer, beside the end-of-text token.
            seed: of the draws at temperature > 0; None draws from torch's global generator.
        """
        return self._answering.generate(
            prompts,
            images,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=stop,
        )

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
        return self._answering.chat(turns, rgb, **sampling)
