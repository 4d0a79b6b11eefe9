"""Random names, versions, paths and people as package records have them.

They never come from a short list alone, so that copying is learned.
"""

import random
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits

_ENTRIES = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").replace("\n  ", " ").splitlines()
_LISTS = {name: words.split() for name, words in (line.split(": ", 1) for line in _ENTRIES)}
_ONSETS = _LISTS["onsets"]
_VOWELS = _LISTS["vowels"]
_CODAS = ["", "", "", "", *_LISTS["codas"]]

WORDS = _LISTS["words"]

SECTIONS = _LISTS["sections"]

ARCHITECTURES = _LISTS["architectures"]
_SUFFIXES = (
    "",
    "",
    "",
    "-dev",
    "-doc",
    "-bin",
    "-common",
    "-data",
    "-utils",
    "-tools",
    "-dbg",
    "-perl",
    "-java",
    "-modules",
    "-client",
    "-server",
    "-extra",
)
_PRODUCTS = _LISTS["products"]
_FOLDERS = _LISTS["folders"]
_VARIABLES = _LISTS["variables"]
_FIRST = _LISTS["first"]


def chance(rng: random.Random, share: float) -> bool:
    """Draw yes with the given probability (0-1)."""
    return rng.random() < share


def syllables(rng: random.Random, most: int = 3) -> str:
    """Make up a pronounceable lower-case word of one to `most` syllables."""
    parts = (rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, most)))
    return "".join(parts)


def word(rng: random.Random) -> str:
    """Give a technical word, a made-up one, or, rarely, letters and digits without sense."""
    draw = rng.random()
    if chance(rng, 0.1):
        return rng.choice(ascii_lowercase) + "".join(rng.choices(ascii_lowercase + digits, k=rng.randint(1, 7)))
    return rng.choice(WORDS) if draw > 0.45 else syllables(rng)  # noqa: PLR2004  # a share


def package_name(rng: random.Random) -> str:
    """Make up a package name in the manner of a distribution."""
    stem = word(rng) if chance(rng, 0.6) else f"{word(rng)}{rng.choice(['-', '-', '', '+', '.'])}{word(rng)}"
    number = rng.choice(
        ["", str(rng.randint(0, 12)), f"{rng.randint(1, 9)}.{rng.randint(0, 40)}", f"-{rng.randint(0, 6)}"]
    )
    shape = rng.randrange(8)
    if shape <= 2:  # noqa: PLR2004  # three shapes of eight
        return f"lib{stem}{number}{rng.choice(_SUFFIXES)}"
    if shape == 3:  # noqa: PLR2004  # one shape
        realm = rng.choice(["python3", "golang", "ruby", "node", "fonts", "gir1.2", "r-cran", "php", "libghc", "linux"])
        return f"{realm}-{stem}"
    return f"{stem}{number if chance(rng, 0.3) else ''}{rng.choice(_SUFFIXES)}".removesuffix(".")


def version(rng: random.Random) -> str:
    """Make up a version, with epochs, tildes, `+dfsg` and revisions now and then."""
    sizes = [rng.choice([rng.randint(0, 9), rng.randint(0, 40), rng.randint(0, 400)]) for _ in range(rng.randint(1, 4))]
    upstream = ".".join(map(str, sizes))
    if chance(rng, 0.1):
        upstream = f"{rng.randint(1998, 2026)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    extra = [
        "",
        "",
        "",
        "",
        "+dfsg",
        "+dfsg1",
        "~rc1",
        "~beta2",
        "a",
        "b",
        "~git2022" + str(rng.randint(1000, 1231)),
        "+ds",
        ".post1",
        "+nmu1",
    ]
    revision = [
        "",
        f"-{rng.randint(0, 12)}",
        f"-{rng.randint(1, 9)}",
        f"-{rng.randint(1, 9)}",
        f"-{rng.randint(0, 3)}.{rng.randint(1, 4)}",
    ]
    tail = [
        "",
        "",
        "",
        "",
        f"+b{rng.randint(1, 9)}",
        f"+deb{rng.randint(9, 13)}u{rng.randint(1, 5)}",
        f"ubuntu{rng.randint(1, 9)}",
        "~bpo12+1",
    ]
    epoch = f"{rng.randint(1, 5)}:" if chance(rng, 0.12) else ""
    return epoch + upstream + rng.choice(extra) + rng.choice(revision) + rng.choice(tail)


def person(rng: random.Random) -> str:
    """Make up a first and a family name."""
    return f"{rng.choice(_FIRST) if chance(rng, 0.7) else syllables(rng, 2).capitalize()} {syllables(rng).capitalize()}"


def maintainer(rng: random.Random) -> str:
    """Make up a maintainer or a team with an address."""
    if chance(rng, 0.45):
        topic = word(rng)
        kind, house = (
            rng.choice(["Maintainers", "Team", "Group"]),
            rng.choice(["Debian", "Ubuntu", syllables(rng, 2).title()]),
        )
        who = f"{house} {topic.capitalize()} {kind}"
        team, host = rng.choice(["pkg-", "team+", "debian-", ""]), rng.choice(["lists", "tracker", "alioth"])
        return f"{who} <{team}{topic}@{host}.{word(rng)}.org>"
    name = person(rng)
    login = rng.choice([name.split()[0], name.replace(" ", "."), syllables(rng, 2)]).lower()
    return f"{name} <{login}@{word(rng)}.{rng.choice(['org', 'net', 'com', 'de', 'io', 'fr'])}>"


def path(rng: random.Random) -> str:
    """Make up a path on a Unix machine."""
    inner = rng.choice([word(rng), package_name(rng), f"{word(rng)}/{word(rng)}"])
    ending = rng.choice(
        ["", "", ".conf", ".d", ".txt", "/README", ".log", ".cfg", "/config", ".service", "/NEWS.Debian.gz"]
    )
    return f"{rng.choice(_FOLDERS)}/{inner}{ending}"


def technical(rng: random.Random) -> str:
    """Give something that stands untranslated in any language: a product, package, path, variable, option or code."""
    shape = rng.randrange(11)
    if shape <= 3:  # noqa: PLR2004  # four shapes of eleven
        return rng.choice(_PRODUCTS)
    makers = (
        lambda: package_name(rng),
        lambda: path(rng),
        lambda: "${" + rng.choice(_VARIABLES) + "}",
        lambda: f"--{word(rng)}",
        lambda: f"{word(rng)}({rng.randint(1, 8)})",
        lambda: syllables(rng, 2).capitalize() + (rng.choice(WORDS).capitalize() if chance(rng, 0.3) else ""),
        lambda: "".join(rng.choices(ascii_uppercase + digits + "_", k=rng.randint(2, 8))),
    )
    return makers[shape - 4]()


def cut(text: str, bytes_max: int) -> str:
    """Keep what fits into so many bytes of UTF-8, never half a character."""
    return text.encode()[:bytes_max].decode(errors="ignore")
