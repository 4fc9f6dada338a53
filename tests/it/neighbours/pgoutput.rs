//! What a PostgreSQL sends to subscribers: messages of its plugin `pgoutput`, version 1, as `pg_recvlogical` writes
//! them into a file, each with a line feed after it.
//!
//! Source: PostgreSQL's manual, "Logical Replication Message Formats".

use std::collections::BTreeMap;

/// Bytes of a message that begins a transaction, behind its type: a position, a time, and an id.
const BEGIN: usize = 8 + 8 + 4;

/// Bytes of one that ends it: flags, two positions, and a time.
const COMMIT: usize = 1 + 8 + 8 + 8;

/// A change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether the row is new; otherwise it was changed.
    pub is_insert: bool,
    /// The table, with its schema.
    pub table: String,
    /// The new values by column. Those that are NULL are left out.
    pub row: BTreeMap<String, String>,
}

/// The changes that messages tell of, in their order. Panics at what is no such message.
pub fn changes(messages: &[u8]) -> Vec<Change> {
    let (mut reader, mut tables, mut changes) = (Reader { rest: messages }, BTreeMap::new(), Vec::new());
    while !reader.rest.is_empty() {
        match reader.byte() {
            b'B' => reader.skip(BEGIN),
            b'C' => reader.skip(COMMIT),
            b'R' => {
                let (id, table, columns) = reader.table();
                tables.insert(id, (table, columns));
            }
            b'Y' => {
                reader.skip(4);
                reader.text();
                reader.text();
            }
            kind @ (b'I' | b'U') => {
                let (table, columns) = &tables[&reader.number()];
                let mut mark = reader.byte();
                if mark != b'N' {
                    // The key that it had before, or the whole row.
                    reader.values();
                    mark = reader.byte();
                }
                assert_eq!(mark, b'N', "a new row");
                let values = reader.values();
                assert_eq!(values.len(), columns.len(), "a value of each column");
                let named = columns.iter().cloned().zip(values);
                let row = named.filter_map(|(column, value)| Some((column, value?))).collect();
                changes.push(Change { is_insert: kind == b'I', table: table.clone(), row });
            }
            kind => panic!("a message of the type {:?}", char::from(kind)),
        }
        assert_eq!(reader.byte(), b'\n', "a line feed behind each message");
    }
    changes
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn skip(&mut self, count: usize) {
        self.bytes(count);
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    fn short(&mut self) -> usize {
        let bytes = self.bytes(2).try_into().expect("two bytes");
        usize::from(u16::from_be_bytes(bytes))
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes(4).try_into().expect("four bytes"))
    }

    /// A text that ends with a zero.
    fn text(&mut self) -> String {
        let end = self.rest.iter().position(|byte| *byte == 0).expect("an end");
        let text = String::from_utf8(self.bytes(end).to_vec()).expect("UTF-8");
        self.skip(1);
        text
    }

    /// A table's id, its name, and the names of its columns.
    fn table(&mut self) -> (u32, String, Vec<String>) {
        let id = self.number();
        let table = format!("{}.{}", self.text(), self.text());
        // How it tells rows apart.
        self.skip(1);
        let columns = (0..self.short()).map(|_| {
            // Whether it is of the key; then its type with the modifier.
            self.skip(1);
            let name = self.text();
            self.skip(8);
            name
        });
        let columns = columns.collect();
        (id, table, columns)
    }

    /// The values of a row, as text; none for NULL, and for a long value that did not change.
    fn values(&mut self) -> Vec<Option<String>> {
        let count = self.short();
        let values = (0..count).map(|_| match self.byte() {
            b'n' | b'u' => None,
            b't' => {
                let length = usize::try_from(self.number()).expect("a length");
                Some(String::from_utf8(self.bytes(length).to_vec()).expect("UTF-8"))
            }
            kind => panic!("a value of the type {:?}", char::from(kind)),
        });
        values.collect()
    }
}

#[test]
fn messages_are_read_as_the_manual_describes_them() {
    let mut messages = vec![b'B'];
    messages.extend([0; BEGIN]);
    messages
        .extend(b"\nR\0\0\0\x07public\0metrics\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0n\0\0\0\0\x17\0\0\0\0\n");
    messages.extend(b"I\0\0\0\x07N\0\x02t\0\0\0\x02\n1n\n");
    messages.extend(b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x011t\0\0\0\x015\n");
    messages.push(b'C');
    messages.extend([0; COMMIT]);
    messages.push(b'\n');
    let change = |is_insert: bool, values: &[(&str, &str)]| {
        let row = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Change { is_insert, table: "public.metrics".to_owned(), row }
    };
    assert_eq!(changes(&messages), [change(true, &[("id", "\n1")]), change(false, &[("id", "1"), ("n", "5")])]);
}
