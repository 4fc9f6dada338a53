// Tests without a host: `npm test`. `send` answers from `answers/`, or from a table.
import assert from 'node:assert/strict';
import test from 'node:test';

import { connector } from './connector.js';
import { encoded } from './vendor/backline/helpers.js';
import { account, answering, collect, fetch, metrics } from './vendor/backline/offline.js';

// 2026-10-31 to 2026-11-28, 12:00 UTC.
const WINDOW = { since: 1793448000n, until: 1795867200n };

const integer = (val) => ({ tag: 'ok', val: { tag: 'integer', val } });
const absent = (val) => ({ tag: 'err', val });

test('the recorded answers give these numbers', () => {
  for (const [artist, followers, releases] of [
    ['a1', integer(120345n), integer(1n)],
    ['a2', absent('hidden'), integer(0n)],
    ['a3', integer(3331930783n), integer(1n)],
  ]) {
    const found = collect(connector, `answers/${artist}`);
    assert.deepEqual(found, { followers, recent_releases: releases, streams: absent('not-offered') }, artist);
  }
});

test("one artist's failure does not affect others", () => {
  const url = 'https://api.example.com/v1/artists/';
  const send = answering({
    [`${url}a1`]: [429, { 'retry-after': '17' }, ''],
    [`${url}a2`]: [200, {}, '{"id": "a2", "followers": 7}'],
  });
  const source = connector(send);
  const [first, second] = fetch(source, [account('a1'), account('a2')], WINDOW);
  assert.deepEqual(first, { tag: 'err', val: { tag: 'rate-limited', val: 17 } });
  assert.deepEqual(metrics(source, second.val.body, WINDOW).followers, integer(7n));
});

test('what is no count is missing and never zero, and what is one is exact', () => {
  const source = connector(answering({}));
  const followers = (value) => metrics(source, `{"id": "a1", "followers": ${value}}`, WINDOW).followers;
  for (const value of ['null', '"many"', '-1', '1.5', 'true', '[]', '9223372036854775808', '""', '1e3000']) {
    assert.deepEqual(followers(value), absent('hidden'), value);
  }
  assert.deepEqual(followers('9007199254740993'), integer(9007199254740993n));
  assert.deepEqual(followers('9223372036854775807'), integer(9223372036854775807n));
});

test('an id can not reach another address', () => {
  assert.equal(encoded('a/../b?c=1&d#e'), 'a%2F..%2Fb%3Fc%3D1%26d%23e');
  assert.equal(encoded('..'), '%2E%2E');
});
