"""Tests without a host: see README.md."""

import json
import unittest
from types import SimpleNamespace

# First, since it lets the bindings be imported without a component around them.
from backline import batch, fetched, offline

import app
from componentize_py_types import Err, Ok
from wit_world.imports import http
from wit_world.imports.types import (
    Absence,
    Coverage,
    FetchError_Forbidden,
    FetchError_Misconfigured,
    FetchError_NotFound,
    FetchError_RateLimited,
    FetchError_Unavailable,
    FetchError_Unexpected,
    Value_Integer,
    Window,
)

# 2026-10-31 to 2026-11-28, 12:00 UTC.
WINDOW = Window(1793448000, 1795867200)

ARTIST = "https://api.deezer.com/artist/27"
ALBUMS = ARTIST + "/albums?limit=100&index="


def collected(answers):
    """The metrics of artist 27 from these answers, or the error."""
    source = app.Source()
    with offline.answering({url: (200, {}, json.dumps(body)) for url, body in answers.items()}):
        (answer,) = offline.fetch(source, [offline.account("27")], WINDOW)
    return answer if isinstance(answer, Err) else offline.metrics(source, answer.value.body, WINDOW)


def page(total, *dates):
    return {"data": [{"id": index, "release_date": date} for index, date in enumerate(dates)], "total": total}


class Recorded(unittest.TestCase):
    def test_the_recorded_answers_give_these_numbers(self):
        for account, followers, catalogue, releases, skipped in [
            ("27", 4_803_211, 36, 1, 0),
            ("1069", 120_345, 3, 2, 1),
            ("5341", 0, 0, 0, 0),
        ]:
            with self.subTest(account):
                found = offline.collect(app.Source(), offline.Recording(f"answers/{account}"))
                self.assertEqual(found["followers"].value, Ok(Value_Integer(followers)))
                self.assertEqual(found["catalogue_size"].value, Ok(Value_Integer(catalogue)))
                self.assertEqual(found["recent_releases"].value, Ok(Value_Integer(releases)))
                self.assertEqual(found["recent_releases"].coverage, Coverage(releases, skipped))


class Errors(unittest.TestCase):
    def test_each_documented_code_has_its_class(self):
        for code, expected in [
            (4, FetchError_RateLimited),
            (100, FetchError_Unexpected),
            (200, FetchError_Forbidden),
            (300, FetchError_Misconfigured),
            (500, FetchError_Unexpected),
            (501, FetchError_Unexpected),
            (600, FetchError_Unexpected),
            (700, FetchError_Unavailable),
            (800, FetchError_NotFound),
            (901, FetchError_Forbidden),
        ]:
            with self.subTest(code):
                error = {"error": {"type": "Exception", "message": "", "code": code}}
                self.assertIsInstance(collected({ARTIST: error}).value, expected)

    def test_another_artist_is_refused(self):
        found = collected({ARTIST: {"id": 28, "nb_fan": 7}, ALBUMS + "0": page(0)})
        self.assertIsInstance(found.value, FetchError_Unexpected)

    def test_a_failed_part_costs_its_own_metric_and_a_limit_the_account(self):
        artist = {"id": 27, "nb_fan": 7, "nb_album": 1}
        busy = {"error": {"type": "Exception", "message": "", "code": 700}}
        found = collected({ARTIST: artist, ALBUMS + "0": busy})
        self.assertEqual(found["followers"].value, Ok(Value_Integer(7)))
        self.assertEqual(found["recent_releases"].value, Err(Absence.UNAVAILABLE))
        limited = {"error": {"type": "Exception", "message": "", "code": 4}}
        self.assertEqual(collected({ARTIST: artist, ALBUMS + "0": limited}), Err(FetchError_RateLimited(5)))


class Paging(unittest.TestCase):
    ARTIST = {"id": 27, "nb_fan": 7, "nb_album": 3}

    def releases(self, pages):
        answers = {ALBUMS + str(index): body for index, body in pages.items()}
        return collected({ARTIST: self.ARTIST, **answers})["recent_releases"]

    def test_pages_are_read_to_the_end(self):
        found = self.releases({0: page(3, "2026-11-06", "2026-11-07"), 2: page(3, "2026-11-08")})
        self.assertEqual((found.value, found.coverage), (Ok(Value_Integer(3)), Coverage(3, 0)))

    def test_a_part_is_never_the_whole(self):
        for pages in [
            {0: page(3, "2026-11-06", "2026-11-07"), 2: page(3)},
            {0: page(1, "2026-11-06", "2026-11-07")},
            {0: page(3, "2026-11-06"), 1: page(2, "2026-11-07")},
            {0: {"data": None, "total": 0}},
            {0: {"data": []}},
            {0: {"data": [], "total": "many"}},
        ]:
            with self.subTest(pages):
                self.assertEqual(self.releases(pages).value, Err(Absence.UNAVAILABLE))

    def test_pages_that_never_end_are_bounded(self):
        pages = {index: page(1000, "2026-11-06") for index in range(app.PAGES_MAX)}
        self.assertEqual(self.releases(pages).value, Err(Absence.UNAVAILABLE))


class Normalizing(unittest.TestCase):
    def test_what_is_no_count_is_missing_and_never_zero(self):
        for value in ["null", '"many"', "-1", "1.5", "true", "[]", str(2**63)]:
            found = offline.metrics(app.Source(), '{"artist": {"nb_fan": %s}}' % value, WINDOW)
            self.assertEqual(found["followers"].value, Err(Absence.NOT_OFFERED), value)

    def test_any_document_gives_the_whole_catalogue(self):
        for body in ["null", "[]", "{}", '{"artist": [], "releases": {"pages": [null]}}', '{"releases": 7}']:
            found = offline.metrics(app.Source(), body, WINDOW)
            self.assertEqual(set(found), {"followers", "catalogue_size", "recent_releases"}, body)
            self.assertTrue(all(isinstance(metric.value, Err) for metric in found.values()), body)


class Batches(unittest.TestCase):
    """`backline.batch`, for a platform that takes several ids: each account gets what was answered under its own id."""

    def outcomes(self, ids, fetch, at_most=50):
        answers = offline.run(batch([offline.account(id) for id in ids], at_most, fetch)).accounts
        return [type(one.value).__name__ if isinstance(one, Err) else json.loads(one.value.body) for one in answers]

    def test_the_order_of_the_platform_decides_nothing(self):
        async def fetch(ids):
            self.assertEqual(ids, ["a", "b", "c"])
            return [("b", fetched("of b")), ("a", fetched("of a"))]

        self.assertEqual(self.outcomes(["c", "a", "b", "a"], fetch), ["FetchError_NotFound", "of a", "of b", "of a"])

    def test_a_doubtful_answer_is_nobodys(self):
        async def twice(ids):
            return [("a", fetched(1)), ("a", fetched(2)), ("b", fetched(3))]

        async def others(ids):
            return [("x", fetched(1))]

        self.assertEqual(self.outcomes(["a", "b"], twice), ["FetchError_Unexpected", 3])
        self.assertEqual(self.outcomes(["a", "b"], others), ["FetchError_Unexpected"] * 2)

        async def instead(ids):
            return [("x", fetched(1)), ("b", fetched(2))]

        self.assertEqual(self.outcomes(["a", "b"], instead), ["FetchError_Unexpected", 2])

        async def without_an_id(ids):
            return [(None, fetched(1)), ("b", fetched(2))]

        self.assertEqual(self.outcomes(["a", "b"], without_an_id), ["FetchError_Unexpected", 2])

    def test_a_failed_request_costs_its_accounts_and_a_limit_the_rest(self):
        def failing(error):
            async def fetch(ids):
                if ids == ["b"]:
                    raise Err(error)
                return [(id, fetched("of " + id)) for id in ids]

            return fetch

        busy, limited = FetchError_Unavailable("busy"), FetchError_RateLimited(30)
        ids = ["a", "b", "c"]
        self.assertEqual(self.outcomes(ids, failing(busy), 1), ["of a", "FetchError_Unavailable", "of c"])
        self.assertEqual(self.outcomes(ids, failing(limited), 1), ["of a"] + ["FetchError_RateLimited"] * 2)


class Replayed(unittest.TestCase):
    URL = "https://api.example.com/me"

    def recorded(self, id, credential):
        request = {"method": "GET", "url": self.URL} | ({} if credential is None else {"credential": credential})
        return SimpleNamespace(account=offline.account(id), answers=[{"request": request, "answer": {"text": id}}])

    def asked(self, slot, id=None):
        credential = http.Credential(slot, None if id is None else offline.account(id).id)
        return offline.run(http.send(http.Request(http.Method.GET, self.URL, [], None, credential))).body.decode()

    def test_an_address_that_all_accounts_ask_is_answered_by_the_credential(self):
        # Older recordings do not say whose credential it was.
        for says_so in (True, False):
            ids = ("a1", "a2")
            of = {id: {"slot": "user", "account": id} if says_so else None for id in ids}
            with offline.replay(*(self.recorded(id, of[id]) for id in ids)):
                for id in ("a2", "a1", "a2"):
                    self.assertEqual(self.asked("user", id), id)
        with offline.replay(self.recorded("a1", {"slot": "user", "account": "a1"})):
            self.assertRaisesRegex(AssertionError, "another account's credential", self.asked, "user", "a9")
        # One of a slot alone is no account's, also where a person has written null.
        with offline.replay(self.recorded("a1", {"slot": "app", "account": None})):
            self.assertEqual(self.asked("app"), "a1")


if __name__ == "__main__":
    unittest.main()
