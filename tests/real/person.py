"""Who answers what a server asks, as person.mjs for the TypeScript clients."""

from typing import Any


class Person:
    """Takes and gives the JSON of questions and answers."""

    def __init__(self) -> None:
        # What was asked since the last step, and how elicitations are answered.
        self.questions: list[dict[str, Any]] = []
        self.action = "accept"

    def elicit(self, params: dict[str, Any]) -> dict[str, Any]:
        self.questions.append({"method": "elicitation/create", **params})
        if self.action != "accept" or params.get("mode") == "url":
            return {"action": self.action}
        schema = params["requestedSchema"]
        # What has no default is answered with its own name where it must be, else left out.
        content = {
            name: field.get("default", name)
            for name, field in schema["properties"].items()
            if "default" in field or name in schema.get("required", [])
        }
        return {"action": "accept", "content": content}

    def sample(self, params: dict[str, Any]) -> dict[str, Any]:
        self.questions.append({"method": "sampling/createMessage", **params})
        content = params["messages"][-1]["content"]
        said = content[-1] if isinstance(content, list) else content
        answer = {"role": "assistant", "model": "none"}
        if params.get("tools") and said["type"] != "tool_result":
            use = {"type": "tool_use", "id": "use-1", "name": "weather", "input": {"city": "Oslo"}}
            return {**answer, "stopReason": "toolUse", "content": [use]}
        words = said["content"][0]["text"] if said["type"] == "tool_result" else said["text"]
        text = {"type": "text", "text": f"you said {words}"}
        return {**answer, "stopReason": "endTurn", "content": text}

    def roots(self) -> dict[str, Any]:
        self.questions.append({"method": "roots/list"})
        return {"roots": [{"uri": "file:///project", "name": "project"}]}
