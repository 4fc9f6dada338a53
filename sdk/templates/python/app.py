"""Backline connector for Example: one request per artist."""

import backline
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.types import (
    Absence,
    FetchError_Forbidden,
    FetchError_Misconfigured,
    FetchError_NotFound,
    FetchError_Unavailable,
    FetchError_Unexpected,
    Snapshot,
)

# Credential slot in the manifest.
SLOT = "app"


class Source(exports.Source):
    """What the host calls. The names are the contract's."""

    async def check(self, account):
        name = backline.text((await artist_of(account)).get("name"))
        if name is None:
            raise Err(FetchError_Unexpected("the artist has no name"))
        return name

    async def fetch(self, accounts, context):
        async def one(account):
            return backline.fetched(await artist_of(account))

        # One account's failure must not affect the others.
        return await backline.each(accounts, one)

    def normalize(self, documents):
        return [Ok(snapshot_of(document)) for document in documents]


async def artist_of(account):
    url = "https://api.example.com/v1/artists/" + backline.encoded(account.platform_id)
    response = await backline.get(url, SLOT)
    if response.status != 200:
        raise Err(refusal(response))
    try:
        artist = backline.parse(response.body)
    except backline.NotJson:
        raise Err(FetchError_Unavailable("the response is not JSON")) from None
    # A body of another shape must not be taken for an artist without numbers.
    if not isinstance(artist, dict) or not isinstance(artist.get("id"), str):
        raise Err(FetchError_Unexpected("the response is not an artist"))
    return artist


def refusal(response):
    """The class of a refused request: it says whether to refresh, wait, defer or report."""
    status = f"HTTP {response.status}"
    # An API key can't be refreshed, so a refused one means that the operator's configuration is wrong.
    if response.status == 401:
        return FetchError_Misconfigured(status)
    if response.status == 403:
        return FetchError_Forbidden(status)
    if response.status in (404, 410):
        return FetchError_NotFound()
    if response.status == 429:
        return backline.throttled(response)
    if response.status >= 500:
        return FetchError_Unavailable(status)
    return FetchError_Unexpected(status)


def snapshot_of(document):
    """Every metric of the catalogue, as a value or as the reason why there is none. Missing is never zero."""
    artist = backline.parse(document.body)
    artist = artist if isinstance(artist, dict) else {}
    metrics = [
        backline.counted("followers", artist.get("followers"), Absence.HIDDEN),
        backline.absent("streams", Absence.NOT_OFFERED),
        recent_releases(artist, document.window),
    ]
    return Snapshot(metrics, None, [])


def recent_releases(artist, window):
    releases = backline.items(artist, "releases")
    # A missing list is not an empty one.
    if releases is None:
        return backline.absent("recent_releases", Absence.UNAVAILABLE)
    dates = [backline.day(release.get("date")) if isinstance(release, dict) else None for release in releases]
    inside = sum(1 for date in dates if date is not None and window.since <= date < window.until)
    skipped = sum(1 for date in dates if date is None)
    return backline.integer("recent_releases", inside, (inside, skipped))
