// Backline connector for Last.fm: the artist, and its most played track. README.md says where the facts are from.
import * as backline from './vendor/backline/helpers.js';

// Credential slot in the manifest.
const SLOT = 'app';

const API = 'https://ws.audioscrobbler.com/2.0/?format=json&method=';

// Failures of a part that are the account's: the host must react to them.
const OF_THE_ACCOUNT = ['misconfigured', 'quota-exhausted', 'rate-limited', 'reconnect', 'unauthorized'];

// What the host calls, with the host's `send`.
export function connector(send) {
  function ask(method, account, more = '') {
    const url = `${API}${method}&mbid=${backline.encoded(account.platformId)}${more}`;
    const credential = { slot: SLOT, account: undefined };
    let response;
    try {
      response = send({ method: 'get', url, headers: [], body: undefined, credential });
    } catch (error) {
      throw backline.classOf(error);
    }
    return backline.sortedAnswer(response, (body) => ownFailure(body, response));
  }

  // What is stored of an artist, once it was recognised: its numbers as they were sent, without pictures and biography.
  function artist(account) {
    const found = backline.field(ask('artist.getinfo', account), 'artist');
    const [name, mbid] = [backline.field(found, 'name'), backline.field(found, 'mbid')];
    if (typeof name !== 'string' || name === '') throw backline.failure('unexpected', 'the response is not an artist');
    // An artist under another id is not the one that was asked for.
    if (typeof mbid === 'string' && mbid !== '' && mbid.toLowerCase() !== account.platformId.toLowerCase()) {
      throw backline.failure('unexpected', 'the answer is another artist');
    }
    const stats = backline.field(found, 'stats');
    const numbers = { listeners: backline.field(stats, 'listeners'), playcount: backline.field(stats, 'playcount') };
    return { name, stats: numbers, tags: names(backline.field(backline.field(found, 'tags'), 'tag')) };
  }

  // The names of the most played tracks, or why there are none: this part costs its own metric only.
  function topTracks(account) {
    try {
      const body = ask('artist.gettoptracks', account, '&limit=1');
      const tracks = names(backline.field(backline.field(body, 'toptracks'), 'track'));
      return tracks === undefined ? { absent: 'the answer has no list of tracks' } : { names: tracks };
    } catch (error) {
      if (error.payload === undefined || OF_THE_ACCOUNT.includes(error.payload.tag)) throw error;
      return { absent: error.payload.tag };
    }
  }

  return {
    check: (account) => artist(account).name,

    fetch(accounts, _context) {
      const fetched = (account) => {
        const document = { artist: artist(account), top_tracks: topTracks(account) };
        return { body: JSON.stringify(document), state: undefined };
      };
      return { accounts: backline.each(accounts, fetched), lostMetrics: [] };
    },

    normalize(documents) {
      return documents.map((document) => ({ tag: 'ok', val: snapshot(document) }));
    },
  };
}

// The names in a list. What would be a list of one is sent as that one. Undefined for anything else, and for a list of
// which an entry has no name.
function names(list) {
  const entries = Array.isArray(list) ? list : [list];
  const found = entries.map((entry) => backline.field(entry, 'name'));
  return found.every((name) => typeof name === 'string' && name !== '') ? found : undefined;
}

// The failure of `{"error": 6, "message": …}`, whatever the status it came with.
function ownFailure(body, response) {
  const code = backline.field(body, 'error');
  if (typeof code !== 'number') return undefined;
  switch (code) {
    // "Invalid parameters" is said of an artist that is not known; all other parameters are constant.
    case 6:
      return backline.failure('not-found');
    case 4:
    case 10:
    case 26:
      return backline.failure('misconfigured', `code ${code}`);
    case 8:
    case 11:
    case 16:
      return backline.failure('unavailable', `code ${code}`);
    case 29:
      return backline.throttled(response);
    default:
      return backline.failure('unexpected', `code ${code}`);
  }
}

// Every metric of the catalogue, as a value or as the reason why there is none. Missing is never zero.
function snapshot(document) {
  const body = backline.parse(document.body);
  const artist = backline.field(body, 'artist');
  const stats = backline.field(artist, 'stats');
  const tags = backline.items(artist, 'tags');
  const tracks = backline.items(backline.field(body, 'top_tracks'), 'names');
  const metrics = [
    backline.counted('listeners', backline.field(stats, 'listeners'), 'not-offered'),
    backline.counted('plays', backline.field(stats, 'playcount'), 'not-offered'),
    backline.label('genres', tags, tags === undefined ? 'unavailable' : 'not-found'),
    backline.label('top_track', tracks?.[0], tracks === undefined ? 'unavailable' : 'not-found'),
  ];
  return { metrics, engagement: undefined, notes: [] };
}
