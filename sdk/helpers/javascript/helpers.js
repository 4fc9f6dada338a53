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
