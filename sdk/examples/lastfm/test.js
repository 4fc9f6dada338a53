// Tests without a host: `npm test`.
import assert from 'node:assert/strict';
import test from 'node:test';

import { connector } from './connector.js';
import { batch, failure } from './vendor/backline/helpers.js';
import * as offline from './vendor/backline/offline.js';

// 2026-10-31 to 2026-11-28, 12:00 UTC.
const WINDOW = { since: 1793448000n, until: 1795867200n };

const MBID = 'bfcc6d75-a6a5-4bc6-8282-47aec8531818';
const ARTIST = `https://ws.audioscrobbler.com/2.0/?format=json&method=artist.getinfo&mbid=${MBID}`;
const TRACKS = `https://ws.audioscrobbler.com/2.0/?format=json&method=artist.gettoptracks&mbid=${MBID}&limit=1`;

const integer = (val) => ({ tag: 'ok', val: { tag: 'integer', val } });
const text = (val) => ({ tag: 'ok', val: { tag: 'text', val } });
const texts = (val) => ({ tag: 'ok', val: { tag: 'texts', val } });
const absent = (val) => ({ tag: 'err', val });

// The answer for the artist: what `fetch` gives it.
function answer(answers) {
  const table = Object.entries(answers).map(([url, body]) => [url, [200, {}, JSON.stringify(body)]]);
  const source = connector(offline.answering(Object.fromEntries(table)));
  return offline.fetch(source, [offline.account(MBID)], WINDOW)[0];
}

function metrics(answers) {
  const { tag, val } = answer(answers);
  assert.equal(tag, 'ok', JSON.stringify(val));
  return offline.metrics(connector(), val.body, WINDOW);
}

const stats = { listeners: '7', playcount: '8' };
const artist = (more = {}) => ({ artist: { name: 'text 1', mbid: MBID, stats, ...more } });
const tracks = (track) => ({ toptracks: { track } });

test('the recorded answers give these numbers', () => {
  assert.deepEqual(offline.collect(connector, `answers/${MBID}`), {
    listeners: integer(2453211n),
    plays: integer(41120345n),
    genres: texts(['pop', 'dance', '80s']),
    top_track: text('text 1'),
  });
  assert.deepEqual(offline.collect(connector, 'answers/5eecaf18-02ec-47af-a4f2-7831db373419'), {
    listeners: integer(5120007n),
    plays: integer(3331930783n),
    genres: texts(['rock']),
    top_track: text('text 2'),
  });
  assert.deepEqual(offline.collect(connector, 'answers/9c9f1380-2516-4fc9-a3e6-f9f61941d090'), {
    listeners: integer(12n),
    plays: integer(0n),
    genres: absent('not-found'),
    top_track: absent('not-found'),
  });
});

test('each documented code has its class', () => {
  for (const [code, tag] of Object.entries({
    2: 'unexpected',
    3: 'unexpected',
    4: 'misconfigured',
    5: 'unexpected',
    6: 'not-found',
    7: 'unexpected',
    8: 'unavailable',
    9: 'unexpected',
    10: 'misconfigured',
    11: 'unavailable',
    13: 'unexpected',
    16: 'unavailable',
    26: 'misconfigured',
    29: 'rate-limited',
  })) {
    assert.equal(answer({ [ARTIST]: { error: Number(code), message: 'why' } }).val.tag, tag, code);
  }
});

test('another artist is refused', () => {
  const other = artist({ mbid: '5eecaf18-02ec-47af-a4f2-7831db373419' });
  assert.equal(answer({ [ARTIST]: other, [TRACKS]: tracks([]) }).val.tag, 'unexpected');
});

test('a failed part costs its own metric, and a limit the account', () => {
  const busy = metrics({ [ARTIST]: artist(), [TRACKS]: { error: 11, message: 'offline' } });
  assert.deepEqual([busy.listeners, busy.top_track], [integer(7n), absent('unavailable')]);
  const strange = metrics({ [ARTIST]: artist(), [TRACKS]: { toptracks: {} } });
  assert.deepEqual(strange.top_track, absent('unavailable'));
  const limited = answer({ [ARTIST]: artist(), [TRACKS]: { error: 29, message: 'slow down' } });
  assert.deepEqual(limited, absent({ tag: 'rate-limited', val: undefined }));
});

test('a list of one may come without its brackets', () => {
  const tags = { tag: { name: 'pop', url: 'https://www.last.fm/tag/pop' } };
  const found = metrics({ [ARTIST]: artist({ tags }), [TRACKS]: tracks({ name: 'one' }) });
  assert.deepEqual([found.genres, found.top_track], [texts(['pop']), text('one')]);
});

test('what is no count is missing and never zero, and any document gives the whole catalogue', () => {
  for (const value of ['null', '"many"', '-1', '1.5', 'true', '[]', '9223372036854775808', '""', '{}']) {
    const body = `{"artist": {"stats": {"listeners": ${value}}}}`;
    assert.deepEqual(offline.metrics(connector(), body, WINDOW).listeners, absent('not-offered'), value);
  }
  for (const body of ['null', '[]', '7', '{"artist": []}', '{"top_tracks": {"names": 7}}']) {
    const found = offline.metrics(connector(), body, WINDOW);
    assert.deepEqual(Object.keys(found), ['listeners', 'plays', 'genres', 'top_track'], body);
    assert.ok(Object.values(found).every(({ tag }) => tag === 'err'), body);
  }
});

test('an address that all accounts ask is answered by the credential', () => {
  const me = { method: 'GET', url: 'https://api.example.com/me' };
  const recorded = (id, credential) => {
    return { account: offline.account(id), answers: [{ request: { ...me, credential }, answer: { text: id } }] };
  };
  const asked = (send, slot, id) => {
    const credential = { slot, account: id && offline.account(id).id };
    return new TextDecoder().decode(send({ ...me, credential }).body);
  };
  // Older recordings do not say whose credential it was.
  for (const credentialOf of [(account) => ({ slot: 'user', account }), () => undefined]) {
    const send = offline.replaying(...['a1', 'a2'].map((id) => recorded(id, credentialOf(id))));
    for (const id of ['a2', 'a1', 'a2']) assert.equal(asked(send, 'user', id), id);
  }
  const own = offline.replaying(recorded('a1', { slot: 'user', account: 'a1' }));
  assert.throws(() => asked(own, 'user', 'a9'), /another account's credential/);
  // One of a slot alone is no account's, also where a person has written null.
  assert.equal(asked(offline.replaying(recorded('a1', { slot: 'app', account: null })), 'app'), 'a1');
});

// `batch`, for a platform that takes several ids: each account gets what was answered under its own id.
const outcomes = (ids, fetch, atMost = 50) => {
  const answers = batch(ids.map((id) => offline.account(id)), atMost, fetch);
  return answers.map(({ tag, val }) => (tag === 'ok' ? val : val.tag));
};

test('the order of the platform decides nothing', () => {
  const fetch = (ids) => {
    assert.deepEqual(ids, ['a', 'b', 'c']);
    return [['b', 'of b'], ['a', 'of a']];
  };
  assert.deepEqual(outcomes(['c', 'a', 'b', 'a'], fetch), ['not-found', 'of a', 'of b', 'of a']);
});

test("a doubtful answer is nobody's", () => {
  assert.deepEqual(outcomes(['a', 'b'], () => [['a', 1], ['a', 2], ['b', 3]]), ['unexpected', 3]);
  assert.deepEqual(outcomes(['a', 'b'], () => [['x', 1]]), ['unexpected', 'unexpected']);
  assert.deepEqual(outcomes(['a', 'b'], () => [['x', 1], ['b', 2]]), ['unexpected', 2]);
  assert.deepEqual(outcomes(['a', 'b'], () => [[undefined, 1], ['b', 2]]), ['unexpected', 2]);
});

test('a failed request costs its accounts, and a limit the rest', () => {
  const failing = (tag, val) => (ids) => {
    if (ids[0] === 'b') throw failure(tag, val);
    return ids.map((id) => [id, `of ${id}`]);
  };
  assert.deepEqual(outcomes(['a', 'b', 'c'], failing('unavailable', 'busy'), 1), ['of a', 'unavailable', 'of c']);
  assert.deepEqual(outcomes(['a', 'b', 'c'], failing('rate-limited', 30), 1), ['of a', 'rate-limited', 'rate-limited']);
});
