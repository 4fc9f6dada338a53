//! Numbers in rows, and how statements compute with them: no number that a row holds, whichever program wrote it, makes
//! a statement fail that is about other rows too.
//!
//! A counter has an end, where it is counted on no more: PostgreSQL refuses a sum beyond 64 bits, SQLite makes a float
//! of it, which a column of whole numbers refuses. Migration 23 keeps other programs from writing what is beyond.

/// The end of numbers that only grow, such as lease tokens. No one gets there by counting.
pub(crate) const COUNTER_MAX: i64 = 1 << 62;

/// The end of numbers of times that something happened, such as attempts. A few more still fit into 32 bits.
pub(crate) const TIMES_MAX: u32 = 1_000_000_000;

/// Most digits of a number in JSON that is added up: 9,000,000 of them still add up within 64 bits.
const AMOUNT_DIGITS: u32 = 12;

/// Makes SQL of what stands in a word up to its closing brace.
type Meaning = fn(&str) -> String;

/// The words for numbers.
const WORDS: [(&str, Meaning); 4] = [
    // `{raised: a + b}`: a counter and what it grows by, which must not be negative.
    ("{raised: ", raised),
    // `{counted: a + b}`: the same of a number of times.
    ("{counted: ", counted),
    // `{lowered: a - b}`: a counter that is not lowered below 0.
    ("{lowered: ", lowered),
    // `{amount: a}`: a number in JSON that is to be added up, as text; 0 where it is none.
    ("{amount: ", amount),
];

/// Replaces the words for numbers. A parameter in one needs its type: `$2::bigint`.
pub(crate) fn with_counters(text: &str) -> String {
    WORDS.iter().fold(text.to_owned(), |text, (word, sql)| replaced(&text, word, sql))
}

/// Replaces a word of a statement, with what stands in it up to its closing brace, by what that means.
pub(crate) fn replaced(text: &str, word: &str, sql: impl Fn(&str) -> String) -> String {
    let mut text = text.to_owned();
    while let Some(at) = text.find(word) {
        let from = at + word.len();
        let Some(length) = text[from..].find('}') else { break };
        let sql = sql(&text[from..from + length]);
        text.replace_range(at..=from + length, &sql);
    }
    text
}

fn raised(sum: &str) -> String {
    grown(sum, COUNTER_MAX)
}

fn counted(sum: &str) -> String {
    grown(sum, i64::from(TIMES_MAX))
}

/// A counter that is out of its range goes to its end.
fn grown(sum: &str, end: i64) -> String {
    let (counter, by) = sum.split_once(" + ").unwrap_or((sum, "1"));
    format!("CASE WHEN {counter} BETWEEN 0 AND {end} - {by} THEN {counter} + {by} ELSE {end} END")
}

fn lowered(difference: &str) -> String {
    let (counter, by) = difference.split_once(" - ").unwrap_or((difference, "1"));
    format!("CASE WHEN {counter} > {by} THEN {counter} - {by} ELSE 0 END")
}

fn amount(text: &str) -> String {
    format!(
        "CASE WHEN LENGTH({text}) BETWEEN 1 AND {AMOUNT_DIGITS} AND LTRIM({text}, '0123456789') = '' \
         THEN CAST({text} AS BIGINT) ELSE 0 END"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_cases_that_stay_in_their_range() {
        assert_eq!(
            with_counters("SET a = {raised: a + $2::bigint}, b = {counted: t.b + 1} WHERE id = $1"),
            "SET a = CASE WHEN a BETWEEN 0 AND 4611686018427387904 - $2::bigint THEN a + $2::bigint \
             ELSE 4611686018427387904 END, b = CASE WHEN t.b BETWEEN 0 AND 1000000000 - 1 THEN t.b + 1 \
             ELSE 1000000000 END WHERE id = $1"
        );
        assert_eq!(
            with_counters("{lowered: a - $2::bigint}"),
            "CASE WHEN a > $2::bigint THEN a - $2::bigint ELSE 0 END"
        );
        assert_eq!(
            with_counters("SUM({amount: u.value})"),
            "SUM(CASE WHEN LENGTH(u.value) BETWEEN 1 AND 12 AND LTRIM(u.value, '0123456789') = '' \
             THEN CAST(u.value AS BIGINT) ELSE 0 END)"
        );
        assert_eq!(with_counters("SELECT '{}' {and_tenant: tenant}"), "SELECT '{}' {and_tenant: tenant}");
    }
}
