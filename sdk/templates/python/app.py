"""Backline connector for Example: one request per artist."""

import asyncio
import json
from datetime import datetime, timezone
from urllib.parse import quote

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import http
from wit_world.imports.types import (
    Absence,
    BatchResult,
    Coverage,
    FetchError_Forbidden,
    FetchError_Misconfigured,
    FetchError_NotFound,
    FetchError_QuotaExhausted,
    FetchError_RateLimited,
    FetchError_Unavailable,
    FetchError_Unexpected,
    Fetched,
    Metric,
    Snapshot,
    Value_Integer,
)

# Credential slot in the manifest.
SLOT = "app"

# How many accounts are fetched at the same time.
AT_ONCE = 8

# The largest number that the contract's 64 bits hold.
COUNT_MAX = 2**63 - 1


class Source(exports.Source):
    """What the host calls. The names are the contract's."""

    async def check(self, account):
        artist = await fetch_artist(account)
        name = artist.get("name")
        if not isinstance(name, str):
            raise Err(FetchError_Unexpected("the artist has no name"))
        return name

    async def fetch(self, accounts, context):
        permits = asyncio.Semaphore(AT_ONCE)

        async def one(account):
            # One account's failure must not affect the others.
            async with permits:
                try:
                    return Ok(Fetched(json.dumps(await fetch_artist(account)), None))
                except Err as error:
                    return error

        # `gather` keeps the order: the host matches answers and accounts by their position.
        return BatchResult(list(await asyncio.gather(*map(one, accounts))), [])

    def normalize(self, documents):
        return [Ok(snapshot_of(document)) for document in documents]


async def fetch_artist(account):
    url = "https://api.example.com/v1/artists/" + quote(account.platform_id, safe="")
    request = http.Request(http.Method.GET, url, [], None, http.Credential(SLOT, None))
    try:
        response = await http.send(request)
    except Err as error:
        raise Err(class_of(error.value)) from None
    if response.status != 200:
        raise Err(refusal(response))
    try:
        artist = json.loads(response.body)
    except ValueError:
        raise Err(FetchError_Unavailable("the response is not JSON")) from None
    # A body of another shape must not be taken for an artist without numbers.
    if not isinstance(artist, dict) or not isinstance(artist.get("id"), str):
        raise Err(FetchError_Unexpected("the response is not an artist"))
    return artist


def class_of(error):
    """The class of an error of the host: it says whether to wait, defer or report."""
    if isinstance(error, http.Error_RateLimited):
        return FetchError_RateLimited(error.value)
    if isinstance(error, http.Error_QuotaExhausted):
        return FetchError_QuotaExhausted(error.value)
    if isinstance(error, (http.Error_Denied, http.Error_CredentialUnavailable)):
        return FetchError_Misconfigured(error.value)
    return FetchError_Unavailable(type(error).__name__)


def refusal(response):
    """The class of a refused request."""
    status = f"HTTP {response.status}"
    # An API key can't be refreshed, so a refused one means that the operator's configuration is wrong.
    if response.status == 401:
        return FetchError_Misconfigured(status)
    if response.status == 403:
        return FetchError_Forbidden(status)
    if response.status in (404, 410):
        return FetchError_NotFound()
    if response.status == 429:
        wait = dict(response.headers).get("retry-after", "")
        return FetchError_RateLimited(int(wait) if wait.isdecimal() and len(wait) < 10 else None)
    if response.status >= 500:
        return FetchError_Unavailable(status)
    return FetchError_Unexpected(status)


def snapshot_of(document):
    """Every metric of the catalogue, as a value or as the reason why there is none. Missing is never zero."""
    artist = json.loads(document.body)
    artist = artist if isinstance(artist, dict) else {}
    metrics = [
        Metric("followers", count(artist.get("followers"), Absence.HIDDEN), None),
        Metric("streams", Err(Absence.NOT_OFFERED), None),
        recent_releases(artist.get("releases"), document.window),
    ]
    return Snapshot(metrics, None, [])


def recent_releases(releases, window):
    if not isinstance(releases, list):
        return Metric("recent_releases", Err(Absence.UNAVAILABLE), None)
    dates = [day(release.get("date")) if isinstance(release, dict) else None for release in releases]
    inside = sum(1 for date in dates if date is not None and window.since <= date < window.until)
    skipped = sum(1 for date in dates if date is None)
    return Metric("recent_releases", Ok(Value_Integer(inside)), Coverage(inside, skipped))


def count(value, absence):
    """A count as platforms send it: a whole number, or one in a text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    # `True` is an `int` in Python.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        return Err(absence)
    return Ok(Value_Integer(value))


def day(text):
    """The start of a calendar date in seconds since 1970, UTC; none for one that names only a month or a year."""
    # Not `strptime`: it imports a module when it is first called, and a component holds only what was imported before.
    if not isinstance(text, str) or len(text) != 10 or "W" in text:
        return None
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())
    except ValueError:
        return None
