"""A loaded checkpoint: pictures to :class:`~sphinx_ros.seen.Seen`, raw prompts to text.

    rgb -> pixels -> image tokens -> key/value prefix        look(): once per picture
    question -> prompt ids -> decode -> text -> numbers -> source pixels     each question

Knows no ROS, no camera, no drawing.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sphinx_ros.engine.rows import generate_batch, seeded
from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.runtime.device import choose_device, choose_dtype
from sphinx_ros.runtime.memory import memory_named
from sphinx_ros.seen import Seen


def _load(checkpoint, devices: list[torch.device], load):
    """A network in this process, or the leader of one in several."""
    from sphinx_ros.runtime import team

    if team.under_torchrun() > 1:
        return team.join_torchrun(checkpoint, load)
    if len(devices) > 1:
        return team.lead(checkpoint, devices, load)
    return load(checkpoint, device=devices[0])


class Sphinx:
    """A loaded checkpoint. One thread at a time may use it; questions on one picture queue up."""

    def __init__(self, model, tokenizer, config, name: str = ""):
        self.model, self.tokenizer, self.config, self.name = model, tokenizer, config, name
        self._lock = threading.RLock()
        self.stop = self._stop_ids([END_SIGNAL])

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

        Raises:
            CheckpointError: the name or the files can't be used; the message says what to do.
            SphinxError: the device does not exist, or is out of memory.
        """
        from sphinx_ros.checkpoint import load_checkpoint

        if quantise not in (None, *KINDS):
            raise SphinxError(f"quantise {quantise!r} is unknown; use one of {', '.join(KINDS)}")
        if devices and device is not None:
            raise SphinxError(f"device {device} and devices {list(devices)}: give one of them")
        chosen = [choose_device(one) for one in devices or [device]]
        if len({one.type for one in chosen}) > 1:
            raise SphinxError(f"devices {list(map(str, chosen))} are of several kinds; use one")
        kind = choose_dtype(dtype, chosen[0])
        with memory_named(f"loading {checkpoint} in {kind} on {', '.join(map(str, chosen))}"):
            load = functools.partial(load_checkpoint, dtype=kind, quantise=quantise)
            model, tokenizer, config = _load(checkpoint, chosen, load)
        if max_seq_len is not None:
            config = dataclasses.replace(config, max_seq_len=max_seq_len)
            model.config = config
        return cls(model, tokenizer, config, str(checkpoint))

    def close(self) -> None:
        """End the other processes of a network that several share; of others nothing."""
        if hasattr(self.model, "close"):
            self.model.close()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.norm.weight.device

    def look(self, rgb: np.ndarray) -> Seen:
        """Encode one picture, so that any number of questions can follow.

        Args:
            rgb: [H, W, 3] uint8, red first, any aspect ratio.

        Raises:
            BadImage: another shape or type, or an empty picture.
        """
        return Seen(self, rgb)

    def encode(self, rgb: np.ndarray) -> torch.Tensor:
        """The image tokens [1, image_words, dim] of one picture."""
        pixels = torch.from_numpy(preprocess(rgb, self.config.image_size))[None]
        return self.model.encode_image(pixels.to(self.device))

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[int], rgb: np.ndarray | None = None) -> torch.Tensor:
        """[T, vocabulary] float32 logits of a token sequence, as the official compute_logits.

        token_ids: BOS first; with a picture its tokens are put behind the first id and row 0
        belongs to the last of them. What parity is checked with.
        """
        if not len(token_ids):
            raise BadRequest("logits needs at least one token id (BOS)")
        image = None if rgb is None else self.encode(rgb)
        ids = torch.tensor([list(token_ids)], device=self.device)
        with self._lock:
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
            images: one picture per prompt, or None.
            stop: texts that end an answer, beside the end-of-text token.
            seed: of the draws at temperature > 0; None draws from torch's global generator.
        """
        if not prompts:
            raise BadRequest("generate needs at least one prompt")
        if images is not None and len(images) != len(prompts):
            raise BadRequest(f"{len(prompts)} prompts and {len(images)} images: give one for each")
        rows = [self.tokenizer.encode(p, True, False) for p in prompts]
        with self._lock, memory_named("generating"):
            image = None if images is None else torch.cat([self.encode(i) for i in images])
            made = generate_batch(
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
            ids += [
                self.tokenizer.encode_segment(symbol),
                self.tokenizer.encode_wo_prefix_space(symbol),
            ]
        return ids

    def chat(self, turns: Sequence[tuple[str, str | None]], rgb=None, **sampling) -> str:
        """Answer the last, open turn of a conversation in the official template.

        turns: (question, answer) pairs; the last answer is None. Keyword arguments as
        :meth:`generate`. The answer comes without surrounding spaces.
        """
        images = None if rgb is None else [rgb]
        return self.generate([conversation(turns)], images, stop=[END_SIGNAL], **sampling)[
            0
        ].strip()
