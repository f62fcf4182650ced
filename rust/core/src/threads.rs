//! How many threads the engine uses, where they live, and how they share work.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::forms::signed_bytes;
use crate::machine::{Kernel, Machine};
use crate::vectors::Vectors;
use crate::{Error, Result};

/// Threads asked for; 0 stands for one per processor.
static WANTED: AtomicUsize = AtomicUsize::new(0);

static PROCESSORS: OnceLock<usize> = OnceLock::new();

struct Slot {
    process: u32,
    threads: usize,
    team: Arc<Team>,
}

/// All threads but the caller's.
struct Team {
    pool: rayon::ThreadPool,
    /// Work worth less than reading so many bytes is not shared.
    worth_sharing: usize,
}

static TEAM: Mutex<Option<Slot>> = Mutex::new(None);

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

/// The team of this process; nothing where one thread has to do.
///
/// A forked child inherits a pool without its threads, so the process is part of the key. The
/// lock is only tried: a child forked while it was held must not wait for it.
fn team() -> Option<Arc<Team>> {
    let threads = num_threads();
    if threads == 1 {
        return None;
    }
    let process = std::process::id();
    let mut slot = TEAM.try_lock().ok()?;
    if let Some(slot) = &*slot
        && slot.process == process
        && slot.threads == threads
    {
        return Some(Arc::clone(&slot.team));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads - 1)
        .thread_name(|index| format!("secateur-{index}"))
        .build()
        .ok()?;
    let worth_sharing = worth_sharing(&pool);
    let team = Arc::new(Team {
        pool,
        worth_sharing,
    });
    let old = slot.replace(Slot {
        process,
        threads,
        team: Arc::clone(&team),
    });
    if let Some(old) = old
        && old.process != process
    {
        // Its threads live in the parent: there is nothing here that could be stopped.
        std::mem::forget(old);
    }
    Some(team)
}

/// Less work than this is not shared, and nothing is measured for it.
const LEAST_SHARED: usize = 1 << 18;

/// How many bytes the engine reads in twice the time that handing over a task takes here: of more
/// work than that a second thread saves more than it costs.
fn worth_sharing(pool: &rayon::ThreadPool) -> usize {
    let mut handovers: Vec<Duration> = (0..5)
        .map(|_| {
            // Long enough for the threads to fall asleep, as they do between calls.
            std::thread::sleep(Duration::from_micros(100));
            let start = Instant::now();
            pool.in_place_scope(|scope| scope.spawn(|_| {}));
            start.elapsed()
        })
        .collect();
    handovers.sort();
    let bytes = vec![1_i8; LEAST_SHARED / 2];
    let reads = (0..5).map(|_| {
        let start = Instant::now();
        black_box(Machine::best().run(Read(black_box(&bytes))));
        start.elapsed()
    });
    let read = reads.min().unwrap_or_default().as_secs_f64().max(1e-9);
    let bytes = 2.0 * handovers[2].as_secs_f64() * bytes.len() as f64 / read;
    (bytes as usize).max(LEAST_SHARED)
}

struct Read<'a>(&'a [i8]);

impl Kernel for Read<'_> {
    type Output = (i128, i128);

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) -> Self::Output {
        signed_bytes(v, self.0, None)
    }
}

/// How many of `items` to do at a time, where all of them cost as much as reading `cost` bytes.
pub(crate) fn step(items: usize, cost: usize) -> usize {
    let shared = || team().is_some_and(|team| cost >= team.worth_sharing);
    if cost < LEAST_SHARED || items < 2 || !shared() {
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
    let Some(team) = wanted.then(team).flatten() else {
        return items.try_for_each(work);
    };
    let queue = Mutex::new(items.enumerate());
    let failed = Mutex::new(None::<(usize, Error)>);
    // A function of its own: in the head of the loop the lock would be held while its body works.
    let next = || locked(&queue).next();
    let help = || {
        while let Some((index, item)) = next() {
            if let Err(error) = work(item) {
                let mut failed = locked(&failed);
                if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                    *failed = Some((index, error));
                }
            }
        }
    };
    team.pool.in_place_scope(|scope| {
        for _ in 0..team.pool.current_num_threads() {
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

#[cfg(test)]
mod tests {
    use std::sync::Condvar;

    use super::*;

    #[test]
    fn items_are_done_at_the_same_time() {
        set_num_threads(2).unwrap();
        let (begun, both) = (Mutex::new(0), Condvar::new());
        // Each waits for the other to begin.
        let meet = |_| {
            let mut begun = locked(&begun);
            *begun += 1;
            both.notify_all();
            let long = Duration::from_secs(60);
            let (begun, _) = both.wait_timeout_while(begun, long, |n| *n < 2).unwrap();
            match *begun {
                2 => Ok(()),
                _ => Err(Error::Memory { bytes: 0 }),
            }
        };
        assert!(share(true, 0..2, meet).is_ok());
        set_num_threads(0).unwrap();
    }
}
