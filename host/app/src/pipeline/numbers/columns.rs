//! Tables as Parquet files: typed columns, written a group of lines at a time. No other file names the library.

use std::io::Write;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::pipeline::error::{Classified, ErrorClass};

/// Most lines of one of the first groups, and with them most of what a table holds in memory.
const GROUP_LINES: usize = 20_000;

/// Most bytes of texts in one of the first groups, so that long ones do not make it large.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Groups of a size: those that follow them are larger by as much as the first ones have. The end of the file lists
/// every group, and what it says of one, some 20 kB, is held until then.
const GROUPS_OF_A_SIZE: usize = 500;

/// How many times as large as the first ones groups become at most.
const GROUP_SIZES: usize = 5;

/// Most lines of a group that comes after so many, and most bytes of its texts.
fn group_max(groups: usize) -> (usize, usize) {
    let size = (1 + groups / GROUPS_OF_A_SIZE).min(GROUP_SIZES);
    (GROUP_LINES * size, GROUP_BYTES * size)
}

/// Type of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// UTF-8, from a dictionary where it repeats.
    Text,
    /// A JSON document as UTF-8.
    Json,
    /// 64 bits with a sign.
    Integer,
    /// 64 bits, by IEEE 754.
    Decimal,
    /// Days since 1970-01-01.
    Date,
    /// Microseconds since 1970-01-01 in UTC.
    Time,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnSpec {
    /// Name of the column.
    pub(super) name: &'static str,
    /// Type of its cells.
    pub(super) kind: ColumnKind,
    /// Whether a line may have no value in it.
    pub(super) optional: bool,
}

/// A column whose lines all have a value.
pub(super) const fn required(name: &'static str, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { name, kind, optional: false }
}

/// A column in which a line may have no value.
pub(super) const fn optional(name: &'static str, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { name, kind, optional: true }
}

/// A cell. Texts are shared when they are cloned.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// A text, or JSON.
    Text(ByteArray),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Decimal(f64),
    /// A date.
    Date(NaiveDate),
    /// A time.
    Time(DateTime<Utc>),
    /// No value.
    Empty,
}

impl Cell {
    /// A text.
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(ByteArray::from(text.as_ref().as_bytes().to_vec()))
    }

    /// A number that may be missing.
    pub(super) fn decimal(number: Option<f64>) -> Self {
        number.map_or(Self::Empty, Self::Decimal)
    }

    /// A count that may be missing.
    pub(super) fn count(count: Option<u32>) -> Self {
        count.map_or(Self::Empty, |count| Self::Integer(count.into()))
    }
}

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// The library failed, or what it writes to did.
    #[error("a Parquet file can't be written")]
    Parquet(#[from] ParquetError),
    /// The end could not be written.
    #[error("a Parquet file can't be ended")]
    Write(#[from] std::io::Error),
    /// A line is not as the columns are: a fault of this program.
    #[error("a line does not fit the column {0}")]
    Misfit(&'static str),
}

impl Classified for ColumnsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Parquet(_) | Self::Write(_) => ErrorClass::Unavailable,
            Self::Misfit(_) => ErrorClass::Internal,
        }
    }
}

/// What a column holds of the group that is being gathered.
struct Column {
    spec: ColumnSpec,
    /// 1 for each line with a value, 0 for one without.
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    Texts(Vec<ByteArray>),
    Integers(Vec<i64>),
    Decimals(Vec<f64>),
    Days(Vec<i32>),
}

impl Column {
    fn new(spec: ColumnSpec) -> Self {
        let values = match spec.kind {
            ColumnKind::Text | ColumnKind::Json => Values::Texts(Vec::new()),
            ColumnKind::Integer | ColumnKind::Time => Values::Integers(Vec::new()),
            ColumnKind::Decimal => Values::Decimals(Vec::new()),
            ColumnKind::Date => Values::Days(Vec::new()),
        };
        Self { spec, levels: Vec::new(), values }
    }

    /// Takes a line's cell. Returns how many bytes of text it has.
    fn put(&mut self, cell: Cell) -> Result<usize, ColumnsError> {
        let misfit = ColumnsError::Misfit(self.spec.name);
        let mut bytes = 0;
        match (self.spec.kind, &mut self.values, cell) {
            (_, _, Cell::Empty) => {
                if !self.spec.optional {
                    return Err(misfit);
                }
                self.levels.push(0);
                return Ok(0);
            }
            (ColumnKind::Text | ColumnKind::Json, Values::Texts(values), Cell::Text(text)) => {
                bytes = text.len();
                values.push(text);
            }
            (ColumnKind::Integer, Values::Integers(values), Cell::Integer(number)) => values.push(number),
            (ColumnKind::Time, Values::Integers(values), Cell::Time(at)) => values.push(at.timestamp_micros()),
            (ColumnKind::Decimal, Values::Decimals(values), Cell::Decimal(number)) => values.push(number),
            (ColumnKind::Date, Values::Days(values), Cell::Date(date)) => {
                let days = date.signed_duration_since(NaiveDate::default()).num_days();
                values.push(i32::try_from(days).map_err(|_| misfit)?);
            }
            _ => return Err(misfit),
        }
        self.levels.push(1);
        Ok(bytes)
    }

    fn clear(&mut self) {
        self.levels.clear();
        match &mut self.values {
            Values::Texts(values) => values.clear(),
            Values::Integers(values) => values.clear(),
            Values::Decimals(values) => values.clear(),
            Values::Days(values) => values.clear(),
        }
    }
}

/// A table that is being written.
pub(super) struct Table<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Column>,
    /// Lines of the group that is being gathered, and the bytes of their texts.
    gathered: (usize, usize),
    lines: u64,
}

impl<W: Write + Send> Table<W> {
    /// Begins a table.
    pub(super) fn begin(out: W, columns: &[ColumnSpec]) -> Result<Self, ColumnsError> {
        let schema = Arc::new(parse_message_type(&schema_text(columns))?);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("backline version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        let columns = columns.iter().copied().map(Column::new).collect();
        Ok(Self { writer, columns, gathered: (0, 0), lines: 0 })
    }

    /// Takes a line with a cell for each column.
    pub(super) fn put(&mut self, line: Vec<Cell>) -> Result<(), ColumnsError> {
        if line.len() != self.columns.len() {
            return Err(ColumnsError::Misfit("that is left over or missing"));
        }
        for (column, cell) in self.columns.iter_mut().zip(line) {
            self.gathered.1 += column.put(cell)?;
        }
        self.gathered.0 += 1;
        self.lines += 1;
        let (lines, bytes) = self.gathered;
        let (lines_max, bytes_max) = group_max(self.writer.flushed_row_groups().len());
        if lines >= lines_max || bytes >= bytes_max { self.write_group() } else { Ok(()) }
    }

    /// Writes what is gathered.
    fn write_group(&mut self) -> Result<(), ColumnsError> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let Some(mut writer) = group.next_column()? else {
                return Err(ColumnsError::Misfit(column.spec.name));
            };
            let levels = column.spec.optional.then_some(column.levels.as_slice());
            match &column.values {
                Values::Texts(values) => {
                    writer.typed::<ByteArrayType>().write_batch(values.as_slice(), levels, None)?;
                }
                Values::Integers(values) => {
                    writer.typed::<Int64Type>().write_batch(values.as_slice(), levels, None)?;
                }
                Values::Decimals(values) => {
                    writer.typed::<DoubleType>().write_batch(values.as_slice(), levels, None)?;
                }
                Values::Days(values) => {
                    writer.typed::<Int32Type>().write_batch(values.as_slice(), levels, None)?;
                }
            }
            writer.close()?;
            column.clear();
        }
        group.close()?;
        self.gathered = (0, 0);
        Ok(())
    }

    /// Writes what is left and the end. Returns how many lines the table has.
    pub(super) fn finish(mut self) -> Result<u64, ColumnsError> {
        if self.gathered.0 > 0 {
            self.write_group()?;
        }
        let mut out = self.writer.into_inner()?;
        out.flush()?;
        Ok(self.lines)
    }
}

/// The columns in the library's language of schemas.
fn schema_text(columns: &[ColumnSpec]) -> String {
    let fields: Vec<String> = columns
        .iter()
        .map(|ColumnSpec { name, kind, optional }| {
            let need = if *optional { "OPTIONAL" } else { "REQUIRED" };
            match kind {
                ColumnKind::Text => format!("{need} BYTE_ARRAY {name} (STRING);"),
                ColumnKind::Json => format!("{need} BYTE_ARRAY {name} (JSON);"),
                ColumnKind::Integer => format!("{need} INT64 {name};"),
                ColumnKind::Decimal => format!("{need} DOUBLE {name};"),
                ColumnKind::Date => format!("{need} INT32 {name} (DATE);"),
                ColumnKind::Time => format!("{need} INT64 {name} (TIMESTAMP(MICROS,true));"),
            }
        })
        .collect();
    format!("message numbers {{ {} }}", fields.join(" "))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    const SPECS: &[ColumnSpec] = &[
        required("name", ColumnKind::Text),
        optional("titles", ColumnKind::Json),
        optional("count", ColumnKind::Integer),
        optional("rate", ColumnKind::Decimal),
        required("day", ColumnKind::Date),
        required("at", ColumnKind::Time),
    ];

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader(memory: &Memory) -> SerializedFileReader<axum::body::Bytes> {
        let bytes = memory.0.lock().expect("not poisoned").clone();
        SerializedFileReader::new(axum::body::Bytes::from(bytes)).expect("a Parquet file")
    }

    fn line(n: i64, is_bare: bool) -> Vec<Cell> {
        let or_empty = |cell: Cell| if is_bare { Cell::Empty } else { cell };
        vec![
            Cell::text(format!("name {}", n % 7)),
            or_empty(Cell::text("[\"a\",\"b\"]")),
            or_empty(Cell::Integer(n)),
            or_empty(Cell::Decimal(-0.5)),
            Cell::Date("1969-12-31".parse().expect("a date")),
            Cell::Time("2026-11-22T12:00:00.000001Z".parse().expect("a time")),
        ]
    }

    #[test]
    fn cells_are_read_back_with_their_types() {
        let memory = Memory::default();
        let mut table = Table::begin(memory.clone(), SPECS).expect("begun");
        table.put(line(1, false)).expect("taken");
        table.put(line(2, true)).expect("taken");
        assert_eq!(table.finish().expect("ended"), 2);
        let reader = reader(&memory);
        let rows = reader.get_row_iter(None).expect("rows");
        let rows: Vec<Vec<Field>> =
            rows.map(|row| row.expect("a row").get_column_iter().map(|(_, field)| field.clone()).collect()).collect();
        let (day, at) = (Field::Date(-1), Field::TimestampMicros(1_795_348_800_000_001));
        let text = |text: &str| Field::Str(text.to_owned());
        let full =
            vec![text("name 1"), text("[\"a\",\"b\"]"), Field::Long(1), Field::Double(-0.5), day.clone(), at.clone()];
        assert_eq!(rows, [full, vec![text("name 2"), Field::Null, Field::Null, Field::Null, day, at]]);
    }

    #[test]
    fn groups_are_bounded_and_an_empty_table_is_a_file() {
        let memory = Memory::default();
        let mut table = Table::begin(memory.clone(), SPECS).expect("begun");
        for n in 0..45_000 {
            table.put(line(n, n % 2 == 0)).expect("taken");
        }
        let before_its_end = memory.0.lock().expect("not poisoned").len();
        assert!(before_its_end > 1_000, "groups are written as they are full: {before_its_end}");
        assert_eq!(table.finish().expect("ended"), 45_000);
        let reader = reader(&memory);
        let groups = reader.metadata().row_groups();
        let lines: Vec<i64> = groups.iter().map(parquet::file::metadata::RowGroupMetaData::num_rows).collect();
        assert_eq!(lines, [20_000, 20_000, 5_000]);
        // What repeats is written once.
        assert!(groups[0].column(0).dictionary_page_offset().is_some());

        let empty = Memory::default();
        assert_eq!(Table::begin(empty.clone(), SPECS).expect("begun").finish().expect("ended"), 0);
        assert_eq!(super::tests::reader(&empty).metadata().file_metadata().num_rows(), 0);
    }

    #[test]
    fn groups_of_a_long_table_are_larger_so_that_they_are_few() {
        let mib = 1024 * 1024;
        assert_eq!([0, 499].map(group_max), [(20_000, 8 * mib); 2]);
        assert_eq!([500, 1_999].map(group_max), [(40_000, 16 * mib), (80_000, 32 * mib)]);
        assert_eq!([2_000, 1_000_000].map(group_max), [(100_000, 40 * mib); 2]);
    }

    #[test]
    fn long_texts_make_a_group_that_has_fewer_lines() {
        let memory = Memory::default();
        let mut table = Table::begin(memory.clone(), &SPECS[..1]).expect("begun");
        for _ in 0..10 {
            table.put(vec![Cell::text("x".repeat(1024 * 1024))]).expect("taken");
        }
        table.finish().expect("ended");
        assert_eq!(reader(&memory).metadata().num_row_groups(), 2);
    }

    #[test]
    fn a_line_that_does_not_fit_is_refused_and_half_a_file_is_none() {
        let memory = Memory::default();
        let mut table = Table::begin(memory.clone(), SPECS).expect("begun");
        let mut wrong = line(1, false);
        wrong[0] = Cell::Empty;
        assert!(matches!(table.put(wrong), Err(ColumnsError::Misfit("name"))));
        let mut table = Table::begin(memory.clone(), SPECS).expect("begun");
        let mut wrong = line(1, false);
        wrong[2] = Cell::Decimal(1.0);
        assert!(matches!(table.put(wrong), Err(ColumnsError::Misfit("count"))));
        assert!(matches!(table.put(Vec::new()), Err(ColumnsError::Misfit(_))));
        drop(table);
        let bytes = axum::body::Bytes::from(memory.0.lock().expect("not poisoned").clone());
        assert!(SerializedFileReader::new(bytes).is_err(), "it has no end");
    }
}
