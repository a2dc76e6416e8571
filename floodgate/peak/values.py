"""Values that fit a JSON schema: its examples first, else generated from types, formats and bounds.

Owns what a valid value looks like. Pure: the same seed gives the same values.
Must not know HTTP. A rule that no schema tells (a validator's) needs an example.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from floodgate.peak.formats import FORMATS, WORDS
from floodgate.peak.patterns import NoMatch, matching

SPAN = 50
"""A number is at most so much above its least: parameters often say how much work there is."""
LITTLE = Fraction(1, 10**9)
"""How far a number keeps from a bound that excludes itself."""
DEPTH = 20
"""Of nested values: a model that requires itself has no value at all."""
UNIQUE_ATTEMPTS = 100
TELLING = {
    "object": ("properties", "additionalProperties", "required"),
    "array": ("items", "prefixItems", "minItems"),
    "string": ("pattern", "minLength", "maxLength", "format", "contentMediaType"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""Where a schema names no type, these words tell it."""

Schema = Mapping[str, Any]


class NoValue(Exception):
    """No value is known for a schema; the text says why."""


class Values:
    """Generates values for the schemas of one OpenAPI document."""

    def __init__(self, document: Mapping[str, Any], chance: random.Random) -> None:
        self._document = document
        self.chance = chance

    def value(self, schema: Any, depth: int = 0) -> Any:
        """Returns a JSON value that fits; raises `NoValue`."""
        if depth > DEPTH:
            raise NoValue("it contains itself without an end")
        known = self.resolved(schema)
        if shown := examples(known):
            return self.chance.choice(shown)
        if "const" in known:
            return known["const"]
        if "enum" in known:
            return self.chance.choice(known["enum"])
        if choices := known.get("anyOf") or known.get("oneOf"):
            return self.value(self._one_of(choices), depth + 1)
        return self._of_type(known, depth)

    def resolved(self, schema: Any) -> dict[str, Any]:
        """Returns the schema with its reference followed and its `allOf` merged; what stands beside them wins."""
        if not isinstance(schema, Mapping):
            return {}  # `true`: anything fits
        found = dict(schema)
        for part in [{"$ref": found.pop("$ref")}] if "$ref" in found else found.pop("allOf", []):
            found = _merged(self.resolved(self.referred(part)), found)
        return found

    def referred(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns what a reference within the document points to; anything else as it is."""
        if "$ref" not in node:
            return node
        target: Any = self._document
        for step in str(node["$ref"]).split("/")[1:]:
            target = target[step.replace("~1", "/").replace("~0", "~")]
        return self.referred(target)

    def _one_of(self, choices: list[Any]) -> Any:
        known = [choice for choice in map(self.resolved, choices) if choice.get("type") != "null"]
        if not known:
            return {"const": None}
        # The first of several scalars: of a Decimal's "number or string" not every string would do.
        return self.chance.choice(known) if all(_type(each) == "object" for each in known) else known[0]

    def _of_type(self, schema: Schema, depth: int) -> Any:
        kind = _type(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return self.chance.random() < 0.5
        return None if kind == "null" else self._text(schema, depth)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        """Returns what is required and what has examples; defaults are the handler's business."""
        properties: Mapping[str, Any] = schema.get("properties", {})
        required = schema.get("required", ())
        found = {
            name: self.value(inner, depth + 1)
            for name, inner in properties.items()
            if name in required or examples(self.resolved(inner))
        }
        further = schema.get("additionalProperties", {})
        found |= {name: self.value(further, depth + 1) for name in required if name not in properties}
        names = schema.get("propertyNames", {"type": "string", "minLength": 1})
        for pattern, inner in schema.get("patternProperties", {}).items():
            names, further = {"type": "string", "pattern": pattern}, inner
        usual = 0 if properties or not further else 1
        for _ in range(UNIQUE_ATTEMPTS):
            if len(found) >= max(schema.get("minProperties", 0), usual):
                return found
            found[str(self.value(names, depth + 1))] = self.value(further, depth + 1)
        raise NoValue("not enough different names were found")

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        found = [self.value(inner, depth + 1) for inner in schema.get("prefixItems", ())]
        usual = 1 if "items" in schema and not found else 0
        count = max(schema.get("minItems", 0), min(usual, schema.get("maxItems", usual)))
        for _ in range(UNIQUE_ATTEMPTS + count):
            if len(found) >= count:
                return found
            item = self.value(schema.get("items", {}), depth + 1)
            if not schema.get("uniqueItems") or item not in found:
                found.append(item)
        raise NoValue("not enough different items were found")

    def _number(self, schema: Schema, *, whole: bool) -> int | float:
        low, high = _bounds(schema)
        # Whole numbers have no more digits than any schema allows; where there is none, the middle.
        step = schema.get("multipleOf")
        size = Fraction(str(step or 1))
        if low is not None:
            least = math.ceil(low / size)
        else:
            least = 1 if high is None or high >= size else math.floor(high / size) - SPAN
        most = min(least + SPAN, least + SPAN if high is None else math.floor(high / size))
        if least <= most:
            chosen = self.chance.randint(least, most) * size
        elif low is not None and high is not None and low <= high and not step and not whole:
            chosen = (low + high) / 2
        else:
            raise NoValue("no number is within the bounds")
        return int(chosen) if chosen.denominator == 1 else float(chosen)

    def _text(self, schema: Schema, depth: int) -> str:
        if schema.get("contentMediaType") == "application/json" and "contentSchema" in schema:
            return json.dumps(self.value(schema["contentSchema"], depth + 1))
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if pattern := schema.get("pattern"):
            try:
                return matching(pattern, self.chance, least, most)
            except NoMatch as error:
                raise NoValue(str(error)) from error
        if form := FORMATS.get(schema.get("format", "")):
            return form(self.chance)
        text = self.chance.choice(WORDS)
        while len(text) < least:
            text += " " + self.chance.choice(WORDS)
        return text[:most]


def examples(schema: Schema) -> list[Any]:
    """Returns the examples of a schema, as JSON Schema has them or as OpenAPI once had one."""
    shown = schema.get("examples")
    if isinstance(shown, list) and shown:
        return shown
    return [schema["example"]] if "example" in schema else []


def _type(schema: Schema) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((each for each in kind if each != "null"), "null")
    if kind is not None:
        return str(kind)
    return next((name for name, words in TELLING.items() if any(word in schema for word in words)), None)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lays one schema over another; their properties and requirements add up."""
    merged = below | above
    if "properties" in below and "properties" in above:
        merged["properties"] = below["properties"] | above["properties"]
    if "required" in below and "required" in above:
        merged["required"] = [*below["required"], *above["required"]]
    return merged


def _bounds(schema: Schema) -> tuple[Fraction | None, Fraction | None]:
    """Returns the least and the greatest number that will do; an exclusive bound gives way by a little."""
    low, high = _fraction(schema.get("minimum")), _fraction(schema.get("maximum"))
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if above is True and low is not None:  # as OpenAPI 3.0 has it
        low += LITTLE
    elif above is not None and above is not False:
        low = max(Fraction(str(above)) + LITTLE, Fraction(str(above)) if low is None else low)
    if below is True and high is not None:
        high -= LITTLE
    elif below is not None and below is not False:
        high = min(Fraction(str(below)) - LITTLE, Fraction(str(below)) if high is None else high)
    return low, high


def _fraction(bound: Any) -> Fraction | None:
    return None if bound is None else Fraction(str(bound))
