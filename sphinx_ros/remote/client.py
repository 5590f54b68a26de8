"""A checkpoint on a server, asked as if it were here: pictures -> looks. Knows no torch.

What the methods promise is told by :class:`sphinx_ros.pipeline.Sphinx`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest, Unreachable, quoted
from sphinx_ros.prompt.conversation import LONGEST_ANSWER, checked_turns, conversation
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.address import BUSY, QUALITY, SILENCE, chosen_token, read_addresses
from sphinx_ros.remote.elsewhere import Elsewhere, gathered
from sphinx_ros.remote.link import Link
from sphinx_ros.remote.patience import Overseer, Patience
from sphinx_ros.remote.route import Route
from sphinx_ros.remote.servers import Servers
from sphinx_ros.remote.upload import Uploads

INFO_SECONDS = 10.0
"""For a server to say what it has."""


class RemoteSphinx:
    """What :class:`Sphinx` asks where the network is on a server.

    Args:
        servers: an address, or several with the preferred one first.
        token: of the bearer; None: that of the environment.
        quality: of the JPEG that a picture is sent as; None or "png" sends PNG.
        load: makes a model of this process for when no server can be reached; None for none.
        silence, busy: seconds, of :class:`Link`. heartbeat: seconds between two looks at the
            servers' health, 0 for none.

    Raises:
        Unreachable: there is nobody to ask.
        BadRequest: an address, the quality or the token can't be used.

    Attributes:
        name: of the checkpoint. device: where its weights are, in words.
    """

    config = None
    """The sizes of the network are known to the server."""

    def __init__(
        self,
        servers: str | Sequence[str],
        token: str | None = None,
        quality: Any = QUALITY,
        load: Callable[[], Any] | None = None,
        silence: float = SILENCE,
        heartbeat: float = 0.0,
        busy: float = BUSY,
    ):
        self._uploads, self._overseer = Uploads(quality), Overseer()
        secret, addresses = chosen_token(token), read_addresses(servers)
        links = [Link(one, secret, self._overseer, silence, busy) for one in addresses]
        self._servers = Servers(links, load, heartbeat)
        try:
            info = self._info()
        except Exception:
            self.close()
            raise
        self._model = ""
        self.name, self.device = info.get("model", ""), info.get("device", "")

    def _info(self) -> Mapping[str, Any]:
        """What the first server says of itself that can answer; of the local model if none can."""
        for link in self._servers.links:
            try:
                info = link.soon("/v1/info", INFO_SECONDS)
                if info.get("state") not in (None, "ready"):
                    link.health(INFO_SECONDS)  # it says why
                if not link.trouble:
                    return info
            except Unreachable as error:
                link.trouble = str(error)
            self._servers.failed()
        if not self._servers.has_local:
            raise Unreachable(self._servers.trouble)
        local = self._servers.local(Patience())
        return {"model": local.name, "device": str(local.device)}

    def close(self) -> None:
        """Cancel what is asked, let the connections go."""
        self._overseer.close()
        self._servers.close()

    @property
    def trouble(self) -> str:
        """Why nobody can answer now; or ""."""
        return self._servers.trouble

    @property
    def connection(self) -> dict[str, str]:
        """Each server and what went there, in words; for diagnostics."""
        facts = {}
        for link in self._servers.links:
            server = f"server {link.address}"
            facts[server] = link.trouble or "reachable"
            facts |= {f"{server} {name}": said for name, said in link.traffic.facts().items()}
        if self._servers.has_local:
            loaded = self._servers.loaded
            facts["fallback"] = "not loaded" if loaded is None else f"loaded: {loaded.name}"
        return facts

    def check(self, query: Query) -> Query:
        """The query; whether its text is too long is told by its answer."""
        return query

    def look(self, rgb: np.ndarray, after: Any = None) -> Elsewhere:
        """As :meth:`Sphinx.look`; the picture travels with its first question."""
        drafts = getattr(after, "drafts", None)
        if after is not None and not isinstance(drafts, Mapping):
            raise BadRequest(f"after is {quoted(after)}: give what look() returned, or None")
        upload, again = self._uploads.of(rgb)
        if isinstance(after, Elsewhere) and not again:
            upload.after = after.route.upload.name
        return Elsewhere(Route(self._servers, upload, again, self._model))

    def generate(self, *_: Any, **__: Any) -> Any:
        """Refused. Raises BadRequest."""
        raise self._needs_network("generate")

    def adapt(self, adapter: Any) -> RemoteSphinx:
        """As :meth:`Sphinx.adapt`, with the name of an adapter that the server has.

        Both use the same connections; closing one closes the other.
        """
        info, name = self._info(), "" if adapter is None else str(adapter)
        known = info.get("adapters", ())
        if name and name not in known:
            raise BadRequest(
                f"the server has no adapter {quoted(name)}; it has {', '.join(known) or 'none'}: "
                "start it with sphinx-ros serve --adapter NAME=FOLDER"
            )
        made = copy.copy(self)
        made._model, made.name = name, name or info.get("model", "")
        return made

    def __getattr__(self, name: str) -> Any:
        if name in ("logits", "pixels", "engine", "judge", "model", "tokenizer"):
            raise self._needs_network(name)
        raise AttributeError(name)

    def _needs_network(self, what: str) -> BadRequest:
        where = " or ".join(str(link.address) for link in self._servers.links)
        return BadRequest(
            f"{what} needs the model in this process, and it is on {where}: load it with "
            "Sphinx.from_pretrained"
        )

    def chat(
        self,
        turns: Sequence[tuple[str, str | None]],
        rgb: np.ndarray | None = None,
        **sampling: Any,
    ) -> str:
        """As :meth:`Sphinx.chat`, through the server's chat door."""
        if rgb is None:
            raise BadRequest(
                "a server answers about pictures only: give one, or load the model here with "
                "Sphinx.from_pretrained"
            )
        known_turns = checked_turns(turns)
        conversation(known_turns)  # which refuses an open turn before the last
        *earlier, (asked, _) = known_turns
        sampling.setdefault("max_new_tokens", LONGEST_ANSWER)
        known = tuple((question, answer or "") for question, answer in earlier)
        told = self.look(rgb).route.turn(known, asked, False, **sampling)
        (result,) = gathered(told, 1)
        if isinstance(result, BaseException):
            raise result
        return result.text.strip()
