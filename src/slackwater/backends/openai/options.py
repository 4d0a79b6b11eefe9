"""How the servers that speak `/v1/chat/completions` differ, as data: one frozen value per flavour."""

from dataclasses import dataclass, replace
from typing import Literal

Flavour = Literal["auto", "vllm", "sglang", "llamacpp", "ollama", "openai"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What one server understands beyond the common ground."""

    flavour: Flavour = "auto"
    """`auto` asks the server who it is at the first call and keeps only `pass_urls` of these options."""
    pass_urls: bool = False
    """Hand addresses of images to the backend, which then fetches them (reliability E1: off)."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the output limit is called; hosted reasoning models refuse the older name."""
    top_k: bool = False
    """Whether `top_k` is known. Where it is not, a request that sets it is refused rather than quietly changed."""
    thinking: Literal["template", "effort", "ignore"] = "effort"
    """How `thinking` is asked for: the chat template's variable, `reasoning_effort`, or left to the model."""
    effort: Literal["field", "template", "ignore"] = "field"
    """Where `output_config.effort` goes: `reasoning_effort` beside the messages or among the template's variables."""
    thinking_off: str | None = None
    """The `reasoning_effort` that stands for `thinking: disabled`; None leaves it out."""
    history_field: Literal["reasoning_content", "reasoning"] | None = None
    """The key under which an assistant message carries earlier thinking; None drops it, as the API itself may."""
    prefill: Literal["continue", "plain"] = "plain"
    """A final assistant message: `continue` sends vLLM's two flags with it, `plain` sends nothing more."""
    prefill_repeated: bool = False
    """Whether the answer repeats the prefill, to be cut off: llama.cpp's whole answers do, its streams do not."""
    tool_choice: Literal["full", "any", "auto"] = "full"
    """`full`: a named tool can be demanded; `any`: only that some tool be used; `auto`: nothing can be demanded.

    With `any` a named tool is demanded by sending only that tool, and `none` by sending no tools at all.
    """
    short_ids: bool = False
    """Give tool calls in a conversation ids of nine letters and digits, which some chat templates insist on."""
    verbose: bool = False
    """Ask llama.cpp to say which stop sequence it met."""
    always_stream: bool = False
    """Ask for a stream even where the whole answer is wanted: some servers notice a lost caller only then."""
    unstreamed_tokens_max: int = 0
    """Yet ask for an answer of a batch in one piece if it can have no more tokens, and is over before that matters."""
    length_may_be_context: bool = False
    """Whether `length` below the limit that was asked for means that the context is full."""
    keepalive: bool = True
    """Whether connections may be used again."""
    tokenize: Literal["messages", "template"] | None = None
    """How tokens can be counted: vLLM's `/tokenize` takes messages, llama.cpp's takes what `/apply-template` made."""
    guided: bool = False
    """Whether answers of a prescribed shape go past the chat endpoint: llama.cpp's `/completion` holds to a schema."""
    control_tokens: tuple[str, ...] | Literal["usual"] = ()
    """Control tokens to be broken up where a request's own text spells them, lest it forge turns.

    The server's vocabulary says which; `usual` stands for the forms that most models use.
    """
    slots: int | None = None
    """All slots of a llama.cpp server that nobody else uses: we choose among them then. None: the server does."""
    vision: bool | None = None
    """Whether the model can see; None leaves it to the server to say."""
    usage_required: bool = False
    """Fail an answer without usage. Otherwise its counts are all zero, which no whole answer with content can have."""


_FLAVOURS: dict[Flavour, Options] = {
    "auto": Options(),
    "vllm": Options(
        flavour="vllm",
        top_k=True,
        thinking="template",
        history_field="reasoning_content",
        prefill="continue",
        tokenize="messages",
    ),
    "sglang": Options(
        flavour="sglang", top_k=True, thinking="template", history_field="reasoning_content", prefill="continue"
    ),
    "llamacpp": Options(
        flavour="llamacpp",
        top_k=True,
        thinking="template",
        effort="template",
        history_field="reasoning_content",
        tool_choice="any",
        verbose=True,
        always_stream=True,
        length_may_be_context=True,
        keepalive=False,
        tokenize="template",
        short_ids=True,
        guided=True,
        control_tokens="usual",
    ),
    "ollama": Options(flavour="ollama", thinking_off="none", history_field="reasoning", tool_choice="auto"),
    "openai": Options(flavour="openai", max_tokens_field="max_completion_tokens"),
}

_BY_OWNER: dict[str, Flavour] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "library": "ollama",
    "openai": "openai",
    "openai-internal": "openai",
    "system": "openai",
}


def options_for(flavour: Flavour, *, pass_urls: bool = False) -> Options:
    """Return a flavour's defaults; change single ones with `dataclasses.replace`."""
    return replace(_FLAVOURS[flavour], pass_urls=pass_urls)


def options_by_owner(owner: str, *, pass_urls: bool = False) -> Options:
    """Return the defaults for what `/v1/models` says in `owned_by`; cautious ones for a stranger."""
    return options_for(_BY_OWNER.get(owner, "auto"), pass_urls=pass_urls)
