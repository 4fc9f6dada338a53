"""For tests without a host: the answers that `backline plugins try --record` wrote, or a table of them."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from unittest import mock

from componentize_py_types import Err
from wit_world.imports import http
from wit_world.imports.types import Account, Context, Document, Window


class Recording:
    """One account's recorded answers."""

    def __init__(self, folder):
        about = json.loads(Path(folder, "recording.json").read_text())
        self.account = Account(f"account-{about['account']}", about["account"], json.dumps(about["settings"]), None)
        self.window = Window(_seconds(about["window"]["since"]), _seconds(about["window"]["until"]))
        self.observed_at = _seconds(about["observed_at"])
        files = sorted(path for path in Path(folder).glob("*.json") if path.name != "recording.json")
        self.answers = [json.loads(path.read_text()) for path in files]


def _seconds(text):
    return int(datetime.fromisoformat(text).timestamp())


def replay(*recordings):
    """Answers the recorded requests while it is entered with `with`; any other request fails the test.

    An answer that was recorded with the credential of an account is for that account alone.
    """
    platform_ids = {recording.account.id: recording.account.platform_id for recording in recordings}
    answers = {}
    for recording in recordings:
        for one in recording.answers:
            request = one["request"]
            key = request["method"], request["url"], request.get("body")
            turn = recording.account.platform_id, request.get("credential"), one["answer"]
            answers.setdefault(key, []).append(turn)

    async def send(request):
        body = None if request.body is None else request.body.decode()
        turns = answers.get((request.method.name, request.url, body), [])
        fitting = _fitting(turns, request.credential, platform_ids)
        assert fitting, f"{request.method.name} {request.url} is not recorded, or with another account's credential"
        # A request that was recorded several times gets its answers in turn, and then the last one again.
        if len(fitting) > 1:
            turns.remove(fitting[0])
        return _response(fitting[0][2])

    return mock.patch.object(http, "send", send)


def _fitting(turns, credential, platform_ids):
    """Those that were recorded with this credential; or else what does not say that it is another account's, and of
    that what is from the account's own recording."""
    account = None if credential is None else platform_ids.get(credential.account, credential.account)

    def rank(turn):
        of, recorded, _ = turn
        if recorded is not None and recorded.get("account") not in (None, account):
            return None
        if recorded is not None and credential is not None:
            if (recorded["slot"], recorded.get("account")) == (credential.slot, account):
                return 2
        return int(account is not None and of == account)

    ranked = [(rank(turn), turn) for turn in turns]
    best = max((number for number, _ in ranked if number is not None), default=None)
    return [turn for number, turn in ranked if number is not None and number == best]


def answering(answers):
    """Answers by URL while it is entered with `with`: a table of `(status, headers, body)`."""

    async def send(request):
        assert request.url in answers, f"the test has no answer to {request.url}"
        status, headers, body = answers[request.url]
        return http.Response(status, list(headers.items()), body if isinstance(body, bytes) else body.encode())

    return mock.patch.object(http, "send", send)


def _response(answer):
    if "error" in answer:
        errors = {"timed-out": http.Error_TimedOut(), "too-large": http.Error_TooLarge(16 << 20)}
        raise Err(errors.get(answer["error"]) or http.Error_Unreachable("as it was recorded"))
    body = json.dumps(answer["json"]) if answer.get("json") is not None else answer.get("text", "")
    return http.Response(answer.get("status", 200), list(answer.get("headers", {}).items()), body.encode())


def account(platform_id, settings="{}"):
    """An account of a test."""
    return Account(f"account-{platform_id}", platform_id, settings, None)


def run(call):
    """What a coroutine answers. The bindings have an event loop of their own, which works in a component alone."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, call).result()


def fetch(source, accounts, window):
    """The answers of a connector's `fetch`, in the order of the accounts."""
    answers = run(source.fetch(list(accounts), Context(window, []))).accounts
    assert len(answers) == len(accounts), "fetch must give one answer for each account"
    return answers


def metrics(source, body, window, observed_at=None):
    """The metrics that a connector's `normalize` makes of a document, by their names."""
    document = Document(body, window, window.until if observed_at is None else observed_at)
    (result,) = source.normalize([document])
    return {metric.name: metric for metric in result.value.metrics}


def collect(source, recording):
    """The metrics of a recorded account, by their names."""
    with replay(recording):
        (answer,) = fetch(source, [recording.account], recording.window)
    return metrics(source, answer.value.body, recording.window, recording.observed_at)
