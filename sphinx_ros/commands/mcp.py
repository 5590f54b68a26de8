"""`sphinx-ros mcp`: pictures below a folder, webcams, running nodes -> tools that agents call.

By the official package of the Model Context Protocol. There is a tool for each row of
:data:`sphinx_ros.tasks.ROWS`, in its words; it answers as the verb of its name.
"""

from __future__ import annotations

import argparse
import base64
import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sphinx_ros.commands import arguments as common
from sphinx_ros.commands.look import HELP, VERBS, Asking, drawn
from sphinx_ros.commands.pictures import Picture, as_jpeg, picture_below
from sphinx_ros.commands.report import SCHEMA, Report
from sphinx_ros.errors import BadRequest, SphinxError, shortened
from sphinx_ros.prompt.checks import written_box
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.wording import EVERYTHING
from sphinx_ros.ros.start import ask_node
from sphinx_ros.tasks import Takes, Task

ABOUT = """Let agents ask pictures, by the Model Context Protocol: each task is a tool.

  sphinx-ros mcp                                for one agent, on standard input and output
  sphinx-ros mcp --root ~/Pictures              it may name pictures below that folder
  sphinx-ros mcp --http                         for agents of this machine, on port 8001
  sphinx-ros mcp --server http://gpu-box:8000   the model is on a server, and none is loaded here

An agent starts the command itself. Most have a file of settings with such an entry:

  "sphinx": {"command": "sphinx-ros", "args": ["mcp", "--root", "/home/me/Pictures"]}

A tool takes the path of a picture, the number of a webcam, or the name of a running ROS node. The
model loads with the first picture. See docs/serve.md.
"""

Json = dict[str, Any]

BOX: Json = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
BOX["description"] = "a region: x0, y0, x1, y1 in pixels of the image"
FROM: Json = {
    "image": {"type": "string", "description": "path of a picture, or a webcam's number, as 0"},
    "node": {"type": "string", "description": "in place of image: a running ROS node, as /sphinx"},
    "camera": {"type": "string", "description": "which of the node's cameras, if it has several"},
    "draw": {"type": "boolean", "description": "also give the image with the answer drawn in"},
}


def run(argv: Sequence[str]) -> int:
    """Answer until standard input ends, or with --http until SIGINT or SIGTERM."""
    parser = common.Parser("mcp", description=ABOUT)
    parser.add_argument(
        "--root",
        default=".",
        type=common.folder,
        metavar="DIR",
        help="folder of the pictures that may be named (default: where it is started)",
    )
    parser.add_argument(
        "--http", action="store_true", help="by streamable HTTP, to agents of this machine alone"
    )
    port = common.number(0, 65535, int)
    parser.add_argument(
        "--port",
        type=port,
        default=8001,
        metavar="N",
        help="of --http; 0 lets the system choose, and it is printed (default: 8001)",
    )
    common.add_model_options(parser)
    common.add_server(parser)
    options = parser.parse_args(argv, argparse.Namespace(max_new_tokens=None, timeout=None))
    common.check_server(options)
    try:
        import anyio
        from mcp.server.stdio import stdio_server

        from sphinx_ros.serve.server import Server, address_of, bound
    except ImportError as error:
        raise BadRequest(f'{error.name} is missing: pip install "sphinx_ros[mcp]"') from error
    server = Tools(options).server()
    if options.http:
        listening = bound("127.0.0.1", options.port)
        http = Server(server.streamable_http_app(host="127.0.0.1"))
        http.run_until_signal(listening, f"sphinx-ros: tools at {address_of(listening)}/mcp")
        return common.OK

    async def talk() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(talk)
    return common.OK


def described(task: Task) -> Json:
    """A tool, as the protocol describes it."""
    takes, text = task.row.takes, {"type": "string", "description": HELP.get(task.row.takes, "")}
    own = ({"text": text} if takes.words else {}) | ({"box": BOX} if takes.region else {})
    needed = {Takes.TEXT: ["text"], Takes.QUESTION: ["text"], Takes.BOX: ["box"]}.get(takes, [])
    schema = {"type": "object", "properties": {**own, **FROM}, "required": needed}
    about = f"{task.row.about} As in: {task.row.example}" if task.row.example else task.row.about
    return {"name": task.value, "description": about, "inputSchema": schema}


class Tools:
    """What the tools do. The model loads with the first picture. options: of the verb."""

    def __init__(self, options: argparse.Namespace):
        self._options, self._sphinx, self._loading = options, None, threading.Lock()

    def server(self) -> Any:
        """A server of the official package that has the tools."""
        import anyio
        import mcp_types as types
        from mcp.server.lowlevel import Server

        tools = [types.Tool.model_validate(described(task)) for task in Task]

        async def listed(context: Any, page: Any) -> types.ListToolsResult:
            """The tools, a page of all."""
            return types.ListToolsResult(tools=tools)

        async def called(context: Any, call: Any) -> types.CallToolResult:
            """The result of a tool; a client that cancels ends its work within a pass."""
            gone = threading.Event()
            work = partial(self.call, call.name, call.arguments or {}, gone.is_set)
            try:
                said = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
            finally:
                gone.set()
            return types.CallToolResult.model_validate(said)

        about = f"Ask pictures. Structured content is that of the command line:\n{SCHEMA}"
        return Server("sphinx_ros", instructions=about, on_list_tools=listed, on_call_tool=called)

    def call(self, name: str, given: Json, cancel: Callable[[], bool]) -> Json:
        """The result of a tool, as the protocol writes it; what can't be done is one, too."""
        picture, text = Picture(str(given.get("node") or given.get("image"))), ""
        try:
            query = asked(name, given)
            text = " ".join([query.text, written_box(query.box or ())]).strip()
            if given.get("node"):
                found = ask_node(query, picture.name, given.get("camera", ""))
                report = Report(picture.name, name, text, found=found)
            else:
                picture = picture_below(self._options.root, given.get("image"))
                report = self._report(Asking(query, text, self._options, cancel), picture)
        except SphinxError as error:
            report = Report(picture.name, name, text, error=error)
        except OSError as error:  # of a path that the system does not take, or a full disk
            why = BadRequest(f"{name} can't be done: {error.strerror or error}")
            report = Report(shortened(picture.name), name, text, error=why)
        content: list[Json] = [{"type": "text", "text": "\n".join(report.as_lines())}]
        if given.get("draw") and picture.rgb is not None:
            data = base64.b64encode(as_jpeg(drawn(picture, report))).decode()
            content.append({"type": "image", "data": data, "mimeType": "image/jpeg"})
        said = {"content": content, "isError": not report.status.answered}
        return {**said, "structuredContent": json.loads(report.as_json())}

    def _report(self, asking: Asking, picture: Picture) -> Report:
        with self._loading:
            asking.sphinx = self._sphinx
            if self._sphinx is None:
                asking.load()
                self._sphinx = asking.sphinx
        return asking.report(picture)


def asked(name: str, given: Json) -> Query:
    """The query of a tool. Raises BadRequest."""
    if name not in VERBS:
        raise BadRequest(f"there is no tool {name!r}: use {', '.join(VERBS)}")
    task, known = Task(name), described(Task(name))["inputSchema"]["properties"]
    if unknown := set(given).difference(known):
        raise BadRequest(f"{name} does not take {', '.join(unknown)}, but {', '.join(known)}")
    if given.get("image") and given.get("node"):
        raise BadRequest("there are an image and a node: give one of them")
    everything = EVERYTHING if task.row.takes is Takes.KIND else ""
    return Query(task, given.get("text") or everything, given.get("box")).checked()
