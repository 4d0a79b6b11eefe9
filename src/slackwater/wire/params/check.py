"""The gate every Messages body passes: bytes in, checked params out (contract §4.1, §7, §7.2).

Three steps, cheapest first: decode, shape, rules. One failure, the first, is reported. Most bodies need none of them:
they are plain.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic_core import SchemaValidator, ValidationError

from slackwater.wire.carriers import MATERIAL
from slackwater.wire.params.agreement import check_thinking, check_tools
from slackwater.wire.params.bodies import COUNT_TOKENS, MESSAGES, SAMPLING, Sampling
from slackwater.wire.params.caching import check_breakpoints
from slackwater.wire.params.conversation import check_conversation, check_system
from slackwater.wire.params.decode import check_unchecked, decode_object, too_deep
from slackwater.wire.params.explain import explain
from slackwater.wire.params.failure import ParamsError
from slackwater.wire.params.material import CARRIERS, check_material, check_newer_version
from slackwater.wire.params.plain import plain
from slackwater.wire.params.survey import Survey, survey

NEWER_VERSION = "2026-10-21"  # contract §1.2

_NOT_IN_A_BATCH = frozenset(
    {"speed", "store", "previous_thread_event_id", "cache_hint", "context_hint", "fallbacks"}
)  # contract §4.1


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A Messages body that keeps every rule we know."""

    params: Mapping[str, Any]
    """The body as it was sent, JSON values only."""
    model: str
    """The name the client asks for, 1 to 256 characters; whether it exists is not known here."""
    max_tokens: int
    """Output tokens at most, ≥ 0; 0 pre-warms a cache (synchronous only), and is what token counting gets."""
    stream: bool
    """Whether server-sent events were asked for; never in a batch."""
    material: bool = False
    """Whether it has blocks that carry more than words (`wire.carriers`)."""
    samples: bool = False
    """Whether it says how to sample, which not every version takes (contract §1.2)."""


def check_messages(
    body: bytes | memoryview,
    *,
    version: str,
    betas: tuple[str, ...] = (),
    batch: bool,
    allow_sampling: bool = False,
) -> Checked:
    """Check the body of `POST /v1/messages`, or the params of one batch request.

    `version` is the `anthropic-version` the call or the batch was made under, `betas` the `anthropic-beta` values;
    `allow_sampling` keeps temperature, top_p and top_k under versions that dropped them (contract §1.2).
    Raises `ParamsError`, and nothing else, for whatever cannot be honored.
    """
    raw = body if isinstance(body, bytes) else bytes(body)
    may_sample = version != NEWER_VERSION or allow_sampling
    usual = plain(raw)
    if usual is not None and (may_sample or not usual.samples):
        return Checked(
            params=usual, model=usual.model, max_tokens=usual.max_tokens, stream=False, samples=usual.samples
        )
    params = decode_object(raw)
    if batch:
        _check_batchable(params)
    found = _check(params, MESSAGES[Sampling(may_sample)], version=version, betas=betas)
    return Checked(
        params=params,
        model=params["model"],
        max_tokens=params["max_tokens"],
        stream=params.get("stream", False),
        material=not found.kinds.isdisjoint(MATERIAL),
        samples=not SAMPLING.keys().isdisjoint(params),
    )


def check_count_tokens(body: bytes | memoryview, *, version: str, betas: tuple[str, ...] = ()) -> Checked:
    """Check the body of `POST /v1/messages/count_tokens`; raises `ParamsError` (contract §7.2)."""
    params = decode_object(body)
    found = _check(params, COUNT_TOKENS, version=version, betas=betas)
    material = not found.kinds.isdisjoint(MATERIAL)
    return Checked(params=params, model=params["model"], max_tokens=0, stream=False, material=material)


def _check(params: dict[str, Any], shape: SchemaValidator, *, version: str, betas: tuple[str, ...]) -> Survey:
    try:
        shape.validate_python(params)
    except ValidationError as error:
        raise explain(error, params) from None
    except RecursionError:
        raise too_deep() from None
    found = survey(params)
    if found.unchecked:
        check_unchecked(found.unchecked)
    check_conversation(params["messages"])
    check_system(params.get("system", ""))
    check_tools(params)
    check_thinking(params, betas)
    documents = not found.kinds.isdisjoint(CARRIERS)
    check_breakpoints(params, in_messages=documents or "cache_control" in found.keys)
    if documents:
        check_material(params)
    if version == NEWER_VERSION and (documents or "citations" in found.keys):
        check_newer_version(params["messages"])
    return found


def _check_batchable(params: dict[str, Any]) -> None:
    if params.get("stream") is True:
        message = "stream: streaming is not supported in a batch"
        raise ParamsError(message)
    if not _NOT_IN_A_BATCH.isdisjoint(params):
        for name, value in params.items():
            if name in _NOT_IN_A_BATCH and value is not None:
                message = f"{name}: not supported in a batch"
                raise ParamsError(message)
    # a bool equals a number in Python, and is the shape's business
    if params.get("max_tokens") == 0 and type(params["max_tokens"]) is int:
        message = "max_tokens: 0, which only warms a cache, is not supported in a batch"
        raise ParamsError(message)
    if params.get("research_preview_2026_02") == "active":
        message = "research_preview_2026_02: not supported in a batch"
        raise ParamsError(message)
