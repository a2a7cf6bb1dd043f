"""python_oauth.py URL TOOL: the official Python client, which knows nothing but the address.

It finds out where tokens are had, registers, has its user consent, calls the tool, and prints one
line of JSON: with which scope and for which resource it asked, and what it saw.
typescript_oauth.mjs does the same with the official TypeScript client.
"""

import json
import sys
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


class Memory:
    """Keeps what the client is given."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """The user, who consents to everything."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}
        self.back: dict[str, str] = {}

    async def go(self, url: str) -> None:
        self.asked = fields(url)
        async with httpx2.AsyncClient(follow_redirects=False) as http:
            consented = await http.get(url)
        self.back = fields(consented.headers["location"])

    async def come_back(self) -> AuthorizationCodeResult:
        back = self.back
        return AuthorizationCodeResult(code=back["code"], state=back["state"], iss=back["iss"])


def fields(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def main(url: str, tool: str) -> None:
    browser = Browser()
    provider = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="switchboard-tests-python",
            redirect_uris=["http://127.0.0.1:1/callback"],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=Memory(),
        redirect_handler=browser.go,
        callback_handler=browser.come_back,
    )
    async with httpx2.AsyncClient(auth=provider, follow_redirects=False, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode="2026-07-28") as client:
            result = await client.call_tool(tool, {"x": 1})
    seen = {
        "scope": browser.asked["scope"],
        "resource": browser.asked["resource"],
        "result": result.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    print(json.dumps(seen))


anyio.run(main, *sys.argv[1:])
