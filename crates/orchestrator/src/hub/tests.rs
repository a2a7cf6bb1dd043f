use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counter {
    fn poll(self: &Arc<Self>, listener: &mut Listener) -> Poll<Option<Event>> {
        listener.poll_next(&mut Context::from_waker(&Arc::clone(self).into()))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn all_pending(listener: &mut Listener) -> Vec<Event> {
    let waker = Arc::new(Counter::default());
    let mut events = Vec::new();
    while let Poll::Ready(Some(event)) = waker.poll(listener) {
        events.push(event);
    }
    events
}

fn watching(uris: &[&str]) -> Filter {
    Filter {
        uris: uris.iter().map(|&uri| uri.to_owned()).collect(),
        ..Filter::default()
    }
}

fn updated(uri: &str) -> Event {
    Event::ResourceUpdated(uri.into())
}

fn watched(hub: &Hub) -> Vec<String> {
    hub.watched().iter().map(|uri| uri.to_string()).collect()
}

const EVERYTHING: ChangedLists = ChangedLists {
    tools: true,
    prompts: true,
    resources: true,
};

#[test]
fn a_listener_hears_what_it_asked_for_and_each_thing_once() {
    let hub = Hub::default();
    let mut all = hub
        .listen(
            &Principal::anonymous(),
            Filter {
                tools: true,
                prompts: true,
                resources: true,
                uris: vec!["a:1".to_owned(), "a:2".to_owned(), "a:1".to_owned()],
            },
        )
        .unwrap();
    let mut prompts = hub
        .listen(
            &Principal::anonymous(),
            Filter {
                prompts: true,
                ..Filter::default()
            },
        )
        .unwrap();
    for _ in 0..3 {
        hub.publish_lists(EVERYTHING);
        hub.publish_resource("a:1");
        hub.publish_resource("a:3");
    }
    assert_eq!(
        all_pending(&mut all),
        [
            Event::ToolsChanged,
            Event::PromptsChanged,
            Event::ResourcesChanged,
            updated("a:1")
        ]
    );
    assert_eq!(all_pending(&mut prompts), [Event::PromptsChanged]);
    hub.publish_lists(ChangedLists {
        tools: true,
        ..ChangedLists::default()
    });
    hub.publish_resource("a:2");
    assert_eq!(all_pending(&mut all), [Event::ToolsChanged, updated("a:2")]);
    assert_eq!(all_pending(&mut prompts), []);
}

#[test]
fn only_those_concerned_are_woken_and_once() {
    let hub = Hub::default();
    let mut a = hub
        .listen(&Principal::anonymous(), watching(&["a:1"]))
        .unwrap();
    let mut b = hub
        .listen(&Principal::anonymous(), watching(&["b:1"]))
        .unwrap();
    let wakers = [Arc::new(Counter::default()), Arc::new(Counter::default())];
    assert!(wakers[0].poll(&mut a).is_pending());
    assert!(wakers[1].poll(&mut b).is_pending());
    hub.publish_lists(EVERYTHING);
    hub.publish_resource("a:1");
    hub.publish_resource("a:1");
    assert_eq!([wakers[0].count(), wakers[1].count()], [1, 0]);
    assert_eq!(wakers[0].poll(&mut a), Poll::Ready(Some(updated("a:1"))));
    assert!(wakers[0].poll(&mut a).is_pending());
    hub.publish_resource("a:1");
    assert_eq!(wakers[0].count(), 2);
}

#[test]
fn the_task_that_polled_last_is_woken() {
    let hub = Hub::default();
    let mut listener = hub
        .listen(&Principal::anonymous(), watching(&["a:1"]))
        .unwrap();
    let [first, last] = [Arc::new(Counter::default()), Arc::new(Counter::default())];
    assert!(first.poll(&mut listener).is_pending());
    assert!(last.poll(&mut listener).is_pending());
    hub.publish_resource("a:1");
    assert_eq!([first.count(), last.count()], [0, 1]);
}

#[test]
fn closing_comes_after_what_is_pending_and_is_said_once() {
    let hub = Hub::default();
    let mut listener = hub
        .listen(&Principal::anonymous(), watching(&["a:1"]))
        .unwrap();
    let waker = Arc::new(Counter::default());
    assert!(waker.poll(&mut listener).is_pending());
    hub.publish_resource("a:1");
    hub.close();
    hub.close();
    assert_eq!(waker.count(), 1);
    assert_eq!(waker.poll(&mut listener), Poll::Ready(Some(updated("a:1"))));
    assert_eq!(waker.poll(&mut listener), Poll::Ready(Some(Event::Closed)));
    assert_eq!(waker.poll(&mut listener), Poll::Ready(None));
    hub.close();
    assert_eq!(waker.poll(&mut listener), Poll::Ready(None));
    assert_eq!(
        hub.listen(&Principal::anonymous(), Filter::default())
            .unwrap_err(),
        ListenError::Closed
    );
}

#[test]
fn uris_are_watched_until_the_last_listener_goes() {
    let hub = Hub::default();
    let mut version = hub.watched_changed();
    let mut has_changed = move || {
        let changed = version.has_changed().unwrap();
        version.mark_unchanged();
        changed
    };
    let first = hub
        .listen(&Principal::anonymous(), watching(&["a:1", "a:2"]))
        .unwrap();
    assert!(has_changed());
    let second = hub
        .listen(&Principal::anonymous(), watching(&["a:2"]))
        .unwrap();
    assert!(!has_changed());
    assert_eq!(watched(&hub), ["a:1", "a:2"]);
    assert_eq!(hub.count(), 2);
    drop(first);
    assert!(has_changed());
    assert_eq!(watched(&hub), ["a:2"]);
    drop(second);
    assert!(has_changed());
    assert_eq!(watched(&hub), Vec::<String>::new());
    assert_eq!(hub.count(), 0);
    assert_eq!(hub.shared.state.lock().uri_memory, 0);
}

#[test]
fn there_is_a_cap_of_listeners_and_of_what_they_watch() {
    let hub = Hub::new(2);
    let first = hub
        .listen(&Principal::anonymous(), Filter::default())
        .unwrap();
    let _second = hub
        .listen(&Principal::anonymous(), Filter::default())
        .unwrap();
    assert_eq!(
        hub.listen(&Principal::anonymous(), Filter::default())
            .unwrap_err(),
        ListenError::Full
    );
    drop(first);
    let uris = |count: usize| Filter {
        uris: (0..count).map(|n| format!("a:{n}")).collect(),
        ..Filter::default()
    };
    assert_eq!(
        hub.listen(&Principal::anonymous(), uris(MAX_URIS + 1))
            .unwrap_err(),
        ListenError::TooManyUris
    );
    let long = "x".repeat(MAX_URI_LEN + 1);
    assert_eq!(
        hub.listen(&Principal::anonymous(), watching(&[&long]))
            .unwrap_err(),
        ListenError::UriTooLong
    );
    let third = hub.listen(&Principal::anonymous(), uris(MAX_URIS)).unwrap();
    assert_eq!(third.uris().len(), MAX_URIS);
}

#[test]
fn there_is_a_cap_of_what_all_listeners_watch_together() {
    let hub = Hub::new(1_000);
    let listen = |listener: usize| {
        let uri = |n: usize| format!("a:{listener}:{n:0>width$}", width = MAX_URI_LEN - 16);
        hub.listen(
            &Principal::anonymous(),
            Filter {
                uris: (0..MAX_URIS).map(uri).collect(),
                ..Filter::default()
            },
        )
    };
    let mut listeners = Vec::new();
    let full = loop {
        match listen(listeners.len()) {
            Ok(listener) => listeners.push(listener),
            Err(error) => break error,
        }
    };
    assert_eq!(full, ListenError::Full);
    assert!(listeners.len() * MAX_URIS * MAX_URI_LEN <= 2 * MAX_URI_MEMORY);
    listeners.pop();
    assert!(listen(listeners.len()).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_listeners_are_told_while_they_come_and_go() {
    let hub = Hub::default();
    let mut tasks = Vec::new();
    for n in 0..1_000 {
        let mut listener = hub
            .listen(
                &Principal::anonymous(),
                watching(&["shared:", &format!("own:{n}")]),
            )
            .unwrap();
        tasks.push(tokio::spawn(async move {
            let mut heard = BTreeSet::new();
            while let Some(event) =
                std::future::poll_fn(|context| listener.poll_next(context)).await
            {
                match event {
                    Event::ResourceUpdated(uri) => heard.insert(uri.to_string()),
                    Event::Closed => break,
                    other => panic!("not asked for: {other:?}"),
                };
            }
            assert_eq!(
                heard,
                BTreeSet::from([format!("own:{n}"), "shared:".to_owned()])
            );
        }));
    }
    hub.publish_resource("shared:");
    hub.publish_lists(EVERYTHING);
    for n in 0..1_000 {
        hub.publish_resource(&format!("own:{n}"));
    }
    hub.close();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(hub.count(), 0);
    assert!(hub.watched().is_empty());
}

#[test]
fn a_principal_has_a_share_and_leaves_room_for_others() {
    let hub = Hub::new(16);
    let (anna, ben) = (Principal::new("key:anna"), Principal::new("key:ben"));
    let listen = |principal: &Principal| hub.listen(principal, Filter::default());
    let first = listen(&anna).unwrap();
    let _second = listen(&anna).unwrap();
    assert_eq!(listen(&anna).unwrap_err(), ListenError::ShareFull);
    let _other = listen(&ben).unwrap();
    drop(first);
    let _third = listen(&anna).unwrap();
    assert_eq!(listen(&anna).unwrap_err(), ListenError::ShareFull);

    let everybody = Principal::anonymous();
    let all: Vec<_> = (0..13).map(|_| listen(&everybody).unwrap()).collect();
    assert_eq!(listen(&everybody).unwrap_err(), ListenError::Full);
    assert_eq!(
        listen(&Principal::new("key:carl")).unwrap_err(),
        ListenError::Full
    );
    assert_eq!(hub.shared.state.lock().shares.len(), 3);
    drop(all);
    assert_eq!(hub.shared.state.lock().shares.len(), 2);
}

#[test]
fn the_share_is_of_the_memory_as_well() {
    let hub = Hub::default();
    let anna = Principal::new("key:anna");
    let filter = |listener: usize| Filter {
        uris: (0..MAX_URIS)
            .map(|n| format!("a:{listener}:{n:0>width$}", width = MAX_URI_LEN - 16))
            .collect(),
        ..Filter::default()
    };
    let mut listeners = Vec::new();
    let full = loop {
        match hub.listen(&anna, filter(listeners.len())) {
            Ok(listener) => listeners.push(listener),
            Err(error) => break error,
        }
    };
    assert_eq!(full, ListenError::ShareFull);
    assert!(hub.shared.state.lock().uri_memory <= MAX_URI_MEMORY / 8);
    assert!(hub.listen(&Principal::new("key:ben"), filter(0)).is_ok());
    listeners.pop();
    assert!(hub.listen(&anna, filter(0)).is_ok());
}
