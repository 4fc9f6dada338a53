// For tests without a host: the answers that `backline plugins try --record` wrote, or a table of them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';

const bytes = (text) => new TextEncoder().encode(text);
const seconds = (text) => BigInt(Math.floor(Date.parse(text) / 1000));

// One account's recorded answers.
export function recording(folder) {
  const read = (file) => JSON.parse(readFileSync(`${folder}/${file}`, 'utf8'));
  const about = read('recording.json');
  const files = readdirSync(folder).filter((file) => file.endsWith('.json') && file !== 'recording.json');
  return {
    account: account(about.account, about.settings),
    window: { since: seconds(about.window.since), until: seconds(about.window.until) },
    observedAt: seconds(about.observed_at),
    answers: files.sort().map(read),
  };
}

// An account of a test.
export function account(platformId, settings = {}) {
  return { id: `account-${platformId}`, platformId, settings: JSON.stringify(settings), state: undefined };
}

// A `send` that answers the recorded requests; any other fails the test. An answer that was recorded with the
// credential of an account is for that account alone.
export function replaying(...recordings) {
  const key = (method, url, body) => JSON.stringify([method.toUpperCase(), url, body ?? null]);
  const platformIds = new Map(recordings.map(({ account }) => [account.id, account.platformId]));
  const answers = new Map();
  for (const { account, answers: recorded } of recordings) {
    for (const { request, answer } of recorded) {
      const wanted = key(request.method, request.url, request.body);
      const turn = { of: account.platformId, credential: request.credential, answer };
      answers.set(wanted, [...(answers.get(wanted) ?? []), turn]);
    }
  }
  return ({ method, url, body, credential }) => {
    const turns = answers.get(key(method, url, body && new TextDecoder().decode(body))) ?? [];
    const fitting = fittingTurns(turns, credential, platformIds);
    assert.ok(fitting.length > 0, `${method} ${url} is not recorded, or with another account's credential`);
    // A request that was recorded several times gets its answers in turn, and then the last one again.
    if (fitting.length > 1) turns.splice(turns.indexOf(fitting[0]), 1);
    return responseOf(fitting[0].answer);
  };
}

// Those that were recorded with this credential; or else what does not say that it is another account's, and of that
// what is from the account's own recording.
function fittingTurns(turns, credential, platformIds) {
  const account = platformIds.get(credential?.account) ?? credential?.account;
  const rank = ({ of, credential: recorded }) => {
    // In a file that was edited by hand, null is no account either.
    const owner = recorded?.account ?? undefined;
    if (owner !== undefined && owner !== account) return -1;
    if (recorded && credential && recorded.slot === credential.slot && owner === account) return 2;
    return account !== undefined && of === account ? 1 : 0;
  };
  const best = Math.max(0, ...turns.map(rank));
  return turns.filter((turn) => rank(turn) === best);
}

// A `send` that answers by URL: a table of `[status, headers, body]`.
export function answering(answers) {
  return ({ url }) => {
    assert.ok(Object.hasOwn(answers, url), `the test has no answer to ${url}`);
    const [status, headers, body] = answers[url];
    return { status, headers: Object.entries(headers), body: bytes(body) };
  };
}

function responseOf(answer) {
  if (answer.error !== undefined) {
    const val = { 'too-large': 16777216n, unreachable: 'as it was recorded' }[answer.error];
    throw Object.assign(new Error(answer.error), { payload: { tag: answer.error, val } });
  }
  const { status = 200, headers = {}, json, text = '' } = answer;
  const body = bytes(json === undefined || json === null ? text : JSON.stringify(json));
  return { status, headers: Object.entries(headers), body };
}

// The answers of a connector's `fetch`, in the order of the accounts.
export function fetch(source, accounts, window) {
  const answers = source.fetch(accounts, { window, lostMetrics: [] }).accounts;
  assert.equal(answers.length, accounts.length, 'fetch must give one answer for each account');
  return answers;
}

// The metrics that a connector's `normalize` makes of a document, by their names.
export function metrics(source, body, window, observedAt = window.until) {
  const [result] = source.normalize([{ body, window, observedAt }]);
  return Object.fromEntries(result.val.metrics.map((metric) => [metric.name, metric.value]));
}

// The metrics of a recorded account, by their names; `connector` takes a `send`.
export function collect(connector, folder) {
  const recorded = recording(folder);
  const source = connector(replaying(recorded));
  const [answer] = fetch(source, [recorded.account], recorded.window);
  assert.equal(answer.tag, 'ok', JSON.stringify(answer.val));
  return metrics(source, answer.val.body, recorded.window, recorded.observedAt);
}
