//! The table of errors in a connector's README, so that a test runs every row of it.

use crate::FetchError;

/// One row: what the platform answers, and the class that it must become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRow {
    /// The HTTP status.
    pub status: u16,
    /// What the body says, in the words of the README: a code, a reason, or a literal body.
    pub answer: String,
    /// The class, as [`class_name`] writes it, or another word of the README for a case that is no error.
    pub class: String,
}

impl ClassRow {
    /// The body that the row describes. `no body`, `HTML`, `cut off` and `JSON of another form` mean the same for every
    /// platform; `own` makes the body of every other answer, in the platform's own form.
    #[must_use]
    pub fn body(&self, own: impl FnOnce(&str) -> String) -> String {
        match self.answer.as_str() {
            "no body" => String::new(),
            "HTML" => "<HTML><TITLE>Access Denied</TITLE></HTML>".to_owned(),
            "cut off" => "{\"data\":[{\"id\":\"1".to_owned(),
            "JSON of another form" => "{\"success\":false}".to_owned(),
            other => own(other),
        }
    }
}

/// Reads the table whose header is `| HTTP | answer | class | … |`. Cells may stand in backticks.
///
/// # Panics
/// If there is no such table, or a row has no status: a test with a table that nobody can read would check nothing.
#[must_use]
pub fn class_table(readme: &str) -> Vec<ClassRow> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let is_header = |line: &&str| cells(line).iter().take(3).map(String::as_str).eq(["HTTP", "answer", "class"]);
    let mut lines = readme.lines().skip_while(|line| !is_header(line)).skip(2);
    let mut rows = Vec::new();
    for line in lines.by_ref().take_while(|line| line.starts_with('|')) {
        let cells = cells(line);
        let [status, answer, class, ..] = &cells[..] else { panic!("a row has three cells at least: {line}") };
        let status = status.parse().unwrap_or_else(|_| panic!("a row begins with a status: {line}"));
        rows.push(ClassRow { status, answer: answer.clone(), class: class.clone() });
    }
    assert!(!rows.is_empty(), "the README has no table with the columns HTTP, answer and class");
    rows
}

/// The name of an error's class, as in the contract and in the database.
#[must_use]
pub fn class_name(error: &FetchError) -> &'static str {
    match error {
        FetchError::Unauthorized(_) => "unauthorized",
        FetchError::Reconnect(_) => "reconnect",
        FetchError::Forbidden(_) => "forbidden",
        FetchError::NotFound => "not-found",
        FetchError::RateLimited(_) => "rate-limited",
        FetchError::QuotaExhausted(_) => "quota-exhausted",
        FetchError::Unavailable(_) => "unavailable",
        FetchError::Misconfigured(_) => "misconfigured",
        FetchError::Unexpected(_) => "unexpected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_until_the_table_ends() {
        let readme = "# X\n\n| HTTP | answer | class | why |\n|---|---|---|---|\n\
                      | 403 | `quota` | quota-exhausted | so |\n| 200 | a b | unavailable |\n\n| 1 | x | y |\n";
        let row = |status: u16, answer: &str, class: &str| ClassRow {
            status,
            answer: answer.to_owned(),
            class: class.to_owned(),
        };
        assert_eq!(class_table(readme), [row(403, "quota", "quota-exhausted"), row(200, "a b", "unavailable")]);
    }
}
