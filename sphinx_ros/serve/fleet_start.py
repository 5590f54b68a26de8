"""Options -> a Ray cluster, here or elsewhere, with a checkpoint's replicas, and who asks them.

The door, the HTTP application, is in this process and not behind Ray's proxy, which would double
what a request costs beside the model, and has words of its own for what goes wrong. Knows no
torch.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import RayServeException

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.ray_start import start_ray
from sphinx_ros.serve.desk import Limits
from sphinx_ros.serve.fleet import FleetBackend
from sphinx_ros.serve.leftovers import watched_descendants
from sphinx_ros.serve.replica import Replica

NAME, REPLICAS = "sphinx", "replica"
"""The application and its deployment, as Ray's tools show them."""
STORE = 256 << 20
"""Bytes of Ray's object store on this machine: pictures on their way to a replica."""
QUEUE = 1000
"""Requests that Ray lets a replica have: far above what its desk takes, which refuses by name."""
LOOP = 0.5
"""Seconds after which Ray looks again whether a replica that is to end has finished its works."""

SELDOM = {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
}
"""How often Ray's own processes on this machine look around, where the environment does not say:
seldomer than by themselves (0.1 s, 0.1 s, 5 s), as on a small machine they do it with processors
that the models need. Whether a replica is gone the door sees by itself."""


@dataclass(frozen=True)
class Fleet:
    """How many replicas, and where.

    Attributes:
        low, high: number of replicas; Ray chooses between them by how many works there are.
        address: of a Ray cluster ("auto", "10.0.0.1:6379"); "" starts one on this machine.
        join: whether the replicas run there already, and this is one more door to them.
        cpus, gpus: of each replica; None shares what there is. cpus is also its number of threads.
        drain: seconds in which a replica that is to end may finish its works.
        router: whether ours chooses the replica, where Ray lets it; else Ray keeps a picture to a
            replica as it keeps models of `serve.multiplexed`, which costs a broadcast for each.
    """

    low: int
    high: int
    address: str = ""
    join: bool = False
    cpus: float | None = None
    gpus: float | None = None
    drain: float = 30.0
    router: bool = True


@contextlib.contextmanager
def fleet_of(
    fleet: Fleet, checkpoint: str, options: Mapping[str, Any], limits: Limits
) -> Iterator[FleetBackend]:
    """What asks the replicas, which are ready; they end with the block.

    options: of each replica's model.

    Raises:
        SphinxError: Ray can't be started or reached, or the replicas can't load the checkpoint.
    """
    with contextlib.ExitStack() as last, contextlib.ExitStack() as ending:
        _connect(fleet, ending)
        if not fleet.address:
            last.enter_context(watched_descendants())
        if not fleet.join:
            serve.start(proxy_location="Disabled", logging_config=QUIET)
            ending.callback(serve.delete, NAME)  # lets replicas finish what they do
            given = _replica_options(fleet, limits, _gpus(fleet, options))
            replicas = serve.deployment(Replica, name=REPLICAS).options(**given)
            graph = replicas.bind(checkpoint, dict(options), limits)
            try:
                serve.run(graph, name=NAME, route_prefix=None, logging_config=QUIET)
            except RuntimeError as error:
                raise SphinxError(_why(error), status=Status.NOT_ACTIVE) from None
        try:
            handle = serve.get_deployment_handle(REPLICAS, NAME)
            # Those of replicas that run already are not said here, but there.
            adapters = None if fleet.join else options.get("adapters", {})
            sticky = not _router(fleet, limits)
            backend = FleetBackend(handle, limits, checkpoint, sticky, adapters)
        except RayServeException as error:
            raise SphinxError(
                f"no replicas run there: {error}", status=Status.NOT_ACTIVE
            ) from None
        ending.callback(backend.close)
        yield backend


QUIET = {"log_level": "WARNING", "enable_access_log": False}
"""Logs of Ray Serve's own processes."""
LOGS = {"ray.serve": logging.WARNING, "ray._private.authentication": logging.ERROR}
"""Logs of this process. The second warns that a token guards Ray's ports, as it should be."""


def _connect(fleet: Fleet, ending: contextlib.ExitStack) -> None:
    """Start Ray here, or connect to it."""
    for name, level in LOGS.items():
        logging.getLogger(name).setLevel(level)
    given: dict[str, Any] = {"address": fleet.address}
    if not fleet.address:
        for name, often in SELDOM.items():
            os.environ.setdefault(name, often)
        path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        given = {
            "address": "local",
            # As many as are asked for, however few there are: they are for counting alone.
            "num_cpus": max(os.cpu_count() or 1, int(_cpus(fleet) * fleet.high + 0.999)),
            "object_store_memory": STORE,
            "include_dashboard": False,
            "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, path))}},
        }
    start_ray(ray, fleet.address, logging_level=logging.WARNING, **given)
    ending.callback(ray.shutdown)


def _replica_options(fleet: Fleet, limits: Limits, gpus: float) -> dict[str, Any]:
    number: dict[str, Any] = {"num_replicas": fleet.high}
    if fleet.low != fleet.high:
        bounds = AutoscalingConfig(
            min_replicas=fleet.low,
            max_replicas=fleet.high,
            target_ongoing_requests=limits.slots,
        )
        number = {"autoscaling_config": bounds}
    return {
        **number,
        **_router(fleet, limits),
        "max_ongoing_requests": QUEUE,
        "graceful_shutdown_timeout_s": fleet.drain,
        "graceful_shutdown_wait_loop_s": LOOP,
        "health_check_period_s": 2,
        "max_constructor_retry_count": 2,
        "ray_actor_options": {"num_cpus": _cpus(fleet), "num_gpus": gpus},
    }


def _router(fleet: Fleet, limits: Limits) -> dict[str, Any]:
    """Our router, as an option of the replicas; none where this Ray has no such interface."""
    try:
        from ray.serve.config import RequestRouterConfig

        from sphinx_ros.serve.fleet_router import PictureRouter
    except ImportError:
        return {}
    kwargs = {"crowd": limits.slots}
    config = RequestRouterConfig(request_router_class=PictureRouter, request_router_kwargs=kwargs)
    return {"request_router_config": config} if fleet.router else {}


def _gpus(fleet: Fleet, options: Mapping[str, Any]) -> float:
    """GPUs of a replica: as many as its model is given, where there are so many."""
    if fleet.gpus is not None:
        return fleet.gpus
    devices = options.get("devices") or [options.get("device") or "cuda"]
    if not str(devices[0]).startswith("cuda"):
        return 0.0
    there = ray.cluster_resources().get("GPU", 0)
    return float(len(devices)) if there >= fleet.low * len(devices) else 0.0


def _cpus(fleet: Fleet) -> float:
    """Processors of a replica: its share of this machine, one where that is not known."""
    if fleet.cpus is not None:
        return fleet.cpus
    return 1.0 if fleet.address else float(max(1, (os.cpu_count() or 1) // fleet.high))


def _why(error: RuntimeError) -> str:
    """The reason why the replicas failed: the last error in what Ray says of them."""
    with contextlib.suppress(KeyError, RayServeException):
        said = serve.status().applications[NAME].deployments[REPLICAS].message
        if found := re.findall(r"^RuntimeError: (.+)$", said, re.MULTILINE):
            return f"the replicas can't start: {found[-1]}"
    return f"the replicas can't start: {error}"
