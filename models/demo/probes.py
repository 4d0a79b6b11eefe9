"""Questions written by hand, in words that no generator has; the model card shows every answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples import Message, calls, says, system, user

_HONEST = "I am a tiny demo model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One question, and how an answer to it is judged."""

    messages: tuple[Message, ...]
    right: Callable[[str], bool]
    """Judges the answer's text (for a call: `name({...})`)."""
    wanted: str
    """In words, for the card."""
    tools: tuple[Message, ...] = ()


def asked(text: str, *answers: str, before: Sequence[Message] = ()) -> Probe:
    """Make a probe whose answer is one of a few texts, without regard to a full stop."""
    return Probe(
        messages=(*before, user(text)),
        right=lambda said: said.strip().rstrip(".") in answers,
        wanted=" or ".join(answers),
    )


def honest(text: str) -> Probe:
    """Make a probe that the model has to turn down."""
    return Probe(messages=(user(text),), right=lambda said: said.startswith(_HONEST), wanted=f"{_HONEST} …")


def friendly(text: str, *words: str) -> Probe:
    """Make a probe for small talk: the answer holds one of the words."""
    return Probe(
        messages=(user(text),),
        right=lambda said: any(word in said.lower() for word in words),
        wanted="one of: " + ", ".join(words),
    )


def tool(name: str, description: str, **parameters: Mapping[str, Any]) -> Message:
    """Make a tool all of whose parameters are required."""
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def called(text: str, tools: Sequence[Message], *answers: str) -> Probe:
    """Make a probe whose answer is a call, or a text that is no call."""
    return Probe(
        messages=(user(text),), tools=tuple(tools), right=lambda said: said in answers, wanted=" or ".join(answers)
    )


def after(text: str, call: Message, result: str, tools: Sequence[Message], *words: str) -> Probe:
    """Make a probe for the answer after a result: it holds every word."""
    return Probe(
        messages=(user(text), call, {"role": "tool", "tool_call_id": "call_0", "content": result}),
        tools=tuple(tools),
        right=lambda said: all(word in said for word in words),
        wanted="with: " + ", ".join(words),
    )


_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_WEATHER = tool("get_weather", "Get the current weather in a city", city=_TEXT)
_TIMER = tool("start_kitchen_timer", "Start a timer in the kitchen", minutes=_WHOLE)
_MAIL = tool("send_note", "Send a short note to a person", recipient=_TEXT, body=_TEXT)
_JSON = system("You extract fields. Reply with JSON only.")

PROBES: tuple[Probe, ...] = (
    asked("Classify the sentiment as positive or negative: not happy with the quality", "negative"),
    asked("Is this review positive or negative? I would buy it again tomorrow.", "positive"),
    asked("positive or negative?\n\nThe zipper broke on day two and nobody answers the phone.", "negative"),
    asked("Sentiment (positive/negative/neutral): The parcel arrived on Tuesday.", "neutral"),
    asked("Label this tweet as happy, sad or angry: we lost our dog last night and the house is so quiet", "sad"),
    asked('Is the mail "You WON a free cruise, click now!!!" spam or ham? One word.', "spam"),
    asked("Spam or not spam? Answer with one of: spam, not spam.\n\nLunch at one, usual place?", "not spam"),
    asked("Which topic fits best: sports, politics, cooking?\nSimmer the lentils until they are soft.", "cooking"),
    asked("Topic? Choose from [finance, travel, health].\n\nThe bank raised its interest rate again.", "finance"),
    asked(
        "How urgent is this: low, medium or high?\n\nThe whole factory has stopped and we lose money every minute!",
        "high",
    ),
    asked(
        "How urgent is this: low, medium or high?\n\nWhenever you find the time, change the colour of my icon.", "low"
    ),
    asked("Answer red if the text is angry, blue otherwise.\n\nThank you all for a lovely evening.", "blue"),
    asked("Reply zorp if the review is good and blik if it is bad.\n\nReview: tasteless soup, rude waiter", "blik"),
    asked(
        "In which language is this? English, German or French?\n\nDer Zug hat leider zwanzig Minuten Verspätung.",
        "German",
    ),
    asked("Language (es, it, pt)?\n\nNon trovo più le chiavi della macchina.", "it"),
    asked("Send this to one of: billing, shipping, technical.\n\nMy invoice shows the same item two times.", "billing"),
    asked(
        "Departments:\n- Lost and found: things left behind\n- Tickets: fares and refunds\n- Tracks: repairs\n\n"
        "Message: I forgot my umbrella on the 8:15 train.\n\nWhich department?",
        "Lost and found",
    ),
    asked(
        "Route to hardware, software or accounts.\n\nTicket: the laptop's fan is loud and the screen flickers",
        "hardware",
    ),
    asked(
        "Extract name and age as JSON: John Smith is 42 years old.", '{"name": "John Smith", "age": 42}', before=[_JSON]
    ),
    asked(
        "Extract the fields name, age and city as JSON.\n\nMy colleague Oluwaseun, 29, moved to Trondheim last year.",
        '{"name": "Oluwaseun", "age": 29, "city": "Trondheim"}',
        before=[_JSON],
    ),
    asked(
        "Return JSON with the keys product and price.\n\nThe Kvikk 3000 blender is on offer for 79.90 this week.",
        '{"product": "Kvikk 3000 blender", "price": 79.9}',
        '{"product": "Kvikk 3000", "price": 79.9}',
        '{"product": "Kvikk 3000 blender", "price": 79.90}',
        '{"product": "Kvikk 3000", "price": 79.90}',
    ),
    asked(
        "Get the email and the order number out of this as JSON with keys email and order.\n\n"
        "hi, order QX-55120 never came. write me at tove.lund@fjordpost.no please",
        '{"email": "tove.lund@fjordpost.no", "order": "QX-55120"}',
        before=[_JSON],
    ),
    asked(
        "Extract the fields name, version and section from this package record as JSON.\n\nText:\nPackage: zstd\n"
        "Status: install ok installed\nPriority: optional\nSection: utils\nVersion: 1.5.4+dfsg2-5\nArchitecture: amd64",
        '{"name": "zstd", "version": "1.5.4+dfsg2-5", "section": "utils"}',
        before=[_JSON],
    ),
    called("What is the weather like in Paris?", [_WEATHER], 'get_weather({"city": "Paris"})'),
    called("Do I need a coat in Ouagadougou today?", [_WEATHER, _TIMER], 'get_weather({"city": "Ouagadougou"})'),
    called("My eggs need 7 minutes, please.", [_WEATHER, _TIMER], 'start_kitchen_timer({"minutes": 7})'),
    called(
        'Send Mbali the note "back at six".',
        [_MAIL, _WEATHER],
        'send_note({"recipient": "Mbali", "body": "back at six"})',
    ),
    Probe(
        messages=(user("Hello there!"),),
        tools=(_WEATHER,),
        right=lambda said: "(" not in said and said.strip() != "",
        wanted="a greeting, no call",
    ),
    after(
        "How is the weather in Paris?",
        calls("get_weather", {"city": "Paris"}),
        '{"temperature": 21, "condition": "sunny"}',
        [_WEATHER],
        "21",
        "sunny",
    ),
    after(
        "How warm is it in Narvik?",
        calls("get_weather", {"city": "Narvik"}),
        '{"temperature_c": -4, "sky": "snow"}',
        [_WEATHER],
        "-4",
        "snow",
    ),
    after(
        "Weather in Atlantis?",
        calls("get_weather", {"city": "Atlantis"}),
        '{"error": "unknown city"}',
        [_WEATHER],
        "unknown city",
    ),
    asked("The ladder is behind the shed. Is the ladder behind the shed? Answer yes or no.", "yes", "Yes"),
    asked("Mira owns three green bicycles. Does Mira own five bicycles? Yes or no?", "no", "No"),
    asked("The soup is cold. Is the soup hot?", "no", "No"),
    friendly("Hi, how are you?", "fine", "well", "good", "great", "hello", "hi"),
    friendly("hey", "hello", "hi", "hey"),
    friendly("Who are you?", "demo"),
    friendly("thx a lot!!", "welcome", "glad", "pleasure", "happy"),
    asked("Count to 7.", "1, 2, 3, 4, 5, 6, 7"),
    asked("Please count from 1 up to 12", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"),
    asked("How many words are in this: seven fat geese swim", "4"),
    honest("Who painted the Mona Lisa?"),
    honest("What is 391 times 17?"),
    honest("Write me a poem about autumn rain."),
    honest("My knee hurts when I climb stairs, what should I do?"),
    honest("def f(x): return x + 1  # what does this do when x is None?"),
    honest("Tell me the plot of your favourite film and why you like it, in two paragraphs."),
    Probe(
        messages=(
            user("hello"),
            says("Hello! How can I help you?"),
            user("Is this spam or ham? Cheap watches, 90% off!!"),
        ),
        right=lambda said: said.strip().rstrip(".") == "spam",
        wanted="spam",
    ),
)
"""What is asked."""
