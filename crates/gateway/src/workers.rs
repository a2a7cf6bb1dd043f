//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection is put on one worker and stays there: its tasks, its timers and the connections to
//! servers that it opens are polled by one thread, so a call wakes no other. A runtime that
//! steals work wakes one for nearly every call, which costs more than the call's own work
//! (decision 11).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::counted::Counted;

/// The most worker threads.
pub(crate) const MAX_WORKERS: usize = 1024;

/// The workers of one gateway. Dropping them ends their threads, and with these every task that is
/// left on them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// `None` for the runtime that the workers were made on, which is somebody else's.
    thread: Option<thread::JoinHandle<()>>,
}

/// A connection's place on a worker, counted until it is dropped.
pub(crate) struct Place {
    pub(crate) runtime: Handle,
    _counted: Counted,
}

impl Workers {
    /// Starts this many threads; with 0 one for each core that the process may use.
    ///
    /// # Errors
    /// If the system gives no thread or no poller for its events.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let mut workers = Self {
            workers: Vec::new(),
            stop: CancellationToken::new(),
        };
        for number in 0..threads.min(MAX_WORKERS) {
            let worker = Worker::start(number, workers.stop.clone())?;
            workers.workers.push(worker);
        }
        Ok(workers)
    }

    /// The runtime of the caller as the only worker: for what is too little to have threads.
    pub(crate) fn here() -> Self {
        Self {
            workers: vec![Worker {
                runtime: Handle::current(),
                connections: Arc::default(),
                thread: None,
            }],
            stop: CancellationToken::new(),
        }
    }

    /// A place on the worker with the fewest connections.
    pub(crate) fn place(&self) -> Place {
        let least = self
            .workers
            .iter()
            .min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        match least {
            Some(worker) => worker.place(),
            None => Self::here().place(),
        }
    }

    /// Counts the tasks that are alive on the workers, also after these are moved.
    pub(crate) fn alive_tasks(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let runtimes: Vec<Handle> = self.runtimes().cloned().collect();
        move || {
            runtimes
                .iter()
                .map(|runtime| runtime.metrics().num_alive_tasks())
                .sum()
        }
    }

    /// The runtimes of all workers.
    pub(crate) fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().map(|worker| &worker.runtime)
    }
}

impl Worker {
    fn start(number: usize, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                runtime.block_on(stop.cancelled());
                // A name that is being looked up is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            connections: Arc::default(),
            thread: Some(thread),
        })
    }

    fn place(&self) -> Place {
        Place {
            runtime: self.runtime.clone(),
            _counted: Counted::new(&self.connections),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.thread.take())
        {
            // A thread ends with a panic only if the runtime itself is broken.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of_thread(place: &Place) -> String {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        place.runtime.spawn(async move {
            let name = thread::current().name().map(str::to_owned);
            sender.send(name.unwrap_or_default())
        });
        receiver.recv().unwrap()
    }

    #[test]
    fn a_connection_goes_where_the_fewest_are_and_stays_there() {
        let workers = Workers::start(2).unwrap();
        let (first, second) = (workers.place(), workers.place());
        assert_eq!(name_of_thread(&first), "worker-0");
        assert_eq!(name_of_thread(&second), "worker-1");
        drop(second);
        let third = workers.place();
        assert_eq!(name_of_thread(&third), "worker-1");
        assert_eq!(name_of_thread(&first), "worker-0");
    }

    #[test]
    fn the_end_drops_what_is_left_on_the_workers() {
        struct OnDrop(std::sync::mpsc::SyncSender<()>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let workers = Workers::start(1).unwrap();
        let tasks = workers.alive_tasks();
        let on_drop = OnDrop(sender);
        workers.place().runtime.spawn(async move {
            let _on_drop = on_drop;
            std::future::pending::<()>().await;
        });
        assert_eq!(tasks(), 1);
        drop(workers);
        receiver.recv().unwrap();
    }

    #[tokio::test]
    async fn without_threads_the_callers_own_runtime_serves() {
        let workers = Workers::here();
        let name = workers
            .place()
            .runtime
            .spawn(async { thread::current().id() });
        assert_eq!(name.await.unwrap(), thread::current().id());
    }
}
