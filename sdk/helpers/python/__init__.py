"""Helpers for the contract backline:connector@1.0.0 in Python.

`requests` asks the platform and sorts what it answers, `accounts` gives each account its own answer, `reading` reads
what platforms really send, and `metrics` makes the entries of a snapshot. `backline.offline` is for tests alone.
"""

import sys
from types import ModuleType

try:
    import componentize_py_runtime  # noqa: F401
except ModuleNotFoundError:
    # The runtime exists inside a component only. The bindings import it by its name, and tests call nothing of it.
    sys.modules["componentize_py_runtime"] = ModuleType("componentize_py_runtime")

from .accounts import batch, each, fetched
from .metrics import absent, counted, integer, label
from .reading import NotJson, count, day, items, parse, text
from .requests import class_of, encoded, get, sorted_answer, throttled, usual_class

__all__ = [
    "NotJson",
    "absent",
    "batch",
    "class_of",
    "count",
    "counted",
    "day",
    "each",
    "encoded",
    "fetched",
    "get",
    "integer",
    "items",
    "label",
    "parse",
    "sorted_answer",
    "text",
    "throttled",
    "usual_class",
]
