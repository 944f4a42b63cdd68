"""The service's tokens are JSON documents, so logging in and using one takes a few lines of Python."""

import json

from kernel_lab import App, Http


class Tickets(App):
    """Permissions that are granted, used and taken back."""

    async def attempt(self, http: Http, caller: str) -> bool:
        """Ask for a permission: this is what the kernel limits."""
        return (await http.post("/tickets/permission", headers={"X-User": caller})).means(ok=200, refused=429)

    async def login(self, http: Http, caller: str) -> str:
        """Get a permission."""
        return (await http.post("/tickets/permission", headers={"X-User": caller})).expect(200).text

    async def use(self, http: Http, caller: str, token: str) -> bool:
        """List the tickets."""
        reply = await http.post("/tickets", json=json.loads(token), headers={"X-User": caller})
        return reply.means(ok=200, refused=410)

    async def revoke(self, http: Http, caller: str, token: str) -> None:  # noqa: ARG002
        """Take the permission back."""
        (await http.request("DELETE", f"/tickets/permission/{json.loads(token)['token_id']}")).expect(204)
