"""Sort a short text under one of the labels that the prompt names.

Whole texts, wordings, label sets and names are kept out of training. Single words that carry a class ("awful", "goal")
are not: a model that starts from nothing knows only the words it has read.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from examples import Example, Make, Split, says

from tasks.labels import explained, laid_out, named, recased, synthetic
from tasks.lists import Pool, chance, pools, sections
from tasks.sentiments import sentiment_text
from tasks.values import DRAWS
from tasks.wording import polite, varied

Labels = Mapping[str, str]
TONES = pools("tones")
TOPICS = {title: words for title, words in sections("topics").items() if title not in {"aliases", "frame"}}
URGENCY = frozenset({"critical", "high", "medium", "low"})
ISSUES = Pool([line for key in ("billing", "shipping", "returns", "accounts", "hr") for line in sections("route")[key]])
FRAMES = Pool(sections("topics")["frame"])
ALIASES = {key: values.split(",") for key, values in (entry.split("=") for entry in sections("topics")["aliases"])}
SLOT = re.compile(r"\{(\w+)\}")
TOPICS_MAX = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """One thing that texts are sorted by."""

    targets: tuple[str, ...]
    """What it is called in an instruction ("sentiment", "mood")."""
    nouns: tuple[str, ...]
    """What its texts are called ("review")."""
    sets: Pool[Labels]
    """Label sets: label by class."""
    meanings: Mapping[str, tuple[str, ...]]
    """What can be said of a text of each class, after "the text is"."""
    write: Callable[[random.Random, Split, str], str]
    """Write a text of a class."""


def urgent_text(rng: random.Random, split: Split, kind: str) -> str:
    """Write what is wanted, which says nothing about how soon, and how soon."""
    wanted = ISSUES.pick(rng, split)
    soon = TONES[f"{kind} marker"].pick(rng, split)
    pair = [SLOT.sub(lambda found: str(DRAWS[found[1]](rng, split)), part) for part in (wanted, soon)]
    if chance(rng, 0.3):
        pair.reverse()
    return rng.choice((", ", ". ", ". ", " - ", "! ")).join(part.rstrip(".") for part in pair)


def tone_text(rng: random.Random, split: Split, kind: str) -> str:
    """Write one of the short texts of a class, sometimes two."""
    if kind in URGENCY and chance(rng, 0.5):
        return varied(rng, urgent_text(rng, split, kind))
    count = 2 if chance(rng, 0.25) else 1
    parts = []
    for _ in range(count):
        template = TONES[kind].pick(rng, split)
        parts.append(SLOT.sub(lambda found: str(DRAWS[found[1]](rng, split)), template))
    text = rng.choice((". ", "! ", ", ")).join(parts)
    return varied(rng, text)


def topic_text(rng: random.Random, split: Split, topic: str) -> str:
    """Write a line or two with words of a topic."""
    words = rng.sample(TOPICS[topic], 3)
    slots = dict(zip("abc", words, strict=True))

    def slot(found: re.Match[str]) -> str:
        return slots.get(found[1]) or str(DRAWS[found[1]](rng, split))

    text = SLOT.sub(slot, FRAMES.pick(rng, split))
    if chance(rng, 0.3):
        slots = dict(zip("abc", rng.sample(TOPICS[topic], 3), strict=True))
        text += " " + SLOT.sub(slot, FRAMES.pick(rng, split))
    return varied(rng, text)


def sets(classes: str, *lines: str) -> Pool[Labels]:
    """Read label sets: one a line, in the order of the classes, `_` where a class is left out."""
    found = []
    for line in lines:
        pairs = zip(classes.split("|"), line.split("|"), strict=True)
        found.append({kind: label for kind, label in pairs if label != "_"})
    return Pool(found)


def said(text: str) -> Mapping[str, tuple[str, ...]]:
    """Read meanings: `class=one,other|class=...`."""
    return {kind: tuple(ways.split(",")) for kind, ways in (entry.split("=") for entry in text.split("|"))}


DIMENSIONS: dict[str, Dimension] = {
    "sentiment": Dimension(
        targets=("sentiment", "mood", "opinion", "attitude", "tone", "polarity", "feeling"),
        nouns=(
            "review",
            "text",
            "comment",
            "sentence",
            "feedback",
            "opinion",
            "message",
            "post",
            "tweet",
            "customer review",
        ),
        sets=sets(
            "positive|negative|neutral|mixed",
            *("positive|negative|_|_", "positive|negative|neutral|_", "positive|negative|neutral|mixed") * 3,
            *("negative|positive|_|_", "pos|neg|_|_", "pos|neg|neu|_", "good|bad|_|_", "good|bad|okay|_")[1:],
            *("happy|unhappy|_|_", "happy|sad|neutral|_", "like|dislike|_|_", "favorable|unfavorable|_|_", "+|-|_|_"),
            *("thumbs up|thumbs down|_|_", "satisfied|dissatisfied|_|_", "satisfied|unsatisfied|neutral|_", "1|0|_|_"),
            *("praise|criticism|_|_", "praise|complaint|neither|_", "recommend|avoid|_|_", "positive|negative|_|mixed"),
            *("great|terrible|average|_", "pro|con|_|_", "pleased|angry|indifferent|_", "+|-|0|_", "up|down|flat|_"),
            *("positive|negative|unclear|_", "good|bad|neutral|both", "promoter|detractor|passive|_", "love|hate|_|_"),
            *("content|disappointed|_|_", "approving|disapproving|neutral|_", "enthusiastic|critical|factual|_"),
        ),
        meanings=said(
            "positive=positive,happy,full of praise,a good review,favorable,satisfied"
            "|negative=negative,unhappy,angry,critical,a bad review,unfavorable,a complaint"
            "|neutral=neutral,factual,without opinion,neither positive nor negative|mixed=mixed,both good and bad"
        ),
        write=sentiment_text,
    ),
    "urgency": Dimension(
        targets=("urgency", "priority", "severity", "importance"),
        nouns=("ticket", "message", "request", "email", "support ticket", "text", "report", "case"),
        sets=sets(
            "critical|high|medium|low",
            *("_|high|medium|low", "critical|high|medium|low", "_|high|_|low", "_|urgent|_|not urgent") * 2,
            *("urgent|_|_|normal", "urgent|high|normal|low", "P1|P2|P3|P4", "emergency|_|_|routine", "1|2|3|4"),
            *(
                "critical|_|_|minor",
                "blocker|major|normal|trivial",
                "immediate|today|soon|whenever",
                "sev1|sev2|sev3|sev4",
            ),
            *("red|_|yellow|green", "now|_|later|_", "high priority|_|_|low priority", "act now|_|_|can wait"),
            *("_|important|_|unimportant", "very urgent|urgent|somewhat urgent|not urgent", "asap|_|_|no rush"),
        ),
        meanings=said(
            "critical=critical,an emergency,a total outage,very urgent|high=urgent,pressing,high priority,needed today"
            "|medium=of medium priority,needed this week,somewhat urgent|low=not urgent,low priority,able to wait"
        ),
        write=tone_text,
    ),
    "spam": Dimension(
        targets=("kind", "class", "category", "type"),
        nouns=("email", "message", "mail", "text message", "SMS", "comment"),
        sets=sets(
            "spam|ham",
            *(
                "spam|ham",
                "spam|not spam",
                "spam|ok",
                "junk|inbox",
                "spam|legitimate",
                "scam|genuine",
                "unwanted|wanted",
            ),
            *("spam|no spam", "advertising|personal", "suspicious|safe", "block|allow", "reject|accept", "trash|keep"),
        ),
        meanings=said(
            "spam=spam,an unwanted advertisement,a scam,junk|ham=a normal message,legitimate,not spam,personal"
        ),
        write=tone_text,
    ),
    "emotion": Dimension(
        targets=("emotion", "feeling", "mood"),
        nouns=("text", "sentence", "message", "post", "diary entry", "line"),
        sets=sets(
            "joy|anger|sadness|fear|surprise",
            *("joy|anger|sadness|fear|surprise", "joy|anger|sadness|fear|_", "joy|_|sadness|_|_") * 2,
            *("happy|angry|sad|scared|surprised", "happy|angry|sad|afraid|_", "happiness|rage|grief|fear|astonishment"),
            *(
                "joy|anger|_|_|_",
                "joy|anger|sadness|_|_",
                "happy|_|sad|_|_",
                "_|anger|sadness|fear|_",
                "_|angry|sad|_|_",
            ),
            *("joyful|angry|sad|fearful|amazed", "glad|mad|sad|_|_", "_|anger|_|fear|surprise", "_|angry|_|afraid|_"),
        ),
        meanings=said(
            "joy=joyful,happy,cheerful|anger=angry,furious,mad|sadness=sad,about grief,heartbroken"
            "|fear=fearful,scared,anxious|surprise=surprised,amazed,astonished"
        ),
        write=tone_text,
    ),
    "intent": Dimension(
        targets=("intent", "intention", "purpose", "kind", "type"),
        nouns=("message", "request", "text", "customer message", "sentence", "utterance"),
        sets=sets(
            "question|request|complaint|praise",
            *("question|request|complaint|praise", "question|request|complaint|_", "question|_|complaint|_") * 2,
            *(
                "question|order|complaint|compliment",
                "_|_|complaint|praise",
                "ask|do|complain|thank",
                "_|request|_|praise",
            ),
            *(
                "question|statement|_|_",
                "information|action|grievance|kudos",
                "_|request|complaint|_",
                "query|task|issue|thanks",
            ),
        ),
        meanings=said(
            "question=a question,asking for information|request=a request,an order to do something,asking for an action"
            "|complaint=a complaint,a report of a problem,dissatisfied|praise=praise,a compliment,thankful"
        ),
        write=tone_text,
    ),
    "politeness": Dimension(
        targets=("tone", "politeness", "manner", "style"),
        nouns=("message", "sentence", "text", "reply", "email"),
        sets=sets(
            "polite|rude",
            *(
                "polite|rude",
                "polite|impolite",
                "friendly|rude",
                "kind|insulting",
                "respectful|disrespectful",
                "ok|toxic",
            ),
            *("civil|uncivil", "not toxic|toxic", "clean|abusive", "acceptable|offensive", "nice|mean"),
        ),
        meanings=said("polite=polite,friendly,respectful,kind|rude=rude,insulting,offensive,toxic,impolite"),
        write=tone_text,
    ),
    "formality": Dimension(
        targets=("style", "register", "formality", "tone"),
        nouns=("text", "sentence", "message", "letter", "line"),
        sets=sets(
            "formal|informal",
            *(
                "formal|informal",
                "formal|casual",
                "business|private",
                "official|colloquial",
                "formal|slang",
                "letter|chat",
            ),
        ),
        meanings=said("formal=formal,official,a business letter|informal=informal,casual,slang,colloquial"),
        write=tone_text,
    ),
    "fact": Dimension(
        targets=("kind", "type", "nature"),
        nouns=("statement", "sentence", "claim", "text"),
        sets=sets(
            "fact|opinion",
            *("fact|opinion", "factual|opinion", "objective|subjective", "fact|view", "statement of fact|opinion"),
            *("report|comment", "neutral fact|personal opinion", "factual|personal", "checkable|taste"),
        ),
        meanings=said("fact=a fact,factual,objective|opinion=an opinion,subjective,a personal view"),
        write=tone_text,
    ),
    "topic": Dimension(
        targets=("topic", "subject", "theme", "category", "section", "subject area"),
        nouns=("text", "article", "headline", "news item", "sentence", "post", "message", "snippet"),
        sets=Pool(({},)),
        meanings={topic: (topic, f"about {topic}", f"on the topic of {topic}") for topic in TOPICS},
        write=topic_text,
    ),
}
WEIGHTS = {"sentiment": 7, "topic": 5, "urgency": 3}
KINDS = tuple(kind for kind in DIMENSIONS for _ in range(WEIGHTS.get(kind, 2)))
ABOUT = Pool(
    (
        "Classify the {target} of the {noun}.",
        "Classify the {target} of this {noun}",
        "What is the {target} of this {noun}?",
        "What {target} does this {noun} have?",
        "Determine the {target} of the following {noun}.",
        "Which {target} fits this {noun}?",
        "Label the {noun} by {target}.",
        "Tell me the {target} of the {noun}.",
        "Please classify this {noun} by its {target}.",
        "Give the {target} of the {noun} below.",
        "{target}?",
        "{target}:",
        "I need the {target} of this {noun}.",
        "Sort the {noun} by {target}.",
        "Decide on the {target} of the {noun}.",
        "Assign a {target} to this {noun}.",
        "Find the {target}.",
        "Identify the {target} of this {noun}.",
        "Can you tell the {target} of this {noun}?",
        "Rate the {target} of this {noun}.",
        "Detect the {target} in the {noun}.",
        "Analyze the {noun} and name its {target}.",
        "Task: {target} classification.",
        "Read the {noun} and choose its {target}.",
        "How would you label the {target} of this {noun}?",
        "What's the {target} here?",
    )
)
GENERIC = Pool(
    (
        "Classify this {noun}.",
        "Classify the following {noun}.",
        "Choose the right label for the {noun}.",
        "Put this {noun} into one category.",
        "Sort this {noun}.",
        "Which label fits?",
        "Label this {noun}.",
        "Pick the label that fits the {noun} best.",
        "What kind of {noun} is this?",
        "Categorize the {noun}.",
        "",
        "Tag the {noun} with one label.",
        "Into which class does this {noun} belong?",
        "Please sort the following {noun}.",
        "Choose a category for this {noun}.",
        "Decide what this {noun} is.",
    )
)
ASKED = Pool(
    (
        "Is this {noun} {meaning}?",
        "Is the following {noun} {meaning}?",
        "Decide if the {noun} is {meaning}.",
        "The {noun} is {meaning}.",
        "Would you say that this {noun} is {meaning}?",
        "Check whether this {noun} is {meaning}.",
        "Claim: the {noun} is {meaning}.",
        "Tell me whether the {noun} is {meaning}.",
        "Does this count as {meaning}?",
    )
)
CLOSE = frozenset({"critical", "medium", "neutral", "mixed", "request"})
"""Classes too close to another one for a plain yes or no."""
VERDICTS = Pool(
    (
        *(("yes", "no"), ("yes", "no"), ("true", "false"), ("Yes", "No"), ("1", "0"), ("correct", "incorrect")),
        *(("True", "False"), ("right", "wrong"), ("agree", "disagree"), ("ok", "not ok"), ("YES", "NO")),
        *(("Y", "N"), ("TRUE", "FALSE")),
    )
)


def topic_labels(rng: random.Random, _split: Split) -> dict[str, str]:
    """Choose topics and what they are called."""
    topics = rng.sample(tuple(TOPICS), rng.choice((2, 3, 3, 4, 4, 5, 6, 8, rng.randint(2, TOPICS_MAX))))
    return {topic: rng.choice(ALIASES[topic]) if topic in ALIASES and chance(rng, 0.2) else topic for topic in topics}


def instruction(rng: random.Random, split: Split, dimension: Dimension) -> str:
    """Ask for the class of a text."""
    template = (ABOUT if chance(rng, 0.6) else GENERIC).pick(rng, split)
    asked = template.format(target=rng.choice(dimension.targets), noun=rng.choice(dimension.nouns))
    return polite(rng, split, varied(rng, asked)) if asked else ""


def unlisted(rng: random.Random, split: Split) -> Example:
    """Name no labels: the usual three words answer for a sentiment, a sentence of one word for a question."""
    if chance(rng, 0.5):
        question, truth, text = judged(rng, split)
        return Example(
            task="unlisted",
            messages=laid_out(rng, split, polite(rng, split, question), "", text),
            answer=says("Yes." if truth else "No."),
        )
    truth = rng.choice(("positive", "negative", "neutral"))
    asked = ABOUT.pick(rng, split).format(target="sentiment", noun=rng.choice(DIMENSIONS["sentiment"].nouns))
    messages = laid_out(rng, split, polite(rng, split, asked), "", sentiment_text(rng, split, truth))
    return Example(task="unlisted", messages=messages, answer=says(truth))


def classify(rng: random.Random, split: Split) -> Example:
    """Ask for one of the labels named, in words that mean something or in synthetic ones that the prompt explains."""
    kind = rng.choice(KINDS)
    dimension = DIMENSIONS[kind]
    labels = topic_labels(rng, split) if kind == "topic" else dict(dimension.sets.pick(rng, split))
    classes = list(labels)
    rng.shuffle(classes)
    truth = rng.choice(classes)
    text = dimension.write(rng, split, truth)
    coded = chance(rng, 0.3)
    words = synthetic(rng, split, len(classes)) if coded else recased(rng, [labels[name] for name in classes])
    shown = dict(zip(classes, words, strict=True))
    listing = named(rng, split, words)
    if coded or chance(rng, 0.08):
        meanings = {shown[name]: rng.choice(dimension.meanings[name]) for name in classes}
        listing = explained(rng, split, meanings)
    messages = laid_out(rng, split, instruction(rng, split, dimension), listing, text)
    return Example(task="classify", messages=messages, answer=says(shown[truth]))


def judged(rng: random.Random, split: Split) -> tuple[str, bool, str]:
    """Write a text, a question whether it is of a class, and whether it is."""
    kind = rng.choice(KINDS)
    dimension = DIMENSIONS[kind]
    classes = list(topic_labels(rng, split) if kind == "topic" else dimension.sets.pick(rng, split))
    apart = [name for name in classes if name not in CLOSE]
    classes = apart if len(apart) > 1 else classes
    truth, asked = rng.choice(classes), rng.choice(classes)
    if chance(rng, 0.4):
        asked = truth
    meaning = rng.choice(dimension.meanings[asked])
    question = ASKED.pick(rng, split).format(noun=rng.choice(dimension.nouns), meaning=meaning)
    return question, truth == asked, dimension.write(rng, split, truth)


def verdict(rng: random.Random, split: Split) -> Example:
    """Ask whether a text is of a class."""
    question, truth, text = judged(rng, split)
    yes, no = VERDICTS.pick(rng, split)
    listing = named(rng, split, [yes, no] if chance(rng, 0.7) else [no, yes])
    messages = laid_out(rng, split, varied(rng, question), listing, text)
    return Example(task="verdict", messages=messages, answer=says(yes if truth else no))


MAKERS: dict[str, Make] = {"classify": classify, "verdict": verdict, "unlisted": unlisted}
