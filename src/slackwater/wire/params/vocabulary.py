"""Words for saying what a JSON value may look like, built on pydantic's core schemas.

Core schemas rather than annotated classes, because two things the wire's messages need cannot be said in annotations:
a union that leaves no trace in the error's path (`content` is a string or a list), and lists that stop at their first
bad item, so that a hostile body never costs more than one error per list.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import CoreSchema, core_schema

EITHER = "\0either"
"""Prefix of path elements that name a branch of a union; `explain` drops them (U+0000 cannot come from a body)."""

Shapes = Mapping[str, CoreSchema]
"""Field names with what they may hold."""

ANY = core_schema.any_schema()
BOOL = core_schema.bool_schema(strict=True)
STRING = core_schema.str_schema(strict=True)
OBJECT = core_schema.dict_schema(STRING, ANY, strict=True)
"""Any JSON object, its values unchecked."""


def text(*, length_min: int | None = None, length_max: int | None = None, pattern: str | None = None) -> CoreSchema:
    """Say a string, its length in characters."""
    return core_schema.str_schema(strict=True, min_length=length_min, max_length=length_max, pattern=pattern)


def integer(*, minimum: int = 0, maximum: int = 2**53) -> CoreSchema:
    """Say an integer within bounds; the default upper bound is what every JSON reader represents exactly."""
    return core_schema.int_schema(strict=True, ge=minimum, le=maximum)


def number(*, minimum: float, maximum: float) -> CoreSchema:
    """Say a finite number within bounds, integers included."""
    return core_schema.float_schema(strict=True, ge=minimum, le=maximum, allow_inf_nan=False)


def one_of(*values: str) -> CoreSchema:
    """Say one of these exact strings."""
    return core_schema.literal_schema(list(values))


def nullable(schema: CoreSchema) -> CoreSchema:
    """Say `schema` or null."""
    return core_schema.nullable_schema(schema)


def items(schema: CoreSchema, *, length_min: int | None = None, length_max: int | None = None) -> CoreSchema:
    """Say a list, checked up to its first bad item."""
    return core_schema.list_schema(schema, strict=True, min_length=length_min, max_length=length_max, fail_fast=True)


def shape(required: Shapes, optional: Shapes | None = None) -> CoreSchema:
    """Say an object with these fields and no others."""
    return core_schema.typed_dict_schema(_fields(required, optional), extra_behavior="forbid", strict=True)


def open_shape(required: Shapes, optional: Shapes | None = None) -> CoreSchema:
    """Say an object with at least these fields; whatever else it has is the business of whoever runs it."""
    return core_schema.typed_dict_schema(_fields(required, optional), extra_behavior="allow", strict=True)


def _fields(required: Shapes, optional: Shapes | None) -> dict[str, core_schema.TypedDictField]:
    fields = {name: core_schema.typed_dict_field(schema, required=True) for name, schema in required.items()}
    return fields | {
        name: core_schema.typed_dict_field(schema, required=False) for name, schema in (optional or {}).items()
    }


def by_type(choices: Shapes) -> CoreSchema:
    """Say an object whose `type` tells which of these it is; the path of an error then contains the type."""
    return core_schema.tagged_union_schema(dict[Any, CoreSchema](choices), discriminator="type", strict=True)


def typed(name: str, required: Shapes, optional: Shapes | None = None) -> CoreSchema:
    """Say the object whose `type` is `name`."""
    return shape({"type": one_of(name), **required}, optional)


def string_or(schema: CoreSchema) -> CoreSchema:
    """Say a bare string, or `schema`; errors speak of `schema` and their path does not show the choice."""
    return core_schema.union_schema(
        [(STRING, f"{EITHER} string"), (schema, f"{EITHER} other")],
        mode="left_to_right",
    )
