"""Backline connector for Deezer: the artist, and the pages of its releases. README.md says where the facts are from."""

from urllib.parse import urlencode

import backline
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.types import (
    Absence,
    FetchError_Forbidden,
    FetchError_Misconfigured,
    FetchError_NotFound,
    FetchError_QuotaExhausted,
    FetchError_RateLimited,
    FetchError_Reconnect,
    FetchError_Unauthorized,
    FetchError_Unavailable,
    FetchError_Unexpected,
    Snapshot,
)

API = "https://api.deezer.com/artist/"

# Releases of one page, and most pages of one artist: a bound that no real artist reaches.
PAGE = 100
PAGES_MAX = 20

# Seconds of the documented allowance: 50 requests in 5 seconds.
WAIT_S = 5

# Errors of a part that are the account's: the host must react to them.
OF_THE_ACCOUNT = (
    FetchError_Misconfigured,
    FetchError_QuotaExhausted,
    FetchError_RateLimited,
    FetchError_Reconnect,
    FetchError_Unauthorized,
)


class Source(exports.Source):
    """What the host calls. The names are the contract's."""

    async def check(self, account):
        name = backline.text((await artist_of(account)).get("name"))
        if name is None:
            raise Err(FetchError_Unexpected("the artist has no name"))
        return name

    async def fetch(self, accounts, context):
        return await backline.each(accounts, document_of)

    def normalize(self, documents):
        return [Ok(snapshot_of(document)) for document in documents]


async def document_of(account):
    return backline.fetched({"artist": await artist_of(account), "releases": await releases_of(account)})


async def artist_of(account):
    artist = await ask(API + backline.encoded(account.platform_id))
    # An artist under another id is not the one that was asked for.
    if str(artist.get("id")) != account.platform_id:
        raise Err(FetchError_Unexpected("the answer is another artist"))
    return {key: artist.get(key) for key in ("id", "name", "nb_fan", "nb_album")}


async def releases_of(account):
    """All releases, or why there are none: a part of them is not the whole."""
    pages, total = [], None
    try:
        while len(pages) < PAGES_MAX:
            query = urlencode({"limit": PAGE, "index": sum(map(len, pages))})
            page = await ask(f"{API}{backline.encoded(account.platform_id)}/albums?{query}")
            releases, now = backline.items(page, "data"), backline.count(page.get("total"))
            if releases is None or now is None or total not in (None, now):
                return {"absent": "the page is not a list of releases with its total"}
            total = now
            pages.append([kept(release) for release in releases])
            have = sum(map(len, pages))
            if have == total:
                return {"pages": pages, "total": total}
            # An empty page, or more than there are: the pages do not fit each other.
            if not releases or have > total:
                return {"absent": f"the pages have {have} releases of {total}"}
    except Err as error:
        if isinstance(error.value, OF_THE_ACCOUNT):
            raise
        return {"absent": type(error.value).__name__}
    return {"absent": f"there are more than {PAGES_MAX} pages"}


def kept(release):
    """What is stored of a release: not its pictures."""
    if not isinstance(release, dict):
        return None
    return {key: release.get(key) for key in ("id", "title", "release_date", "record_type")}


async def ask(url):
    return backline.sorted_answer(await backline.get(url), own_error)


def own_error(body):
    """The class of `{"error": {"code"}}`, which Deezer sends with HTTP 200. `{"error": {}}` is no such error."""
    error = body.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        return None
    why = f"code {error['code']}: {error.get('type')}"
    if error["code"] == 4:
        return FetchError_RateLimited(WAIT_S)
    if error["code"] == 800:
        return FetchError_NotFound()
    if error["code"] == 700:
        return FetchError_Unavailable(why)
    if error["code"] in (200, 901):
        return FetchError_Forbidden(why)
    # No credential is sent, so that a refused token is not the artist's.
    if error["code"] == 300:
        return FetchError_Misconfigured(why)
    return FetchError_Unexpected(why)


def snapshot_of(document):
    body = backline.parse(document.body)
    body = body if isinstance(body, dict) else {}
    artist = body.get("artist")
    artist = artist if isinstance(artist, dict) else {}
    metrics = [
        backline.counted("followers", artist.get("nb_fan"), Absence.NOT_OFFERED),
        backline.counted("catalogue_size", artist.get("nb_album"), Absence.NOT_OFFERED),
        recent_releases(body.get("releases"), document.window),
    ]
    return Snapshot(metrics, None, [])


def recent_releases(releases, window):
    pages = backline.items(releases, "pages")
    # A missing list is not an empty one.
    if pages is None or not all(isinstance(page, list) for page in pages):
        return backline.absent("recent_releases", Absence.UNAVAILABLE)
    found = [release for page in pages for release in page]
    days = [backline.day(release.get("release_date")) if isinstance(release, dict) else None for release in found]
    inside = sum(1 for day in days if day is not None and window.since <= day < window.until)
    return backline.integer("recent_releases", inside, (inside, days.count(None)))
