"""From pydantic's errors to the one sentence a client reads: `<json path>: <sentence>` (contract §2.3)."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails, ValidationError

from slackwater.wire.params.bodies import TOOL_TYPE_UNKNOWN
from slackwater.wire.params.failure import ParamsError
from slackwater.wire.params.vocabulary import EITHER

PROBLEMS_MAX = 1_000
"""More problems than this are counted, not listed: listing a million unknown keys would cost a gigabyte."""
PATH_ELEMENT_LENGTH_MAX = 100

_STRING_BRANCH = f"{EITHER} string"


def explain(error: ValidationError, body: Mapping[str, Any]) -> ParamsError:
    """Turn the first problem of a refused body into the error to raise."""
    count = error.error_count()
    if count > PROBLEMS_MAX:
        return ParamsError(f"The request body has {count} problems, too many to name")
    # where a string or a list may stand, the complaint about the string says nothing: a list was meant
    problems = (problem for problem in error.errors(include_url=False) if _STRING_BRANCH not in problem["loc"])
    problem = next(problems)
    steps, sentence = _say(problem, body)
    path = ".".join(str(step)[:PATH_ELEMENT_LENGTH_MAX] for step in steps)
    return ParamsError(f"{path}: {sentence}" if path else sentence)


def _say(problem: ErrorDetails, body: Mapping[str, Any]) -> tuple[list[int | str], str]:
    """Give the path a client knows, and the sentence."""
    steps = [step for step in problem["loc"] if not (isinstance(step, str) and step.startswith(EITHER))]
    if steps[:1] == ["tools"] and steps[2:3] == ["dated"]:
        steps[2] = body["tools"][steps[1]]["type"]
    sentence = problem["msg"]
    match problem["type"]:
        case "union_tag_not_found":
            return [*steps, "type"], "Field required"
        case kind if kind == TOOL_TYPE_UNKNOWN:
            return _say_tool(steps, problem["input"])
        case _:
            return steps, sentence


def _say_tool(steps: list[int | str], tool: object) -> tuple[list[int | str], str]:
    if not isinstance(tool, dict):
        return steps, "Input should be a valid dictionary or object to extract fields from"
    kind = tool.get("type")
    if not isinstance(kind, str):
        return [*steps, "type"], "Input should be a valid string"
    return steps, (
        f"Input tag '{kind}' found using 'type' does not match any of the expected tags: 'custom', or the "
        "dated type of a server or client tool such as 'web_search_20250305'"
    )
