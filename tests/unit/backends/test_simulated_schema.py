"""The generator of structured output: whatever the schema, the instance satisfies it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.backends.simulated.schema import instance_of

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def satisfies(value: Any, schema: Any, root: Any) -> bool:
    """Judge by a few lines that share nothing with the generator."""
    if isinstance(schema, bool):
        return schema
    checks = [
        "const" not in schema or value == schema["const"],
        "enum" not in schema or value in schema["enum"],
        "type" not in schema or any(is_a(value, kind) for kind in as_list(schema["type"])),
        "$ref" not in schema or satisfies(value, resolve(root, schema["$ref"]), root),
        all(satisfies(value, part, root) for part in schema.get("allOf", ())),
        "anyOf" not in schema or any(satisfies(value, part, root) for part in schema["anyOf"]),
        "oneOf" not in schema or sum(satisfies(value, part, root) for part in schema["oneOf"]) == 1,
    ]
    if isinstance(value, dict):
        checks.append(object_satisfies(value, schema, root))
    elif isinstance(value, list):
        checks.append(array_satisfies(value, schema, root))
    elif isinstance(value, str):
        checks.append(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        checks.append(number_satisfies(value, schema))
    return all(checks)


def as_list(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def is_a(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (isinstance(value, bool) == (kind == "boolean"))


def resolve(root: Any, reference: str) -> Any:
    for step in reference.split("/")[1:]:
        root = root[step]
    return root


def object_satisfies(value: dict[str, Any], schema: dict[str, Any], root: Any) -> bool:
    properties = schema.get("properties", {})
    extra = schema.get("additionalProperties", True)
    return (
        set(schema.get("required", ())) <= set(value)
        and len(value) >= schema.get("minProperties", 0)
        and all(satisfies(item, properties.get(name, extra), root) for name, item in value.items())
    )


def array_satisfies(value: list[Any], schema: dict[str, Any], root: Any) -> bool:
    fixed = schema.get("prefixItems", [])
    return (
        schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        and (not schema.get("uniqueItems") or all(item not in value[:index] for index, item in enumerate(value)))
        and all(
            satisfies(item, fixed[index] if index < len(fixed) else schema.get("items", True), root)
            for index, item in enumerate(value)
        )
    )


def number_satisfies(value: float, schema: dict[str, Any]) -> bool:
    step = schema.get("multipleOf")
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
        and (step is None or value % step == 0)
    )


@st.composite
def integers(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(-1_000, 1_000))
    schema: dict[str, Any] = {"type": "integer"}
    step = draw(st.sampled_from([None, 1, 7]))
    if step:
        schema["multipleOf"] = step
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + draw(st.integers(16, 100))
    return schema


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.floats(-100, 100, allow_nan=False).map(lambda number: round(number, 3)))
    schema: dict[str, Any] = {"type": "number"}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + 0.5
    return schema


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(0, 40))
    return draw(
        st.sampled_from(
            [
                {"type": "string"},
                {"type": "string", "minLength": low},
                {"type": "string", "maxLength": low},
                {"type": "string", "minLength": low, "maxLength": low + 3},
                {"type": ["string", "null"], "format": "date-time"},
            ]
        )
    )


SCALARS = st.one_of(
    integers(),
    numbers(),
    strings(),
    st.sampled_from([True, {}, {"type": "boolean"}, {"type": "null"}]),
    st.lists(st.one_of(st.text(max_size=5), st.integers(), st.none(), st.booleans()), min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    ),
    st.one_of(st.text(max_size=5), st.integers(), st.lists(st.integers(), max_size=2)).map(lambda v: {"const": v}),
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=4))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if draw(st.booleans()):
        schema["required"] = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
        schema["additionalProperties"] = False
    if draw(st.booleans()):
        schema["minProperties"] = draw(st.integers(0, len(properties)))
    return schema


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    least = draw(st.integers(0, 4))
    if draw(st.booleans()):
        item = draw(st.sampled_from([{"type": "string"}, {"type": "integer", "minimum": 5}, {"enum": [1, 2, 3, 4]}]))
        return {"type": "array", "items": item, "minItems": least, "uniqueItems": True}
    schema = {"type": "array", "items": draw(inner), "minItems": least, "maxItems": least + draw(st.integers(0, 2))}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, max_size=3))
    return schema


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        objects(inner),
        arrays(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices}),
        inner.map(lambda schema: {"allOf": [schema]}),
        objects(inner).map(lambda schema: {"description": "a copy", "allOf": [schema, {"title": "x"}]}),
    )


@settings(max_examples=400, deadline=None)
@given(st.recursive(SCALARS, nested, max_leaves=12))
def test_an_instance_satisfies_its_schema(schema: Any) -> None:
    """For types, enum, const, bounds, required, nesting, arrays and combinations."""
    assert satisfies(instance_of(schema, "filler"), schema, schema)


def test_a_reference_is_followed_and_a_recursion_ends() -> None:
    """A tree of nodes stops where the schema lets it."""
    schema = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "next", "children"],
            }
        },
    }
    value = instance_of(schema, "leaf")
    assert value["name"] == "leaf"
    assert satisfies(value, schema, schema)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#"},
        {"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]},
        {"type": "object", "required": ["other"], "additionalProperties": False},
    ],
)
def test_a_schema_without_an_instance_is_an_error(schema: Any) -> None:
    """Rather than a wrong value or an endless recursion."""
    with pytest.raises(ValueError, match="schema"):
        instance_of(schema, "filler")
