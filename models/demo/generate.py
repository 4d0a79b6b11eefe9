"""The mix of examples that the demo model learns from: every task by its weight, the same for the same seed."""

import argparse
import json
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from examples import Example, Make, Message, Split
from tasks import chat, classify, extract, kind, language, record, route, tools, yesno
from tasks.lists import chance

MODULES = (classify, route, extract, tools, yesno, chat, language, kind, record)
MAKERS: dict[str, Make] = {task: make for module in MODULES for task, make in module.MAKERS.items()}
WEIGHTS: dict[str, float] = {
    "classify": 60,
    "verdict": 14,
    "unlisted": 3,
    "route": 24,
    "extract": 28,
    "tool-call": 13,
    "tool-answer": 6,
    "tool-none": 4,
    "yesno": 18,
    "chat": 4,
    "count": 2,
    "count-words": 3,
    "repeat": 5,
    "fallback": 6,
    "language": 8,
    "kind": 9,
    "record": 8,
}
"""How often each task is drawn, relative to the others: choosing from a list is short to ask and slow to learn."""
EARLIER = ("classify", "route", "extract", "yesno", "chat", "count", "repeat", "fallback")
"""Tasks that an earlier exchange of the same conversation is drawn from."""
EARLIER_SHARE = 0.04
EARLIER_CHARS_MAX = 260
SYSTEM_SHARE = 0.1
PLAIN = frozenset({"language", "kind", "record"})
"""Tasks whose makers choose their system prompts themselves."""


def chars(messages: Sequence[Message]) -> int:
    """Count the characters of a conversation."""
    return sum(len(message["content"] or "") for message in messages)


def continued(rng: random.Random, split: Split, example: Example) -> Example:
    """Put an earlier exchange in front of the question, after the system prompt if there is one."""
    earlier = MAKERS[rng.choice(EARLIER)](rng, split)
    alone = all(message["role"] == "user" for message in earlier.messages)
    if not alone or chars(earlier.messages) > EARLIER_CHARS_MAX or chars(example.messages) > 2 * EARLIER_CHARS_MAX:
        return example
    start = 1 if example.messages[0]["role"] == "system" else 0
    messages = (*example.messages[:start], *earlier.messages, earlier.answer, *example.messages[start:])
    return replace(example, messages=messages)


def mixed(rng: random.Random, split: Split, task: str) -> Example:
    """Make one example of a task, sometimes with an earlier exchange or a system prompt that changes nothing."""
    example = MAKERS[task](rng, split)
    if task in PLAIN:
        return example
    if chance(rng, EARLIER_SHARE):
        example = continued(rng, split, example)
    if example.messages[0]["role"] != "system" and chance(rng, SYSTEM_SHARE):
        example = replace(example, messages=(chat.unrelated_system(rng, split), *example.messages))
    return example


def examples(seed: int, split: Split, only: Collection[str] = ()) -> Iterator[Example]:
    """Draw examples without end, of all tasks or of those named; the same ones for the same seed and split."""
    rng = random.Random(f"{seed}/{split}")  # noqa: S311  # reproducible, hides nothing
    tasks = [task for task in WEIGHTS if task in MAKERS and (not only or task in only)]
    weights = [WEIGHTS[task] for task in tasks]
    while True:
        for task in rng.choices(tasks, weights, k=64):
            yield mixed(rng, split, task)


def shown(example: Example) -> str:
    """Lay an example out for a reader."""
    lines = [f"== {example.task} ({example.check})"]
    lines += [json.dumps(tool["function"], ensure_ascii=False) for tool in example.tools]
    for message in (*example.messages, example.answer):
        said = (
            message["content"] if message.get("content") else json.dumps(message.get("tool_calls"), ensure_ascii=False)
        )
        lines.append(f"[{message['role']}] {said}")
    return "\n".join(lines)


def main() -> None:
    """Print examples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="how many to print")
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--task", action="append", default=[], choices=tuple(WEIGHTS), help="only this task; may be repeated"
    )
    asked = parser.parse_args()
    drawn = examples(asked.seed, asked.split, asked.task)
    for _ in range(asked.count):
        print(shown(next(drawn)), end="\n\n")


if __name__ == "__main__":
    main()
