"""Made-up logs: package managers, system log, kernel, web servers, programs and builds."""

import random
from collections.abc import Callable

from tasks.packages import ARCHITECTURES, chance, package_name, path, syllables, version, word

_MONTHS = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_LEVELS = (
    "INFO",
    "INFO",
    "INFO",
    "DEBUG",
    "WARNING",
    "ERROR",
    "WARN",
    "CRITICAL",
    "NOTICE",
)
_MESSAGES = (
    "connection from {ip} closed",
    "started {w} worker {n}",
    "failed to open {p}: No such file or directory",
    "request {n} took {n} ms",
    "retrying in {n} s",
    "user {w} logged in",
    "session opened for user {w}(uid={n})",
    "Listening on port {n}",
    "cache miss for key {w}:{n}",
    "disk usage at {n}%",
    "timeout after {n} seconds",
    "reloading configuration from {p}",
    "Accepted publickey for {w} from {ip} port {n} ssh2",
    "job {n} finished with status {n}",
    "permission denied: {p}",
    "received SIGTERM, shutting down",
    "{n} items processed",
    "Invalid user {w} from {ip}",
    "backup of {p} complete",
    "could not resolve host {w}.{w2}.net",
    "Starting {w} daemon...",
    "Stopped {w}.",
    "Reached target {w}.",
    "connection reset by peer",
    "loaded module {w}",
    "queue length {n}",
    "checksum mismatch in {p}",
    "database {w} is ready to accept connections",
    "GET /{w}/{n} {n}",
    "out of memory: killed process {n} ({w})",
    "link is up at {n} Mbps",
    "heartbeat ok",
    "upgrade of {w} to {v} done",
    "removed stale lock {p}",
    "rotating {p}",
    "worker exited with code {n}",
    "token expired for user {w}",
    "slow query: {n} ms",
)


def _message(rng: random.Random) -> str:
    ip = ".".join(str(rng.randint(1, 254)) for _ in range(4))
    number = str(rng.choice([rng.randint(0, 9), rng.randint(10, 999), rng.randint(1000, 65535)]))
    text = rng.choice(_MESSAGES)
    for slot, value in (
        ("{ip}", ip),
        ("{n}", number),
        ("{w}", word(rng)),
        ("{w2}", word(rng)),
        ("{p}", path(rng)),
        ("{v}", version(rng)),
    ):
        text = text.replace(slot, value)
    return text


class _Times:
    """Instants that only go forward."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.year, self.month, self.day = rng.randint(2012, 2026), rng.randint(1, 12), rng.randint(1, 28)
        self._second = rng.randint(0, 70000)

    def clock(self) -> str:
        self._second = min(86399, self._second + self._rng.choice([0, 0, 1, 1, 2, 7, 60, 400]))
        return f"{self._second // 3600:02}:{self._second // 60 % 60:02}:{self._second % 60:02}"

    def date(self) -> str:
        return f"{self.year}-{self.month:02}-{self.day:02}"

    def short(self) -> str:
        return f"{_MONTHS[self.month - 1]} {self.day:>2} {self.clock()}"


def _dpkg(rng: random.Random, times: _Times, count: int) -> list[str]:
    lines: list[str] = []
    while len(lines) < count:
        name = f"{package_name(rng)}:{rng.choice(ARCHITECTURES[:3])}"
        new, old = version(rng), rng.choice(["<none>", version(rng)])
        first = rng.choice(
            [
                f"install {name} {old} {new}",
                f"upgrade {name} {old} {new}",
                f"configure {name} {new} <none>",
                f"trigproc {name} {new} <none>",
            ]
        )
        states = rng.sample(
            ["half-installed", "unpacked", "half-configured", "installed", "triggers-pending", "triggers-awaited"],
            rng.randint(1, 4),
        )
        events = [first, *(f"status {state} {name} {new}" for state in states)]
        if chance(rng, 0.15):
            events.insert(
                0, rng.choice(["startup archives unpack", "startup packages configure", "startup packages remove"])
            )
        lines += [f"{times.date()} {times.clock()} {event}" for event in events]
    return lines[rng.randint(0, 2) :]


def _apt_history(rng: random.Random, times: _Times, count: int) -> list[str]:
    lines: list[str] = []
    while len(lines) < count:
        names = [
            f"{package_name(rng)}:amd64 ({version(rng)}{rng.choice(['', ', automatic'])})"
            for _ in range(rng.randint(1, 4))
        ]
        lines += ["", f"Start-Date: {times.date()}  {times.clock()}"]
        lines.append(
            f"Commandline: apt{rng.choice(['-get', ''])} {rng.choice(['install', 'remove'])} {package_name(rng)}"
        )
        if chance(rng, 0.4):
            lines.append(f"Requested-By: {word(rng)} ({rng.randint(1000, 1010)})")
        lines += [
            f"{rng.choice(['Install', 'Upgrade', 'Remove', 'Purge'])}: {', '.join(names)}",
            f"End-Date: {times.date()}  {times.clock()}",
        ]
    return lines


def _apt_terminal(rng: random.Random, _: _Times, count: int) -> list[str]:
    forms = (
        "Selecting previously unselected package {p}.",
        "Preparing to unpack .../{p}_{v}_amd64.deb ...",
        "Unpacking {p} ({v}) ...",
        "Setting up {p} ({v}) ...",
        "Processing triggers for {p} ({v}) ...",
        "(Reading database ... {n} files and directories currently installed.)",
        "Removing {p} ({v}) ...",
        "Get:{n} http://deb.{w}.org/{w} stable/main amd64 {p} amd64 {v} [{n} kB]",
        "Fetched {n} kB in {n}s ({n} kB/s)",
        "Adding user {w} to group {w}",
        "update-alternatives: using /usr/bin/{w} to provide /usr/bin/{p} ({w}) in auto mode",
        "Creating group '{w}' with GID {n}.",
        "I: Retrieving {p} {v}",
        "Created symlink /etc/systemd/system/{w}.service -> /usr/lib/systemd/system/{w}.service.",
        "I: Unpacking {p}...",
        "Need to get {n} kB of archives.",
    )
    lines = []
    for _line in range(count):
        text, name, number = rng.choice(forms), package_name(rng), str(rng.randint(1, 60000))
        lines.append(
            text.replace("{p}", name).replace("{v}", version(rng)).replace("{n}", number).replace("{w}", word(rng))
        )
    return lines


def _alternatives(rng: random.Random, times: _Times, count: int) -> list[str]:
    def one() -> str:
        name = word(rng)
        place = (
            f"/usr/bin/{name} {name} /usr/{rng.choice(['bin', 'share/man'])}/{package_name(rng)} {rng.randint(1, 100)}"
        )
        link = f"link group {name} updated to point to /usr/bin/{package_name(rng)}"
        act = rng.choice([link, f"run with --install {place}", f"run with --quiet --remove {place}"])
        return f"update-alternatives {times.date()} {times.clock()}: {act}"

    return [one() for _ in range(count)]


def _syslog(rng: random.Random, times: _Times, count: int) -> list[str]:
    host = syllables(rng, 2)
    iso = chance(rng, 0.25)

    def one() -> str:
        stamp = f"{times.date()}T{times.clock()}.{rng.randint(0, 999999):06}+00:00" if iso else times.short()
        who = f"{rng.choice(['systemd', 'sshd', 'cron', 'kernel', 'dhclient', 'postfix/smtpd', word(rng)])}"
        return f"{stamp} {host} {who}{f'[{rng.randint(1, 40000)}]' if chance(rng, 0.8) else ''}: {_message(rng)}"

    return [one() for _ in range(count)]


def _kernel(rng: random.Random, _: _Times, count: int) -> list[str]:
    at = rng.random() * 100
    lines = []
    for _line in range(count):
        at += rng.random() * rng.choice([0.01, 1, 20])
        lines.append(
            f"[{at:12.6f}] {rng.choice(['usb 1-1: ', 'pci 0000:00:1f.2: ', word(rng) + ': ', ''])}{_message(rng)}"
        )
    return lines


def _web(rng: random.Random, times: _Times, count: int) -> list[str]:
    def one() -> str:
        ip = ".".join(str(rng.randint(1, 254)) for _ in range(4))
        stamp = f"{times.day:02}/{_MONTHS[times.month - 1]}/{times.year}:{times.clock()} +0{rng.randint(0, 9)}00"
        tail = rng.choice(["", ".html", f"/{word(rng)}", f"?id={rng.randint(1, 99)}", ".php", ".css"])
        page = f"/{word(rng)}{tail}"
        call = f"{rng.choice(['GET', 'GET', 'POST', 'HEAD'])} {page} HTTP/1.{rng.randint(0, 1)}"
        call = f'"{call}" {rng.choice([200, 200, 304, 404, 500, 301, 403])}'
        agent = rng.choice(
            ["", ' "-" "Mozilla/5.0 (X11; Linux x86_64)"', f' "-" "curl/{rng.randint(6, 8)}.{rng.randint(0, 90)}.0"']
        )
        return f"{ip} - {rng.choice(['-', '-', word(rng)])} [{stamp}] {call} {rng.randint(0, 90000)}{agent}"

    return [one() for _ in range(count)]


def _program(rng: random.Random, times: _Times, count: int) -> list[str]:
    logger = f"{word(rng)}.{word(rng)}"
    look = rng.choice(
        (
            "{d} {t},{m} {l} {g}: {x}",
            "{d} {t} [{l}] {x}",
            "[{d}T{t}Z] {l} {g} {x}",
            "{l}:{g}:{x}",
            "{t} {l:<8} {x}",
            'time={d}T{t}Z level={l} msg="{x}"',
            "{d} {t} {l} {x}",
            "[{t}] {x}",
            "{l}     {d} {t} - {g} - {x}",
            "{d}T{t}.{m}Z {l} [{g}] {x}",
            "[{l}] {x}",
        )
    )

    def one() -> str:
        level = rng.choice(_LEVELS)
        level = level.lower() if "level=" in look else level
        return look.format(
            d=times.date(), t=times.clock(), m=f"{rng.randint(0, 999):03}", l=level, g=logger, x=_message(rng)
        )

    return [one() for _ in range(count)]


def _steps(rng: random.Random, _: _Times, count: int) -> list[str]:
    """Show what builds, installers, font caches and tests print."""
    forms = (
        "{p}: caching, new cache contents: {n} fonts, {m} dirs",
        "{p}: skipping, looped directory detected",
        "fc-cache: succeeded",
        "done.",
        "Adding debian:{w}_{W}_{m}.pem",
        "Updating certificates in {p}...",
        "{n} added, {m} removed; done.",
        "Running hooks in {p}...",
        "gcc -O2 -Wall -I{p} -c {w}.c -o {w}.o",
        "make[{m}]: Entering directory '{p}'",
        "[ {m}%] Building C object {w}/{k}.c.o",
        "checking for {w}... yes",
        "test_{w} (test.{k}.Test{W}) ... ok",
        "tests/test_{w}.py::test_{k} PASSED [ {m}%]",
        "Ran {n} tests in {m}.{n}s",
        "Collecting {w}=={m}.{n}",
        "npm notice {w} {p}",
        "{m} silly fetch manifest {w}@^{m}.{n}.0",
        "{m} verbose {w} {k}",
        "W: {p} not found, skipping",
        "E: Unable to locate package {k}",
        "Downloading {w}-{m}.{n}.tar.gz ({n} kB)",
        "Successfully installed {w}-{m}.{n} {k}-{n}.{m}",
        "==> {W}: {k} started",
        "ok {m} - {w} {k}",
        "Generating {w} locale... done",
        "Creating {p} ... ok",
        "Compiling {w} v{m}.{n}.0 ({p})",
        "Step {m}/{n} : RUN {w} {k}",
        " ---> {w}{n}",
        "info: {w} {k} finished after {n} ms",
        "warning: {w} is deprecated, use {k}",
        "error: could not find {p}",
        "cc1: {w} {k}: {p}:{n}",
        "OK",
        "",
    )
    shown = rng.sample(forms, rng.randint(1, 5))

    def one() -> str:
        values = {
            "p": path(rng),
            "w": word(rng),
            "k": word(rng),
            "W": word(rng).capitalize(),
            "n": rng.randint(0, 999),
            "m": rng.randint(0, 99),
        }
        return rng.choice(shown).format(**values)

    return [one() for _ in range(count)]


_LOOKS: tuple[Callable[[random.Random, _Times, int], list[str]], ...] = (
    _dpkg,
    _dpkg,
    _apt_history,
    _apt_terminal,
    _apt_terminal,
    _steps,
    _steps,
    _alternatives,
    _syslog,
    _syslog,
    _kernel,
    _web,
    _program,
    _program,
)


def log(rng: random.Random) -> str:
    """Write some lines of one kind of log."""
    return "\n".join(rng.choice(_LOOKS)(rng, _Times(rng), rng.choice([1, 3, 5, 8, 12])))
