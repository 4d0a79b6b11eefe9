"""Makes a JSON value that satisfies a JSON Schema, for the part of JSON Schema that structured output uses.

Supported: boolean schemas, `type` (also a list), `const`, `enum`, `$ref` into the same document, `anyOf`, `oneOf`,
`allOf`, objects with `properties`, `required` and `minProperties`, arrays with `items`, `prefixItems`, `minItems`,
`maxItems` and `uniqueItems`, string lengths and common formats, numeric bounds and `multipleOf`. Not supported, and
ignored: `pattern`, `not`, `if`.
"""

import math
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any] | bool
_DEPTH_OPTIONAL = 4
_DEPTH_MAX = 32

_FORMATS = {
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "date-time": "2026-01-02T03:04:05Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "hostname": "simulated.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance_of(schema: Schema, filler: str) -> Any:  # noqa: ANN401  # a JSON value
    """Return a value that satisfies the schema, free strings filled with `filler`.

    Raises ValueError when the schema needs more than 32 levels or refers to something that is not there.
    """
    return _Generator(schema, filler).make(schema, 0)


class _Generator:
    """Walks one schema document."""

    def __init__(self, root: Schema, filler: str) -> None:
        self._root = root
        self._filler = filler

    def make(self, schema: Schema, depth: int) -> Any:  # noqa: ANN401  # a JSON value
        if depth > _DEPTH_MAX:
            msg = "the schema cannot be satisfied in 32 levels"
            raise ValueError(msg)
        merged = self._flat(schema, depth)
        if "const" in merged:
            return merged["const"]
        if merged.get("enum"):
            return merged["enum"][0]
        return _MAKERS[_kind(merged)](self, merged, depth)

    def _flat(self, schema: Schema, depth: int) -> dict[str, Any]:
        """Fold references and combinations into one plain schema."""
        if schema is False or depth > _DEPTH_MAX:
            msg = "no value satisfies the schema"
            raise ValueError(msg)
        if schema is True:
            return {}
        plain = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf", "oneOf", "allOf"}}
        if "$ref" in schema:
            plain = _merged(plain, self._flat(self._resolve(schema["$ref"]), depth + 1))
        for part in schema.get("allOf", ()):
            plain = _merged(plain, self._flat(part, depth + 1))
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                plain = _merged(plain, self._first_possible(schema[key], depth))
        return plain

    def _first_possible(self, choices: list[Schema], depth: int) -> dict[str, Any]:
        # Deep inside a recursive schema a choice without further levels ends the recursion.
        ordered = sorted(choices, key=_levels) if depth > _DEPTH_OPTIONAL else choices
        return self._flat(ordered[0], depth + 1)

    def _resolve(self, reference: str) -> Schema:
        found: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            try:
                found = found[step.replace("~1", "/").replace("~0", "~")]
            except (KeyError, TypeError) as error:
                msg = f"{reference} is not in the schema"
                raise ValueError(msg) from error
        return found  # type: ignore[no-any-return]  # the schema's author says that it is one

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = list(schema.get("required", properties if depth < _DEPTH_OPTIONAL else ()))
        for name in properties:
            if len(names) >= schema.get("minProperties", 0):
                break
            if name not in names:
                names.append(name)
        extra = schema.get("additionalProperties", True)
        made = {name: self.make(properties.get(name, extra), depth + 1) for name in names}
        for number in range(schema.get("minProperties", 0) - len(made)):
            made[f"simulated_{number}"] = self.make(extra, depth + 1)
        return made

    def array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        fixed = schema.get("prefixItems", [])
        items = schema.get("items", True)
        wanted = max(schema.get("minItems", 0), len(fixed), 1 if "items" in schema and depth < _DEPTH_OPTIONAL else 0)
        wanted = min(wanted, schema.get("maxItems", wanted))
        made: list[Any] = []
        for index in range(wanted):
            item = fixed[index] if index < len(fixed) else items
            made.append(self._distinct(item, depth, made) if schema.get("uniqueItems") else self.make(item, depth + 1))
        return made

    def _distinct(self, item: Schema, depth: int, made: list[Any]) -> Any:  # noqa: ANN401  # a JSON value
        flat = self._flat(item, depth + 1)
        candidates = flat.get("enum") or [True, False]
        if "enum" not in flat and _kind(flat) != "boolean":
            return _Generator(self._root, f"{len(made)} {self._filler}").make(_shifted(flat, len(made)), depth + 1)
        return next((candidate for candidate in candidates if candidate not in made), candidates[0])

    def string(self, schema: dict[str, Any], _depth: int) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._filler.ljust(schema.get("minLength", 0), "x")
        return text[: schema.get("maxLength", len(text))]

    def number(self, schema: dict[str, Any], _depth: int) -> float:
        return _in_range(schema, whole=False)

    def integer(self, schema: dict[str, Any], _depth: int) -> int:
        return int(_in_range(schema, whole=True))

    def boolean(self, _schema: dict[str, Any], _depth: int) -> bool:
        return True

    def null(self, _schema: dict[str, Any], _depth: int) -> None:
        return None


_MAKERS: dict[str, Callable[[_Generator, dict[str, Any], int], Any]] = {
    "object": _Generator.object,
    "array": _Generator.array,
    "string": _Generator.string,
    "number": _Generator.number,
    "integer": _Generator.integer,
    "boolean": _Generator.boolean,
    "null": _Generator.null,
}


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind is not None:
        return str(kind)
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "number" if "minimum" in schema or "maximum" in schema else "string"


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**other, **one}
    if "properties" in one and "properties" in other:
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *(name for name in other["required"] if name not in one["required"])]
    return both


def _levels(schema: Schema) -> int:
    if not isinstance(schema, dict):
        return 0
    return 2 if "$ref" in schema else int(_kind(schema) in {"object", "array"})


def _shifted(schema: dict[str, Any], by: int) -> dict[str, Any]:
    if _kind(schema) not in {"integer", "number"}:
        return schema
    step = schema.get("multipleOf", 1)
    return {**schema, "minimum": _in_range(schema, whole=_kind(schema) == "integer") + by * step}


def _in_range(schema: dict[str, Any], *, whole: bool) -> float:
    """Return the smallest fitting number that is not below zero, else the largest that is."""
    step = schema.get("multipleOf", 1 if whole else None)
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    start = 0 if low <= 0 <= high else low if low > 0 else high
    excluded = {schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")}
    if step is None:
        return _between(low, high) if start in excluded else start
    number: float = math.ceil(start / step) * step if start >= 0 else math.floor(start / step) * step
    if number in excluded:
        number += step if number < high else -step
    return number


def _between(low: float, high: float) -> float:
    if math.isinf(high):
        return low + 1
    return high - 1 if math.isinf(low) else (low + high) / 2
