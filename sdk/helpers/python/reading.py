"""Reading what platforms send: a value that is there, or none. Missing is never zero."""

import json
from datetime import datetime, timezone

# The largest number that the contract's 64 bits hold.
COUNT_MAX = 2**63 - 1


class NotJson(ValueError):
    """A body that can't be read."""


def parse(body):
    """The JSON of a body; `NotJson` for anything else."""
    try:
        return json.loads(body, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise NotJson("the body is not JSON") from None


def _refused(constant):
    raise NotJson(constant)


def items(value, key):
    """The list under a key; `None` if there is none. A missing list is not an empty one."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else None


def text(value):
    """A text that is not empty; `None` for anything else."""
    return value if isinstance(value, str) and value.strip() else None


def count(value):
    """A count as platforms send it: a whole number, or one in a text; `None` for anything else."""
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdecimal():
        value = int(value)
    # `True` is an `int` in Python.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        return None
    return value


def day(value):
    """The start of a calendar date in seconds since 1970, UTC; `None` for one that names only a month or a year."""
    # Not `strptime`: it imports a module when it is first called, and a component holds only what was imported before.
    if not isinstance(value, str) or len(value) != 10 or "W" in value:
        return None
    try:
        return int(datetime.fromisoformat(value).replace(tzinfo=timezone.utc).timestamp())
    except ValueError:
        return None
