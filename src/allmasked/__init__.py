"""Does everyone in this photo wear a face mask? See the README for the tour.

>>> import allmasked
>>> answer = allmasked.load()("street.jpg")
>>> answer.label
'all'

What is named here is what other programs may rely on; it is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allmasked.core.errors import (
        AllmaskedError,
        ConfigError,
        DataError,
        MissingExtraError,
        PhotoError,
        RunError,
        WeightsError,
    )
    from allmasked.core.types import FoundFace
    from allmasked.jobs import compare, ensemble, evaluate, explain, export, inspect, split, train
    from allmasked.model import Answer, Model, load

__version__ = "0.1.0"

__all__ = [
    "AllmaskedError", "Answer", "ConfigError", "DataError", "FoundFace", "MissingExtraError", "Model", "PhotoError",
    "RunError", "WeightsError", "__version__", "compare", "ensemble", "evaluate", "explain", "export", "inspect",
    "load", "split", "train",
]  # fmt: skip

_ERRORS = ("AllmaskedError", "ConfigError", "DataError", "MissingExtraError", "PhotoError", "RunError", "WeightsError")
_JOBS = ("compare", "ensemble", "evaluate", "explain", "export", "inspect", "split", "train")
_WHERE = {
    **dict.fromkeys(_ERRORS, "allmasked.core.errors"),
    **dict.fromkeys(_JOBS, "allmasked.jobs"),
    **dict.fromkeys(("Answer", "Model", "load"), "allmasked.model"),
    "FoundFace": "allmasked.core.types",
}


def __getattr__(name: str) -> Any:
    """What is named in ``__all__``, imported now (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module 'allmasked' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
