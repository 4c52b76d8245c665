"""What JSON schemas are made of."""

from enum import StrEnum
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC, milliseconds."}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
PATH: Schema = {"type": "string", "format": "uri-reference"}
ANYTHING: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def closed(fields: Schema, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """Return an object schema with exactly these fields; all but the `optional` ones are required."""
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False, **more}


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def or_null(schema: Schema, description: str = "") -> Schema:
    described = {"description": description} if description else {}
    return {"anyOf": [schema, {"type": "null"}], **described}


def one_of(values: type[StrEnum]) -> Schema:
    return {"type": "string", "enum": [value.value for value in values]}


def exactly(value: str) -> Schema:
    return {"type": "string", "const": value}


def identifier(prefix: str) -> Schema:
    return {"type": "string", "pattern": f"^{prefix}_[0-9a-f]{{32}}$"}
