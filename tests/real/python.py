"""python.py URL [answers]: the official Python client, driven by a plan. With `answers` it declares
that it can be asked anything, and answers.

Reads the plan from standard input: a JSON list of steps, each {"step": LABEL, "do": ACTION, …},
as tests/src/clients.rs describes them. Writes one JSON line for each step: its label and what the
client saw. typescript.mjs does the same with the official TypeScript client.
"""

import json
import sys
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)
from person import Person

MODERN = "2026-07-28"

# How long a step may wait for a notification, in seconds.
PATIENCE = 20

CHANGES = {
    ToolsListChanged: "tools/list_changed",
    PromptsListChanged: "prompts/list_changed",
    ResourcesListChanged: "resources/list_changed",
    ResourceUpdated: "resources/updated",
}


def plain(value: Any) -> Any:
    """The JSON that a model of the SDK stands for."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


class Answers:
    """The person as the callbacks that the client takes."""

    def __init__(self, person: Person) -> None:
        self.person = person

    def callbacks(self) -> dict[str, Any]:
        return {
            "elicitation_callback": self.elicit,
            "sampling_callback": self.sample,
            "sampling_capabilities": types.SamplingCapability(
                tools=types.SamplingToolsCapability()
            ),
            "list_roots_callback": self.roots,
        }

    async def elicit(self, _context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult.model_validate(self.person.elicit(plain(params)))

    async def sample(self, _context: Any, params: types.CreateMessageRequestParams) -> Any:
        answer = self.person.sample(plain(params))
        several = isinstance(answer["content"], list)
        model = types.CreateMessageResultWithTools if several else types.CreateMessageResult
        return model.model_validate(answer)

    async def roots(self, _context: Any) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate(self.person.roots())


class Driver:
    """Runs the steps of a plan with one client."""

    def __init__(self, url: str, answers: bool) -> None:
        self.logs: list[Any] = []
        self.person = Person()
        self.client = Client(
            url,
            mode="auto",
            logging_callback=self.log,
            client_info=types.Implementation(name="switchboard-tests-python", version="1"),
            **(Answers(self.person).callbacks() if answers else {}),
        )

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(plain(params))

    async def run(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            self.person.questions = []
            self.person.action = step.get("elicitation", "accept")
            try:
                seen = await getattr(self, "do_" + step["do"])(step)
                seen["questions"] = self.person.questions
            except MCPError as error:
                seen = {"error": {"code": error.code, "message": error.message, "data": error.data}}
            except TimeoutError:
                seen = {"error": {"message": "never told what was waited for"}}
            print(json.dumps({"step": step["step"], **seen}), flush=True)

    async def do_discover(self, _step: dict[str, Any]) -> dict[str, Any]:
        return {"result": plain(await self.client.session.discover())}

    async def do_list(self, step: dict[str, Any]) -> dict[str, Any]:
        fetch, field = {
            "tools": (self.client.list_tools, "tools"),
            "resources": (self.client.list_resources, "resources"),
            "templates": (self.client.list_resource_templates, "resource_templates"),
            "prompts": (self.client.list_prompts, "prompts"),
        }[step["what"]]
        items: list[Any] = []
        cursor = None
        while True:
            page = await fetch(cursor=cursor, cache_mode="refresh")
            items += getattr(page, field)
            cursor = page.next_cursor
            if cursor is None:
                return {"items": plain(items)}

    async def do_call(self, step: dict[str, Any]) -> dict[str, Any]:
        progress: list[Any] = []
        self.logs = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append({"progress": done, "total": total, "message": message})

        level = step.get("log_level")
        result = await self.client.call_tool(
            step["name"],
            step.get("arguments"),
            progress_callback=on_progress,
            meta={"io.modelcontextprotocol/logLevel": level} if level else None,
        )
        return {"result": plain(result), "progress": progress, "logs": self.logs}

    async def do_cancel(self, step: dict[str, Any]) -> dict[str, Any]:
        progress: list[Any] = []
        with anyio.CancelScope() as scope:

            async def on_progress(done: float, total: float | None, message: str | None) -> None:
                progress.append({"progress": done, "total": total, "message": message})
                scope.cancel()

            result = await self.client.call_tool(
                step["name"], step.get("arguments"), progress_callback=on_progress
            )
            return {"cancelled": False, "result": plain(result), "progress": progress}
        return {"cancelled": True, "progress": progress}

    async def do_listen(self, step: dict[str, Any]) -> dict[str, Any]:
        wanted = step["filter"]
        changes: list[Any] = []
        async with self.client.listen(
            tools_list_changed=wanted.get("toolsListChanged", False),
            prompts_list_changed=wanted.get("promptsListChanged", False),
            resources_list_changed=wanted.get("resourcesListChanged", False),
            resource_subscriptions=wanted.get("resourceSubscriptions", ()),
        ) as subscription:
            await self.run(step["steps"])
            with anyio.fail_after(PATIENCE):
                while not all(change in changes for change in step["until"]):
                    event = await anext(subscription)
                    change = {"change": CHANGES[type(event)]}
                    if isinstance(event, ResourceUpdated):
                        change["uri"] = str(event.uri)
                    changes.append(change)
            return {"acknowledged": plain(subscription.honored), "changes": changes}

    async def do_read(self, step: dict[str, Any]) -> dict[str, Any]:
        return {"result": plain(await self.client.read_resource(step["uri"], cache_mode="refresh"))}

    async def do_prompt(self, step: dict[str, Any]) -> dict[str, Any]:
        return {"result": plain(await self.client.get_prompt(step["name"], step.get("arguments")))}

    async def do_complete(self, step: dict[str, Any]) -> dict[str, Any]:
        ref = step["ref"]
        kind = (
            types.PromptReference
            if ref["type"] == "ref/prompt"
            else types.ResourceTemplateReference
        )
        context = step.get("context")
        result = await self.client.complete(
            kind.model_validate(ref),
            step["argument"],
            context["arguments"] if context else None,
        )
        return {"result": plain(result)}


async def main() -> None:
    plan = json.load(sys.stdin)
    driver = Driver(sys.argv[1], answers=sys.argv[2:] == ["answers"])
    async with driver.client:
        if driver.client.protocol_version != MODERN:
            raise SystemExit(f"negotiated {driver.client.protocol_version}, not {MODERN}")
        await driver.run(plan)


anyio.run(main)
