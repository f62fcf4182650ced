//! How many threads the engine uses, and the pool that they live in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::{Error, Result};

/// Threads asked for; 0 stands for one per processor.
static WANTED: AtomicUsize = AtomicUsize::new(0);

struct Pool {
    process: u32,
    threads: usize,
    pool: Arc<rayon::ThreadPool>,
}

static POOL: Mutex<Option<Pool>> = Mutex::new(None);

/// The most threads that may be asked for.
pub const MOST_THREADS: usize = 1024;

/// Makes every later call use at most `threads` threads, or one per processor for 0.
pub fn set_num_threads(threads: usize) -> Result<()> {
    if threads > MOST_THREADS {
        return Err(Error::Argument {
            argument: "threads",
            value: i64::try_from(threads).unwrap_or(i64::MAX),
            expected: format!("it must lie in 1 to {MOST_THREADS}"),
        });
    }
    WANTED.store(threads, Ordering::Relaxed);
    Ok(())
}

/// The number of threads that a large call uses.
pub fn num_threads() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        wanted => wanted,
    }
}

/// The pool of this process, or nothing where one thread has to do.
///
/// A forked child inherits a pool without its threads, so the process is part of the key. The
/// lock is only tried: a child forked while it was held must not wait for it.
pub(crate) fn pool() -> Option<Arc<rayon::ThreadPool>> {
    let threads = num_threads();
    if threads == 1 {
        return None;
    }
    let process = std::process::id();
    let mut slot = POOL.try_lock().ok()?;
    if let Some(pool) = &*slot
        && pool.process == process
        && pool.threads == threads
    {
        return Some(Arc::clone(&pool.pool));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("secateur-{index}"))
        .build()
        .ok()?;
    let pool = Arc::new(pool);
    let old = slot.replace(Pool {
        process,
        threads,
        pool: Arc::clone(&pool),
    });
    if let Some(old) = old
        && old.process != process
    {
        // Its threads live in the parent: there is nothing here that could be stopped.
        std::mem::forget(old);
    }
    Some(pool)
}
