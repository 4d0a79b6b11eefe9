"""Says in one sentence why a model did not load or an engine ended, from what the child wrote."""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slackwater.backends.llamacpp.fitting import LocalModel
from slackwater.backends.llamacpp.gguf import GGUF

AGAIN: Final = "download it again"
NEWER: Final = "a newer engine may: pip install --upgrade 'slackwater[local]'"
CAUSE_CHARACTERS_MAX: Final = 300
CRASHES: Final = 3
"""An engine that crashes so often while it loads a file does so because of the file."""

_PREFIX: Final = re.compile(r"^(?:[\d.]+ )?[EW] +(?:srv|cmn|slot|que|cli)? *[\w:()~]*: ?")
_ERROR_LINES: Final = (
    re.compile(r"gguf_init_from_\w+: (?P<cause>.+)"),
    re.compile(r"error loading model: (?:error loading model \w+: )?(?P<cause>.+)"),
    re.compile(r"(?:mtmd_\w+|clip_\w+|clip): (?:error: )?(?P<cause>.+)"),
    re.compile(r"(?P<cause>(?:GGML_ASSERT|terminate called|what\(\):).+)"),
)
_KNOWN: Final = (
    (
        re.compile(r"unknown model architecture: '(.+?)'"),
        f"has the architecture '{{}}', which this engine does not know; {NEWER}",
    ),
    (
        re.compile(r"unknown pre-tokenizer type: '(.+?)'"),
        f"has a tokenizer of the kind '{{}}', which this engine does not know; {NEWER}",
    ),
    (re.compile(r"(invalid data)"), f"has damaged weights: some of them are no numbers; {AGAIN}"),
)
_MEMORY: Final = re.compile(
    r"unable to allocate|failed to allocate|cannot allocate|bad_alloc|out of memory|ENOMEM", re.IGNORECASE
)
_DAMAGED: Final = re.compile(r"invalid data|corrupted|not within the file bounds|gguf_init_from_\w+: ")
_PROJECTOR: Final = re.compile(r"failed to load multimodal model|mismatch between text model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a child did not get ready."""

    sentence: str
    """For people; starts with the path of the file that is to blame."""
    tries: int | None
    """After so many in a row the model is not tried again before its files change; None: it always is."""


def of_failed_start(model: LocalModel, gguf: GGUF, answer: Mapping[str, Any], log: str, status: int | None) -> Failure:
    """Explain why a child did not get ready, from its answer, its log and how it ended."""
    match answer.get("kind"):
        case "import":
            return Failure(sentence=f"The engine cannot be loaded: {_clean(str(answer.get('failed')))}.", tries=1)
        case "damaged":
            return _lasting(f"{model.path} has damaged weights: what it generates are no numbers; {AGAIN}.")
        case "slow":
            return Failure(sentence=f"{model.path} was not loaded: {answer.get('failed')}.", tries=CRASHES)
        case "smoke":
            said = _clean(str(answer.get("failed")))
            return _lasting(f"{model.path} was loaded but could not generate its first tokens: {said}.")
        case "crash":
            return _of_crash(model, log, status)
        case _:
            return _of_refusal(model, gguf, log)


def of_no_process(error: OSError) -> Failure:
    """Explain why no child could be made: too many processes or files, no memory."""
    return Failure(sentence=f"The engine's process could not be started: {_clean(str(error))}.", tries=None)


def of_end(status: int, log: str) -> str:
    """Say how a running child ended."""
    cause = _cause(log)
    how = _signal(status) if status < 0 else f"it ended with status {status}"
    return f"{how}; the last it said: {cause}" if cause else how


def _of_refusal(model: LocalModel, gguf: GGUF, log: str) -> Failure:
    if _MEMORY.search(log):
        return Failure(sentence=f"{model.path} was not loaded: there was not enough memory for it.", tries=None)
    if model.mmproj is not None and _PROJECTOR.search(log):
        cause = _cause(log) or "the engine refused it"
        return _lasting(f"{model.mmproj} cannot be used as projector (mmproj) with {model.path}: {cause}.")
    for pattern, sentence in _KNOWN:
        found = pattern.search(log)
        if found is not None:
            return _lasting(f"{model.path} {sentence.format(found[1])}.")
    cause = _cause(log)
    if not cause:  # its log may have been lost on the way
        return Failure(sentence=f"{model.path} cannot be loaded: the engine did not say why.", tries=CRASHES)
    advice = f"; {AGAIN}" if _DAMAGED.search(log) else ""
    return _lasting(f"{model.path} ({gguf.architecture}) cannot be loaded: {cause}{advice}.")


def _of_crash(model: LocalModel, log: str, status: int | None) -> Failure:
    ended = status if status is not None else 0
    if ended == -signal.SIGKILL:
        sentence = f"{model.path} was not loaded: the engine was killed meanwhile, most likely for want of memory."
        return Failure(sentence=sentence, tries=None)
    if ended == -signal.SIGILL:
        return _lasting(
            "The engine does not run on this processor: it uses instructions that the processor does not have."
        )
    return Failure(
        sentence=f"{model.path} makes the engine crash while it is loaded: {of_end(ended, log)}.", tries=CRASHES
    )


def _lasting(sentence: str) -> Failure:
    return Failure(sentence=sentence, tries=1)


def _cause(log: str) -> str:
    for pattern in _ERROR_LINES:
        found = pattern.search(log)
        if found is not None:
            return _clean(found["cause"])
    errors = [line for line in log.splitlines() if re.match(r"^(?:[\d.]+ )?E ", line)]
    return _clean(_PREFIX.sub("", errors[0])) if errors else ""


def _clean(text: str) -> str:
    return " ".join(text.split()).rstrip(".;,")[:CAUSE_CHARACTERS_MAX]


def _signal(status: int) -> str:
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was ended by signal {-status}"
