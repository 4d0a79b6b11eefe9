"""Package descriptions in a distribution's manner, put together from our own phrases: a synopsis and one to three paragraphs."""

import random
import textwrap

from tasks.packages import chance, package_name, technical, version, word

_THINGS = (
    "library", "shared library", "command line tool", "daemon", "text editor", "parser", "compiler", "web server", "mail reader", "terminal emulator",
    "font family", "file manager", "graphical front end", "scripting language", "database client", "set of utilities", "plugin", "kernel module",
    "network monitor", "archive manager", "image viewer", "debugger", "runtime", "framework", "toolkit", "codec", "package manager", "shell",
    "Python module", "Perl module", "collection of scripts", "spell checker", "PDF viewer", "media player", "window manager", "HTTP client", "linker",
    "documentation generator", "backup program", "key manager", "calendar", "X11 client", "driver", "input method", "regular expression engine",
)  # fmt: skip
_VERBS = (
    "reading", "writing", "parsing", "converting", "displaying", "encrypting", "compressing", "managing", "monitoring", "testing", "building",
    "downloading", "searching", "sorting", "validating", "drawing", "mounting", "configuring", "indexing", "editing", "playing", "recording",
    "signing", "comparing", "merging", "scheduling", "rendering", "copying", "handling", "profiling", "tracing", "packaging",
)  # fmt: skip
_OBJECTS = (
    "files", "XML documents", "network packets", "configuration files", "large data sets", "images", "audio streams", "Unicode strings", "user accounts",
    "log files", "email messages", "fonts", "disk partitions", "time zones", "certificates", "JSON data", "database tables", "processes", "patches",
    "keyboard layouts", "man pages", "video", "source code", "binary objects", "address books", "message queues", "passwords", "USB devices", "archives",
    "text in many languages", "memory", "threads", "regular expressions", "spreadsheets", "maps", "bitmaps", "calendars", "sockets", "tarballs",
)  # fmt: skip
_ADJECTIVES = "small fast simple portable flexible powerful lightweight extensible modern secure free graphical generic high-level reliable".split()
_TAILS = (
    "development files", "documentation", "runtime", "shared library", "common files", "debug symbols", "Python 3 bindings", "tools", "data files", "static library",
    "header files", "examples", "Perl bindings", "client programs", "transitional package", "architecture-independent files", "C++ interface", "plugins",
)  # fmt: skip
_SENTENCES = (
    "This package contains the {tail}.", "This package contains the {tail} for {x}.", "{x} is a {adj} {thing} for {verb} {objs}.",
    "This package provides the {tail} needed for {verb} {objs}.", "It supports {verb} {objs} and {objs2}.", "It can be used for {verb} {objs}.",
    "This package includes the {tail} and headers used to build programs with {x}.", "This is a dummy package. It can safely be removed.",
    "This is a transitional package that eases the move from {x} to {y}.", "The {thing} was written to make {verb} {objs} easier.",
    "Install this package if you wish to develop your own programs using {x}.", "{x} aims to be {adj}, {adj2} and easy to use.",
    "It depends on the default {thing} for this release.", "Features include {verb} {objs}, {verb} {objs2} and support for {y}.",
    "The library is meant for {verb} {objs}; it has bindings for Python, Perl and Ruby.", "For most users, installing {x} is enough.",
    "This metapackage depends on everything needed for {verb} {objs}.", "It is intended for use by applications that need a {adj} way of {verb} {objs}.",
    "Unlike other tools of its kind, it does not need {y}.", "{x} implements the {y} protocol and is used by many programs.",
    "The following programs are part of this package: {x}, {y} and {z}.", "This package has the {tail}; the programs are in {y}.",
    "It was split from {x} so that it can be installed without {objs}.", "You need this package to compile software against {x}.",
    "It is usually not necessary to install it by hand.", "Users of {y} should have a look at {x} instead.", "{x} is part of the {y} project.",
    "The {thing} comes with a {adj} interface and a {thing2}.", "Among its features are: {verb} {objs}, a {adj} {thing2} and {verb} {objs2}.",
    "This version was built without {y} support.", "It provides a {adj} API for {verb} {objs}.", "Programs that use it are linked against {x}.",
)  # fmt: skip


def _fill(rng: random.Random, form: str) -> str:
    for slot, choices in (
        ("{tail}", _TAILS), ("{thing}", _THINGS), ("{thing2}", _THINGS), ("{verb}", _VERBS), ("{objs}", _OBJECTS), ("{objs2}", _OBJECTS),
        ("{adj}", _ADJECTIVES), ("{adj2}", _ADJECTIVES),
    ):  # fmt: skip
        while slot in form:
            form = form.replace(slot, rng.choice(choices), 1)
    for slot in ("{x}", "{y}", "{z}"):
        while slot in form:
            form = form.replace(slot, package_name(rng) if chance(rng, 0.6) else technical(rng), 1)
    return form


def synopsis(rng: random.Random) -> str:
    """Write the one-line summary."""
    forms = (
        "{adj} {thing} for {verb} {objs}", "{thing} for {verb} {objs}", "{x} - {tail}", "{thing} ({tail})", "{verb} {objs} with {x}", "{x} {thing}",
        "{adj} {thing}", "{thing} - {tail}", "{x} ({tail})", "{tail} for {x}", "GNU {thing}", "{objs} {thing} - {tail}", "{thing} for {x}",
    )  # fmt: skip
    return _fill(rng, rng.choice(forms))


def blurb(rng: random.Random) -> str:
    """Write the long part, wrapped, paragraphs parted by a line with a dot."""
    paragraphs = [" ".join(_fill(rng, rng.choice(_SENTENCES)) for _ in range(rng.randint(1, 4))) for _ in range(rng.choice([1, 1, 2, 3]))]
    wrapped = [textwrap.fill(paragraph, rng.randint(60, 79), break_on_hyphens=False) for paragraph in paragraphs]
    if chance(rng, 0.2):
        wrapped.append("\n".join(f" {rng.choice('*-')} {_fill(rng, '{verb} {objs}')}" for _ in range(rng.randint(2, 4))))
    return "\n.\n".join(wrapped)


def description(rng: random.Random) -> str:
    """Write a whole description as a record shows it, or only its words."""
    short, rest = synopsis(rng), blurb(rng)
    shape = rng.randrange(5)
    if shape == 0:
        return f"{short}\n\n{rest.replace(chr(10) + '.' + chr(10), chr(10) + chr(10))}"
    if shape == 1:
        return rest.replace("\n.\n", "\n\n")
    lines = "\n".join(f" {line}" for line in rest.split("\n"))
    return f"Description: {short}\n{lines}" if shape == 2 else f"{short}\n{lines}"  # noqa: PLR2004  # one shape


def stanza_tail(rng: random.Random) -> str:
    """Write the end of a record: relations, then the description."""
    return f"Depends: {package_name(rng)} (>= {version(rng)}), {word(rng)}\nDescription: {synopsis(rng)}\n " + blurb(rng).replace("\n", "\n ")
