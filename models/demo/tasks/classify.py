"""Sort a short text under one of the labels that the prompt names.

Whole texts, wordings, label sets and names are kept out of training. Single words that carry a class ("awful", "goal")
are not: a model that starts from nothing knows only the words it has read.
"""

import random

from examples import Example, Make, Split, says

from tasks.dimensions import DIMENSIONS, TOPICS, WORDS, Dimension
from tasks.labels import explained, laid_out, named, recased, synthetic
from tasks.lists import Pool, chance, sections
from tasks.sentiments import sentiment_text
from tasks.wording import polite, varied

ALIASES = {key: values.split(",") for key, values in (entry.split("=") for entry in sections("topics")["aliases"])}
TOPICS_MAX = 14
MIXED_SHARE = 0.5
WEIGHTS = {"sentiment": 7, "topic": 5, "urgency": 3}
KINDS = tuple(kind for kind in DIMENSIONS for _ in range(WEIGHTS.get(kind, 2)))
ABOUT = Pool(
    (
        "^Classify the {target} of the {noun}.",
        "Classify the {target} of this {noun}",
        "^What is the {target} of this {noun}?",
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
        "^Is this {noun} {meaning}?",
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


def labels_for(rng: random.Random, split: Split, kind: str) -> dict[str, str]:
    """Choose labels by class; training also puts sets of its own together, none of them one of those held out."""
    if kind == "topic":
        return topic_labels(rng, split)
    listed = DIMENSIONS[kind].sets
    labels = dict(listed.pick(rng, split))
    if split == "train" and chance(rng, MIXED_SHARE):
        mixed = {name: rng.choice(WORDS[kind].get(name, (label,))) for name, label in labels.items()}
        return labels if mixed in listed.held_out else mixed
    return labels


def instruction(rng: random.Random, split: Split, dimension: Dimension) -> str:
    """Ask for the class of a text."""
    template = (ABOUT if chance(rng, 0.6) else GENERIC).pick(rng, split)
    asked = template.format(target=rng.choice(dimension.targets), noun=rng.choice(dimension.nouns))
    return polite(rng, split, varied(rng, asked)) if asked else ""


def unlisted(rng: random.Random, split: Split) -> Example:
    """Name no labels: the usual three words answer for a sentiment, a sentence of one word for a question."""
    if chance(rng, 0.5):
        question, agreed, text = judged(rng, split)
        return Example(
            task="unlisted",
            messages=laid_out(rng, split, polite(rng, split, question), "", text),
            answer=says("Yes." if agreed else "No."),
        )
    truth = rng.choice(("positive", "negative", "neutral"))
    asked = ABOUT.pick(rng, split).format(target="sentiment", noun=rng.choice(DIMENSIONS["sentiment"].nouns))
    messages = laid_out(rng, split, polite(rng, split, asked), "", sentiment_text(rng, split, truth))
    return Example(task="unlisted", messages=messages, answer=says(truth))


def classify(rng: random.Random, split: Split) -> Example:
    """Ask for one of the labels named, in words that mean something or in synthetic ones that the prompt explains."""
    kind = rng.choice(KINDS)
    dimension = DIMENSIONS[kind]
    labels = labels_for(rng, split, kind)
    classes = list(labels)
    rng.shuffle(classes)
    truth = rng.choice(classes)
    text = dimension.write(rng, split, truth)
    coded = chance(rng, 0.12)
    words = synthetic(rng, split, len(classes)) if coded else recased(rng, [labels[name] for name in classes])
    shown = dict(zip(classes, words, strict=True))
    listing = named(rng, split, words)
    if coded or chance(rng, 0.06):
        meanings = {shown[name]: rng.choice(dimension.meanings[name]) for name in classes}
        listing = explained(rng, split, meanings)
    messages = laid_out(rng, split, instruction(rng, split, dimension), listing, text)
    return Example(task="classify", messages=messages, answer=says(shown[truth]))


def judged(rng: random.Random, split: Split) -> tuple[str, bool, str]:
    """Write a text, a question whether it is of a class, and whether it is."""
    kind = rng.choice(KINDS)
    dimension = DIMENSIONS[kind]
    classes = list(labels_for(rng, split, kind))
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
