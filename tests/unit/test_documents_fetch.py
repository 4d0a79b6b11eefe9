"""URL sources: which addresses may be dialled, and what comes back, from servers on this machine."""

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, Final, NoReturn

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from slackwater.documents import exchange
from slackwater.documents.addresses import AllowList, Target, is_public
from slackwater.documents.fetch import Fetcher
from slackwater.domain.document import DocumentError, Fetched
from support.pdf import text_pdf

PUBLIC: Final = "93.184.215.14"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names:
    """A resolver without a network: each name gives its answers one after the other, the last one for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): given for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        given = self._answers.get(host)
        if given is None:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return given.pop(0) if len(given) > 1 else given[0]


class Site:
    """A server on 127.0.0.1, called docs.example."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.requests: list[web.Request] = []
        self.port = 0

    def url(self, path: str, host: str = "docs.example") -> str:
        return f"http://{host}:{self.port}{path}"

    def serves(self, path: str, body: bytes = b"", **options: Any) -> None:
        async def handler(_: web.Request) -> web.Response:
            return web.Response(body=body, **options)

        self.handlers[path] = handler

    def redirects(self, path: str, to: str, **options: Any) -> None:
        self.serves(path, status=302, headers={"Location": to, **options})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.handlers[request.path](request)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    one = Site()
    runner = web.ServerRunner(web.Server(one.answer, handler_cancellation=True), shutdown_timeout=0)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    one.port = runner.addresses[0][1]
    yield one
    await runner.cleanup()


def fetcher(*allow: str, **options: Any) -> Fetcher:
    return Fetcher(allow=allow or ["docs.example"], resolve=Names(docs_example=[["127.0.0.1"]]), **options)


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Write down addresses instead of dialling them."""
    found: list[str] = []

    checked = exchange.Gate.socket

    def note(self: exchange.Gate, info: tuple[Any, ...]) -> socket.socket:
        checked(self, info).close()
        found.append(info[4][0])
        raise ConnectionRefusedError

    monkeypatch.setattr(exchange.Gate, "socket", note)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",  # noqa: S104  # nobody binds to it
        *("0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
        *("192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.2.3", "240.0.0.1"),
        *("255.255.255.255", "168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
        *("2002:c0a8:1::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1"),
    ],
)
def test_no_address_that_is_not_everybody_s_is_public(text: str) -> None:
    """E3: private, shared, local, documentation, multicast, reserved, and IPv4 in IPv6 clothes."""
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text", [PUBLIC, "1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::808:808"]
)
def test_what_anybody_can_reach_is_public(text: str) -> None:
    """E3: the rule refuses nothing else."""
    assert is_public(ip_address(text))


def test_an_allow_list_means_what_it_says_and_no_more() -> None:
    """Hosts, everything below a host, networks, origins."""
    allow = AllowList(["Docs.Example", "*.wiki.example", "10.0.0.0/8", "fd00::/8", "http://nas:8080", "[::1]"])

    def names(host: str, port: int = 80) -> bool:
        return allow.names(Target(scheme="http", host=host, port=port))

    assert [names("docs.example"), names("docs.example", 9), names("a.wiki.example")] == [True, True, True]
    assert [names("wiki.example"), names("xdocs.example"), names("evilwiki.example")] == [False, False, False]
    assert [names("nas", 8080), names("nas"), names("docs.example.evil")] == [True, False, False]
    held = [allow.holds(ip_address(text)) for text in ("10.1.2.3", "11.0.0.1", "fd12::1", "::1", "::2")]
    assert held == [True, False, True, True, False]


@pytest.mark.parametrize(
    "entry", ["", "*.", "ftp://nas", "http://nas/path", "http://a@nas", "10.0.0.0/33", "two words"]
)
def test_an_entry_of_the_allow_list_that_means_nothing_is_an_error(entry: str) -> None:
    """At the start, not at the first request."""
    with pytest.raises(ValueError, match=r"host:port"):
        AllowList([entry])


@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "0", "127.0.0.1."),
        *("①②⑦.⓪.⓪.①", "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1", "[::ffff:7f00:1]", "[::1]", "localhost"),
    ],
)
async def test_loopback_is_loopback_however_it_is_spelled(host: str, dialled: list[str]) -> None:
    """E4: with this machine's own resolver; the address is judged, never the text."""
    with pytest.raises(DocumentError, match=r"not at a public address|not known|not valid"):
        await Fetcher().fetch(f"http://{host}/secret")
    assert dialled == []


async def test_every_address_of_a_name_has_to_be_public(dialled: list[str]) -> None:
    """E2: one that is not spoils the others, wherever it stands."""
    names = Names(mixed_example=[[PUBLIC, "10.0.0.1"]], alone_example=[["169.254.169.254"]])
    for host in ("mixed.example", "alone.example"):
        with pytest.raises(DocumentError, match="not at a public address"):
            await Fetcher(resolve=names).fetch(f"https://{host}/")
    assert dialled == []


async def test_a_name_that_changes_its_mind_is_dialled_at_the_address_that_was_checked(dialled: list[str]) -> None:
    """E2: the second answer, 127.0.0.1, is not asked for by the connection that the first one allowed."""
    names = Names(rebind_example=[[PUBLIC], ["127.0.0.1"]])
    one = Fetcher(resolve=names)
    with pytest.raises(DocumentError, match="could not be reached"):
        await one.fetch("http://rebind.example/")
    assert (dialled, names.asked) == ([PUBLIC], ["rebind.example"])
    with pytest.raises(DocumentError, match="not at a public address"):
        await one.fetch("http://rebind.example/")
    assert dialled == [PUBLIC]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://docs.example/", "The URL is neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("data:text/plain,x", "neither http nor https"),
        ("//docs.example/", "neither http nor https"),
        ("http://user@docs.example/", "contains a user name or a password"),
        ("https://user:word@docs.example/", "contains a user name or a password"),
        ("http:///path", "not valid"),
        ("http://[::1/", "not valid"),
        ("http://example.com:99999/", "not valid"),
        ("http://example.com:22/", "The URL's port is 22; only 80 is allowed"),
        ("https://example.com:8443/", "The URL's port is 8443; only 443 is allowed"),
        ("http://nowhere.example/", "The URL's host is not known"),
        ("http://docs.example/" + "x" * 2048, "longer than 2,048 characters"),
    ],
)
async def test_a_url_that_is_not_fetched_says_why(url: str, reason: str) -> None:
    """E2: before anything is dialled."""
    with pytest.raises(DocumentError, match=reason):
        await Fetcher(resolve=Names()).fetch(url)


async def test_an_allowed_server_s_document_comes_with_its_type(site: Site) -> None:
    """The bytes decide where they can, else what the server says, with the charset it names."""
    pdf = text_pdf(["hello"])
    site.serves("/a", pdf, content_type="text/html")
    site.serves("/b", "안녕".encode("euc-kr"), headers={"Content-Type": "text/plain; charset=EUC-KR"})
    site.serves("/c.csv", b"1,2", content_type="application/octet-stream")
    one = fetcher()
    assert await one.fetch(site.url("/a")) == Fetched(data=pdf, media_type="application/pdf")
    text = await one.fetch(site.url("/b#part"))
    assert (text.media_type, (text.charset or "").lower()) == ("text/plain", "euc-kr")
    assert (await one.fetch(site.url("/c.csv"))).media_type == "text/csv"
    by_network = Fetcher(allow=["127.0.0.0/8"])
    assert (await by_network.fetch(site.url("/a", "127.0.0.1"))).data == pdf
    by_origin = fetcher(f"http://docs.example:{site.port}")
    assert (await by_origin.fetch(site.url("/a"))).data == pdf


async def test_nothing_of_ours_goes_along(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: no proxy from the environment, no cookie that an earlier hop has set, no credentials."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.redirects("/a", "/b", **{"Set-Cookie": "id=1"})
    site.serves("/b", b"x")
    await fetcher().fetch(site.url("/a"))
    sent = {name.lower() for request in site.requests for name in request.headers}
    assert len(site.requests) == 2
    assert sent == {"host", "user-agent", "accept", "accept-encoding", "connection"}


async def test_three_redirects_are_followed_and_not_a_fourth(site: Site) -> None:
    """E5: relative ones, too."""
    for number in range(5):
        site.redirects(f"/{number}", f"/{number - 1}")
    site.serves("/0", b"there")
    assert (await fetcher().fetch(site.url("/3"))).data == b"there"
    with pytest.raises(DocumentError, match="redirects more than 3 times"):
        await fetcher().fetch(site.url("/4"))


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://127.0.0.1/", "not at a public address"),
        ("http://169.254.169.254/latest/meta-data/", "not at a public address"),
        ("http://inside.example/", "not at a public address"),
        ("http://127.0.0.1:9/", "The URL's port is 9"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://a:b@docs.example/", "user name or a password"),
        ("http://[", "could not be reached|not valid"),
    ],
)
async def test_a_redirect_is_judged_like_any_url(site: Site, to: str, reason: str) -> None:
    """E5: an allowed server gives nobody else's permission."""
    site.redirects("/a", to)
    names = Names(docs_example=[["127.0.0.1"]], inside_example=[["10.0.0.7"]])
    with pytest.raises(DocumentError, match=reason):
        await Fetcher(allow=["docs.example"], resolve=names).fetch(site.url("/a"))
    assert len(site.requests) == 1


async def test_nobody_is_led_from_https_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """E5: what was asked for in private is not sent in public."""

    async def ask(url: URL, *_: object) -> str:
        return str(url.with_scheme("http"))

    monkeypatch.setattr(exchange, "ask", ask)
    with pytest.raises(DocumentError, match="from https to http"):
        await Fetcher().fetch("https://docs.example/")


async def test_an_answer_that_is_no_document_says_its_status(site: Site) -> None:
    """Only 200 is one."""
    site.serves("/a", b"no", status=404)
    with pytest.raises(DocumentError, match="answered with status 404"):
        await fetcher().fetch(site.url("/a"))


@pytest.mark.parametrize(
    ("status", "asked", "expected"),
    [
        *((status, None, None) for status in (204, 400, 401, 403, 404, 410, 451)),
        *((status, None, 0.0) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        *((503, asked, 0.0) for asked in ("soon", "-1", "", "Wed, 21 Oct 2026 07:28:00 GMT", "٣")),
        (429, "7", 7.0),
        (503, "86400", 30.0),
        (404, "7", None),
    ],
)
async def test_a_status_says_whether_it_is_worth_asking_again(
    site: Site, status: int, asked: str | None, expected: float | None
) -> None:
    """X7: what the server says of itself may pass, what it says of the document does not."""
    site.serves("/a", status=status, headers={} if asked is None else {"Retry-After": asked})
    with pytest.raises(DocumentError, match=f"status {status}") as told:
        await fetcher().fetch(site.url("/a"))
    assert told.value.retry_after_seconds == expected


async def test_a_connection_that_fails_may_come_about_again_and_a_rule_that_forbids_it_stays(site: Site) -> None:
    """X7: refused, cut, silent, a name server in trouble; against an address, a port, a size, a name nobody has."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def troubled(_host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    site.handlers["/silent"] = silent
    site.serves("/large", b"x" * 100)
    passing = [
        (fetcher("127.0.0.1"), "http://127.0.0.1:9/"),
        (fetcher(seconds_max=0.2), site.url("/silent")),
        (Fetcher(resolve=troubled), "http://docs.example/"),
    ]
    lasting = [
        (Fetcher(), "http://127.0.0.1/"),
        (Fetcher(), "http://docs.example:22/"),
        (fetcher(bytes_max=50), site.url("/large")),
        (Fetcher(resolve=Names()), "http://docs.example/"),
    ]
    told = []
    for one, url in passing + lasting:
        with pytest.raises(DocumentError) as error:
            await one.fetch(url)
        told.append(error.value.retry_after_seconds)
        await one.close()
    assert told == [0.0] * len(passing) + [None] * len(lasting)


async def test_a_certificate_that_is_not_good_does_not_become_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """As aiohttp reports it: its own error, with the library's as the cause."""

    async def request(*_: object, **__: object) -> NoReturn:
        error = ssl.SSLCertVerificationError(1, "self-signed certificate")
        key = ConnectionKey(
            "docs.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
        )
        raise aiohttp.ClientConnectorCertificateError(key, error) from error

    monkeypatch.setattr(aiohttp.ClientSession, "_request", request)
    with pytest.raises(DocumentError, match="no valid certificate") as told:
        await Fetcher().fetch("https://docs.example/")
    assert told.value.retry_after_seconds is None


async def test_no_more_is_read_than_a_document_may_have(site: Site) -> None:
    """With a length, without one, and however much comes out of a little gzip; a broken gzip is an error."""

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(bytes(65536))

    site.serves("/long", bytes(2**20 + 1))
    site.handlers["/endless"] = endless
    site.serves("/bomb", gzip.compress(bytes(2**26)), headers={"Content-Encoding": "gzip"})
    site.serves("/fits", gzip.compress(b"x" * 2**20), headers={"Content-Encoding": "gzip"})
    site.serves("/cut", gzip.compress(b"words")[:-3], headers={"Content-Encoding": "gzip"})
    site.serves("/odd", b"words", headers={"Content-Encoding": "br"})
    one = fetcher(bytes_max=2**20)
    for path in ("/long", "/endless", "/bomb"):
        with pytest.raises(DocumentError, match="larger than 1 MiB"):
            await one.fetch(site.url(path))
    assert (await one.fetch(site.url("/fits"))).data == b"x" * 2**20
    with pytest.raises(DocumentError, match="broken gzip"):
        await one.fetch(site.url("/cut"))
    with pytest.raises(DocumentError, match="encoding that was not asked for"):
        await one.fetch(site.url("/odd"))


async def test_what_follows_the_end_of_a_gzip_is_not_gathered(site: Site) -> None:
    """Bytes that decompress to nothing count for nothing: a server could send them for as long as it is listened to."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await answer.prepare(request)
        await answer.write(gzip.compress(b"words"))
        while True:
            await answer.write(bytes(65536))
            sent += 65536

    site.handlers["/more"] = endless
    with pytest.raises(DocumentError, match="broken gzip"):
        await fetcher(bytes_max=2**20, seconds_max=5).fetch(site.url("/more"))
    assert sent < 2**26


async def test_a_silent_name_server_holds_up_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up in threads of their own, not in those in which files are read and written."""
    answer, asked = threading.Event(), threading.Semaphore(0)

    def silent(*_: object, **__: object) -> list[Any]:
        asked.release()
        answer.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    one = Fetcher()
    fetching = [asyncio.create_task(one.fetch(f"http://host{number}.example/")) for number in range(4)]
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(asked.acquire)
    finally:
        answer.set()
    for task in fetching:
        with pytest.raises(DocumentError, match="host is not known"):
            await task
    await one.close()


async def test_a_server_that_does_not_answer_is_given_up(site: Site) -> None:
    """And so is one that breaks off, or is not there."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def cutting(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"x")
        assert request.transport is not None
        request.transport.abort()
        return answer

    site.handlers |= {"/silent": silent, "/cutting": cutting}
    with pytest.raises(DocumentError, match="did not answer in time"):
        await fetcher(seconds_max=0.2).fetch(site.url("/silent"))
    with pytest.raises(DocumentError, match="could not be reached or broke off"):
        await fetcher().fetch(site.url("/cutting"))
    with pytest.raises(DocumentError, match="could not be reached or broke off"):
        await fetcher("127.0.0.1").fetch("http://127.0.0.1:9/")


async def test_equal_urls_are_fetched_once_and_one_who_leaves_takes_nobody_along(site: Site) -> None:
    """Four ask, one gives up, the others get it; when nobody waits any more, the connection is closed."""
    arrived, go_on, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def waiting(_: web.Request) -> web.StreamResponse:
        arrived.set()
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            left.set()
            raise
        return web.Response(body=b"once")

    site.handlers["/a"] = waiting
    one = fetcher()
    first, *others = [asyncio.create_task(one.fetch(site.url("/a"))) for _ in range(4)]
    async with asyncio.timeout(10):
        await arrived.wait()
        first.cancel()
        await asyncio.wait({first})
        go_on.set()
        assert [(await task).data for task in others] == [b"once"] * 3
        assert (len(site.requests), one._running) == (1, {})
        arrived.clear()
        go_on.clear()
        alone = asyncio.create_task(one.fetch(site.url("/a")))
        await arrived.wait()
        alone.cancel()
        await asyncio.wait({alone})
        assert one._running == {}
        await one.close()
