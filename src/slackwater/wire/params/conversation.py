"""What must hold between the messages of a conversation, and what each role may say (contract §2.3).

Works on bodies whose shape has been checked. Consecutive messages of one role count as one turn, as the API merges
them; `system` messages inside a conversation do not interrupt it.
"""

from collections.abc import Iterator
from typing import Any

from slackwater.wire.params.failure import ParamsError

_EMPTY_TURN = "all messages must have non-empty content except for the optional final assistant message"
_FIELDS = len(("role", "content"))
_ONLY_ASSISTANT = frozenset({"tool_use", "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use"})
_ONLY_USER = frozenset({"tool_result"})
_BOUND_TO_ROLE = _ONLY_ASSISTANT | _ONLY_USER

Block = dict[str, Any]
Message = dict[str, Any]


def check_conversation(messages: list[Message]) -> None:
    """Raise `ParamsError` for the first rule that the messages break."""
    if not messages:
        failure = "messages: at least one message is required"
        raise ParamsError(failure)
    _check_first(messages)
    pairing = _Pairing()
    last = len(messages) - 1
    for index, message in enumerate(messages):
        role, content = message["role"], message["content"]
        final = index == last and role == "assistant"
        if not content and not final:
            failure = f"messages.{index}: {_EMPTY_TURN}"
            raise ParamsError(failure)
        if len(message) > _FIELDS and role != "system":
            raise _extra_field(index, message)
        pairing.enter(role)
        if type(content) is str:
            # an empty final assistant message got past the check above
            if content.isspace():
                raise _wordless(content, "messages")
        else:
            _check_blocks(index, role, content, pairing)
    pairing.close()
    _check_prefill(messages[last])


def check_system(system: str | list[Block]) -> None:
    """Raise `ParamsError` for an empty text block of the system prompt; an empty string is no system prompt at all."""
    if isinstance(system, str):
        return
    for block in system:
        if not block["text"] or block["text"].isspace():
            raise _wordless(block["text"], "system")


def _check_first(messages: list[Message]) -> None:
    first = next((message["role"] for message in messages if message["role"] != "system"), "system")
    if first != "user":
        failure = 'messages: first message must use the "user" role'
        raise ParamsError(failure)


def _wordless(text: str, where: str) -> ParamsError:
    missing = "contain non-whitespace text" if text else "be non-empty"
    return ParamsError(f"{where}: text content blocks must {missing}")


def _check_prefill(message: Message) -> None:
    if message["role"] != "assistant" or not (content := message["content"]):
        return
    if type(content) is not str:
        content = content[-1].get("text", "") if content[-1]["type"] == "text" else ""
    if content and content[-1].isspace():
        failure = "messages: final assistant content cannot end with trailing whitespace"
        raise ParamsError(failure)


def _extra_field(index: int, message: Message) -> ParamsError:
    name = next(key for key in message if key not in {"role", "content"})
    return ParamsError(f"messages.{index}.{name}: Extra inputs are not permitted")


def _check_blocks(index: int, role: str, content: list[Block], pairing: "_Pairing") -> None:
    for position, block in enumerate(content):
        kind = block["type"]
        if kind == "text":
            words = block["text"]
            if not words or words.isspace():
                raise _wordless(words, "messages")
            continue
        if kind in _BOUND_TO_ROLE or role == "system":
            _check_role(index, role, kind)
        if kind == "tool_use":
            pairing.use(index, position, block["id"])
        elif kind == "tool_result":
            pairing.result(index, position, block["tool_use_id"])


def _check_role(index: int, role: str, kind: str) -> None:
    if kind in _ONLY_ASSISTANT and role != "assistant":
        message = f"messages.{index}: `{kind}` blocks can only be in `assistant` messages"
        raise ParamsError(message)
    if kind in _ONLY_USER and role != "user":
        message = f"messages.{index}: `{kind}` blocks can only be in `user` messages"
        raise ParamsError(message)
    if role == "system":
        message = f"messages.{index}: `{kind}` blocks cannot be in `system` messages"
        raise ParamsError(message)


class _Pairing:
    """Every tool_use has its one tool_result in the next turn, and the other way round."""

    __slots__ = ("_answered", "_known", "_role", "_waiting")

    def __init__(self) -> None:
        self._role = "user"
        self._known: set[str] = set()
        """Ids of every tool_use of the conversation so far."""
        self._waiting: dict[str, int] = {}
        """Ids of the assistant turn before (or of this one), with the message that used them."""
        self._answered: set[str] = set()

    def enter(self, role: str) -> None:
        """Begin a message of `role`."""
        if role in (self._role, "system"):
            return
        if role == "assistant":
            self.close()
            self._waiting, self._answered = {}, set()
        self._role = role

    def use(self, index: int, position: int, tool_use_id: str) -> None:
        """Note that the assistant uses a tool."""
        if tool_use_id in self._known:
            message = f"messages.{index}.content.{position}: `tool_use` ids must be unique"
            raise ParamsError(message)
        self._known.add(tool_use_id)
        self._waiting[tool_use_id] = index

    def result(self, index: int, position: int, tool_use_id: str) -> None:
        """Note that the user hands over a tool's result."""
        if tool_use_id not in self._waiting:
            message = (
                f"messages.{index}.content.{position}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{tool_use_id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous "
                "message."
            )
            raise ParamsError(message)
        if tool_use_id in self._answered:
            message = (
                f"messages.{index}.content.{position}: each tool_use must have a single result. Found multiple "
                f"`tool_result` blocks with id: {tool_use_id}"
            )
            raise ParamsError(message)
        self._answered.add(tool_use_id)

    def close(self) -> None:
        """End the turn that had to answer."""
        open_ids = list(self._unanswered())
        if open_ids:
            message = (
                f"messages.{self._waiting[open_ids[0]]}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(open_ids)}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message."
            )
            raise ParamsError(message)

    def _unanswered(self) -> Iterator[str]:
        return (tool_use_id for tool_use_id in self._waiting if tool_use_id not in self._answered)
