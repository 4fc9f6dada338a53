"""Tests without a host: `python -m unittest`, after `componentize-py … bindings .` (see README.md)."""

import asyncio
import json
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

# The runtime exists inside a component only; the bindings import it by its name.
sys.modules.setdefault("componentize_py_runtime", mock.MagicMock())

from componentize_py_types import Err, Ok
from wit_world.imports import http
from wit_world.imports.types import Absence, Account, Context, Document, FetchError_RateLimited, Value_Integer, Window

import app

# 2026-10-31 to 2026-11-28, 12:00 UTC.
WINDOW = Window(1793448000, 1795867200)


def recorded(account):
    """The answers in `answers/`, by URL."""
    answers = {}
    for path in sorted(Path("answers", account).glob("[0-9]*.json")):
        one = json.loads(path.read_text())
        answers[one["request"]["url"]] = one["answer"]

    async def send(request):
        answer = answers[request.url]
        return http.Response(answer["status"], list(answer["headers"].items()), json.dumps(answer["json"]).encode())

    return mock.patch.object(http, "send", send)


def fetch(*accounts):
    batch = [Account(f"account-{name}", name, "{}", None) for name in accounts]
    # The bindings have an event loop of their own in this thread, which only works in a component.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, app.Source().fetch(batch, Context(WINDOW, []))).result().accounts


def metrics(document):
    (result,) = app.Source().normalize([Document(document, WINDOW, WINDOW.until)])
    return {metric.name: metric for metric in result.value.metrics}


class Recorded(unittest.TestCase):
    def test_the_recorded_answers_give_these_numbers(self):
        for account, followers, releases in [
            ("a1", Ok(Value_Integer(120_345)), Ok(Value_Integer(1))),
            ("a2", Err(Absence.HIDDEN), Ok(Value_Integer(0))),
            ("a3", Ok(Value_Integer(3_331_930_783)), Ok(Value_Integer(1))),
        ]:
            with self.subTest(account), recorded(account):
                found = metrics(fetch(account)[0].value.body)
                self.assertEqual(found["followers"].value, followers)
                self.assertEqual(found["recent_releases"].value, releases)
                self.assertEqual(found["streams"].value, Err(Absence.NOT_OFFERED))


class Made(unittest.TestCase):
    def test_one_artists_failure_does_not_affect_others(self):
        async def send(request):
            if request.url.endswith("/a1"):
                return http.Response(429, [("retry-after", "17")], b"")
            return http.Response(200, [], b'{"id": "a2", "followers": 7}')

        with mock.patch.object(http, "send", send):
            first, second = fetch("a1", "a2")
        self.assertEqual(first, Err(FetchError_RateLimited(17)))
        self.assertEqual(json.loads(second.value.body)["followers"], 7)

    def test_what_is_no_count_is_missing_and_never_zero(self):
        for value in ["null", '"many"', "-1", "1.5", "true", "[]", str(2**63)]:
            found = metrics('{"id": "a1", "followers": %s}' % value)
            self.assertEqual(found["followers"].value, Err(Absence.HIDDEN), value)


if __name__ == "__main__":
    unittest.main()
