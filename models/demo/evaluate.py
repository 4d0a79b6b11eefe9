"""Scores the demo model through the real engine: `python models/demo/evaluate.py model.gguf`.

Unseen wordings, names and label sets of the generator; real texts of this machine; and questions written by hand.
Writes `scores.json` beside itself, which the model card quotes, and prints a table.
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from engine import Engine
from examples import Example, Message
from generate import WEIGHTS, examples
from probes import PROBES
from tasks.real import real_examples

SEED = 77_001
SCORES = Path(__file__).with_name("scores.json")
CARD = Path(__file__).with_name("README.md")
_MARKED = re.compile(r"(<!-- scores -->\n).*(<!-- /scores -->)", re.DOTALL)
_CELL_MAX = 160


def said(message: Message) -> str:
    """Write an answer in one line; a call as `name({...})`."""
    made = message.get("tool_calls")
    if made:
        return "; ".join(f"{call['function']['name']}({_arguments(call)})" for call in made)
    return str(message.get("content") or message.get("error") or "")


def _arguments(call: Mapping[str, Any]) -> str:
    arguments = call["function"]["arguments"]
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def right(example: Example, answer: Message) -> bool:
    """Judge an answer by the example's check."""
    try:
        if example.check == "tool":
            return _calls(answer) == _calls(example.answer)
        if example.check == "json":
            return bool(json.loads(said(answer)) == json.loads(said(example.answer)))
    except json.JSONDecodeError:
        return False
    return said(answer).strip() == said(example.answer).strip()


def _calls(message: Message) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(_arguments(call))) for call in message.get("tool_calls") or ()]


def sample(source: Iterable[Example], tasks: Sequence[str], count: int) -> list[Example]:
    """Take up to `count` of each task; stops when all are full or the source has nothing new."""
    taken: defaultdict[str, list[Example]] = defaultdict(list)
    for number, example in enumerate(source):
        if len(taken[example.task]) < count:
            taken[example.task].append(example)
        full = tasks and all(len(taken[task]) >= count for task in tasks)
        if full or number > count * 200:
            break
    return [example for task in sorted(taken) for example in taken[task]]


def _held_out(tasks: Sequence[str], count: int) -> Iterator[Example]:
    for task in tasks:
        source = examples(SEED, "held_out", [task])
        for _ in range(count):
            yield next(source)


def score(engine: Engine, chosen: Sequence[Example], shown: int) -> dict[str, Any]:
    """Ask and count: `{task: {"asked", "right", "share", "wrong": [...]}}`."""
    table: dict[str, Any] = {}
    for example, answer in zip(chosen, engine.answers(chosen), strict=True):
        row = table.setdefault(example.task, {"asked": 0, "right": 0, "wrong": []})
        row["asked"] += 1
        if right(example, answer):
            row["right"] += 1
        elif len(row["wrong"]) < shown:
            question = str(example.messages[-1]["content"])
            row["wrong"].append({"question": question, "wanted": said(example.answer), "said": said(answer)})
    for row in table.values():
        row["share"] = round(row["right"] / row["asked"], 4)
    return table


def probe(engine: Engine) -> list[dict[str, Any]]:
    """Ask the questions written by hand."""
    out = []
    for one in PROBES:
        answer = said(engine.answer(one.messages, one.tools))
        question = str(one.messages[-1]["content"])
        out.append({"question": question, "wanted": one.wanted, "said": answer, "right": one.right(answer)})
    return out


def show(title: str, table: Mapping[str, Any]) -> None:
    """Print a table of scores."""
    print(f"\n{title}")
    for task, row in table.items():
        print(f"  {task:16} {row['right']:4} of {row['asked']:4}  {row['share']:7.1%}")
    asked, hit = sum(row["asked"] for row in table.values()), sum(row["right"] for row in table.values())
    print(f"  {'all':16} {hit:4} of {asked:4}  {hit / max(1, asked):7.1%}")


def _cell(text: str) -> str:
    """Write a text as code in one cell of a table."""
    short = text if len(text) <= _CELL_MAX else f"{text[:_CELL_MAX]}…"
    return "`` " + short.replace("\n", " ⏎ ").replace("|", "\\|") + " ``"


def _table(title: str, table: Mapping[str, Any]) -> list[str]:
    lines = [f"### {title}", "", "| task | right | asked | share |", "|---|--:|--:|--:|"]
    lines += [f"| {task} | {row['right']} | {row['asked']} | {row['share']:.1%} |" for task, row in table.items()]
    return [*lines, ""]


def card(scores: Mapping[str, Any]) -> str:
    """Write the part of the model card that is measured."""
    probes = scores["probes"]
    hit = sum(one["right"] for one in probes)
    lines = _table("Unseen wordings, names and label sets", scores["unseen"])
    lines += _table("Real texts", scores["real"])
    lines += [f"### Questions written by hand: {hit} of {len(probes)}", ""]
    lines += [
        "Nothing in the generator has these words. ⏎ is a line break.",
        "",
        "| | end of the question | answer |",
        "|---|---|---|",
    ]
    for one in probes:
        question = one["question"] if len(one["question"]) <= _CELL_MAX else "…" + one["question"][-_CELL_MAX:]
        lines.append(f"| {'right' if one['right'] else '**wrong**'} | {_cell(question)} | {_cell(one['said'])} |")
    lines += ["", "### Failures, verbatim", "", "| task | end of the question | wanted | answer |", "|---|---|---|---|"]
    for task, row in (*scores["unseen"].items(), *scores["real"].items()):
        for one in row["wrong"]:
            cells = (one["question"][-_CELL_MAX:], one["wanted"], one["said"])
            lines.append(f"| {task} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the options, ask, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=100, help="examples per task")
    parser.add_argument("--wrong", type=int, default=2, help="wrong answers kept per task")
    parser.add_argument("--out", type=Path, default=SCORES)
    options = parser.parse_args()
    with Engine(options.model) as engine:
        unseen = score(engine, list(_held_out([*WEIGHTS], options.count)), options.wrong)
        show("Unseen wordings, names and label sets", unseen)
        rng = Random(SEED)  # noqa: S311  # reproducible, hides nothing
        real = score(
            engine,
            sample(real_examples(rng), ("real-language", "real-kind", "real-record"), options.count),
            options.wrong,
        )
        show("Real texts", real)
        probes = probe(engine)
    print(f"\nQuestions written by hand: {sum(one['right'] for one in probes)} of {len(probes)}")
    for one in probes:
        print(f"  {'ok   ' if one['right'] else 'WRONG'} {one['question'][-90:]!r} -> {one['said'][:110]!r}")
    scores = {"unseen": unseen, "real": real, "probes": probes}
    options.out.write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    if options.out == SCORES:
        measured = card(scores)
        CARD.write_text(_MARKED.sub(lambda found: found[1] + "\n" + measured + "\n" + found[2], CARD.read_text()))


if __name__ == "__main__":
    main()
