"""Dataclasses back from plain values, as :func:`dataclasses.asdict` and JSON leave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse(kind: type[T], value: Any) -> T:
    """``value`` as a ``kind``: a dataclass whose fields are numbers, texts, tuples, mappings, None or dataclasses.

    Keys that name no field are passed over. Raises TypeError or ValueError where it is none.
    """
    return cast(T, _parsed(kind, value))


def _parsed(kind: Any, value: Any) -> Any:
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        return None if value is None else _parsed(next(one for one in inner if one is not NoneType), value)
    if outer is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_parsed(one, part) for one, part in zip(kinds, value, strict=True))
    if outer is Mapping and isinstance(value, Mapping):
        return {name: _parsed(inner[1], part) for name, part in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        kinds = get_type_hints(kind)
        fields = {field.name for field in dataclasses.fields(kind)} & value.keys()
        return cast(Any, kind)(**{name: _parsed(kinds[name], value[name]) for name in fields})
    if kind is float and type(value) is int:
        return value
    if not isinstance(kind, type) or type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind}")
    return value
