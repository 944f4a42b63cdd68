"""A client of the earlier protocol versions, which open a session and come back to it."""

from typing import Any

from kernel_lab import App, Http, Reply


class Sessions(App):
    """A session is stored by ``initialize`` and found again by every later request."""

    async def put(self, http: Http, caller: str) -> str:
        """Open a session."""
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": caller, "version": "1"},
        }
        reply = (await self.ask(http, "initialize", hello, id=1)).expect(200)
        session = reply.headers.get("mcp-session-id", f"none-{caller}")
        await self.ask(http, "notifications/initialized", session=session)
        return session

    async def get(self, http: Http, caller: str, id: str) -> bool:  # noqa: A002, ARG002
        """Ask for the tools in a session."""
        return (await self.ask(http, "tools/list", {}, session=id, id=2)).means(ok=200, refused=404)

    async def ask(self, http: Http, method: str, params: Any = None, session: str = "", **more: int) -> Reply:
        """Send one message."""
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
        headers |= {"Mcp-Session-Id": session} if session and not session.startswith("none-") else {}
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}, **more}
        return await http.post("/mcp", json=message, headers=headers)
