"""Upload once, ask many: the project's own licence as a PDF, and one batch of questions that name it by `file_id`.

The whole licence is longer than the toy's context. So the questions are about its first page, and one request beside
them has all of it: what that one is told is part of the picture.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anthropic import Anthropic
from anthropic.types import FileMetadata, Message
from anthropic.types.messages import MessageBatchIndividualResponse
from jobs import ASK_KIND, ASK_LANGUAGE, fields_schema, is_right, text_of
from local_server import DemoError
from pdf import Page, pages_of, pdf_of
from rich.markup import escape
from screen import Screen, shortened
from spent import of_messages

LICENSE = Path(__file__).resolve().parents[1] / "LICENSE"
TOO_LONG = "prompt is too long"
"""How the one refusal begins that is no failure of the demo."""
WHOLE = "whole"
"""`custom_id` of the request with the whole licence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One about the first page."""

    name: str
    """The request's `custom_id`."""
    asked: str
    truth: str | Mapping[str, str]
    """The word that is right, or the fields."""

    def params(self, file: FileMetadata, model: str) -> dict[str, Any]:
        """Return the Messages parameters that ask it about a file."""
        document = {"type": "document", "source": {"type": "file", "file_id": file.id}}
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": 60,
            "messages": [{"role": "user", "content": [document, {"type": "text", "text": self.asked}]}],
        }
        if not isinstance(self.truth, str):
            asked["output_config"] = {"format": {"type": "json_schema", "schema": fields_schema(list(self.truth))}}
        return asked


KIND = Question(name="kind", asked=ASK_KIND, truth="license")
QUESTIONS = (
    Question(name="language", asked=ASK_LANGUAGE, truth="English"),
    KIND,
    Question(name="topic", asked="What is the topic? Answer with one of: sports, law, cooking, travel.", truth="law"),
    Question(name="license", asked="Is this text a license? Answer yes or no.", truth="yes"),
    Question(name="recipe", asked="Is this text a recipe? Answer yes or no.", truth="no"),
    Question(
        name="fields",
        asked="Extract the fields version and date as JSON.",
        truth={"version": "2.0", "date": "January 2004"},
    ),
)


def ask_about_the_license(client: Anthropic, model: str, screen: Screen) -> None:
    """Upload it, ask, show the answers beside what is right, and delete it."""
    pages = pages_of(LICENSE.read_text(encoding="utf-8"))
    whole, first = _upload(client, "license.pdf", pages), _upload(client, "page-1.pdf", pages[:1])
    for file, about in (
        (whole, f"this project's LICENSE on {len(pages)} pages"),
        (first, "the first one"),
    ):
        screen.say(f"[bold]{file.filename}[/bold]  {file.id}  {file.size_bytes:,} bytes, {about}")
    requests: list[Any] = [{"custom_id": one.name, "params": one.params(first, model)} for one in QUESTIONS]
    requests.append({"custom_id": WHOLE, "params": KIND.params(whole, model)})
    results, seconds = _run(client, requests)
    screen.say(f"\nOne batch, {seconds:.1f} s: {len(requests)} requests, each with a file's id instead of the file\n")
    answers = [_answer(results[one.name]) for one in QUESTIONS]
    screen.table(
        (f"asked about {first.filename}", "answer", "right"),
        [
            (shortened(one.asked, 36), shortened(_plain(text_of(answer)), 26), _plain(one.truth))
            for one, answer in zip(QUESTIONS, answers, strict=True)
        ],
    )
    right = sum(is_right(text_of(answer), one.truth) for one, answer in zip(QUESTIONS, answers, strict=True))
    least, needed = _read(client, model, pages[0], answers)
    cached = of_messages([answer.usage for answer in answers], seconds).cached_share
    screen.say(
        f"\n[green]{right} of {len(QUESTIONS)} right[/green]. Every prompt had {least} tokens or more: the page's text "
        f"alone has {needed}. {cached} came from the cache, because questions about one file are sent together."
    )
    screen.say(_about_the_whole(results[WHOLE]))
    _delete(client, first, whole)


def _upload(client: Anthropic, name: str, pages: Sequence[Page]) -> FileMetadata:
    return client.files.upload(file=(name, pdf_of(pages), "application/pdf"))


def _run(client: Anthropic, requests: Sequence[Any]) -> tuple[dict[str, MessageBatchIndividualResponse], float]:
    """Send a batch and wait; return its results by `custom_id`, one of each, and how long it took."""
    started = time.monotonic()
    batch = client.messages.batches.create(requests=requests)
    while batch.processing_status != "ended":
        time.sleep(0.1)
        batch = client.messages.batches.retrieve(batch.id)
    seconds = time.monotonic() - started
    lines = list(client.messages.batches.results(batch.id))
    if sorted(line.custom_id for line in lines) != sorted(request["custom_id"] for request in requests):
        raise DemoError(f"the results are not those of the requests: {', '.join(line.custom_id for line in lines)}")
    return {line.custom_id: line for line in lines}, seconds


def _answer(line: MessageBatchIndividualResponse) -> Message:
    if line.result.type != "succeeded":
        raise DemoError(f"a question about the PDF was not answered: {line.to_json(indent=None)}")
    return line.result.message


def _read(client: Anthropic, model: str, page: Page, answers: Sequence[Message]) -> tuple[int, int]:
    """Return the tokens of the shortest prompt and those of the page's text alone, which every prompt must hold."""
    text = "\n".join(line.strip() for line in page)
    needed = client.messages.count_tokens(model=model, messages=[{"role": "user", "content": text}]).input_tokens
    least = min(answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) for answer in answers)
    if least < needed:
        raise DemoError(f"the page did not reach the model: a prompt had {least} tokens, the page alone has {needed}")
    return least, needed


def _about_the_whole(line: MessageBatchIndividualResponse) -> str:
    """Say what became of the request with the whole licence."""
    if line.result.type == "succeeded":
        return f"The whole license.pdf: {shortened(text_of(line.result.message), 60)}"
    said = line.result.error.error.message if line.result.type == "errored" else line.result.type
    if not said.startswith(TOO_LONG):
        raise DemoError(f"the request with the whole licence ended otherwise than expected: {said}")
    return f"All of license.pdf is too much for the toy. That request alone says so: [yellow]{escape(said)}[/yellow]"


def _delete(client: Anthropic, *files: FileMetadata) -> None:
    for file in files:
        client.files.delete(file.id)
    left = [file.id for file in client.files.list()]
    if left:
        raise DemoError(f"files are still listed after they were deleted: {', '.join(left)}")


def _plain(said: str | Mapping[str, str]) -> str:
    """Write fields without JSON's punctuation: the table is narrow."""
    if isinstance(said, str):
        try:
            fields = json.loads(said)
        except ValueError:
            return said
    else:
        fields = said
    return ", ".join(f"{name} {value}" for name, value in fields.items()) if isinstance(fields, Mapping) else str(said)
