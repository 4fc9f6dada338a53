"""Requests to the platform, and the class of what it answers. The host reacts to the class, never to the text."""

from urllib.parse import quote

from componentize_py_types import Err
from wit_world.imports import http
from wit_world.imports.types import (
    FetchError_Forbidden,
    FetchError_Misconfigured,
    FetchError_NotFound,
    FetchError_QuotaExhausted,
    FetchError_RateLimited,
    FetchError_Reconnect,
    FetchError_Unauthorized,
    FetchError_Unavailable,
    FetchError_Unexpected,
)

from .reading import NotJson, parse


def encoded(part):
    """A part of a URL, with everything encoded that has a meaning there."""
    # A path of dots alone leads elsewhere.
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="")


async def get(url, slot=None, account=None):
    """The answer to a request, with the secret of a slot: the operator's, or that of an account."""
    credential = None if slot is None else http.Credential(slot, None if account is None else account.id)
    try:
        return await http.send(http.Request(http.Method.GET, url, [], None, credential))
    except Err as error:
        raise Err(class_of(error.value, of_account=account is not None)) from None


def class_of(error, of_account=False):
    """The class of an error of the host."""
    if isinstance(error, http.Error_RateLimited):
        return FetchError_RateLimited(error.value)
    if isinstance(error, http.Error_QuotaExhausted):
        return FetchError_QuotaExhausted(error.value)
    if isinstance(error, http.Error_Denied):
        return FetchError_Misconfigured(error.value)
    if isinstance(error, http.Error_CredentialUnavailable):
        # Without a secret of the account's own, the artist has to connect; without the operator's, the configuration
        # is at fault.
        return FetchError_Reconnect(error.value) if of_account else FetchError_Misconfigured(error.value)
    if isinstance(error, http.Error_TooLarge):
        return FetchError_Unexpected("the answer is too large")
    return FetchError_Unavailable("no answer in time" if isinstance(error, http.Error_TimedOut) else "no connection")


def throttled(response):
    """`rate-limited` with the seconds of `retry-after`, where they were given."""
    wait = dict(response.headers).get("retry-after", "")
    return FetchError_RateLimited(int(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 10 else None)


def usual_class(response, why):
    """The class that a refusal in the platform's own form usually has by its status."""
    status = response.status
    described = f"HTTP {status}: {why}"
    if status == 401:
        return FetchError_Unauthorized(described)
    if status == 403:
        return FetchError_Forbidden(described)
    if status in (404, 410):
        return FetchError_NotFound()
    if status == 429:
        return throttled(response)
    if status in (408, 425) or status >= 500:
        return FetchError_Unavailable(described)
    return FetchError_Unexpected(described)


def sorted_answer(response, own):
    """The JSON object of an answer, after the one check that every answer passes.

    `own(body)` gives the class of an error in the platform's own form, and `None` for everything else. It is asked
    first, whatever the status. What is neither that nor an object says nothing of the account: a page of a proxy, a
    body that was cut off.
    """
    try:
        body = parse(response.body)
        is_json = True
    except NotJson:
        body, is_json = None, False
    if isinstance(body, dict):
        error = own(body)
        if error is not None:
            raise Err(error)
        if 200 <= response.status < 300:
            return body
    raise Err(_foreign(response, body, is_json))


def _foreign(response, body, is_json):
    status, is_empty = response.status, not response.body.strip()
    described = f"HTTP {status} with JSON of an unknown form" if is_json else f"HTTP {status} without JSON"
    if status == 429:
        return throttled(response)
    if status == 401 and (is_empty or isinstance(body, dict)):
        return FetchError_Unauthorized(described)
    if status >= 500 or status in (403, 404, 408, 410, 425, 451) or not is_json:
        return FetchError_Unavailable(described)
    return FetchError_Unexpected(described)
