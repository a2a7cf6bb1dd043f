"""FastMCP's proxy before the servers of a configuration (JSON), on a port of loopback."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.server import create_proxy


async def main(config: str, port: str) -> None:
    # A client that is connected already is shared by all sessions. `fastmcp run` begins a session
    # with the server for every call, which costs several times as much.
    async with Client(json.loads(config)) as client:
        proxy = create_proxy(client, name="fastmcp")
        await proxy.run_async(
            transport="http", host="127.0.0.1", port=int(port), show_banner=False, log_level="error"
        )


asyncio.run(main(*sys.argv[1:]))
