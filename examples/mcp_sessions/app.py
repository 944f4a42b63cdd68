"""A server of the Model Context Protocol over streamable HTTP, made with the Python SDK."""

import os

from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from worker_header import WorkerASGI

server = MCPServer("adder")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.custom_route("/health", methods=["GET"])
async def health(request: Request) -> PlainTextResponse:  # noqa: ARG001
    """Up."""
    return PlainTextResponse("up")


app = WorkerASGI(
    server.streamable_http_app(json_response=True, stateless_http=bool(os.environ.get("STATELESS")))
)
