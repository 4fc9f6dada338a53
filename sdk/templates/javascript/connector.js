// Backline connector for Example: one request per artist.
import * as backline from './vendor/backline/helpers.js';

// Credential slot in the manifest.
const SLOT = 'app';

// What the host calls, with the host's `send`.
export function connector(send) {
  // An artist's answer as the platform sent it, once it was recognised as an artist.
  function artist(account) {
    const url = 'https://api.example.com/v1/artists/' + backline.encoded(account.platformId);
    const credential = { slot: SLOT, account: undefined };
    let response;
    try {
      response = send({ method: 'get', url, headers: [], body: undefined, credential });
    } catch (error) {
      throw backline.classOf(error);
    }
    if (response.status !== 200) throw refusal(response);
    const body = backline.textOf(response.body);
    let found;
    try {
      found = backline.parse(body);
    } catch {
      throw backline.failure('unavailable', 'the response is not JSON');
    }
    // A body of another shape must not be taken for an artist without numbers.
    if (typeof backline.field(found, 'id') !== 'string') {
      throw backline.failure('unexpected', 'the response is not an artist');
    }
    return { body, found };
  }

  return {
    check(account) {
      const name = backline.field(artist(account).found, 'name');
      if (typeof name !== 'string') throw backline.failure('unexpected', 'the artist has no name');
      return name;
    },

    fetch(accounts, _context) {
      const fetched = (account) => ({ body: artist(account).body, state: undefined });
      return { accounts: backline.each(accounts, fetched), lostMetrics: [] };
    },

    normalize(documents) {
      return documents.map((document) => ({ tag: 'ok', val: snapshot(document) }));
    },
  };
}

// The class of a refused request.
function refusal(response) {
  const { status } = response;
  // An API key can't be refreshed, so a refused one means that the operator's configuration is wrong.
  if (status === 401) return backline.failure('misconfigured', 'HTTP 401');
  if (status === 403) return backline.failure('forbidden', 'HTTP 403');
  if (status === 404 || status === 410) return backline.failure('not-found');
  if (status === 429) return backline.throttled(response);
  return backline.failure(status >= 500 ? 'unavailable' : 'unexpected', `HTTP ${status}`);
}

// Every metric of the catalogue, as a value or as the reason why there is none. Missing is never zero.
function snapshot(document) {
  const artist = backline.parse(document.body);
  const metrics = [
    backline.counted('followers', backline.field(artist, 'followers'), 'hidden'),
    backline.absent('streams', 'not-offered'),
    recentReleases(backline.field(artist, 'releases'), document.window),
  ];
  return { metrics, engagement: undefined, notes: [] };
}

// Counts the releases inside the window. A date of a month or a year only counts as skipped.
function recentReleases(releases, window) {
  // A missing list is not an empty one.
  if (!Array.isArray(releases)) return backline.absent('recent_releases', 'unavailable');
  const days = releases.map((release) => backline.day(backline.field(release, 'date')));
  const counted = days.filter((day) => day !== undefined && day >= window.since && day < window.until).length;
  const skipped = days.filter((day) => day === undefined).length;
  return backline.integer('recent_releases', BigInt(counted), { counted, skipped });
}
