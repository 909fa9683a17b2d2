"""Dataclasses back from plain values, as :func:`dataclasses.asdict` and JSON leave them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_types_of = functools.cache(get_type_hints)


def parse(kind: type[T], value: Any) -> T:
    """``value`` as a ``kind``: a dataclass whose fields are numbers, texts, tuples, mappings, None or dataclasses.

    Raises TypeError or ValueError where it is none: another type, a key that is missing, or names no field.
    """
    return cast(T, _parsed(kind, value))


def _parsed(kind: Any, value: Any) -> Any:
    outer, inner = get_origin(kind), get_args(kind)
    if kind is Any or (kind is float and type(value) is int) or (outer is Literal and value in inner):
        return value
    if outer in (Union, UnionType):
        return None if value is None else _parsed(next(one for one in inner if one is not NoneType), value)
    if outer is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_parsed(one, part) for one, part in zip(kinds, value, strict=True))
    if outer is Mapping and isinstance(value, Mapping):
        return {name: _parsed(inner[1], part) for name, part in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        made, types = cast(Any, kind), _types_of(cast(Any, kind))
        return made(**{name: _parsed(types.get(name), part) for name, part in value.items()})
    if not isinstance(kind, type) or type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind}")
    return value
