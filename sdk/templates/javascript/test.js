// Tests without a host: `npm test`. `send` answers from a table.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';

import { connector } from './connector.js';
import { encoded } from './vendor/backline/helpers.js';

// 2026-10-31 to 2026-11-28, 12:00 UTC.
const WINDOW = { since: 1793448000n, until: 1795867200n };

const bytes = (text) => new TextEncoder().encode(text);

function answering(answers) {
  return connector(({ url }) => {
    assert.ok(Object.hasOwn(answers, url), `the test has no answer to ${url}`);
    return answers[url];
  });
}

// The answers in `answers/`, by URL.
function recorded(account) {
  const answers = {};
  for (const file of readdirSync(`answers/${account}`).filter((name) => /^\d/.test(name))) {
    const { request, answer } = JSON.parse(readFileSync(`answers/${account}/${file}`, 'utf8'));
    const { status, headers, json } = answer;
    answers[request.url] = { status, headers: Object.entries(headers), body: bytes(JSON.stringify(json)) };
  }
  return answers;
}

function fetch(source, ...accounts) {
  const batch = accounts.map((id) => ({ id: `account-${id}`, platformId: id, settings: '{}', state: undefined }));
  return source.fetch(batch, { window: WINDOW, lostMetrics: [] }).accounts;
}

function metrics(source, body) {
  const [result] = source.normalize([{ body, window: WINDOW, observedAt: WINDOW.until }]);
  return Object.fromEntries(result.val.metrics.map((metric) => [metric.name, metric.value]));
}

const integer = (val) => ({ tag: 'ok', val: { tag: 'integer', val } });
const absent = (val) => ({ tag: 'err', val });

test('the recorded answers give these numbers', () => {
  for (const [account, followers, releases] of [
    ['a1', integer(120345n), integer(1n)],
    ['a2', absent('hidden'), integer(0n)],
    ['a3', integer(3331930783n), integer(1n)],
  ]) {
    const source = answering(recorded(account));
    const found = metrics(source, fetch(source, account)[0].val.body);
    assert.deepEqual(found, { followers, recent_releases: releases, streams: absent('not-offered') }, account);
  }
});

test("one artist's failure does not affect others", () => {
  const url = 'https://api.example.com/v1/artists/';
  const source = answering({
    [`${url}a1`]: { status: 429, headers: [['retry-after', '17']], body: bytes('') },
    [`${url}a2`]: { status: 200, headers: [], body: bytes('{"id": "a2", "followers": 7}') },
  });
  const [first, second] = fetch(source, 'a1', 'a2');
  assert.deepEqual(first, { tag: 'err', val: { tag: 'rate-limited', val: 17 } });
  assert.deepEqual(metrics(source, second.val.body).followers, integer(7n));
});

test('what is no count is missing and never zero, and what is one is exact', () => {
  const followers = (value) => metrics(answering({}), `{"id": "a1", "followers": ${value}}`).followers;
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
