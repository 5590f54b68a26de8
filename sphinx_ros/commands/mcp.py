"""`sphinx-ros mcp`: pictures below a folder, webcams, running nodes -> tools that agents call."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sphinx_ros.commands.arguments import OK, Parser, add_port, folder
from sphinx_ros.commands.look import HELP, VERBS, Asking, drawn
from sphinx_ros.commands.model_options import AskedModel, Model, add_asked_model, check_model
from sphinx_ros.commands.pictures import Picture, as_jpeg, picture_below
from sphinx_ros.commands.report import SCHEMA, Report
from sphinx_ros.errors import BadRequest, shortened
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.wording import usual_text
from sphinx_ros.ros.start import ask_node
from sphinx_ros.runtime.extras import extra
from sphinx_ros.runtime.failures import logged
from sphinx_ros.tasks import Task

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

HOST = "127.0.0.1"
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
    parser = Parser("mcp", description=ABOUT)
    where = "folder of the pictures that may be named (default: where it is started)"
    parser.add_argument("--root", default=".", type=folder, metavar="DIR", help=where)
    parser.add_argument("--http", action="store_true", help="by streamable HTTP, for this machine")
    add_port(parser, 8001, "of --http; ")
    add_asked_model(parser)
    options = parser.parse_args(argv)
    check_model(options)
    with extra("mcp", "sphinx-ros mcp"):
        import anyio
        from mcp.server.stdio import stdio_server

        from sphinx_ros.serve.server import Server, bound
    server = server_of(options.root, AskedModel(options))
    if options.http:
        http = Server(server.streamable_http_app(host=HOST))
        http.run_until_signal(bound(HOST, options.port), "sphinx-ros: tools at {address}/mcp")
        return OK

    async def talk() -> None:
        """Answer one agent, until it closes standard input."""
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(talk)
    return OK


def server_of(root: str, model: Model) -> Any:
    """A server of the protocol's official package with the tools. root: folder of the pictures."""
    import anyio
    import mcp_types as types
    from mcp.server.lowlevel import Server

    async def listed(context: Any, page: Any) -> types.ListToolsResult:
        """A tool for each task."""
        return types.ListToolsResult.model_validate({"tools": [*map(described, Task)]})

    async def called(context: Any, asked: Any) -> types.CallToolResult:
        """The result of a tool; where the client cancels, its work ends within a pass."""
        gone = threading.Event()
        work = partial(answer, asked.name, asked.arguments or {}, root, model, gone.is_set)
        try:
            said = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        finally:
            gone.set()
        return types.CallToolResult.model_validate(said)

    about = f"Ask pictures. Structured content is that of the command line:\n{SCHEMA}"
    return Server("sphinx_ros", instructions=about, on_list_tools=listed, on_call_tool=called)


def answer(name: str, given: Json, root: str, model: Model, cancel: Callable[[], bool]) -> Json:
    """The result of a tool, as the protocol writes it; what can't be done is one, too."""
    picture, text = Picture(shortened(str(given.get("node") or given.get("image")))), ""
    try:
        query = query_of(name, given)
        text = query.words
        if given.get("node"):
            found = ask_node(query, str(given["node"]), given.get("camera", ""), cancel)
            report = Report(picture.name, name, text, found=found)
        else:
            picture = picture_below(root, given.get("image"))
            report = Asking(query, text, model, cancel=cancel).report(picture)
    except Exception as error:  # the server lives, and says it
        report = Report(picture.name, name, text, error=logged(error, "the server's", name))
    content: list[Json] = [{"type": "text", "text": "\n".join(report.as_lines())}]
    if given.get("draw") and picture.rgb is not None:
        data = base64.b64encode(as_jpeg(drawn(picture, report))).decode()
        content.append({"type": "image", "data": data, "mimeType": "image/jpeg"})
    said = {"content": content, "isError": not report.status.answered}
    return {**said, "structuredContent": report.as_dict()}


def described(task: Task) -> Json:
    """A tool, as the protocol describes it."""
    row, takes = task.row, task.row.takes
    own = {"text": {"type": "string", "description": HELP.get(takes, "")}, "box": BOX}
    taken = {name: own[name] for name in takes.fields} | FROM
    schema = {"type": "object", "properties": taken, "required": [*takes.needed]}
    about = f"{row.about} As in: {row.example}" if row.example else row.about
    return {"name": task.value, "description": about, "inputSchema": schema}


def query_of(name: str, given: Json) -> Query:
    """What a tool asks. Raises BadRequest."""
    if name not in VERBS:
        raise BadRequest(f"there is no tool {name!r}: use {', '.join(VERBS)}")
    task, known = Task(name), [*Task(name).row.takes.fields, *FROM]
    if unknown := set(given).difference(known):
        raise BadRequest(f"{name} does not take {', '.join(unknown)}, but {', '.join(known)}")
    if given.get("image") and given.get("node"):
        raise BadRequest("there are an image and a node: give one of them")
    return Query(task, given.get("text") or usual_text(task), given.get("box")).checked()
