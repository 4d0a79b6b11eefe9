"""The create body: what is refused at once, in which words, and that nothing is copied or lost (contract §4.1)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.limits import BATCH_REQUESTS_MAX
from slackwater.flow.split import split

PARAMS = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}


def body(*requests: Any) -> bytes:
    return json.dumps({"requests": list(requests)}).encode()


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        split(data)
    return caught.value.message


ENTRY = {"custom_id": "a", "params": PARAMS}
SENTENCES = [
    (b"{}", "requests: Field required"),
    (b"[]", "Input should be a valid dictionary"),
    (b'{"requests":{}}', "requests: Input should be a valid list"),
    (b'{"requests":[]}', "requests: List should have at least 1 item after validation, not 0"),
    (b'{"requests":[[]]}', "requests.0: Input should be a valid dictionary"),
    (b'{"requests":[],"extra":1}', "extra: Extra inputs are not permitted"),
    (body({"params": {}}), "requests.0.custom_id: Field required"),
    (body(ENTRY, {"custom_id": "b"}), "requests.1.params: Field required"),
    (body({**ENTRY, "priority": 1}), "requests.0.priority: Extra inputs are not permitted"),
    (body({"custom_id": 7, "params": {}}), "requests.0.custom_id: Input should be a valid string"),
    (body({"custom_id": "", "params": {}}), "requests.0.custom_id: String should have at least 1 character"),
    (body({"custom_id": "a" * 65, "params": {}}), "requests.0.custom_id: String should have at most 64 characters"),
    (
        body({"custom_id": "a b", "params": {}}),
        "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    (
        body({"custom_id": "a\n", "params": {}}),
        "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    (body(ENTRY, {"custom_id": "b", "params": []}), "requests.1.params: Input should be a valid dictionary"),
    (
        body(ENTRY, {"custom_id": "b", "params": {}}, ENTRY),
        "requests: custom_id must be unique; 'a' appears at 0 and 2",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), SENTENCES)
def test_a_wrong_envelope_is_refused_with_the_culprit_named(data: bytes, sentence: str) -> None:
    """Section 16 rows 10 and 11: the envelope is judged at once, a newline is no part of an id, twins are named."""
    assert refusal(data) == sentence


NOT_JSON = [
    b"",
    b"{",
    b"\xef\xbb\xbf" + body(ENTRY),
    body(ENTRY).decode().encode("utf-16"),
    body(ENTRY) + b"x",
    b'{"requests":[{"custom_id":"a","params":{"x":NaN}}]}',
    b'{"requests":[{"custom_id":"a","params":{"x":Infinity}}]}',
    b'{"requests":[{"custom_id":"a","params":{"x":"\xff"}}]}',
    b'{"requests":[{"custom_id":"a","params":{"x":01}}]}',
    b'{"requests":[{"custom_id":"a","params":{"x":"\\ud800 lone"}}]}',
    b'{"requests":[{"custom_id":"\\udfff","params":{}}]}',
    b'{"requests":[{"custom_id":"a","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    b'{"requests":[{"custom_id":"a","params":' + b"[" * 1_000_000,
]


@pytest.mark.parametrize("data", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_json_is_refused_in_the_apis_words(data: bytes) -> None:
    """B6, B7: broken, foreign and bottomless JSON is a 400, never anything else."""
    assert refusal(data).startswith("The request body is not valid JSON: ")


def test_the_place_of_a_mistake_is_given_as_line_column_and_character() -> None:
    """Contract §2.3."""
    data = b'{\n "requests": [?]\n}'
    assert refusal(data).endswith("line 2 column 15 (char 16)")


@pytest.mark.parametrize(
    "data",
    [
        b'{"requests":[{"custom_id":"a","custom_id":"b","params":{}}]}',
        b'{"requests":[{"custom_id":"a","params":{},"params":{"x":1}}]}',
        b'{"requests":[{"params":{},"custom_id":"b","custom_id":"a"}]}',
        b'{"requests":[{"custom_id":"x","params":{}}],"requests":[{"custom_id":"a","params":{}}]}',
        b'{"requests":[{"custom_id":"a","custom\\u005fid":"b","params":{}}]}',
        b'{"requests":[{"custom\\u005fid":"a","custom_id":"b","params":{"x":"","custom_id":1}}]}',
        b'{ "requests" : [ { "custom_id" : "a" , "params" : {} , "params" : {} } ] }',
        b'{"requests":[{"custom_id":"a","params":{}},{"params":{},"custom_id":"b","params":{}}]}',
    ],
)
def test_a_key_given_twice_in_the_envelope_is_refused(data: bytes) -> None:
    """B7: decoders disagree about which of two equal keys counts, so neither does."""
    assert "each key must be given once" in refusal(data)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5_000, "0." + "1" * 400, "1E-9999"])
def test_huge_numbers_inside_params_pass_as_bytes(number: str) -> None:
    """B7: no number is read or rounded here; whether the request may hold it is decided with the request."""
    (item,) = split(f'{{"requests":[{{"custom_id":"a","params":{{"x":{number}}}}}]}}'.encode())
    assert bytes(memoryview(item.params)) == f'{{"x":{number}}}'.encode()


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@given(st.data())
def test_a_key_put_anywhere_into_an_envelope_is_noticed(separators: tuple[str, str], data: st.DataObject) -> None:
    """B7: whatever the layout, and even where another entry's blanks make up for its length."""
    entries = [json.dumps({"custom_id": f"r{n}", "params": PARAMS}, separators=separators) for n in range(8)]
    at = data.draw(st.integers(0, len(entries) - 1))
    twin = data.draw(st.sampled_from(['"custom_id":"x",', '"params":{},', '"custom\\u005fid":"x",']))
    entries[at] = "{" + twin + entries[at][1:]
    assert "each key must be given once" in refusal(f'{{"requests":[{",".join(entries)}]}}'.encode())


def test_names_of_the_envelope_may_occur_inside_params() -> None:
    """The walk that looks for duplicates is not misled by a prompt about batches."""
    params = {"custom_id": "x", "params": {"requests": ['{"custom_id":"y"}']}, "requests": [], "s": '"params": {}'}
    items = split(
        json.dumps({"requests": [{"custom_id": "a", "params": params}, {"params": params, "custom_id": "b"}]}).encode()
    )
    assert [item.custom_id for item in items] == ["a", "b"]
    assert [json.loads(bytes(memoryview(item.params))) for item in items] == [params, params]


def test_one_hundred_thousand_requests_pass_and_one_more_does_not() -> None:
    """Contract §1.8."""
    entries = ",".join(f'{{"custom_id":"r{i}","params":{{}}}}' for i in range(BATCH_REQUESTS_MAX))
    assert len(split(f'{{"requests":[{entries}]}}'.encode())) == BATCH_REQUESTS_MAX
    message = refusal(f'{{"requests":[{entries},{{"custom_id":"x","params":{{}}}}]}}'.encode())
    assert message == "requests: List should have at most 100000 items after validation, not 100001"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=4)
    ),
    max_leaves=12,
)
IDS = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)


@given(
    st.dictionaries(
        IDS, st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), JSON_VALUES), min_size=1, max_size=6
    ),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
)
def test_every_request_comes_out_as_it_went_in(
    requests: dict[str, dict[str, Any]], swapped: bool, indent: int | str | None, escaped: bool
) -> None:
    """D1: same ids, same order, params byte-equal to what the client wrote; however the body is laid out."""
    entries = [
        {"params": params, "custom_id": name} if swapped else {"custom_id": name, "params": params}
        for name, params in requests.items()
    ]
    data = json.dumps({"requests": entries}, indent=indent, ensure_ascii=escaped).encode()
    items = split(data)
    assert [item.custom_id for item in items] == list(requests)
    for item, params in zip(items, requests.values(), strict=True):
        raw = bytes(memoryview(item.params))
        assert raw in data
        assert json.loads(raw) == params


@given(st.data())
def test_any_cut_of_a_body_is_refused_and_never_read_as_less(data: st.DataObject) -> None:
    """D2: a body that stops early, at whatever byte, is not a smaller batch."""
    whole = body(*({"custom_id": f"r{i}", "params": {"t": "é\n\\u2028" * i}} for i in range(4)))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert refusal(whole[:cut])


@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.builds(lambda a, b: body(ENTRY)[:a] + b + body(ENTRY)[a:], st.integers(0, 90), st.binary(max_size=4))
)
def test_arbitrary_bytes_give_requests_or_a_typed_error(data: bytes) -> None:
    """B6, B7: no input makes the splitter raise anything else."""
    try:
        items = split(memoryview(data))
    except InvalidRequestError:
        return
    assert items
