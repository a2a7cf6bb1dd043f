"""python_legacy.py URL: the official Python client of the legacy era, SDK 1.x, driven by a plan as
python.py is. It can be asked anything, and answers.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import anyio
import mcp.types as types
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError
from person import Person
from pydantic import AnyUrl, ValidationError

# How long a step may wait for a notification, in seconds.
PATIENCE = 20

CHANGES = {
    types.ToolListChangedNotification: "tools/list_changed",
    types.PromptListChangedNotification: "prompts/list_changed",
    types.ResourceListChangedNotification: "resources/list_changed",
    types.ResourceUpdatedNotification: "resources/updated",
}


def plain(value: Any) -> Any:
    """The JSON that a model of the SDK stands for."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


class Driver:
    """Runs the steps of a plan with one session."""

    session: ClientSession

    def __init__(self) -> None:
        self.person = Person()
        # What arrived that belongs to no request, and who waits for more.
        self.logs: list[Any] = []
        self.completed: list[str] = []
        self.changes: list[Any] = []
        self.news = anyio.Event()

    def callbacks(self) -> dict[str, Any]:
        return {
            "elicitation_callback": self.elicit,
            "sampling_callback": self.sample,
            "sampling_capabilities": types.SamplingCapability(
                tools=types.SamplingToolsCapability()
            ),
            "list_roots_callback": self.roots,
            "logging_callback": self.log,
            "message_handler": self.told,
            "client_info": types.Implementation(
                name="switchboard-tests-python-legacy", version="1"
            ),
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

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(plain(params))

    async def told(self, message: Any) -> None:
        if not isinstance(message, types.ServerNotification):
            return
        notification = message.root
        if isinstance(notification, types.ElicitCompleteNotification):
            self.completed.append(notification.params.elicitationId)
        elif change := CHANGES.get(type(notification)):
            updated = isinstance(notification, types.ResourceUpdatedNotification)
            uri = {"uri": str(notification.params.uri)} if updated else {}
            self.changes.append({"change": change, **uri})
        else:
            return
        self.news.set()
        self.news = anyio.Event()

    async def until(self, missing: Callable[[], list[Any]]) -> None:
        """Waits until nothing is missing any more of what notifications bring."""
        with anyio.fail_after(PATIENCE):
            while missing():
                await self.news.wait()

    async def run(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            self.person.questions = []
            self.person.action = step.get("elicitation", "accept")
            try:
                seen = await getattr(self, "do_" + step["do"])(step)
                seen["questions"] = self.person.questions
                if step.get("completes"):
                    seen["completed"] = await self.completions()
            except McpError as failed:
                error = failed.error
                seen = {"error": {"code": error.code, "message": error.message, "data": error.data}}
            except ValidationError as invalid:
                # What arrived is none of what the SDK expects.
                seen = {"error": {"message": str(invalid), "data": str(invalid.errors())}}
            except TimeoutError:
                seen = {"error": {"message": f"never told what was waited for: {self.changes}"}}
            print(json.dumps({"step": step["step"], **seen}), flush=True)

    async def completions(self) -> list[str]:
        """Waits until the pages that were opened are told to be done with."""
        asked = self.person.questions
        opened = [question["elicitationId"] for question in asked if question.get("mode") == "url"]
        await self.until(lambda: [known for known in opened if known not in self.completed])
        return opened

    async def do_list(self, step: dict[str, Any]) -> dict[str, Any]:
        fetch, field = {
            "tools": (self.session.list_tools, "tools"),
            "resources": (self.session.list_resources, "resources"),
            "templates": (self.session.list_resource_templates, "resourceTemplates"),
            "prompts": (self.session.list_prompts, "prompts"),
        }[step["what"]]
        return {"items": plain(getattr(await fetch(), field))}

    async def do_call(self, step: dict[str, Any]) -> dict[str, Any]:
        progress: list[Any] = []
        self.logs = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append({"progress": done, "total": total, "message": message})

        if level := step.get("log_level"):
            await self.session.set_logging_level(level)
        result = await self.session.call_tool(
            step["name"], step.get("arguments"), progress_callback=on_progress
        )
        return {"result": plain(result), "progress": progress, "logs": self.logs}

    async def do_task(self, step: dict[str, Any]) -> dict[str, Any]:
        tasks = self.session.experimental
        created = await tasks.call_tool_as_task(step["name"], step.get("arguments"))
        statuses = [created.task.status]
        async for state in tasks.poll_task(created.task.taskId):
            statuses.append(state.status)
            # It is asked on the stream of the request for the result.
            if state.status == "input_required":
                break
        result = await tasks.get_task_result(created.task.taskId, types.CallToolResult)
        return {"result": plain(result), "statuses": statuses}

    async def do_listen(self, step: dict[str, Any]) -> dict[str, Any]:
        self.changes = []
        uris = [AnyUrl(uri) for uri in step["filter"].get("resourceSubscriptions", ())]
        for uri in uris:
            await self.session.subscribe_resource(uri)
        await self.run(step["steps"])
        await self.until(lambda: [told for told in step["until"] if told not in self.changes])
        for uri in uris:
            await self.session.unsubscribe_resource(uri)
        return {"changes": self.changes}

    async def do_read(self, step: dict[str, Any]) -> dict[str, Any]:
        return {"result": plain(await self.session.read_resource(AnyUrl(step["uri"])))}

    async def do_prompt(self, step: dict[str, Any]) -> dict[str, Any]:
        return {"result": plain(await self.session.get_prompt(step["name"], step.get("arguments")))}


async def main() -> None:
    plan = json.load(sys.stdin)
    driver = Driver()
    async with (
        streamable_http_client(sys.argv[1]) as (reader, writer, _),
        ClientSession(reader, writer, **driver.callbacks()) as driver.session,
    ):
        await driver.session.initialize()
        await driver.run(plan)


anyio.run(main)
