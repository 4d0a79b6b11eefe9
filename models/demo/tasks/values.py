"""Values nobody has seen: names, places, codes, dates and amounts, half from lists of many cultures, half coined."""

import random
from collections.abc import Callable

from examples import Split

from tasks.lists import chance, pools

Value = str | int | float | bool
Draw = Callable[[random.Random, Split], Value]

LISTS = pools("values")
ONSETS: tuple[str, ...] = (
    "",
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "qu",
)
ONSETS += ("r", "s", "sh", "sk", "sl", "st", "str", "t", "th", "tr", "v", "w", "x", "y", "z", "zh", "ts", "sv")
PLAIN_NUCLEI = ("a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ie", "io", "oo", "ou", "y")
NUCLEI = (*PLAIN_NUCLEI, *PLAIN_NUCLEI, "ö", "é", "á", "ü")
CODAS = ("", "", "", "n", "r", "s", "l", "m", "t", "k", "x", "nd", "rt", "sh", "ng", "ck", "st", "p", "d")
DIGITS = "0123456789"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def coined(rng: random.Random, syllables_max: int = 3) -> str:
    """Make up a lower-case word."""
    count = rng.randint(1 if syllables_max == 1 else 2, syllables_max)
    return "".join(rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS) for _ in range(count))


def listed(title: str) -> Callable[[random.Random, Split], str]:
    """Make a drawer of one of the lists."""
    pool = LISTS[title]
    return pool.pick


def word(rng: random.Random, split: Split) -> str:
    """Draw a noun or a made-up word."""
    return coined(rng) if chance(rng, 0.5) else LISTS["word"].pick(rng, split)


def first(rng: random.Random, split: Split) -> str:
    """Draw a first name."""
    return coined(rng).capitalize() if chance(rng, 0.35) else LISTS["first"].pick(rng, split)


def last(rng: random.Random, split: Split) -> str:
    """Draw a family name."""
    return coined(rng).capitalize() if chance(rng, 0.35) else LISTS["last"].pick(rng, split)


def name(rng: random.Random, split: Split) -> str:
    """Draw a person's full name."""
    middle = f" {rng.choice(LETTERS)}." if chance(rng, 0.06) else ""
    return f"{first(rng, split)}{middle} {last(rng, split)}"


def any_name(rng: random.Random, split: Split) -> str:
    """Draw a first name or a full name."""
    return first(rng, split) if chance(rng, 0.4) else name(rng, split)


def city(rng: random.Random, split: Split) -> str:
    """Draw a town."""
    if chance(rng, 0.3):
        start = rng.choice(("", "", "", "New ", "Saint ", "Port ", "Bad ", "El ", "North "))
        return start + coined(rng).capitalize() + rng.choice(("", "", "burg", "ville", "ton", "stad", "grad", "polis"))
    return LISTS["city"].pick(rng, split)


def company(rng: random.Random, split: Split) -> str:
    """Draw a company's name."""
    start = word(rng, split).capitalize()
    if chance(rng, 0.3):
        start = last(rng, split)
    elif chance(rng, 0.3):
        start = f"{start} {word(rng, split).capitalize()}"
    return f"{start} {LISTS['company end'].pick(rng, split)}" if chance(rng, 0.75) else start


def digits(rng: random.Random, count: int) -> str:
    """Draw a run of digits."""
    return "".join(rng.choices(DIGITS, k=count))


def letters(rng: random.Random, count: int) -> str:
    """Draw a run of capitals."""
    return "".join(rng.choices(LETTERS, k=count))


def code(rng: random.Random, _split: Split) -> str:
    """Draw a number of an order, a ticket, an invoice, a serial number."""
    style = rng.randrange(9)
    many = rng.randint(3, 6)
    if style == 0:
        return f"{letters(rng, rng.randint(1, 3))}-{digits(rng, many)}"
    if style == 1:
        return f"{letters(rng, 2)}{digits(rng, many)}"
    if style == 2:  # noqa: PLR2004  # one of nine styles
        start = rng.choice(("INV", "ORD", "REF", "TCK", "PO", "CASE", "SKU"))
        return f"{start}-{rng.randint(2015, 2030)}-{digits(rng, 4)}"
    if style == 3:  # noqa: PLR2004
        return f"#{digits(rng, many)}"
    if style == 4:  # noqa: PLR2004
        return rng.choice("abcdef") + "".join(rng.choices("0123456789abcdef", k=rng.randint(5, 9)))
    return rng.choice(
        (
            f"{digits(rng, 3)}-{digits(rng, 4)}",
            f"{letters(rng, 1)}{digits(rng, 2)}",
            f"{letters(rng, 3)}/{digits(rng, 3)}",
            f"{rng.choice(LETTERS)}{digits(rng, 1)}{rng.choice(LETTERS)}-{digits(rng, 3)}",
        )
    )


def version(rng: random.Random, _split: Split) -> str:
    """Draw a version number."""
    parts = ".".join(str(rng.randint(0, 30)) for _ in range(rng.randint(2, 3)))
    end = rng.choice(("", "", "", "-1", "rc1", "-beta.2", "+dfsg-3", "a4", "-2ubuntu1"))
    return rng.choice(("", "", "", "v")) + parts + end


def email(rng: random.Random, split: Split) -> str:
    """Draw a mail address."""
    local = word(rng, split)
    if chance(rng, 0.5):
        local += rng.choice((".", "_", "-", "")) + rng.choice((word(rng, split), digits(rng, 2)))
    return f"{local}@{word(rng, split)}.{LISTS['domain'].pick(rng, split)}"


def phone(rng: random.Random, _split: Split) -> str:
    """Draw a telephone number."""
    return rng.choice(
        (
            f"+{rng.randint(1, 99)} {digits(rng, 3)} {digits(rng, 3)} {digits(rng, 4)}",
            f"({digits(rng, 3)}) {digits(rng, 3)}-{digits(rng, 4)}",
            f"0{digits(rng, 2)} {digits(rng, 7)}",
            f"555-{digits(rng, 4)}",
        )
    )


def date(rng: random.Random, split: Split) -> str:
    """Draw a date in one of the ways dates are written."""
    year, month, day = rng.randint(1950, 2035), rng.randint(1, 12), rng.randint(1, 28)
    written = LISTS["month"].pick(rng, split)
    return rng.choice(
        (
            f"{year}-{month:02}-{day:02}",
            f"{year}-{month:02}-{day:02}",
            f"{day:02}/{month:02}/{year}",
            f"{day}.{month}.{year}",
            f"{written} {day}, {year}",
            f"{day} {written} {year}",
            f"{written} {day}",
        )
    )


def hour(rng: random.Random, _split: Split) -> str:
    """Draw a time of day."""
    minute = rng.choice((0, 15, 30, 45, rng.randint(0, 59)))
    if chance(rng, 0.3):
        return f"{rng.randint(1, 12)}:{minute:02} {rng.choice(('am', 'pm'))}"
    return f"{rng.randint(0, 23):02}:{minute:02}"


def day(rng: random.Random, split: Split) -> str:
    """Draw a weekday."""
    return LISTS["weekday"].pick(rng, split)


def small(rng: random.Random, _split: Split) -> int:
    """Draw a count."""
    return rng.randint(1, 12) if chance(rng, 0.6) else rng.randint(2, 99)


def age(rng: random.Random, _split: Split) -> int:
    """Draw an age in years."""
    return rng.randint(3, 98)


def large(rng: random.Random, _split: Split) -> int:
    """Draw a number of up to five digits."""
    return rng.choice(
        (rng.randint(100, 999), rng.randint(1000, 9999), rng.randint(10, 99) * 100, rng.randint(10000, 99999))
    )


def price(rng: random.Random, split: Split) -> float | int:
    """Draw an amount of money."""
    if chance(rng, 0.4):
        return small(rng, split) if chance(rng, 0.4) else large(rng, split)
    amount = float(f"{rng.choice((rng.randint(0, 99), rng.randint(100, 1999)))}.{digits(rng, 2)}")
    return int(amount) if amount == int(amount) else amount


def year(rng: random.Random, _split: Split) -> int:
    """Draw a year."""
    return rng.randint(1900, 2035)


def item(rng: random.Random, split: Split) -> str:
    """Draw something one can buy."""
    if chance(rng, 0.25):
        return f"{LISTS['colour'].pick(rng, split)} {LISTS['thing'].pick(rng, split)}"
    if chance(rng, 0.25):
        return f"{coined(rng).capitalize()} {rng.choice(('', 'X', 'Pro ', 'S', ''))}{rng.randint(1, 900)}"
    return LISTS["thing"].pick(rng, split)


def address(rng: random.Random, split: Split) -> str:
    """Draw a street and a number."""
    street = word(rng, split).capitalize() + rng.choice((" Street", " Road", " Lane", "straße", " Avenue", "gatan"))
    return f"{rng.randint(1, 199)} {street}" if chance(rng, 0.6) else f"{street} {rng.randint(1, 199)}"


def host(rng: random.Random, split: Split) -> str:
    """Draw the name of a computer."""
    return f"{word(rng, split)}{rng.choice(('-', '', '-prod-', '.'))}{rng.randint(1, 60):02}"


DRAWS: dict[str, Draw] = {
    "name": any_name,
    "full": name,
    "first": first,
    "last": last,
    "city": city,
    "country": listed("country"),
    "company": company,
    "job": listed("job"),
    "colour": listed("colour"),
    "item": item,
    "code": code,
    "version": version,
    "email": email,
    "phone": phone,
    "date": date,
    "hour": hour,
    "day": day,
    "small": small,
    "age": age,
    "large": large,
    "price": price,
    "year": year,
    "address": address,
    "host": host,
    "word": word,
    "month": listed("month"),
    "domain": listed("domain"),
    "thing": listed("thing"),
}
"""Every kind of value, by the name that templates use for it."""
