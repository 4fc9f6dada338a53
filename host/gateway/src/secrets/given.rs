//! Secrets as people have them: what a shell, an editor or an environment file added is taken off where nothing is
//! lost, and refused with the remedy where it could be a part of the secret. No message repeats the secret.

use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use zeroize::Zeroizing;

use super::{SecretError, SecretText};
use backline_model::text::misleads;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Characters of a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// Names by which a secret is assigned in files that also have lower case.
const NAMES: [&str; 12] = [
    "api_key",
    "apikey",
    "api-key",
    "key",
    "token",
    "access_token",
    "refresh_token",
    "secret",
    "client_secret",
    "password",
    "bearer",
    "authorization",
];

/// Words with which the names of secrets end.
const NAMES_END: [&str; 6] = ["key", "token", "secret", "password", "passwd", "pw"];

/// The text of a secret from the bytes of a file or of standard input: UTF-8 or UTF-16, with or without a byte order
/// mark.
///
/// # Errors
/// [`SecretError::Bytes`] when it is neither.
pub fn text_of(bytes: &[u8]) -> Result<Zeroizing<String>, SecretError> {
    let wrong = || SecretError::Bytes("it is neither UTF-8 nor UTF-16 text; save it as UTF-8 text");
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Zeroizing<Vec<u16>> =
            Zeroizing::new(bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect());
        let whole = bytes.len().is_multiple_of(2);
        String::from_utf16(&units).ok().filter(|_| whole).map(Zeroizing::new).ok_or_else(wrong)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // Without a mark, every other byte of ASCII in UTF-16 is zero.
        [first, 0, _, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, 0, _, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            std::str::from_utf8(bytes).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| wrong())
        }
    }
}

/// What is around a secret or stands in its place, with the remedy; `None` if nothing is.
pub(super) fn dressed(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let quote = |c: char| matches!(c, '"' | '\'' | '`' | '“' | '”' | '„' | '‘' | '’' | '«' | '»');
    if text.starts_with(quote) || text.ends_with(quote) {
        return Some("it is in quotes, which are not a part of it; give it without them");
    }
    let placeholder = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    let variable = text.strip_prefix('$').is_some_and(is_name_of_environment);
    if variable
        || [("${", "}"), ("$(", ")"), ("<", ">"), ("{{", "}}"), ("%", "%")].iter().any(|(a, b)| placeholder(a, b))
    {
        return Some("it is a placeholder, which nothing has replaced; give the value itself");
    }
    let assigned = ["export ", "set ", "$env:"].iter().find_map(|before| text.strip_prefix(before));
    if let Some((name, value)) = assigned.unwrap_or(text).split_once(['=', ':']) {
        let name = name.trim();
        let is_name = assigned.is_some()
            || is_name_of_environment(name)
            || is_name_of_secret(name)
            || NAMES.contains(&name.trim_matches('"').to_lowercase().as_str());
        // `=` at the end is padding of base64.
        if is_name && !value.trim_matches('=').trim().is_empty() {
            return Some("it is a line with a name and a value; give only the value");
        }
    }
    let lower = text.get(..7).unwrap_or_default().to_ascii_lowercase();
    if lower == "bearer " || lower.starts_with("basic ") {
        return Some("it begins with the name of an authorisation scheme; give only what follows it");
    }
    None
}

/// Whether a text is written as variables of an environment are: `API_KEY`.
fn is_name_of_environment(text: &str) -> bool {
    text.len() >= 3
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a text is a name that says of itself that it is a secret's: `youtube_key`, `spotifyClientSecret`.
fn is_name_of_secret(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_of_name);
    // As a word of its own: a token may end in these letters too.
    let ends_in = |word: &str| {
        let at = text.len().checked_sub(word.len());
        let Some((before, end)) = at.and_then(|at| text.split_at_checked(at)) else { return false };
        let begins_word = before.ends_with(['_', '-', '.'])
            || (end.starts_with(|c: char| c.is_ascii_uppercase())
                && before.ends_with(|c: char| c.is_ascii_lowercase()));
        end.eq_ignore_ascii_case(word) && begins_word
    };
    is_name && NAMES_END.iter().any(|word| ends_in(word))
}

/// A private key in PEM as Apple issues it, however its line breaks came.
///
/// # Errors
/// What it is instead, and what to give.
pub(super) fn private_key(given: &SecretText) -> Result<SecretText, &'static str> {
    let text: Zeroizing<String> = Zeroizing::new(
        given
            .expose()
            .replace("\\r", "\n")
            .replace("\\n", "\n")
            .chars()
            .filter(|c| matches!(c, '\n' | '\r' | '\t') || !misleads(*c))
            .collect(),
    );
    for (mark, problem) in [
        (
            "-----BEGIN EC PRIVATE KEY-----",
            "its private key is in the form SEC1; convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY.pem`",
        ),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
            "its private key is encrypted; decrypt it with `openssl pkcs8 -in KEY.pem -topk8 -nocrypt`",
        ),
        ("-----BEGIN PUBLIC KEY-----", "it has a public key; give the private one, which Apple issues as a .p8 file"),
        ("-----BEGIN CERTIFICATE-----", "it has a certificate; give the private key that Apple issues as a .p8 file"),
    ] {
        if text.contains(mark) {
            return Err(problem);
        }
    }
    let Some((_, after)) = text.split_once(BEGIN) else {
        return Err("its private_key_pem has no line -----BEGIN PRIVATE KEY-----; give Apple's .p8 file whole");
    };
    let Some((body, _)) = after.split_once(END) else {
        return Err("its private_key_pem has no line -----END PRIVATE KEY-----; give Apple's .p8 file whole");
    };
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + digits.len() / PEM_LINE + 2));
    pem.push_str(BEGIN);
    pem.push('\n');
    for line in digits.chunks(PEM_LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(END);
    pem.push('\n');
    match SigningKey::from_pkcs8_pem(&pem) {
        Ok(_) => Ok(SecretText::new(pem.as_str())),
        Err(_) => Err("its private_key_pem is not a P-256 private key; give the .p8 file as Apple issued it"),
    }
}

#[cfg(test)]
mod tests {
    use p256::pkcs8::{EncodePrivateKey as _, LineEnding};

    use super::super::Secret;
    use super::*;
    use backline_model::manifest::{CredentialKind, Owner};

    const KEY: &str = "AIzaCanaryCanaryCanaryCanaryCanary12345";

    fn parse(kind: CredentialKind, text: &str) -> Result<Secret, String> {
        Secret::parse(kind, Owner::Operator, text).map_err(|error| error.to_string())
    }

    #[test]
    fn text_in_any_encoding_of_a_shell_is_the_same_secret() {
        let units = |bytes: fn(u16) -> [u8; 2], text: &str| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let marked = format!("\u{feff}{KEY}\r\n");
        for bytes in [
            KEY.as_bytes().to_vec(),
            marked.clone().into_bytes(),
            units(u16::to_le_bytes, &marked),
            units(u16::to_be_bytes, &marked),
            units(u16::to_le_bytes, KEY),
            units(u16::to_be_bytes, KEY),
        ] {
            let text = text_of(&bytes).expect("text");
            assert_eq!(parse(CredentialKind::ApiKey, &text), Ok(Secret::ApiKey { value: KEY.into() }));
        }
        for bytes in [b"\xff\xfea".as_slice(), b"\xe9\xe8canary", b"\xff\xfe\x00\xd8"] {
            let error = text_of(bytes).expect_err("no text").to_string();
            assert!(error.contains("save it as UTF-8") && !error.contains("canary"), "{error}");
        }
        let json = format!("\u{feff}{{\"client_id\":\"id\",\"client_secret\":\"{KEY}\"}}\r\n");
        assert!(parse(CredentialKind::Oauth2ClientCredentials, &json).is_ok());
    }

    #[test]
    fn what_is_around_a_secret_is_refused_with_the_remedy() {
        let secret = |text: &str| format!("{{\"client_id\":\"id\",\"client_secret\":{}}}", serde_json::json!(text));
        for (text, said) in [
            (format!("\"{KEY}\""), "quotes"),
            (format!("'{KEY}'\n"), "quotes"),
            (format!("“{KEY}”"), "quotes"),
            (format!("{KEY}'"), "quotes"),
            (format!("YOUTUBE_API_KEY={KEY}"), "give only the value"),
            (format!("export YOUTUBE_API_KEY={KEY}"), "give only the value"),
            (format!("$env:youtubeKey={KEY}"), "give only the value"),
            (format!("API_KEY = {KEY}"), "give only the value"),
            (format!("api_key: {KEY}"), "give only the value"),
            (format!("youtube_key={KEY}"), "give only the value"),
            (format!("youtubeKey: {KEY}"), "give only the value"),
            (format!("spotify.client-secret = {KEY}"), "give only the value"),
            (format!("my-refresh-token:{KEY}"), "give only the value"),
            (format!("Authorization: Bearer {KEY}"), "give only the value"),
            (format!("Bearer {KEY}"), "scheme"),
            ("$YOUTUBE_API_KEY".to_owned(), "placeholder"),
            ("${YOUTUBE_API_KEY}".to_owned(), "placeholder"),
            ("<your-canary-key>".to_owned(), "placeholder"),
            ("%CANARY_KEY%".to_owned(), "placeholder"),
            (format!("{{\"key\":\"{KEY}\"}}"), "JSON"),
        ] {
            let error = parse(CredentialKind::ApiKey, &text).expect_err(&text);
            assert!(error.contains(said) && !error.to_lowercase().contains("canary"), "{text}: {error}");
            if said == "JSON" {
                continue;
            }
            let error = parse(CredentialKind::Oauth2ClientCredentials, &secret(&text)).expect_err(&text);
            assert!(error.contains(said) && !error.to_lowercase().contains("canary"), "{text}: {error}");
        }
        for whole in [format!("'{}'", secret(KEY)), format!("SPOTIFY={}", secret(KEY)), secret(KEY).replace('"', "“")]
        {
            let error = parse(CredentialKind::Oauth2ClientCredentials, &whole).expect_err(&whole);
            assert!(error.contains("quotes") || error.contains("give only the value"), "{error}");
        }
        for token in [
            "QUJDREVGRw==",
            "ABCDEFGH=",
            "IGQ-a.b_c~1234",
            "act.abc!4567.va*8",
            "sv=2020&sig=abcdef",
            "a:b:c:d:e",
            "a1b2ckey:d4",
            "9-key:d4",
            "a+b_key:d4",
            "abc_token=",
        ] {
            assert!(parse(CredentialKind::Bearer, token).is_ok(), "{token}");
        }
    }

    #[test]
    fn a_private_key_is_read_however_its_line_breaks_came() {
        let key = SigningKey::from_slice(&[7; 32]).expect("a key");
        let pem = key.to_pkcs8_pem(LineEnding::LF).expect("PEM");
        let form = |pem: &str| serde_json::json!({ "team_id": "T", "key_id": "K", "private_key_pem": pem }).to_string();
        for dressed in [
            pem.to_string(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\r"),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\\r\\n"),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
            format!("\u{feff}  {}\n\n", pem.as_str()),
        ] {
            let secret = parse(CredentialKind::AppleDeveloperToken, &form(&dressed)).expect("a key");
            let Secret::AppleDeveloperToken { private_key_pem, .. } = secret else { panic!("{secret:?}") };
            assert_eq!(private_key_pem.expose(), pem.as_str());
        }
        for (wrong, said) in [
            (pem.replace("PRIVATE", "EC PRIVATE"), "openssl pkcs8 -topk8"),
            (pem.replace("PRIVATE", "ENCRYPTED PRIVATE"), "is encrypted"),
            (pem.replace("PRIVATE", "PUBLIC"), "public key"),
            (pem[..80].to_owned(), "END PRIVATE KEY"),
            ("MIGH".to_owned(), "BEGIN PRIVATE KEY"),
            (pem.replace("MIGH", "AAAA"), "not a P-256 private key"),
        ] {
            let error = parse(CredentialKind::AppleDeveloperToken, &form(&wrong)).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
        let raw = format!("{{\"team_id\":\"T\",\"key_id\":\"K\",\"private_key_pem\":\"{}\"}}", pem.as_str());
        let error = parse(CredentialKind::AppleDeveloperToken, &raw).expect_err("line breaks in JSON");
        assert!(error.contains("--rawfile"), "{error}");
        let error = parse(CredentialKind::AppleDeveloperToken, &pem).expect_err("the key file alone");
        assert!(error.contains("--rawfile"), "{error}");
    }
}
