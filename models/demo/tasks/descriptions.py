"""Package descriptions in a distribution's manner, from our own phrases: a synopsis and one to three paragraphs."""

import random
import textwrap

from tasks.packages import chance, package_name, technical, version, word
from tasks.phrases import expand, sentences

_THINGS = (
    "library",
    "shared library",
    "command line tool",
    "daemon",
    "text editor",
    "parser",
    "compiler",
    "web server",
    "mail reader",
    "terminal emulator",
    "font family",
    "file manager",
    "graphical front end",
    "scripting language",
    "database client",
    "set of utilities",
    "plugin",
    "kernel module",
    "network monitor",
    "archive manager",
    "image viewer",
    "debugger",
    "runtime",
    "framework",
    "toolkit",
    "codec",
    "package manager",
    "shell",
    "Python module",
    "Perl module",
    "collection of scripts",
    "spell checker",
    "PDF viewer",
    "media player",
    "window manager",
    "HTTP client",
    "linker",
    "documentation generator",
    "backup program",
    "key manager",
    "calendar",
    "X11 client",
    "driver",
    "input method",
    "regular expression engine",
)
_VERBS = (
    "reading",
    "writing",
    "parsing",
    "converting",
    "displaying",
    "encrypting",
    "compressing",
    "managing",
    "monitoring",
    "testing",
    "building",
    "downloading",
    "searching",
    "sorting",
    "validating",
    "drawing",
    "mounting",
    "configuring",
    "indexing",
    "editing",
    "playing",
    "recording",
    "signing",
    "comparing",
    "merging",
    "scheduling",
    "rendering",
    "copying",
    "handling",
    "profiling",
    "tracing",
    "packaging",
)
_OBJECTS = (
    "files",
    "XML documents",
    "network packets",
    "configuration files",
    "large data sets",
    "images",
    "audio streams",
    "Unicode strings",
    "user accounts",
    "log files",
    "email messages",
    "fonts",
    "disk partitions",
    "time zones",
    "certificates",
    "JSON data",
    "database tables",
    "processes",
    "patches",
    "keyboard layouts",
    "man pages",
    "video",
    "source code",
    "binary objects",
    "address books",
    "message queues",
    "passwords",
    "USB devices",
    "archives",
    "text in many languages",
    "memory",
    "threads",
    "regular expressions",
    "spreadsheets",
    "maps",
    "bitmaps",
    "calendars",
    "sockets",
    "tarballs",
)
_ADJECTIVES = (
    "small",
    "fast",
    "simple",
    "portable",
    "flexible",
    "powerful",
    "lightweight",
    "extensible",
    "modern",
    "secure",
    "free",
    "graphical",
    "generic",
    "high-level",
    "reliable",
)
_TAILS = (
    "development files",
    "documentation",
    "runtime",
    "shared library",
    "common files",
    "debug symbols",
    "Python 3 bindings",
    "tools",
    "data files",
    "static library",
    "header files",
    "examples",
    "Perl bindings",
    "client programs",
    "transitional package",
    "architecture-independent files",
    "C++ interface",
    "plugins",
)

_SLOTS = {"{tail}": _TAILS, "{thing}": _THINGS, "{verb}": _VERBS, "{objs}": _OBJECTS, "{adj}": _ADJECTIVES}


def _fill(rng: random.Random, form: str) -> str:
    for slot, choices in _SLOTS.items():
        while slot in form:
            form = form.replace(slot, rng.choice(choices), 1)
    for slot in ("{x}", "{y}"):
        while slot in form:
            form = form.replace(slot, package_name(rng) if chance(rng, 0.6) else technical(rng), 1)
    return expand(rng, form)


def _sentence(rng: random.Random) -> str:
    return _fill(rng, rng.choice(sentences("prose/descriptions", "train")))


def synopsis(rng: random.Random) -> str:
    """Write the one-line summary."""
    forms = (
        "{adj} {thing} for {verb} {objs}",
        "{thing} for {verb} {objs}",
        "{x} - {tail}",
        "{thing} ({tail})",
        "{verb} {objs} with {x}",
        "{x} {thing}",
        "{adj} {thing}",
        "{thing} - {tail}",
        "{x} ({tail})",
        "{tail} for {x}",
        "GNU {thing}",
        "{objs} {thing} - {tail}",
        "{thing} for {x}",
    )
    return _fill(rng, rng.choice(forms))


def blurb(rng: random.Random) -> str:
    """Write the long part, wrapped, paragraphs parted by a line with a dot."""
    paragraphs = [" ".join(_sentence(rng) for _ in range(rng.randint(1, 4))) for _ in range(rng.choice([1, 1, 2, 3]))]
    wrapped = [textwrap.fill(paragraph, rng.randint(60, 79), break_on_hyphens=False) for paragraph in paragraphs]
    if chance(rng, 0.2):
        wrapped.append(
            "\n".join(f" {rng.choice('*-')} {_fill(rng, '{verb} {objs}')}" for _ in range(rng.randint(2, 4)))
        )
    return "\n.\n".join(wrapped)


def description(rng: random.Random) -> str:
    """Write a whole description as a record shows it, or only its words."""
    short, rest = synopsis(rng), blurb(rng)
    lines = "\n".join(f" {line}" for line in rest.split("\n"))
    looks = (
        f"{short}\n{lines}",
        f"Description: {short}\n{lines}",
        stanza_tail(rng),
        f"{short}\n\n{rest}".replace("\n.\n", "\n\n"),
        rest.replace("\n.\n", "\n\n"),
    )
    return rng.choices(looks, (8, 4, 1, 1, 1))[0]


def stanza_tail(rng: random.Random) -> str:
    """Write the end of a record: relations, then the description."""
    return f"Depends: {package_name(rng)} (>= {version(rng)}), {word(rng)}\nDescription: {synopsis(rng)}\n " + blurb(
        rng
    ).replace("\n", "\n ")
