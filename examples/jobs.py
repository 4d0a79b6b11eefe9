"""The demo's three jobs: what is asked about a text, what the answer should be, and how well it went."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anthropic.types import Message
from texts import KINDS, LANGUAGES, Collection, Text

SORT = "You sort texts. Reply with one word."
SHOWN_MAX = 50
EXTRACT = "You extract fields. Reply with JSON only."
ASK_LANGUAGE = f"Which language is this text written in? Answer with one of: {', '.join(LANGUAGES.values())}."
ASK_KIND = f"What kind of text is this? Answer with one of: {', '.join(KINDS)}."


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One question about many texts."""

    name: str
    """Starts the `custom_id` of its requests."""
    title: str
    system: str
    question: str
    texts: Sequence[Text]
    schema: Mapping[str, Any] | None = None
    """The JSON schema that answers must follow."""

    def params(self, text: Text, model: str) -> dict[str, Any]:
        """Return the Messages parameters that ask about one text."""
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": 16 if self.schema is None else 200,
            "system": self.system,
            "messages": [{"role": "user", "content": f"{self.question}\n\nText:\n{text.text}"}],
        }
        if self.schema is not None:
            asked["output_config"] = {"format": {"type": "json_schema", "schema": self.schema}}
        return asked


@dataclass(kw_only=True, slots=True)
class Score:
    """How one job went."""

    job: Job
    right: int = 0
    total: int = 0
    wrong: list[tuple[Text, str]] = field(default_factory=list)
    """What was answered instead of the truth."""

    def add(self, text: Text, answer: str) -> None:
        """Count one answer."""
        self.total += 1
        if is_right(answer, text.truth):
            self.right += 1
        else:
            self.wrong.append((text, answer))

    @property
    def share(self) -> float:
        """0…1."""
        return self.right / max(1, self.total)

    @property
    def baseline(self) -> float:
        """What always giving the most frequent answer would score, 0…1."""
        truths = Counter(json.dumps(text.truth, sort_keys=True) for text in self.job.texts)
        return truths.most_common(1)[0][1] / len(self.job.texts)

    def confusions(self) -> list[tuple[str, str, int]]:
        """Return (truth, answer, how often), the most frequent first; for records, the field that was wrong."""
        seen: Counter[tuple[str, str]] = Counter()
        for text, answer in self.wrong:
            if isinstance(text.truth, str):
                seen[text.truth, answer] += 1
                continue
            said = _value(answer, text.truth)
            fields = said if isinstance(said, dict) else {}
            seen.update(
                (name, str(fields.get(name))) for name, value in text.truth.items() if fields.get(name) != value
            )
        return [(truth, answer, count) for (truth, answer), count in seen.most_common()]


def text_of(message: Message) -> str:
    """Return the words of an answer."""
    return "".join(block.text for block in message.content if block.type == "text")


def is_right(answer: str, truth: str | Mapping[str, str]) -> bool:
    """Judge an answer: exactly the label, or exactly the fields."""
    return _value(answer, truth) == truth


def fields_schema(names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


def _value(answer: str, truth: object) -> object:
    if isinstance(truth, str):
        return answer.strip()
    try:
        return json.loads(answer)
    except ValueError:
        return None


def difference(truth: str | Mapping[str, str], answer: str) -> str:
    """Say what is wrong about an answer."""
    said = _value(answer, truth)
    if isinstance(truth, str):
        return f"{truth}, not {_short(said)}"
    if not isinstance(said, dict):
        return f"not JSON but {_short(answer)}"
    wrong = [
        f"{name} {_short(value)}, not {_short(said.get(name))}"
        for name, value in truth.items()
        if said.get(name) != value
    ]
    return "; ".join(wrong) or f"more than was asked for: {_short(answer)}"


def _short(said: object) -> str:
    text = repr(said)
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"


def jobs(found: Collection) -> list[Job]:
    """Return the jobs for which there are texts."""
    all_jobs = [
        Job(
            name="language",
            title="which of 16 languages",
            system=SORT,
            question=ASK_LANGUAGE,
            texts=found.languages,
        ),
        Job(
            name="kind",
            title="which of 8 kinds of text",
            system=SORT,
            question=ASK_KIND,
            texts=found.kinds,
        ),
    ]
    if found.records and not isinstance(found.records[0].truth, str):
        names = list(found.records[0].truth)
        listed = ", ".join(names[:-1]) + " and " + names[-1]
        all_jobs.append(
            Job(
                name="record",
                title="fields of a record, as JSON",
                system=EXTRACT,
                question=f"Extract the fields {listed} from this package record as JSON.",
                texts=found.records,
                schema=fields_schema(names),
            )
        )
    return [job for job in all_jobs if job.texts]
