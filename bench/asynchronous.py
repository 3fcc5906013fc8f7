"""The handler of netd's asynchronous services."""

from __future__ import annotations

from netd.handlers import AsyncStreamRequestHandler


class Answer(AsyncStreamRequestHandler):
    """A line in, the same line out."""

    async def handle(self) -> None:
        """Answer one line."""
        await self.wfile.write(await self.rfile.readline())
