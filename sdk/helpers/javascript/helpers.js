// Helpers for the contract backline:connector@1.0.0 in JavaScript. Values have the forms of the generated bindings:
// 64-bit numbers are BigInt, variants are { tag, val }.

const COUNT_MAX = 2n ** 63n - 1n;

// A part of a URL, with everything encoded that has a meaning there.
export function encoded(part) {
  // A path of dots alone leads elsewhere.
  if (part === '.' || part === '..') return part.replaceAll('.', '%2E');
  return encodeURIComponent(part.toWellFormed?.() ?? part).replace(/[!'()*]/g, hex);
}

const hex = (character) => '%' + character.charCodeAt(0).toString(16).toUpperCase();

// An error of the contract, to be thrown: its class, and for most the reason.
export function failure(tag, val) {
  return Object.assign(new Error(`${tag}: ${val ?? ''}`), { payload: { tag, val } });
}

// The class of an error that `send` threw.
export function classOf(error, ofAccount = false) {
  const { tag, val } = error.payload ?? {};
  switch (tag) {
    case 'rate-limited':
    case 'quota-exhausted':
      return failure(tag, val);
    case 'denied':
      return failure('misconfigured', val);
    case 'credential-unavailable':
      // Without a secret of the account's own, the artist has to connect; without the operator's, the configuration is
      // at fault.
      return failure(ofAccount ? 'reconnect' : 'misconfigured', val);
    case 'timed-out':
    case 'unreachable':
      return failure('unavailable', val ?? 'no answer in time');
    case 'too-large':
      return failure('unexpected', 'the answer is too large');
    default:
      throw error;
  }
}

// `rate-limited` with the seconds of `retry-after`, where they were given.
export function throttled(response) {
  const wait = response.headers.find(([name]) => name === 'retry-after')?.[1] ?? '';
  return failure('rate-limited', /^\d{1,9}$/.test(wait) ? Number(wait) : undefined);
}

// Answers every account by itself, in order: one account's failure does not affect the others.
export function each(accounts, fetch) {
  return accounts.map((account) => {
    try {
      return { tag: 'ok', val: fetch(account) };
    } catch (error) {
      if (error.payload === undefined) throw error;
      return { tag: 'err', val: error.payload };
    }
  });
}

// The text of a body, which is UTF-8.
export const textOf = (body) => new TextDecoder().decode(body);

// Reads JSON. Whole numbers of 16 digits and more become strings, since a JavaScript number has no room for them.
export function parse(text) {
  const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  return JSON.parse(text.replace(tokens, (token) => (/^-?\d{16,}$/.test(token) ? `"${token}"` : token)));
}

// A field of an object; undefined if there is none.
export const field = (value, name) =>
  value !== null && typeof value === 'object' && Object.hasOwn(value, name) ? value[name] : undefined;

// A count as platforms send it: a whole number from 0 to 2^63-1, or one in a string. Undefined for anything else.
export function count(value) {
  if (typeof value === 'number' ? !Number.isSafeInteger(value) : typeof value !== 'string') return undefined;
  const text = String(value);
  if (!/^\d+$/.test(text)) return undefined;
  const whole = BigInt(text);
  return whole <= COUNT_MAX ? whole : undefined;
}

// The start of a calendar date such as 2026-11-20 in seconds since 1970, UTC; undefined for one of a month or a year.
export function day(text) {
  if (typeof text !== 'string' || !/^\d{4}-\d{2}-\d{2}$/.test(text)) return undefined;
  const date = new Date(`${text}T00:00:00Z`);
  // Some engines move the 30th of February to March.
  const exists = !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
  return exists ? BigInt(date.getTime() / 1000) : undefined;
}

// Metrics of a snapshot.
export function integer(name, val, coverage) {
  return { name, value: { tag: 'ok', val: { tag: 'integer', val } }, coverage };
}
export function absent(name, absence) {
  return { name, value: { tag: 'err', val: absence }, coverage: undefined };
}
export function counted(name, value, absence) {
  const found = count(value);
  return found === undefined ? absent(name, absence) : integer(name, found, undefined);
}

// A metric with a title or a list of them.
export function label(name, value, absence) {
  const labelled = (tag) => ({ name, value: ok({ tag, val: value }), coverage: undefined });
  if (typeof value === 'string' && value !== '') return labelled('text');
  const isList = Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string');
  return isList ? labelled('texts') : absent(name, absence);
}

const ok = (val) => ({ tag: 'ok', val });

// The list under a name; undefined if there is none. A missing list is not an empty one.
export function items(value, name) {
  const found = field(value, name);
  return Array.isArray(found) ? found : undefined;
}

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

// The JSON object of an answer, after the one check that every answer passes. `own` gives the failure that stands for
// an error in the platform's own form, and undefined for everything else. It is asked first, whatever the status. What
// is neither that nor an object says nothing of the account: a page of a proxy, a body that was cut off.
export function sortedAnswer(response, own) {
  const text = textOf(response.body);
  let body;
  let isJson = true;
  try {
    body = parse(text);
  } catch {
    isJson = false;
  }
  if (isObject(body)) {
    const error = own(body);
    if (error !== undefined) throw error;
    if (response.status >= 200 && response.status < 300) return body;
  }
  throw foreign(response, body, isJson, text.trim() === '');
}

function foreign(response, body, isJson, isEmpty) {
  const { status } = response;
  const described = isJson ? `HTTP ${status} with JSON of an unknown form` : `HTTP ${status} without JSON`;
  if (status === 429) return throttled(response);
  if (status === 401 && (isEmpty || isObject(body))) return failure('unauthorized', described);
  const isForeign = status >= 500 || [403, 404, 408, 410, 425, 451].includes(status) || !isJson;
  return failure(isForeign ? 'unavailable' : 'unexpected', described);
}

// Failures that every further request with the same credential would have.
const CONCERNS_ALL = ['misconfigured', 'quota-exhausted', 'rate-limited', 'reconnect', 'unauthorized'];

// Asks for at most `atMost` accounts with one request: `fetch` gets the platform's ids, each once and sorted, and gives
// pairs of an id and a document, in any order. An account that is not among them does not exist, unless the answer
// names others instead: it may be there under another id. An object whose id can't be read is one of these; give it the
// id undefined. One that is there twice is not what it seems to be. A failure that concerns every further request ends
// the batch.
export function batch(accounts, atMost, fetch) {
  const ids = [...new Set(accounts.map((account) => account.platformId))].sort();
  const answers = new Map();
  let stopped;
  for (let start = 0; start < ids.length; start += atMost) {
    const asked = ids.slice(start, start + atMost);
    try {
      if (stopped !== undefined) throw stopped;
      for (const [id, answer] of assigned(asked, fetch(asked))) answers.set(id, answer);
    } catch (error) {
      if (error.payload === undefined) throw error;
      if (CONCERNS_ALL.includes(error.payload.tag)) stopped = error;
      for (const id of asked) answers.set(id, { tag: 'err', val: error.payload });
    }
  }
  const missing = () => ({ tag: 'err', val: failure('not-found').payload });
  return accounts.map((account) => answers.get(account.platformId) ?? missing());
}

function assigned(asked, named) {
  const answers = new Map();
  for (const [id, document] of named) {
    if (answers.has(id)) {
      answers.set(id, { tag: 'err', val: failure('unexpected', 'the answer names the account twice').payload });
    } else if (asked.includes(id)) {
      answers.set(id, ok(document));
    }
  }
  if (named.some(([id]) => !asked.includes(id))) {
    const strange = failure('unexpected', 'the answer names others, and not this account').payload;
    for (const id of asked) if (!answers.has(id)) answers.set(id, { tag: 'err', val: strange });
  }
  return answers;
}
