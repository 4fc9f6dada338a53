"""Tests without a host: `python -m unittest`, after `componentize-py … bindings build/bindings` (see README.md)."""

import json
import unittest

# First, since it lets the bindings be imported without a component around them.
from backline import encoded, offline

import app
from componentize_py_types import Err, Ok
from wit_world.imports.types import Absence, FetchError_RateLimited, Value_Integer, Window

# 2026-10-31 to 2026-11-28, 12:00 UTC.
WINDOW = Window(1793448000, 1795867200)

URL = "https://api.example.com/v1/artists/"


class Recorded(unittest.TestCase):
    def test_the_recorded_answers_give_these_numbers(self):
        for account, followers, releases in [
            ("a1", Ok(Value_Integer(120_345)), Ok(Value_Integer(1))),
            ("a2", Err(Absence.HIDDEN), Ok(Value_Integer(0))),
            ("a3", Ok(Value_Integer(3_331_930_783)), Ok(Value_Integer(1))),
        ]:
            with self.subTest(account):
                found = offline.collect(app.Source(), offline.Recording(f"answers/{account}"))
                self.assertEqual(found["followers"].value, followers)
                self.assertEqual(found["recent_releases"].value, releases)
                self.assertEqual(found["streams"].value, Err(Absence.NOT_OFFERED))


class Made(unittest.TestCase):
    def test_one_artists_failure_does_not_affect_others(self):
        answers = {
            URL + "a1": (429, {"retry-after": "17"}, ""),
            URL + "a2": (200, {}, '{"id": "a2", "followers": 7}'),
        }
        with offline.answering(answers):
            accounts = [offline.account("a1"), offline.account("a2")]
            first, second = offline.fetch(app.Source(), accounts, WINDOW)
        self.assertEqual(first, Err(FetchError_RateLimited(17)))
        self.assertEqual(json.loads(second.value.body)["followers"], 7)

    def test_what_is_no_count_is_missing_and_never_zero(self):
        for value in ["null", '"many"', "-1", "1.5", "true", "[]", str(2**63)]:
            found = offline.metrics(app.Source(), '{"id": "a1", "followers": %s}' % value, WINDOW)
            self.assertEqual(found["followers"].value, Err(Absence.HIDDEN), value)

    def test_an_id_can_not_reach_another_address(self):
        self.assertEqual(encoded("a/../b?c=1&d#e"), "a%2F..%2Fb%3Fc%3D1%26d%23e")
        self.assertEqual(encoded(".."), "%2E%2E")


if __name__ == "__main__":
    unittest.main()
