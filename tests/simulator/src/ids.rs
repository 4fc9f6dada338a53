//! Ids and tokens that encode their artist's index, so that the simulator need not store them.
//!
//! An id is a keyed permutation (a small Feistel network) of index, item number and check bits, written the way its
//! platform writes ids. It looks random, but with the seed it can be decoded, and ids of other worlds are recognised.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Hashes numbers into 64 bits, with the finaliser of splitmix64 for each part.
pub(crate) fn mix(seed: u64, parts: &[u64]) -> u64 {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for part in parts {
        state = state.wrapping_add(*part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}

/// Hashes the bytes of a text.
pub(crate) fn mix_text(seed: u64, text: &str) -> u64 {
    text.bytes().fold(mix(seed, &[text.len() as u64]), |state, byte| mix(state, &[u64::from(byte)]))
}

/// Kind of an id. Its number is part of the key, so that ids of different kinds never collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    YoutubeChannel = 1,
    YoutubeVideo = 2,
    SpotifyArtist = 3,
    SpotifyAlbum = 4,
    SpotifyTrack = 5,
    InstagramUser = 6,
    InstagramScoped = 7,
    InstagramMedia = 8,
    TiktokUser = 9,
    TiktokVideo = 10,
    AppleArtist = 11,
    AppleAlbum = 12,
    AppleSong = 13,
}

/// Number of bits for each field of a packed id. The sum must be even and at most 64.
struct Layout {
    item: u32,
    check: u32,
    half: u32,
}

const INDEX_BITS: u32 = 20;
/// Maximum number of artists in a world, limited by the index bits.
pub(crate) const ARTISTS_MAX: u32 = 1 << INDEX_BITS;

fn layout(kind: Kind) -> Layout {
    let (item, check) = match kind {
        Kind::YoutubeChannel | Kind::SpotifyArtist | Kind::TiktokUser => (0, 44),
        Kind::YoutubeVideo | Kind::SpotifyAlbum | Kind::SpotifyTrack => (16, 28),
        Kind::InstagramUser | Kind::InstagramScoped => (0, 18),
        Kind::InstagramMedia => (12, 16),
        Kind::TiktokVideo => (16, 22),
        Kind::AppleArtist => (0, 10),
        Kind::AppleAlbum | Kind::AppleSong => (8, 2),
    };
    Layout { item, check, half: (INDEX_BITS + item + check) / 2 }
}

fn ones(bits: u32) -> u64 {
    if bits == 0 { 0 } else { u64::MAX >> (64 - bits) }
}

fn permute(key: u64, half: u32, value: u64) -> u64 {
    let (mut left, mut right) = (value >> half, value & ones(half));
    for round in 0..4 {
        (left, right) = (right, left ^ (mix(key, &[round, right]) & ones(half)));
    }
    (left << half) | right
}

fn unpermute(key: u64, half: u32, value: u64) -> u64 {
    let (mut left, mut right) = (value >> half, value & ones(half));
    for round in (0..4).rev() {
        (left, right) = (right ^ (mix(key, &[round, left]) & ones(half)), left);
    }
    (left << half) | right
}

fn pack(seed: u64, kind: Kind, index: u32, item: u32) -> u64 {
    let layout = layout(kind);
    let key = mix(seed, &[kind as u64]);
    let check = key & ones(layout.check);
    let plain = (u64::from(index) << (layout.item + layout.check)) | (u64::from(item) << layout.check) | check;
    permute(key, layout.half, plain)
}

fn unpack(seed: u64, kind: Kind, packed: u64) -> Option<(u32, u32)> {
    let layout = layout(kind);
    if packed > ones(layout.half * 2) {
        return None;
    }
    let key = mix(seed, &[kind as u64]);
    let plain = unpermute(key, layout.half, packed);
    if plain & ones(layout.check) != key & ones(layout.check) {
        return None;
    }
    let item = (plain >> layout.check) & ones(layout.item);
    let index = plain >> (layout.check + layout.item);
    Some((u32::try_from(index).ok()?, u32::try_from(item).ok()?))
}

/// Extends a packed id to 128 bits with a word derived from it.
fn wide(seed: u64, kind: Kind, index: u32, item: u32) -> u128 {
    let packed = pack(seed, kind, index, item);
    (u128::from(packed) << 64) | u128::from(mix(seed, &[kind as u64, packed]))
}

fn narrow(seed: u64, kind: Kind, wide: u128) -> Option<(u32, u32)> {
    let packed = u64::try_from(wide >> 64).ok()?;
    let tail = u64::try_from(wide & u128::from(u64::MAX)).ok()?;
    if tail != mix(seed, &[kind as u64, packed]) {
        return None;
    }
    unpack(seed, kind, packed)
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn to_base62(mut value: u128) -> String {
    let mut digits = [b'0'; 22];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(value % 62) as usize];
        value /= 62;
    }
    digits.iter().map(|byte| char::from(*byte)).collect()
}

fn from_base62(text: &str) -> Option<u128> {
    if text.len() != 22 {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = BASE62.iter().position(|known| *known == byte)?;
        value.checked_mul(62)?.checked_add(digit as u128)
    })
}

/// Whether a text has the form of a Spotify id, known or not.
pub(crate) fn is_spotify_form(text: &str) -> bool {
    text.len() == 22 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Formats an id as its platform does.
pub(crate) fn write(seed: u64, kind: Kind, index: u32, item: u32) -> String {
    let packed = || pack(seed, kind, index, item);
    match kind {
        Kind::YoutubeChannel => format!("UC{}", URL_SAFE_NO_PAD.encode(wide(seed, kind, index, item).to_be_bytes())),
        Kind::YoutubeVideo => URL_SAFE_NO_PAD.encode(packed().to_be_bytes()),
        Kind::SpotifyArtist | Kind::SpotifyAlbum | Kind::SpotifyTrack => to_base62(wide(seed, kind, index, item)),
        Kind::InstagramUser => format!("1784{:013}", packed()),
        Kind::InstagramScoped => format!("2{:016}", packed()),
        Kind::InstagramMedia => format!("18{:015}", packed()),
        Kind::TiktokUser => uuid::Uuid::from_u128(wide(seed, kind, index, item)).hyphenated().to_string(),
        Kind::TiktokVideo => format!("7{:018}", packed()),
        Kind::AppleArtist | Kind::AppleAlbum | Kind::AppleSong => format!("{}", 1_000_000_000 + packed()),
    }
}

/// Decodes an id into the artist's index and the item's number. `None` for an id that was not written with this seed.
pub(crate) fn read(seed: u64, kind: Kind, text: &str) -> Option<(u32, u32)> {
    let digits = |prefix: &str, len: usize| -> Option<u64> {
        let rest = text.strip_prefix(prefix)?;
        (rest.len() == len && rest.bytes().all(|byte| byte.is_ascii_digit())).then(|| rest.parse().ok())?
    };
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    match kind {
        Kind::YoutubeChannel => {
            let bytes: [u8; 16] = bytes(text.strip_prefix("UC")?)?.try_into().ok()?;
            narrow(seed, kind, u128::from_be_bytes(bytes))
        }
        Kind::YoutubeVideo => {
            let bytes: [u8; 8] = bytes(text)?.try_into().ok()?;
            unpack(seed, kind, u64::from_be_bytes(bytes))
        }
        Kind::SpotifyArtist | Kind::SpotifyAlbum | Kind::SpotifyTrack => narrow(seed, kind, from_base62(text)?),
        Kind::InstagramUser => unpack(seed, kind, digits("1784", 13)?),
        Kind::InstagramScoped => unpack(seed, kind, digits("2", 16)?),
        Kind::InstagramMedia => unpack(seed, kind, digits("18", 15)?),
        Kind::TiktokUser => narrow(seed, kind, uuid::Uuid::parse_str(text).ok()?.as_u128()),
        Kind::TiktokVideo => unpack(seed, kind, digits("7", 18)?),
        Kind::AppleArtist | Kind::AppleAlbum | Kind::AppleSong => {
            let number: u64 = if text.len() == 10 { text.parse().ok()? } else { return None };
            unpack(seed, kind, number.checked_sub(1_000_000_000)?)
        }
    }
}

/// Contents of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Index of the artist; 0 for a token of the application.
    pub index: u32,
    /// How often the token was refreshed.
    pub generation: u32,
    /// When the token was issued, in Unix seconds of the simulated clock.
    pub issued_at: i64,
}

/// Formats a token with a prefix, which is part of its signature.
pub(crate) fn write_token(seed: u64, prefix: &str, token: Token) -> String {
    let mut bytes = Vec::with_capacity(24);
    bytes.extend_from_slice(&signature(seed, prefix, token).to_be_bytes());
    bytes.extend_from_slice(&token.index.to_be_bytes());
    bytes.extend_from_slice(&token.generation.to_be_bytes());
    bytes.extend_from_slice(&token.issued_at.to_be_bytes());
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Decodes a token; `None` if it was not written with this seed and prefix.
pub(crate) fn read_token(seed: u64, prefix: &str, text: &str) -> Option<Token> {
    let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text.strip_prefix(prefix)?).ok()?.try_into().ok()?;
    let token = Token {
        index: u32::from_be_bytes(bytes[8..12].try_into().ok()?),
        generation: u32::from_be_bytes(bytes[12..16].try_into().ok()?),
        issued_at: i64::from_be_bytes(bytes[16..24].try_into().ok()?),
    };
    (bytes[..8] == signature(seed, prefix, token).to_be_bytes()).then_some(token)
}

fn signature(seed: u64, prefix: &str, token: Token) -> u64 {
    let fields = [u64::from(token.index), u64::from(token.generation), token.issued_at.cast_unsigned()];
    mix(mix_text(seed, prefix), &fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 13] = [
        Kind::YoutubeChannel,
        Kind::YoutubeVideo,
        Kind::SpotifyArtist,
        Kind::SpotifyAlbum,
        Kind::SpotifyTrack,
        Kind::InstagramUser,
        Kind::InstagramScoped,
        Kind::InstagramMedia,
        Kind::TiktokUser,
        Kind::TiktokVideo,
        Kind::AppleArtist,
        Kind::AppleAlbum,
        Kind::AppleSong,
    ];

    #[test]
    fn an_id_of_every_kind_decodes_to_what_it_was_written_from() {
        for kind in KINDS {
            let items: &[u32] = if layout(kind).item == 0 { &[0] } else { &[0, 1, 200] };
            for index in [0, 1, 24, 99_999, ARTISTS_MAX - 1] {
                for item in items {
                    let id = write(7, kind, index, *item);
                    assert_eq!(read(7, kind, &id), Some((index, *item)), "{kind:?} {id}");
                }
            }
        }
    }

    #[test]
    fn an_id_of_another_seed_or_kind_is_foreign() {
        let id = write(7, Kind::SpotifyArtist, 3, 0);
        assert_eq!(read(8, Kind::SpotifyArtist, &id), None);
        assert_eq!(read(7, Kind::SpotifyAlbum, &id), None);
        assert_eq!(read(7, Kind::InstagramUser, "17841400000000001"), None);
        assert_eq!(read(7, Kind::YoutubeChannel, "UCnothing"), None);
    }

    #[test]
    fn ids_have_their_platforms_forms() {
        assert_eq!(write(7, Kind::YoutubeChannel, 5, 0).len(), 24);
        assert_eq!(write(7, Kind::YoutubeVideo, 5, 9).len(), 11);
        assert!(is_spotify_form(&write(7, Kind::SpotifyArtist, 5, 0)));
        assert_eq!(write(7, Kind::InstagramUser, 5, 0).len(), 17);
        assert_eq!(write(7, Kind::TiktokVideo, 5, 9).len(), 19);
        assert_eq!(write(7, Kind::AppleArtist, 5, 0).len(), 10);
    }

    #[test]
    fn a_token_whose_fields_were_changed_is_refused() {
        let token = Token { index: 4, generation: 2, issued_at: 1_790_000_000 };
        let text = write_token(7, "act.", token);
        assert_eq!(read_token(7, "act.", &text), Some(token));
        assert_eq!(read_token(8, "act.", &text), None);
        assert_eq!(read_token(7, "rft.", &text.replace("act.", "rft.")), None);
        let mut forged = text.into_bytes();
        let last = forged.len() - 1;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(read_token(7, "act.", &String::from_utf8(forged).unwrap()), None);
    }
}
