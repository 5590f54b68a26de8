"""Text -> token ids and back, with the semantics of the official tokenizer. Knows no prompt.

The official class (LLaMA2-Accessory, ``accessory/model/tokenizer.py``) wraps sentencepiece; the
subtle part is text that goes on after other text, where sentencepiece would put a space in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sphinx_ros.errors import CheckpointError, quoted
from sphinx_ros.prompt.checks import checked_unicode

PREFIXES = ("@", "\n", "\\", "=", ">", "`")
"""Characters tried in front of a text that must be tokenised without a leading space."""


class Tokenizer:
    """A sentencepiece model file.

    Attributes:
        path: the file. n_words: number of pieces. bos_id, eos_id: ids of begin and end.
        need_space_before_segment: False for LLaMA's own kind, which puts a space in front of
            every text by itself.

    Raises:
        CheckpointError: the file is missing or not a sentencepiece model.
    """

    def __init__(self, path: str | Path):
        from sentencepiece import SentencePieceProcessor

        self.path = Path(path)
        try:  # its bytes, as sentencepiece opens no file whose name is not UTF-8
            data = self.path.read_bytes()
            self._pieces = SentencePieceProcessor()
            self._pieces.LoadFromSerializedProto(data)
        except FileNotFoundError as error:
            raise CheckpointError(
                f"tokenizer file {self.path} is missing: a checkpoint folder needs its "
                "sentencepiece 'tokenizer.model'"
            ) from error
        except OSError as error:
            raise CheckpointError(f"{self.path} can't be read: {error.strerror}") from error
        except RuntimeError as error:
            raise CheckpointError(
                f"{self.path} ({len(data)} bytes) can't be read as a sentencepiece model; copy "
                "the checkpoint's 'tokenizer.model' again"
            ) from error
        self.n_words = self._pieces.vocab_size()
        self.bos_id = self._pieces.bos_id()
        self.eos_id = self._pieces.eos_id()
        whole, tail = self._ids("Hi my darling"), self._ids("my darling")
        self.need_space_before_segment = whole[-len(tail) :] != tail

    def _ids(self, text: str) -> list[int]:
        return self._pieces.encode(checked_unicode(text))

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Ids of a whole text. "<s>" and "</s>" in the text are plain characters.

        Raises:
            BadRequest: the text is no valid Unicode; so for all ways to encode.
        """
        ids = self._ids(text)
        return [self.bos_id] * bos + ids + [self.eos_id] * eos

    def encode_segment(self, text: str) -> list[int]:
        """Ids of a text that follows other text after a space."""
        text = text.lstrip(" ")
        return self._ids(" " + text if self.need_space_before_segment else text)

    def encode_wo_prefix_space(self, text: str) -> list[int]:
        """Ids of a text that follows other text directly, with no space put in front.

        Raises:
            CheckpointError: the model merges every helper character with the text.
        """
        if self.need_space_before_segment:
            return self._ids(text)
        for prefix in PREFIXES:
            lead, ids = self._ids(prefix), self._ids(prefix + text)
            if ids[: len(lead)] == lead:
                return ids[len(lead) :]
        raise CheckpointError(
            f"{self.path} merges each of {PREFIXES} with {quoted(text)}, so that it can't be "
            "tokenised without a leading space; use another stop text"
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; begin and end ids vanish, the unknown id becomes " \u2047 "."""
        return self._pieces.decode(list(ids))

    def piece(self, token: int) -> str:
        """The piece of one id as sentencepiece spells it ("\u2581" for a space)."""
        return self._pieces.id_to_piece(token)
