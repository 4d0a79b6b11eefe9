"""Reading `GET /v1/models`, which every protocol's servers answer in one of two very similar shapes."""

from typing import Any

from slackwater.backends.refusals import broken


def listed_models(answer: Any) -> list[str]:  # noqa: ANN401  # whatever the backend sent
    """Return the ids of a list of models; Ollama writes an empty list as null."""
    entries = _entries(answer)
    return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def owner_of_models(answer: Any) -> str:  # noqa: ANN401
    """Return the `owned_by` of the first model, by which most engines give themselves away; empty when absent."""
    entries = _entries(answer)
    owner = entries[0].get("owned_by") if entries and isinstance(entries[0], dict) else None
    return owner if isinstance(owner, str) else ""


def _entries(answer: Any) -> list[Any]:  # noqa: ANN401
    entries = answer.get("data") or [] if isinstance(answer, dict) and "data" in answer else None
    if not isinstance(entries, list):
        reason = "the list of models has no data"
        raise broken(reason)
    return entries
