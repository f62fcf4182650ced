//! How many threads the engine uses, and the pool that they live in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{Error, Result};

/// Threads asked for; 0 stands for one per processor.
static WANTED: AtomicUsize = AtomicUsize::new(0);

static PROCESSORS: OnceLock<usize> = OnceLock::new();

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
        // To ask the system every time would cost a small call more than its work.
        0 => {
            *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
        }
        wanted => wanted,
    }
}

/// The pool of this process, of all threads but the caller's; nothing where one has to do.
///
/// A forked child inherits a pool without its threads, so the process is part of the key. The
/// lock is only tried: a child forked while it was held must not wait for it.
fn pool() -> Option<Arc<rayon::ThreadPool>> {
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
        .num_threads(threads - 1)
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

/// Work worth less than reading so many bytes is not shared.
const WORTH_SHARING: usize = 1 << 20;

/// How many of `items` to do at a time, where all of them cost as much as reading `cost` bytes.
pub(crate) fn step(items: usize, cost: usize) -> usize {
    if cost < WORTH_SHARING || num_threads() == 1 {
        return items.max(1);
    }
    items.div_ceil(4 * num_threads()).max(1)
}

/// Does all `items`: with every thread that there is where that is `wanted`, the caller's among
/// them. Of several errors the first item's counts, whichever thread met it.
pub(crate) fn share<I>(
    wanted: bool,
    mut items: I,
    work: impl Fn(I::Item) -> Result<()> + Sync,
) -> Result<()>
where
    I: Iterator<Item: Send> + Send,
{
    let Some(pool) = wanted.then(pool).flatten() else {
        return items.try_for_each(work);
    };
    let queue = Mutex::new(items.enumerate());
    let failed = Mutex::new(None::<(usize, Error)>);
    let help = || {
        while let Some((index, item)) = locked(&queue).next() {
            if let Err(error) = work(item) {
                let mut failed = locked(&failed);
                if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                    *failed = Some((index, error));
                }
            }
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 0..pool.current_num_threads() {
            scope.spawn(|_| help());
        }
        help();
    });
    match locked(&failed).take() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
