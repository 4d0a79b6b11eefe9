"""The OpenAPI document that a server publishes, held against that server by generated calls (B7, B11)."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from slackwater.api.table import ENDPOINTS
from support.server import RunningServer
from support.waiting import until

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CONFIG = """
[files]
downloadable = true
[[backends]]
name = "sim"
protocol = "simulated"
latency_ms = 1
"""
OWN = "/openapi.json"
OPERATIONS = [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.path != OWN]
CALLS = 16
CALLS_SLOW = 560
"""For each operation: more than 10,000 in all."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server over the simulator, with downloads allowed."""
    one = RunningServer.start(tmp_path_factory.mktemp("openapi"), CONFIG)
    yield one
    assert one.process.poll() is None
    one.stop()


@pytest.fixture(scope="module")
def known(server: RunningServer) -> dict[str, list[str]]:
    """Return things that are there, by the name of the path's parameter: calls should get beyond 404."""
    params = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    body = {"requests": [{"custom_id": f"r{n}", "params": params} for n in range(3)]}
    batch_id = json.loads(server.call("POST", "/v1/messages/batches", body))["id"]
    path = f"/v1/messages/batches/{batch_id}"
    until(lambda: json.loads(server.call("GET", path))["processing_status"] == "ended")
    return {"batch_id": [batch_id], "file_id": [_upload(server)], "model_id": ["*", "m"]}


@pytest.fixture(scope="module")
def document(server: RunningServer) -> Any:
    """Load the document as a client does."""
    return schemathesis.openapi.from_url(server.url + OWN)


def _upload(server: RunningServer) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {
        "x-api-key": server.api_key,
        "anthropic-version": "2023-06-01",
        "content-type": "multipart/form-data; boundary=b",
    }
    form = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\nHello\r\n--b--\r\n'
    connection.request("POST", "/v1/files", form, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer["id"])


def call_all(document: Any, server: RunningServer, known: dict[str, list[str]], name: str, calls: int) -> None:
    """Make so many generated calls of one operation, well-formed and not, and hold each answer against the document."""
    method, _, path = name.partition(" ")
    operation = document[path][method]
    parameter = path.partition("{")[2].partition("}")[0]
    ids = st.sampled_from([None, *known.get(parameter, [])])
    deletes = method == "DELETE"

    @settings(
        max_examples=calls,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        ),
        one=ids,
        credential=st.sampled_from([server.api_key] * 9 + ["wrong"]),
    )
    def check(case: Any, one: str | None, credential: str) -> None:
        if one is not None and not deletes:
            case.path_parameters = {parameter: one}
        case.call_and_validate(headers={"x-api-key": credential}, checks=CHECKS, timeout=30)

    check()


def test_the_document_is_one_that_tools_read(document: Any) -> None:
    """Every operation of the table is found in it, with its answers."""
    found = {f"{one.ok().method.upper()} {one.ok().path}" for one in document.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_call_is_an_internal_error_and_every_answer_is_in_the_document(
    document: Any, server: RunningServer, known: dict[str, list[str]], name: str
) -> None:
    """B7, B11: status, headers, media type and shape of every answer are published."""
    call_all(document, server, known, name, CALLS)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_ten_thousand_calls_find_no_internal_error(
    document: Any, server: RunningServer, known: dict[str, list[str]], name: str
) -> None:
    """B7, B11: the long form."""
    assert CALLS_SLOW * len(OPERATIONS) >= 10_000
    call_all(document, server, known, name, CALLS_SLOW)
