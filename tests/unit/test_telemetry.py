"""Logs and metrics: what happened, never what was asked or with which key."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from slackwater.domain.events import AttemptEnded, BatchAdmitted, BatchCancelInitiated, BatchEnded, RequestResolved
from slackwater.domain.result import Usage
from slackwater.telemetry import Metrics, configure_logging

SECRET = "slw_12345678_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Logged]:
    """Log as JSON; return what was written since."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("json", "debug")
    structlog.configure(cache_logger_on_first_use=False)
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line_is_one_json_object_with_level_and_instant(logged: Logged) -> None:
    """Whoever logs: ours and the libraries' loggers come out alike."""
    structlog.get_logger("slackwater.flow").info("batch admitted", batch_id="msgbatch_1", size=3)
    logging.getLogger("uvicorn.error").warning("started %s", "here")
    ours, theirs = logged()
    assert (ours["event"], ours["level"], ours["batch_id"], ours["size"]) == ("batch admitted", "info", "msgbatch_1", 3)
    assert ours["at"].endswith("Z")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("started here", "warning", "uvicorn.error")


def test_a_line_break_in_a_value_forges_no_line(logged: Logged) -> None:
    """I4: what a client sends cannot pretend to be a log line of ours."""
    structlog.get_logger().info('x\n{"event": "forged"}', model='m\n{"event": "forged"}')
    assert [line["event"] for line in logged()] == ['x\n{"event": "forged"}']


@pytest.mark.parametrize(
    "leak",
    [
        {"event": f"refused {SECRET}"},
        {"event": "x", "api_key": "anything at all"},
        {"event": "x", "headers": {"x-api-key": SECRET, "Authorization": "Basic anything"}},
        {"event": "x", "list": [["deep", f"Bearer {SECRET}"]]},
        {"event": "x", "value": "Bearer some-opaque-token"},
        {"event": "x", "value": "sk-ant-api03-abcdefghijklmnop"},
        {"event": "x", "url": "postgresql://root:hunter2@db/x"},
        {"event": "x", "params": {"messages": "what people asked"}},
        {"event": "x", "body": b"what people asked"},
        {"event": "x", "context": {"content": "what people asked"}},
    ],
)
def test_keys_and_bodies_are_not_logged(logged: Logged, leak: dict[str, Any]) -> None:
    """I4: redaction is the last step before the line is written, so that no caller can forget it."""
    structlog.get_logger().info(**leak)
    (line,) = logged()
    text = json.dumps(line)
    for secret in (SECRET, "abcdefghijkl", "anything", "some-opaque", "hunter2", "what people asked"):
        assert secret not in text


def test_a_traceback_is_logged_without_secrets_and_without_locals(logged: Logged) -> None:
    """I4: an exception's text may carry a key; its frames' variables may carry a prompt."""
    prompt = "what people asked"
    try:
        raise ValueError(f"bad key {SECRET}")  # noqa: TRY301  # it is raised to be logged
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("aiohttp").exception("failed with %s", SECRET)
    for line in logged():
        assert "ValueError: bad key" in line["exception"]
        assert SECRET not in json.dumps(line)
        assert prompt not in json.dumps(line)


def test_text_is_for_people(capsys: pytest.CaptureFixture[str], logged: Logged) -> None:
    """On a terminal: one readable line, keys masked as well."""
    del logged
    configure_logging("text", "info")
    structlog.get_logger().info("key used", value=SECRET)
    structlog.get_logger().debug("too fine")
    text = capsys.readouterr().err
    assert "key used" in text
    assert SECRET not in text
    assert "too fine" not in text


def test_events_are_counted() -> None:
    """One registry of our own, Prometheus text, labels bounded by the configuration."""
    metrics = Metrics(in_flight=lambda: 3, queued=lambda: 40)
    for event in (
        BatchAdmitted(batch_id="b", workspace_id="w", size=5),
        BatchCancelInitiated(batch_id="b", workspace_id="w"),
        RequestResolved(
            batch_id="b",
            model="a name a client made up",
            type="succeeded",
            usage=Usage(input_tokens=7, output_tokens=3, cache_read_input_tokens=90),
        ),
        RequestResolved(batch_id="b", model="m", type="errored"),
        AttemptEnded(backend="gpu0", outcome="ok", seconds=0.3),
        AttemptEnded(backend="gpu0", outcome="full", seconds=0.1),
        BatchEnded(batch_id="b"),
    ):
        metrics(event)
    lines = metrics.render().decode().splitlines()
    for line in (
        "slackwater_batches_admitted_total 1.0",
        "slackwater_requests_admitted_total 5.0",
        "slackwater_batch_cancels_total 1.0",
        "slackwater_batches_ended_total 1.0",
        'slackwater_requests_total{result="succeeded"} 1.0',
        'slackwater_requests_total{result="errored"} 1.0',
        'slackwater_tokens_total{kind="input"} 7.0',
        'slackwater_tokens_total{kind="cache_read"} 90.0',
        'slackwater_tokens_total{kind="output"} 3.0',
        'slackwater_attempts_total{backend="gpu0",outcome="ok"} 1.0',
        'slackwater_attempts_total{backend="gpu0",outcome="full"} 1.0',
        'slackwater_attempt_seconds_bucket{backend="gpu0",le="0.25"} 1.0',
        'slackwater_attempt_seconds_count{backend="gpu0"} 2.0',
        "slackwater_in_flight_requests 3.0",
        "slackwater_queued_requests 40.0",
    ):
        assert line in lines
    assert not any("made up" in line for line in lines)


def test_two_servers_in_one_process_do_not_share_numbers() -> None:
    """Tests and embedders start several."""
    first, second = Metrics(), Metrics()
    first(BatchEnded(batch_id="b"))
    assert b"batches_ended_total 1.0" in first.render()
    assert b"batches_ended_total 0.0" in second.render()
