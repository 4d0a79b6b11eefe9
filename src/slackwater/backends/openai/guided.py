"""What an answer of a prescribed shape is to llama.cpp: a JSON schema, and what stands before it.

The chat endpoint cannot be held to a tool, and its grammar for a large schema stalls the server. `/completion` can be
held to any schema, so an answer that must be JSON, or a call that must be made, is asked for there: the prompt as the
chat template makes it, then the beginning of the call in the model's own style, and the schema for the rest.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import msgspec

Chunk = dict[str, Any]

PROBE_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "slackwater_probe",
        "description": "Shows how a call looks.",
        "parameters": {"type": "object", "properties": {"probe_key": {"type": "string"}}, "required": ["probe_key"]},
    },
}
PROBE_TURNS: Sequence[Mapping[str, Any]] = (
    {"role": "user", "content": "Call it."},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "probe0000",
                "type": "function",
                "function": {"name": "slackwater_probe", "arguments": '{"probe_key":"probe_value"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "probe0000", "content": "Called."},
)
_PROBED = re.compile(
    r'(?P<opening>.*?)\{\s*"name":\s*"slackwater_probe",\s*"(?P<key>\w+)":\s*\{\s*"probe_key":\s*"probe_value"\s*\}',
    re.DOTALL,
)
_HEAD = re.compile(r'\s*\{\s*"name":\s*("(?:[^"\\]|\\.)*"),\s*"\w+":\s*')
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
"""For llguidance: no white space to get lost in, and a keyword that it does not know constrains nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallStyle:
    """How the model's template writes a tool call: an object of name and arguments, after an opening."""

    opening: str
    """Such as `<tool_call>` and a line break; may be empty."""
    key: str
    """What the arguments are called: `arguments`, `parameters`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """What was found out about a model's chat template."""

    tools: bool = True
    """Whether it tells the model of tools; many drop them without a word."""
    style: CallStyle | None = None
    """How it writes calls; None where that is no JSON object, or could not be found out."""


def template_of(unanswered: str, called: str) -> Template:
    """Read a template off two prompts with PROBE_TOOL, one before the probe's call and one with PROBE_TURNS."""
    told = str(PROBE_TOOL["function"]["name"]) in unanswered
    return Template(tools=told, style=call_style(unanswered, called) if told else None)


def call_style(unanswered: str, called: str) -> CallStyle | None:
    """Read the style off two prompts, one before the probe's call and one with it; None where it is not such an object.

    `unanswered` ends where the model's turn begins, `called` goes on from there with PROBE_TURNS.
    """
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(unanswered, called, strict=False)))
    match = _PROBED.match(called, shared)
    return None if match is None else CallStyle(opening=match["opening"], key=match["key"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Guide:
    """What the answer must be."""

    schema: Mapping[str, Any]
    """Of all that is still to be written."""
    path: str
    """Where in the request the schema comes from, to be named if it is refused."""
    opening: str = ""
    """Written for the model, after the prompt."""
    tool: str | None = None
    """The tool whose arguments are to be written."""
    any_tool: bool = False
    """Whether a whole call is to be written: the object of name and arguments."""

    @property
    def is_call(self) -> bool:
        """Whether the answer is a call of a tool."""
        return self.tool is not None or self.any_tool

    def reader(self) -> "GuidedReader":
        """Return the reader of the answer."""
        return CallReader(name=self.tool, enclosed=self.any_tool) if self.is_call else GuidedReader()


def text_guide(schema: Mapping[str, Any]) -> Guide:
    """Prescribe the answer's text (`output_config.format`)."""
    return Guide(schema=_compact(schema), path="output_config.format.schema")


def call_guide(tools: Sequence[Mapping[str, Any]], name: str | None, style: CallStyle) -> Guide:
    """Prescribe a call of the named tool, or of any."""
    functions = [(index, tool["function"]) for index, tool in enumerate(tools)]
    wanted = [(index, function) for index, function in functions if name in (None, function["name"])]
    if len(wanted) == 1:
        index, function = wanted[0]
        opening = f'{style.opening}{{"name": {_json(function["name"])}, "{style.key}": '
        schema = _compact(function["parameters"])
        return Guide(schema=schema, path=f"tools.{index}.input_schema", opening=opening, tool=function["name"])
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                style.key: _moved(function["parameters"], f"#/anyOf/{at}/properties/{style.key}"),
            },
            "required": ["name", style.key],
            "additionalProperties": False,
        }
        for at, (_, function) in enumerate(wanted)
    ]
    return Guide(schema=_compact({"anyOf": calls}), path="tools", opening=style.opening, any_tool=True)


def _compact(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "x-guidance": _COMPACT}


def _moved(schema: Any, place: str) -> Any:  # noqa: ANN401  # JSON is any value
    """Return a schema whose references still hit when it stands at `place` of another."""
    match schema:
        case dict():
            return {
                key: f"{place}{value[1:]}"
                if key == "$ref" and isinstance(value, str) and value.startswith("#")
                else _moved(value, place)
                for key, value in schema.items()
            }
        case list():
            return [_moved(item, place) for item in schema]
        case _:
            return schema


class GuidedReader:
    """Turns pieces of text into the deltas of a chat completion."""

    def feed(self, piece: str) -> Iterator[dict[str, Any]]:
        """Yield the deltas of the next piece."""
        if piece:
            yield {"content": piece}


@dataclass(kw_only=True, slots=True)
class CallReader(GuidedReader):
    """The same for a tool call: of the tool `name`, else of the one named at the beginning of the text."""

    name: str | None
    enclosed: bool
    """Whether the object around the arguments is in the text, so that its end is not theirs."""
    _head: str = ""
    _begun: bool = False
    _writing: bool = False
    """Whether anything of the arguments has come."""
    _held: str = ""

    def feed(self, piece: str) -> Iterator[dict[str, Any]]:
        """Yield the deltas of the next piece."""
        if self.name is None:
            self._head += piece
            match = _HEAD.match(self._head)
            if match is None:
                return
            self.name = msgspec.json.decode(match[1], type=str)
            piece = self._head[match.end() :]
        if not self._begun:
            self._begun = True
            yield _call_delta({"name": self.name, "arguments": ""})
        arguments = self._inside(piece)
        arguments = arguments if self._writing else arguments.lstrip()
        if arguments:
            self._writing = True
            yield _call_delta({"arguments": arguments})

    def _inside(self, piece: str) -> str:
        """Keep the last brace back, and the space around it: it closes the object that the arguments are in."""
        if not self.enclosed:
            return piece
        text = self._held + piece
        end = text.rstrip()
        end = end[:-1].rstrip() if end.endswith("}") else end
        self._held = text[len(end) :]
        return end


def _call_delta(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": dict(function)}]}


def _json(value: Any) -> str:  # noqa: ANN401
    return msgspec.json.encode(value).decode()


def split_thinking(text: str, *, open_already: bool) -> tuple[str, str]:
    """Return what a model thought and what it then said; `open_already` where its prompt began the thinking."""
    if not open_already:
        if not text.lstrip().startswith("<think>"):
            return "", text
        text = text.lstrip().removeprefix("<think>")
    thinking, _, said = text.partition("</think>")
    return thinking.strip(), said.lstrip("\n")


def split_calls(text: str, style: CallStyle) -> tuple[str, list[dict[str, Any]]]:
    """Return text without the calls in it, and the calls; what is not a whole call is left out altogether."""
    mark = style.opening.strip()
    if not mark:
        return text, []
    said, *parts = text.split(mark)
    calls = [call for part in parts if (call := _call(part, style.key)) is not None]
    return said.rstrip() if parts else said, calls


_DECODER = msgspec.json.Decoder()


def _call(part: str, key: str) -> dict[str, Any] | None:
    """Read the object at the beginning of what follows a call's opening."""
    end = part.rfind("}") + 1
    try:
        found = _DECODER.decode(part[:end])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not isinstance(found.get(key), dict):
        return None
    return {"function": {"name": found["name"], "arguments": _json(found[key])}}
