"""Answers for the accounts of a batch: each gets its own, whichever others there are."""

import asyncio
import json

from componentize_py_types import Err, Ok
from wit_world.imports.types import (
    BatchResult,
    FetchError_Misconfigured,
    FetchError_NotFound,
    FetchError_QuotaExhausted,
    FetchError_RateLimited,
    FetchError_Reconnect,
    FetchError_Unauthorized,
    FetchError_Unexpected,
    Fetched,
)

# How many accounts are fetched at the same time, unless a connector says otherwise.
AT_ONCE = 8

# Errors that every further request with the same credential would have.
CONCERNS_ALL = (
    FetchError_Misconfigured,
    FetchError_QuotaExhausted,
    FetchError_RateLimited,
    FetchError_Reconnect,
    FetchError_Unauthorized,
)


def fetched(body, state=None):
    """A document, and what is to be kept for the next fetch of the account."""
    return Fetched(json.dumps(_without_nul(body)), None if state is None else json.dumps(state))


def _without_nul(value):
    # PostgreSQL refuses NUL characters.
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


async def each(accounts, fetch, at_once=AT_ONCE):
    """Calls `fetch(account)` for every account: one account's failure does not affect the others."""
    permits = asyncio.Semaphore(at_once)

    async def one(account):
        async with permits:
            try:
                return Ok(await fetch(account))
            except Err as error:
                return error

    # `gather` keeps the order: the host matches answers and accounts by their position.
    return BatchResult(list(await asyncio.gather(*map(one, accounts))), [])


async def batch(accounts, at_most, fetch):
    """Calls `fetch(ids)` for at most `at_most` accounts at a time, with the platform's ids, each once and sorted.

    It answers with pairs of the platform's id and a document, in any order. An account that is not among them does not
    exist, unless the answer names others instead: it may be there under another id. An object whose id can't be read
    is one of these; give it the id `None`. One that is there twice is not what it seems to be. An error that concerns
    every further request ends the batch.
    """
    ids = sorted({account.platform_id for account in accounts})
    answers, stopped = {}, None
    for start in range(0, len(ids), at_most):
        asked = ids[start : start + at_most]
        try:
            if stopped is not None:
                raise stopped
            answers.update(_assigned(asked, await fetch(asked)))
        except Err as error:
            stopped = error if isinstance(error.value, CONCERNS_ALL) else None
            answers.update(dict.fromkeys(asked, error))
    missing = Err(FetchError_NotFound())
    return BatchResult([answers.get(account.platform_id, missing) for account in accounts], [])


def _assigned(asked, named):
    answers = {}
    for id, document in named:
        if id in answers:
            answers[id] = Err(FetchError_Unexpected("the answer names the account twice"))
        elif id in asked:
            answers[id] = Ok(document)
    if any(id not in asked for id, _ in named):
        strange = Err(FetchError_Unexpected("the answer names others, and not this account"))
        return dict.fromkeys(asked, strange) | answers
    return answers
