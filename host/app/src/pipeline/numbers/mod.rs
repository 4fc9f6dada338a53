//! Numbers as Parquet files, of any length in memory that hardly grows with it: rows are read a page at a time, and go
//! through a channel of a few pages to a thread that encodes and writes a group of them at a time. What stays until the
//! end is what that says of each group.

mod columns;
mod lines;

use std::io::{self, Write};
use std::mem;

use chrono::NaiveDate;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, future, stream};
use tokio::sync::{Semaphore, mpsc};

use self::columns::{ColumnSpec, ColumnsError, Table};
use crate::pipeline::error::{Classified, ErrorClass, with_causes};
use backline_model::{AccountId, GrowthRow, MetricsRow};
use backline_store::{MetricsFilter, Scope, Store, StoreError};

/// Rows that are read at once.
const PAGE: u32 = 1_000;

/// Pages that may wait for the writer.
const PAGES_WAITING: usize = 2;

/// Size of a block of a stream in bytes: small in memory, large enough to be worth sending.
const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks that may wait for who reads the stream.
const BLOCKS_WAITING: usize = 8;

/// Most streams of a process at once: each encodes on a thread of its own, and holds a group of rows.
const STREAMS_MAX: usize = 2;

/// What is left of [`STREAMS_MAX`].
static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);

/// Which numbers a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumbersKind {
    /// Values, and why there is none.
    Metrics,
    /// How they changed since earlier dates.
    Growth,
}

/// The numbers of a file.
#[derive(Clone, Debug)]
pub struct NumbersRequest {
    /// Which numbers.
    pub kind: NumbersKind,
    /// Whose rows.
    pub scope: Scope,
    /// Which rows, and how many at most.
    pub filter: MetricsFilter,
}

/// Why a file was not written to its end. What was written until then is no Parquet file.
#[derive(Debug, thiserror::Error)]
pub enum NumbersError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows could not be encoded, or their bytes not be written.
    #[error("the numbers can't be written")]
    Columns(#[from] ColumnsError),
    /// The thread that writes ended unexpectedly.
    #[error("writing the numbers ended unexpectedly")]
    Stopped,
}

impl Classified for NumbersError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Columns(error) => error.class(),
            Self::Stopped => ErrorClass::Internal,
        }
    }
}

/// Rows that a file has lines of.
trait Columnar: Send + Sized + 'static {
    /// The columns.
    const COLUMNS: &'static [ColumnSpec];

    /// The lines of a row, each with a cell for every column.
    fn lines(&self) -> Vec<Vec<columns::Cell>>;

    /// Where the page that follows begins, if this is the last row of a page.
    fn place(&self) -> (NaiveDate, AccountId);

    /// A page of rows.
    fn page(
        store: &Store,
        scope: &Scope,
        filter: &MetricsFilter,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send;
}

impl Columnar for MetricsRow {
    const COLUMNS: &'static [ColumnSpec] = lines::METRICS;

    fn lines(&self) -> Vec<Vec<columns::Cell>> {
        lines::of_metrics(self)
    }

    fn place(&self) -> (NaiveDate, AccountId) {
        (self.metric_date, self.account_id)
    }

    fn page(
        store: &Store,
        scope: &Scope,
        filter: &MetricsFilter,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send {
        store.metrics_list(scope, filter)
    }
}

impl Columnar for GrowthRow {
    const COLUMNS: &'static [ColumnSpec] = lines::GROWTH;

    fn lines(&self) -> Vec<Vec<columns::Cell>> {
        lines::of_growth(self)
    }

    fn place(&self) -> (NaiveDate, AccountId) {
        (self.metric_date, self.account_id)
    }

    fn page(
        store: &Store,
        scope: &Scope,
        filter: &MetricsFilter,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send {
        store.growth_list(scope, filter)
    }
}

/// Writes numbers as a Parquet file. Returns how many lines it has.
///
/// # Errors
/// When the database fails, or the bytes can't be written. What was written until then is no Parquet file.
pub async fn write_parquet(
    store: &Store,
    request: &NumbersRequest,
    out: Box<dyn Write + Send>,
) -> Result<u64, NumbersError> {
    match request.kind {
        NumbersKind::Metrics => written::<MetricsRow>(store, request, out).await,
        NumbersKind::Growth => written::<GrowthRow>(store, request, out).await,
    }
}

async fn written<T: Columnar>(
    store: &Store,
    request: &NumbersRequest,
    out: Box<dyn Write + Send>,
) -> Result<u64, NumbersError> {
    let (pages, queue) = mpsc::channel(PAGES_WAITING);
    let writing = tokio::task::spawn_blocking(move || encoded::<T>(out, queue));
    let read = read_pages::<T>(store, request, &pages).await;
    // Without the word that it is the end, the writer stops without one.
    drop(pages);
    let written = writing.await.map_err(|_| NumbersError::Stopped)?;
    read?;
    written
}

/// What goes to the thread that writes: a page, or none at the end.
type Page<T> = Option<Vec<T>>;

async fn read_pages<T: Columnar>(
    store: &Store,
    request: &NumbersRequest,
    pages: &mpsc::Sender<Page<T>>,
) -> Result<(), StoreError> {
    let NumbersRequest { scope, filter, .. } = request;
    // A request without a limit has no end of its own.
    let (mut asking, mut left) = (filter.clone(), filter.limit);
    loop {
        let asked = left.map_or(PAGE, |left| left.min(PAGE));
        asking.limit = Some(asked);
        let rows = T::page(store, scope, &asking).await?;
        let found = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        left = left.map(|left| left.saturating_sub(found));
        let is_last = found < asked || left == Some(0);
        asking.after = rows.last().map(Columnar::place);
        // Where the writer has ended, it says why.
        if pages.send(Some(rows)).await.is_err() || is_last {
            let _ = pages.send(None).await;
            return Ok(());
        }
    }
}

/// Writes pages as they come, on a thread that may take its time.
fn encoded<T: Columnar>(out: Box<dyn Write + Send>, mut queue: mpsc::Receiver<Page<T>>) -> Result<u64, NumbersError> {
    let mut table = Table::begin(out, T::COLUMNS)?;
    loop {
        match queue.blocking_recv() {
            Some(Some(rows)) => {
                for line in rows.iter().flat_map(Columnar::lines) {
                    table.put(line)?;
                }
            }
            Some(None) => return Ok(table.finish()?),
            None => return Err(NumbersError::Stopped),
        }
    }
}

/// A stream of a Parquet file's bytes; none where this process has too many. It ends with an error if the file has no
/// end, so that nobody takes half of it for the whole. Dropping it ends the work.
pub fn parquet_stream(store: Store, request: NumbersRequest) -> Option<BoxStream<'static, io::Result<Vec<u8>>>> {
    let turn = STREAMS.try_acquire().ok()?;
    let (sender, mut received) = mpsc::channel(BLOCKS_WAITING);
    let out = Box::new(Blocks { sender, block: Vec::with_capacity(BLOCK_BYTES) });
    let producing = async move {
        let _turn = turn;
        write_parquet(&store, &request, out).await.err()
    };
    let failed = producing.into_stream().filter_map(|error| {
        future::ready(error.map(|error| {
            tracing::warn!(error = with_causes(&error), "a stream of numbers has no end");
            Err(io::Error::other("the numbers could not be read to their end"))
        }))
    });
    let blocks = stream::poll_fn(move |context| received.poll_recv(context));
    Some(stream::select(blocks, failed).boxed())
}

/// Hands over what is written, in blocks.
struct Blocks {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
    block: Vec<u8>,
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        // Nobody reads on.
        self.sender.blocking_send(Ok(block)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
