"""What short texts are sorted by: sentiment, urgency, topic and others, with texts and label sets of every class."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from examples import Split

from tasks.lists import Pool, chance, pools, sections
from tasks.sentiments import sentiment_text
from tasks.values import DRAWS
from tasks.wording import varied

Labels = Mapping[str, str]
TONES = pools("tones")
TOPICS = {title: words for title, words in sections("topics").items() if title not in {"aliases", "frame"}}
URGENCY = frozenset({"critical", "high", "medium", "low"})
ISSUES = Pool([line for key in ("billing", "shipping", "returns", "accounts", "hr") for line in sections("route")[key]])
FRAMES = Pool(sections("topics")["frame"])
WORD_MIN = 3
SLOT = re.compile(r"\{(\w+)\}")


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
    """Read label sets: one a line, in the order of the classes, `_` where a class is left out.

    What is listed more than once is usual: it is drawn more often and always in training.
    """
    usual = [line for line in lines if lines.count(line) > 1]
    found = Pool([line for line in lines if line not in usual])
    read = Pool[Labels](())
    read.train = tuple(labels_of(classes, line) for line in (*usual, *found.train))
    read.held_out = tuple(labels_of(classes, line) for line in found.held_out)
    return read


def words_of(pool: Pool[Labels]) -> Mapping[str, tuple[str, ...]]:
    """Collect the words of each class from its label sets, without codes and without words that have two classes."""
    classes: dict[str, set[str]] = {}
    for labels in (*pool.train, *pool.held_out):
        for kind, label in labels.items():
            classes.setdefault(label, set()).add(kind)
    found: dict[str, tuple[str, ...]] = {}
    for label, (kind, *others) in ((label, sorted(kinds)) for label, kinds in classes.items()):
        if not others and len(label) >= WORD_MIN and label.replace(" ", "").isalpha():
            found[kind] = (*found.get(kind, ()), label)
    return found


def labels_of(classes: str, line: str) -> Labels:
    """Read one label set."""
    pairs = zip(classes.split("|"), line.split("|"), strict=True)
    return {kind: label for kind, label in pairs if label != "_"}


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

WORDS = {kind: words_of(dimension.sets) for kind, dimension in DIMENSIONS.items()}
"""By dimension and class: words that stand for this class alone in any of the sets."""
