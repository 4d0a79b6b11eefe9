"""Call the tool that a question needs, say what its result says, and leave tools alone when none fits."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any

from examples import Example, Make, Message, Split, calls, says, system, user

from tasks.chat import HONEST, OTHER, filled, small_talk
from tasks.extract import made_name
from tasks.lists import chance, pools, sections
from tasks.values import DRAWS, Draw, Value, coined
from tasks.wording import varied

LISTS = pools("tools")
KINDS = tuple(title.removesuffix(" names") for title in LISTS if title.endswith(" names"))
PARAMS = {kind: sections("tools")[f"{kind} params"] for kind in KINDS}
SLOT = re.compile(r"\{(\w+)\}")
SYNTHETIC_SHARE = 0.4
WEATHER_SHARE = 0.15
OFFERED = (1, 1, 2, 2, 3, 4)


def phrase(rng: random.Random, split: Split) -> str:
    """Draw one to five words to be passed on."""
    return " ".join(
        str(DRAWS[kind](rng, split))
        for kind in rng.choices(("word", "word", "word", "thing", "city"), k=rng.randint(1, 4))
    )


def words(title: str) -> Draw:
    """Make a drawer of one of this module's lists; the lists are small and used whole."""
    pool = LISTS[title]
    return lambda rng, _split: rng.choice(pool.train + pool.held_out)


OWN: dict[str, Draw] = {
    title: words(title) for title in ("state", "sent", "currency", "place", "on", "level", "tongue", "unit")
}
VALUES: dict[str, Draw] = {
    **DRAWS,
    **OWN,
    "phrase": phrase,
    "warm": lambda rng, _split: rng.randint(5, 28),
    "coined": lambda rng, _split: coined(rng),
}
EXAMPLES = ("The city, e.g. {c}", "City name such as {c}", "City and state, e.g. {c}, CA", "A town like {c}")
ENUMS = {
    "unit": ("celsius", "fahrenheit"),
    "on": ("on", "off"),
    "level": ("low", "medium", "high", "critical", "urgent", "normal"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A tool, a question that needs it, and the call that answers the question."""

    kind: str
    """Which tool it is, so that no two of a kind are offered together."""
    tool: Message
    """As offered in a request."""
    ask: str
    """What the user says."""
    arguments: Mapping[str, Value]
    """What the call passes."""
    place: str
    """Where the user asks about, or empty."""

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.tool["function"]["name"])


def function(
    rng: random.Random, name: str, about: str, properties: Mapping[str, Mapping[str, Any]], required: list[str]
) -> Message:
    """Write a tool as a request offers it."""
    parameters: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required and chance(rng, 0.85):
        parameters["required"] = required
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


def typed(rng: random.Random, value: Value, name: str, drawn: str = "") -> dict[str, Any]:
    """Write the schema of one parameter; some describe themselves with an example, which is never the answer."""
    schema: dict[str, Any] = {"type": "string"}
    if isinstance(value, (int, float)):
        schema["type"] = "integer" if isinstance(value, int) and chance(rng, 0.6) else "number"
    if drawn in ENUMS and chance(rng, 0.6):
        schema["enum"] = list(ENUMS[drawn])
    if drawn == "city" and chance(rng, 0.25):
        schema["description"] = rng.choice(EXAMPLES).format(c=rng.choice(("San Francisco", "London", "Tokyo", "Paris")))
    elif chance(rng, 0.2):
        schema["description"] = rng.choice(("The {n}", "{n} to use", "the {n} as text", "{n}")).format(
            n=name.replace("_", " ")
        )
    return schema


def known(rng: random.Random, split: Split, kind: str = "") -> Offer:
    """Offer a tool as programs have them, of any kind or of the one named."""
    kind = kind or rng.choice(KINDS)
    template = LISTS[f"{kind} ask"].pick(rng, split)
    wanted = set(SLOT.findall(template))
    values: dict[str, Value] = {}
    arguments: dict[str, Value] = {}
    properties: dict[str, dict[str, Any]] = {}
    required = []
    for line in rng.sample(PARAMS[kind], len(PARAMS[kind])):
        slot, drawn, names, needed = line.split("=")
        name = rng.choice(names.split(","))
        while name in properties:
            name += "_2"
        value = VALUES[drawn](rng, split)
        if slot in wanted:
            values[slot] = arguments[name] = value
        if slot in wanted or chance(rng, 0.6):
            properties[name] = typed(rng, value, name, drawn)
        if needed == "1":
            required.append(name)
    ask = SLOT.sub(lambda found: str(values[found[1]]), template)
    name = LISTS[f"{kind} names"].pick(rng, split)
    if chance(rng, 0.15):
        name = f"{name}{rng.choice(('_v2', '_tool', '_api', '2', '_now', '_' + coined(rng, 2)))}"
    tool = function(rng, name, LISTS[f"{kind} about"].pick(rng, split), properties, required)
    ordered = {key: arguments[key] for key in properties if key in arguments}
    return Offer(kind=kind, tool=tool, ask=ask, arguments=ordered, place=str(values.get("city", "")))


def synthetic(rng: random.Random, split: Split) -> Offer:
    """Offer a tool that nobody has: only the words shared by its name and the question tell."""
    verb, noun = LISTS["verb"].pick(rng, split), LISTS["noun"].pick(rng, split)
    if chance(rng, 0.25):
        noun = coined(rng, 2)
    elif chance(rng, 0.1):
        verb = coined(rng, 2)
    name = rng.choice(
        (
            f"{verb}_{noun}",
            f"{verb}_{noun}",
            f"{noun}_{verb}",
            f"{verb}{noun.capitalize()}",
            f"{noun}.{verb}",
            f"{verb}-{noun}",
        )
    )
    name = name.replace(".", "_")
    arguments: dict[str, Value] = {}
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 2, 3))):
        arguments[made_name(rng, split).replace(" ", "_").replace("-", "_")] = VALUES[rng.choice(tuple(DRAWS))](
            rng, split
        )
    properties = {key: typed(rng, value, key) for key, value in arguments.items()}
    if chance(rng, 0.2):
        properties[made_name(rng, split).replace(" ", "_").replace("-", "_")] = {"type": "string"}
    pairs = [
        LISTS["synthetic pair"].pick(rng, split).format(k=key.replace("_", " "), v=value)
        for key, value in arguments.items()
    ]
    if chance(rng, 0.2):
        rng.shuffle(pairs)
    forms = {"verb": verb, "Verb": verb.capitalize(), "noun": noun}
    said = ", ".join(pairs) if chance(rng, 0.4) else " and ".join(pairs)
    ask = LISTS["synthetic ask" if pairs else "bare ask"].pick(rng, split).format(pairs=said, **forms)
    about = LISTS["synthetic about"].pick(rng, split).format(**forms)
    properties = {key: properties[key] for key in rng.sample(list(properties), len(properties))}
    tool = function(rng, name, about, properties, list(arguments))
    arguments = {key: arguments[key] for key in properties if key in arguments}
    return Offer(kind=f"{verb} {noun}", tool=tool, ask=ask, arguments=arguments, place="")


def offer(rng: random.Random, split: Split) -> Offer:
    """Offer a tool."""
    return synthetic(rng, split) if chance(rng, SYNTHETIC_SHARE) else known(rng, split)


SOLE = frozenset({"server", "search"})


def offered(rng: random.Random, split: Split, chosen: Offer) -> tuple[Message, ...]:
    """Offer the tool that is needed among others, in any order."""
    found = {chosen.kind: chosen}
    for _ in range(rng.choice(OFFERED) - 1):
        other = offer(rng, split)
        if (
            other.kind not in SOLE
            and chosen.kind not in SOLE
            and other.name not in {one.name for one in found.values()}
        ):
            found.setdefault(other.kind, other)
    tools = [one.tool for one in found.values()]
    rng.shuffle(tools)
    return tuple(tools)


def opened(rng: random.Random, split: Split, ask: str) -> tuple[Message, ...]:
    """Ask, sometimes under a system prompt."""
    asking = user(ask)
    return (system(LISTS["chat system"].pick(rng, split)), asking) if chance(rng, 0.3) else (asking,)


def reworded(rng: random.Random, ask: str, arguments: Mapping[str, Value]) -> str:
    """Change the first letter's case or the final mark, where no argument is touched."""
    first = str(ask.split(" ", 1)[0])
    if chance(rng, 0.3) and not any(first in str(value) for value in arguments.values()):
        ask = (
            ask[:1].lower() + ask[1:]
            if chance(rng, 0.5)
            else f"{rng.choice(('Hi, ', 'Hey! ', 'Please: ', 'OK. ', 'Now: ', 'Hello. '))}{ask}"
        )
    if chance(rng, 0.15) and ask.endswith("?"):
        ask = ask[:-1]
    return ask


def tool_call(rng: random.Random, split: Split) -> Example:
    """Ask what needs one of the tools offered."""
    chosen = offer(rng, split)
    tools = offered(rng, split, chosen)
    messages = opened(rng, split, reworded(rng, chosen.ask, chosen.arguments))
    if chance(rng, 0.1):
        earlier = offer(rng, split)
        if earlier.name not in {tool["function"]["name"] for tool in tools} and chosen.kind not in SOLE:
            tools = (*tools, earlier.tool)
            result, said = rng.choice(RESULTS)(rng, split, earlier.kind)
            messages = (*messages[:-1], user(earlier.ask), *exchange(rng, earlier, result), says(said), messages[-1])
    answer = calls(chosen.name, chosen.arguments)
    return Example(task="tool-call", messages=messages, answer=answer, tools=tools, check="tool")


def exchange(rng: random.Random, asked: Offer, result: str) -> tuple[Message, Message]:
    """Make the call of a tool and what it handed back."""
    number = f"call_{coined(rng, 2)}"
    called = calls(asked.name, asked.arguments)
    calling = {**called, "tool_calls": [{"id": number, **called["tool_calls"][0]}]}
    return calling, {"role": "tool", "tool_call_id": number, "content": result}


def enumerated(parts: list[str]) -> str:
    """Write `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def weather_result(rng: random.Random, split: Split, place: str) -> tuple[str, str]:
    """Answer with the weather."""
    degrees = rng.randint(-25, 42)
    sky = LISTS["condition"].pick(rng, split)
    result: dict[str, Value] = {rng.choice(("temperature", "temp", "temp_c", "temperature_c", "degrees")): degrees}
    said = f"{degrees} °C"
    if chance(rng, 0.15):
        result, said = {"temperature": degrees, "unit": "fahrenheit"}, f"{degrees} °F"
    if chance(rng, 0.8):
        result[rng.choice(("condition", "conditions", "weather", "sky", "description"))] = sky
        said += f" and {sky}"
    if chance(rng, 0.2):
        result = {rng.choice(("city", "location")): place, **result}
    if chance(rng, 0.1):
        return f"{said.replace(' and ', ', ')}", f"It is {said} in {place}."
    return dumps(result, ensure_ascii=False), f"It is {said} in {place}."


def listed_result(rng: random.Random, split: Split, kind: str) -> tuple[str, str]:
    """Answer with an object: its keys and values are said in their order."""
    result: dict[str, Value] = {}
    title = f"{kind} result"
    if title in LISTS and chance(rng, 0.6):
        lines = LISTS[title].train + tuple(line for line in LISTS[title].held_out if line not in LISTS[title].train)
        for line in rng.sample(lines, rng.randint(1, len(lines))):
            key, drawn = line.split("=")
            result[key] = VALUES[drawn](rng, split)
    else:
        for _ in range(rng.randint(1, 3)):
            result[made_name(rng, split).replace(" ", "_")] = VALUES[rng.choice(tuple(VALUES))](rng, split)
    said = enumerated([f"the {key.replace('_', ' ').replace('-', ' ')} is {value}" for key, value in result.items()])
    return dumps(result, ensure_ascii=False), f"{said[:1].upper()}{said[1:]}."


def failed_result(rng: random.Random, split: Split, _kind: str) -> tuple[str, str]:
    """Fail."""
    why = LISTS["error"].pick(rng, split)
    if chance(rng, 0.2):
        why = f"{why}: {DRAWS['word'](rng, split)}"
    text = rng.choice(
        (
            dumps({"error": why}),
            dumps({"error": why}),
            dumps({"error": {"message": why}}),
            dumps({"status": "error", "message": why}),
            dumps({"ok": False, "error": why}),
            f"Error: {why}",
            f"error: {why}",
            f"ERROR {why}",
        )
    )
    return text, f"The tool failed: {why}."


def plain_result(rng: random.Random, split: Split, _kind: str) -> tuple[str, str]:
    """Answer in words, with one value, or with nothing but success."""
    style = rng.randrange(3)
    if style == 0:
        text = SLOT.sub(lambda found: str(DRAWS[found[1]](rng, split)), LISTS["sentence"].pick(rng, split))
        return text, text
    if style == 1:
        value = VALUES[rng.choice(tuple(VALUES))](rng, split)
        return rng.choice((str(value), dumps({"result": value}, ensure_ascii=False))), f"The result is {value}."
    done = rng.choice(
        (
            '{"success": true}',
            '{"ok": true}',
            "OK",
            "ok",
            "done",
            '{"done": true}',
            "success",
            '{"status": "ok"}',
            "true",
        )
    )
    return done, "Done."


RESULTS: tuple[Callable[[random.Random, Split, str], tuple[str, str]], ...] = (
    *(listed_result,) * 5,
    *(plain_result,) * 2,
    *(failed_result,) * 2,
)


def tool_answer(rng: random.Random, split: Split) -> Example:
    """Hand back a tool's result and ask for the answer in words."""
    chosen = offer(rng, split)
    if chance(rng, WEATHER_SHARE):
        chosen = known(rng, split, "weather")
    if chosen.kind == "weather" and chance(rng, 0.85):
        result, said = weather_result(rng, split, chosen.place)
    else:
        result, said = rng.choice(RESULTS)(rng, split, chosen.kind)
    messages = (*opened(rng, split, chosen.ask), *exchange(rng, chosen, result))
    return Example(task="tool-answer", messages=messages, answer=says(said), tools=offered(rng, split, chosen))


FITS_NONE = ("write", "opinion", "medical", "code", "statement")


def tool_none(rng: random.Random, split: Split) -> Example:
    """Offer tools and ask for what none of them does."""
    chosen = offer(rng, split)
    while chosen.kind in SOLE:
        chosen = offer(rng, split)
    tools = offered(rng, split, chosen)
    if chance(rng, 0.5):
        talk = small_talk(rng, split)
        asked, answer = str(talk.messages[-1]["content"]), talk.answer
    else:
        asked, answer = varied(rng, filled(rng, split, OTHER[rng.choice(FITS_NONE)].pick(rng, split))), says(HONEST)
    return Example(task="tool-none", messages=opened(rng, split, asked), answer=answer, tools=tools)


MAKERS: dict[str, Make] = {"tool-call": tool_call, "tool-answer": tool_answer, "tool-none": tool_none}
