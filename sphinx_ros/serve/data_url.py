"""`data:image/jpeg;base64,...` -> the picture's bytes. Knows no HTTP and no file."""

from __future__ import annotations

import base64
import binascii

from sphinx_ros.errors import BadImage, BadRequest, quoted

FORM = "data:image/jpeg;base64,..."


def read_data_url(url: str) -> bytes:
    """The bytes in a data: URL.

    Raises:
        BadRequest: it is none; addresses of pictures elsewhere are not fetched.
        BadImage: it is not base64, or empty.
    """
    head, comma, body = url.partition(",")
    if not comma or not head[:5].lower() == "data:":
        raise BadRequest(
            f"the picture {quoted(url)} is no data: URL; pictures elsewhere are not fetched: send "
            f'the picture itself, as "{FORM}"'
        )
    if not head.lower().endswith(";base64"):
        raise BadRequest(f'the data: URL {quoted(head)} is not base64: write it as "{FORM}"')
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage(f"the picture's base64 can't be read: {error}") from None
    if not data:
        raise BadImage("the picture's data: URL is empty")
    return data
