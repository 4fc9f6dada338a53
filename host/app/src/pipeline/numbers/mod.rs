//! Numbers as Parquet files, of any length in memory that hardly grows with it: rows are read a page at a time, and go
//! through a channel of a few pages to a thread that encodes and writes a group of them at a time. What stays until the
//! end is what that says of each group.

mod columns;
mod lines;

use std::io::{self, Write};
use std::mem;
use std::time::Duration;

use chrono::NaiveDate;
use futures::stream::BoxStream;
use futures::{StreamExt as _, future, stream};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

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

/// How slow the reader of a stream may be. The connection bounds the time between two writes already, but a reader that
/// takes a few bytes each time would keep one of the [`STREAMS_MAX`] places for as long as it likes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Longest time that it takes nothing, and most that it saves up.
    slack: Duration,
    /// Time that it gets for each block.
    per_block: Duration,
}

/// A minute, and 32 kB/s: slower than any connection over which a file of numbers is of use.
const PACE: Pace = Pace { slack: Duration::from_secs(60), per_block: Duration::from_secs(2) };

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
    /// Who reads a stream is too slow, and others wait for its place.
    #[error("the reader is too slow: it must take at least 32 kB/s, and may pause for a minute")]
    Slow,
}

impl Classified for NumbersError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Columns(error) => error.class(),
            Self::Stopped => ErrorClass::Internal,
            Self::Slow => ErrorClass::Unavailable,
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
/// end, so that nobody takes half of it for the whole, and if it is read too slowly. Dropping it ends the work.
pub fn parquet_stream(store: Store, request: NumbersRequest) -> Option<BoxStream<'static, io::Result<Vec<u8>>>> {
    let turn = STREAMS.try_acquire().ok()?;
    Some(stream_of(turn, PACE, move |out| async move { write_parquet(&store, &request, out).await }))
}

/// A stream of what is written. It is written by a task of its own: the place is free once all is handed over or the
/// pace was not kept, even if nobody asks the stream for more.
fn stream_of<W: Future<Output = Result<u64, NumbersError>> + Send + 'static>(
    turn: SemaphorePermit<'static>,
    pace: Pace,
    write: impl FnOnce(Box<dyn Write + Send>) -> W,
) -> BoxStream<'static, io::Result<Vec<u8>>> {
    let (blocks, queue) = mpsc::channel(1);
    let (sender, mut received) = mpsc::channel(BLOCKS_WAITING);
    let writing = write(Box::new(Blocks { sender: blocks, block: Vec::with_capacity(BLOCK_BYTES) }));
    let mut producing = JoinSet::new();
    producing.spawn(async move {
        let _turn = turn;
        let (written, handed_over) = tokio::join!(writing, hand_over(queue, sender, pace));
        // Where the pace was not kept, the writer found nobody to write to.
        handed_over.and(written.map(drop))
    });
    let failed = stream::once(async move { producing.join_next().await }).filter_map(|ended| {
        let error = match ended {
            Some(Ok(Ok(()))) | None => None,
            Some(Ok(Err(error))) => Some(error),
            Some(Err(_)) => Some(NumbersError::Stopped),
        };
        future::ready(error.map(|error| {
            tracing::warn!(error = with_causes(&error), "a stream of numbers has no end");
            Err(io::Error::other("the numbers could not be sent to their end"))
        }))
    });
    let blocks = stream::poll_fn(move |context| received.poll_recv(context)).map(io::Result::Ok);
    stream::select(blocks, failed).boxed()
}

/// Hands blocks over to who reads them, for as long as it keeps the pace. The writer learns from the end of its queue
/// that nobody reads on.
async fn hand_over(
    mut queue: mpsc::Receiver<Vec<u8>>,
    reader: mpsc::Sender<Vec<u8>>,
    pace: Pace,
) -> Result<(), NumbersError> {
    let mut left = pace.slack;
    while let Some(block) = queue.recv().await {
        let began = Instant::now();
        match tokio::time::timeout(left, reader.send(block)).await {
            Ok(Ok(())) => left = (left.saturating_sub(began.elapsed()) + pace.per_block).min(pace.slack),
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(NumbersError::Slow),
        }
    }
    Ok(())
}

/// Hands over what is written, in blocks.
struct Blocks {
    sender: mpsc::Sender<Vec<u8>>,
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
        self.sender.blocking_send(block).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;

    /// Longest wait for what must happen.
    const WAIT_MAX: Duration = Duration::from_secs(20);

    /// Writes so many blocks on a thread, as the encoder does.
    async fn written(mut out: Box<dyn Write + Send>, blocks: usize) -> Result<u64, NumbersError> {
        let (tell, told) = oneshot::channel();
        thread::spawn(move || {
            let written = (0..blocks).try_for_each(|_| out.write_all(&[7; BLOCK_BYTES]));
            drop(out);
            let _ = tell.send(written.is_ok());
        });
        if told.await == Ok(true) { Ok(1) } else { Err(NumbersError::Stopped) }
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_loses_its_place() {
        static PLACES: Semaphore = Semaphore::const_new(1);
        let turn = PLACES.try_acquire().expect("it is free");
        let pace = Pace { slack: Duration::from_millis(50), per_block: Duration::from_millis(1) };
        let mut stream = stream_of(turn, pace, |out| written(out, usize::MAX));
        let freed = tokio::time::timeout(WAIT_MAX, PLACES.acquire()).await.expect("the place is free in time");
        drop(freed.expect("it is open"));
        let mut ends = Vec::new();
        while let Some(block) = stream.next().await {
            ends.extend(block.err());
        }
        assert_eq!(ends.len(), 1, "it does not end as if it were whole");
    }

    #[tokio::test]
    async fn a_reader_that_keeps_the_pace_gets_all() {
        static PLACES: Semaphore = Semaphore::const_new(1);
        let turn = PLACES.try_acquire().expect("it is free");
        let blocks: Vec<_> = stream_of(turn, PACE, |out| written(out, 3 * BLOCKS_WAITING)).collect().await;
        let bytes: usize = blocks.into_iter().map(|block| block.expect("a block").len()).sum();
        assert_eq!(bytes, 3 * BLOCKS_WAITING * BLOCK_BYTES);
        assert_eq!(PLACES.available_permits(), 1);
    }

    #[tokio::test]
    async fn the_pace_is_counted_over_all_blocks() {
        let (blocks, queue) = mpsc::channel(1);
        let (reader, mut read) = mpsc::channel(1);
        // Each block takes less than the slack, and all of them more.
        let pace = Pace { slack: Duration::from_millis(300), per_block: Duration::from_millis(1) };
        let mut handing = JoinSet::new();
        handing.spawn(hand_over(queue, reader, pace));
        let mut feeding = JoinSet::new();
        feeding.spawn(async move { while blocks.send(Vec::new()).await.is_ok() {} });
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        let reading = async {
            loop {
                beat.tick().await;
                if read.recv().await.is_none() {
                    break;
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, reading).await.expect("it ends in time");
        assert!(matches!(handing.join_next().await, Some(Ok(Err(NumbersError::Slow)))));
        assert!(matches!(feeding.join_next().await, Some(Ok(()))));
    }
}
