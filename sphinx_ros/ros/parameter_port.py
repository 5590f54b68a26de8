"""The services that set parameters, so that every call is answered.

rclpy's own raise on a parameter of an unknown type, and on whatever a check of the node raises;
the caller then waits for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.parameter_service import ParameterService

from sphinx_ros.ros import messages as m
from sphinx_ros.ros.outcomes import name_error

log = logging.getLogger("sphinx_ros")

KINDS = range(m.ParameterType.PARAMETER_NOT_SET, m.ParameterType.PARAMETER_STRING_ARRAY + 1)


def strange(parameters: Any) -> m.SetParametersResult | None:
    """The refusal of a list of parameter messages in which one has no known type, else None."""
    for parameter in parameters:
        if parameter.value.type not in KINDS:
            reason = (
                f"{parameter.name} has the type {parameter.value.type}, which does not exist; "
                f"it must be {KINDS.start}..{KINDS.stop - 1} (rcl_interfaces/ParameterType)"
            )
            return m.parameters_result(reason)
    return None


def failure(callback: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    """Let a callback fill the response; the refusal to give in its place where it raises."""
    try:
        callback(request, response)
    except Exception as error:  # a defect: it is logged with its trace, and the caller answered
        log.error("a change of parameters failed: %s", error, exc_info=error)
        return m.parameters_result(name_error(error)[1])
    return None


def with_names(parameters: Any, results: Any) -> None:
    """Have each refusal say which parameter it is about: some of rclpy's say only what is wrong.

    parameters: those of the request. results: one for each, or one for all of them.
    """
    names = [parameter.name for parameter in parameters]
    subjects = names if len(results) == len(names) else [", ".join(names)]
    for about, result in zip(subjects, results, strict=True):
        if not (result.successful or any(name in result.reason for name in names)):
            result.reason = f"{about}: {result.reason}"


class ParameterPort(ParameterService):
    """rclpy's parameter services, which refuse by name what they don't know.

    They are called one after another, and beside all else: a change of the adapter may take
    seconds, in which the node's clock is to go on.
    """

    def __init__(self, node: Any):
        before, group = set(node.services), MutuallyExclusiveCallbackGroup()
        super().__init__(node)
        for service in set(node.services) - before:
            service.callback_group = group
            group.add_entity(service)

    def _set_parameters_callback(self, request: Any, response: Any) -> Any:
        usual = super()._set_parameters_callback
        refusal = strange(request.parameters) or failure(usual, request, response)
        if refusal is not None:
            response.results = [refusal for _ in request.parameters]
        with_names(request.parameters, response.results)
        return response

    def _set_parameters_atomically_callback(self, request: Any, response: Any) -> Any:
        usual = super()._set_parameters_atomically_callback
        refusal = strange(request.parameters) or failure(usual, request, response)
        if refusal is not None:
            response.result = refusal
        with_names(request.parameters, [response.result])
        return response
