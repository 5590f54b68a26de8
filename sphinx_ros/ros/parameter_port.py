"""The services that set parameters, so that every call is answered.

rclpy's own raise on a parameter of an unknown type, and the caller waits for ever.
"""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterType, SetParametersResult
from rclpy.parameter_service import ParameterService

KINDS = range(ParameterType.PARAMETER_NOT_SET, ParameterType.PARAMETER_STRING_ARRAY + 1)


def strange(parameters: Any) -> SetParametersResult | None:
    """The refusal of a list of parameter messages in which one has no known type, else None."""
    for parameter in parameters:
        if parameter.value.type not in KINDS:
            reason = (
                f"{parameter.name} has the type {parameter.value.type}, which does not exist; "
                f"it must be {KINDS.start}..{KINDS.stop - 1} (rcl_interfaces/ParameterType)"
            )
            return SetParametersResult(successful=False, reason=reason)
    return None


class ParameterPort(ParameterService):
    """rclpy's parameter services, which refuse by name what they don't know."""

    def _set_parameters_callback(self, request: Any, response: Any) -> Any:
        refusal = strange(request.parameters)
        if refusal is not None:
            response.results = [refusal for _ in request.parameters]
            return response
        return super()._set_parameters_callback(request, response)

    def _set_parameters_atomically_callback(self, request: Any, response: Any) -> Any:
        refusal = strange(request.parameters)
        if refusal is not None:
            response.result = refusal
            return response
        return super()._set_parameters_atomically_callback(request, response)
