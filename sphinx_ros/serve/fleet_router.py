"""A work and the replicas -> those that Ray Serve tries, in order: that of its picture first.

Ray's interface for routers is marked alpha (Ray 2.60). Where it is missing, see
:attr:`sphinx_ros.serve.fleet_start.Fleet.router`.
"""

from __future__ import annotations

from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from sphinx_ros.serve.rendezvous import ranked
from sphinx_ros.serve.work import Work


class PictureRouter(RequestRouter):
    """Ranks the replicas for each work. The lines are those that this process has heard of."""

    def initialize_state(self, crowd: int = 8, **_: Any) -> None:
        """crowd: see :func:`ranked`."""
        self._crowd = crowd

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Each replica as a rank of its own; without a work Ray takes the idlest of all."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # between rounds, when all are full
        match pending_request.args:
            case [Work(), str(home)]:
                pass
            case _:
                return [candidate_replicas]
        by_name = {one.replica_id.unique_id: one for one in candidate_replicas}
        lengths = self.replica_queue_len_cache
        waiting = {name: lengths.get(one.replica_id) or 0 for name, one in by_name.items()}
        return [[by_name[name]] for name in ranked(home, waiting, self._crowd)]
