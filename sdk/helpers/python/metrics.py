"""Entries of a snapshot: a value, or the reason why there is none."""

from componentize_py_types import Err, Ok
from wit_world.imports.types import Coverage, Metric, Value_Integer, Value_Text, Value_Texts

from .reading import count


def integer(name, value, coverage=None):
    """A metric with a whole number. `coverage` is how many posts were counted, and how many skipped."""
    return Metric(name, Ok(Value_Integer(value)), None if coverage is None else Coverage(*coverage))


def absent(name, reason):
    """A metric without a value."""
    return Metric(name, Err(reason), None)


def counted(name, value, reason):
    """A metric of a count as the platform sent it, or absent where there is none."""
    found = count(value)
    return absent(name, reason) if found is None else integer(name, found)


def label(name, value, reason):
    """A metric with a title or a list of them, or absent where there is none."""
    if isinstance(value, str) and value:
        return Metric(name, Ok(Value_Text(value)), None)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return Metric(name, Ok(Value_Texts(value)), None)
    return absent(name, reason)
