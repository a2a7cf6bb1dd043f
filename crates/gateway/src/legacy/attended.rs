//! A call that the connection drives which waits for it.
//!
//! Most calls are answered on the connection that they came on, and need no task: the request's own
//! future polls them. A call does not end with its connection, though, so what is not over when
//! nobody polls it any more goes on as a task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::in_place;

/// The tasks of the edge. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tasks {
    pub(super) tracker: TaskTracker,
    /// For a task that begins where there is no runtime.
    fallback: Handle,
}

impl Tasks {
    /// Must be called within a tokio runtime.
    pub(super) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            fallback: Handle::current(),
        }
    }

    /// Runs a task on the worker that it begins on, where its connection to the server is polled.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let here = Handle::try_current();
        let runtime = here.as_ref().unwrap_or(&self.fallback);
        self.tracker.spawn_on(task, runtime);
    }
}

/// A call under way. Dropped before its end, it becomes a task.
pub(super) struct Attended {
    call: Option<BoxFuture<'static, ()>>,
    tasks: Tasks,
}

impl Attended {
    pub(super) fn new<F>(call: impl FnOnce() -> F, tasks: &Tasks) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            call: Some(in_place::pinned(call)),
            tasks: tasks.clone(),
        }
    }

    /// Drives the call, unless it is over.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) {
        if let Some(call) = &mut self.call
            && let Poll::Ready(()) = Pin::new(call).poll(context)
        {
            self.call = None;
        }
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.tasks.spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_call_that_ends_in_time_is_no_task() {
        let tasks = Tasks::new();
        let (sender, mut receiver) = oneshot::channel();
        let call = async move {
            tokio::task::yield_now().await;
            let _ = sender.send(7);
        };
        let mut attended = Attended::new(|| call, &tasks);
        let answer = std::future::poll_fn(|context| {
            attended.poll(context);
            Pin::new(&mut receiver).poll(context)
        });
        assert_eq!(answer.await, Ok(7));
        drop(attended);
        assert!(tasks.tracker.is_empty());
    }

    #[tokio::test]
    async fn a_call_goes_on_when_nobody_drives_it_any_more() {
        let tasks = Tasks::new();
        let (go_on, gone_on) = oneshot::channel::<()>();
        let (sender, receiver) = oneshot::channel();
        let call = async move {
            let _ = gone_on.await;
            let _ = sender.send(7);
        };
        let mut attended = Attended::new(|| call, &tasks);
        attended.poll(&mut Context::from_waker(Waker::noop()));
        drop(attended);
        assert_eq!(tasks.tracker.len(), 1);
        go_on.send(()).expect("the call waits");
        assert_eq!(receiver.await, Ok(7));
        tasks.tracker.close();
        tasks.tracker.wait().await;
    }
}
