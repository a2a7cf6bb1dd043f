use std::collections::HashMap;

use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::discovery::dns::Target;

/// A name server on a port of its own.
struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Zone {
    records: HashMap<Name, Vec<Record>>,
    broken: Vec<Name>,
    asked: usize,
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let task = tokio::spawn(answer(socket, Arc::clone(&zone)));
        Self {
            address,
            zone,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// What there is of a name from now on.
    fn set(&self, owner: &str, ttl: u32, data: impl IntoIterator<Item = RData>) {
        let record = |data| Record::from_rdata(name(owner), ttl, data);
        let records = data.into_iter().map(record).collect();
        let mut zone = self.zone.lock();
        zone.broken.retain(|broken| *broken != name(owner));
        zone.records.insert(name(owner), records);
    }

    /// The server cannot say what there is of a name.
    fn break_name(&self, owner: &str) {
        self.zone.lock().broken.push(name(owner));
    }

    fn config(&self, source: &str, of: &str) -> Value {
        json!({ source: of, "resolver": self.address.to_string(), "interval": "20ms" })
    }
}

async fn answer(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 2048];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let mut message = Message::from_vec(&buffer[..length])
            .unwrap()
            .into_response();
        zone.lock().fill(&mut message);
        // It does not matter if the client has gone.
        let _ = socket.send_to(&message.to_vec().unwrap(), client).await;
    }
}

impl Zone {
    fn fill(&mut self, message: &mut Message) {
        self.asked += 1;
        let query = message.queries[0].clone();
        let Metadata { response_code, .. } = &mut message.metadata;
        if self.broken.contains(query.name()) {
            *response_code = ResponseCode::ServFail;
            return;
        }
        let Some(records) = self.records.get(query.name()) else {
            *response_code = ResponseCode::NXDomain;
            return;
        };
        let fit = records
            .iter()
            .filter(|record| record.record_type() == query.query_type());
        message.add_answers(fit.cloned().collect::<Vec<_>>());
    }
}

fn ip(address: &str) -> RData {
    RData::from(address.parse::<std::net::IpAddr>().unwrap())
}

fn service(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, name(target)))
}

#[tokio::test]
async fn each_address_of_a_name_is_a_place() {
    let server = NameServer::start().await;
    server.set(
        "mcp.test.",
        0,
        [ip("10.0.0.2"), ip("10.0.0.1"), ip("fd00::1")],
    );
    let started = Started::new(server.config("dns", "mcp.test:8000"));
    started
        .finds(&[
            place("10.0.0.1:8000", "mcp.test"),
            place("10.0.0.2:8000", "mcp.test"),
            place("[fd00::1]:8000", "mcp.test"),
        ])
        .await;
    assert_eq!(*started.discovery.problem().borrow(), None);

    server.set("mcp.test.", 0, [ip("10.0.0.2"), ip("10.0.0.3")]);
    started
        .finds(&[
            place("10.0.0.2:8000", "mcp.test"),
            place("10.0.0.3:8000", "mcp.test"),
        ])
        .await;
}

#[tokio::test]
async fn an_answer_that_fails_or_is_empty_keeps_the_places_and_is_reported() {
    let server = NameServer::start().await;
    server.set("mcp.test.", 0, [ip("10.0.0.1")]);
    let started = Started::new(server.config("dns", "mcp.test:80"));
    let places = [place("10.0.0.1:80", "mcp.test")];
    started.finds(&places).await;

    server.break_name("mcp.test.");
    started.reports(Some(Problem::Unanswered)).await;
    server.set("mcp.test.", 0, []);
    started.reports(Some(Problem::Empty)).await;
    assert_eq!(**started.discovery.places().borrow(), places);

    server.set("mcp.test.", 0, [ip("10.0.0.9")]);
    started.finds(&[place("10.0.0.9:80", "mcp.test")]).await;
    started.reports(None).await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_reported() {
    let server = NameServer::start().await;
    let started = Started::new(server.config("dns", "none.test:80"));
    started.reports(Some(Problem::Empty)).await;
    started.finds(&[]).await;
}

#[tokio::test]
async fn services_are_places_with_port_weight_and_priority() {
    let server = NameServer::start().await;
    server.set("a.test.", 0, [ip("10.0.0.1"), ip("fd00::1")]);
    server.set("b.test.", 0, [ip("10.0.0.2")]);
    let services = [
        service(20, 0, 8001, "b.test."),
        service(10, 7, 8000, "a.test."),
        service(10, 7, 8000, "gone.test."),
        service(0, 0, 1, "."),
    ];
    server.set("_mcp._tcp.test.", 0, services);
    let started = Started::new(server.config("srv", "_mcp._tcp.test"));
    let a = |address| Place {
        priority: 10,
        weight: 7,
        ..place(address, "a.test")
    };
    let b = Place {
        priority: 20,
        ..place("10.0.0.2:8001", "b.test")
    };
    started
        .finds(&[a("10.0.0.1:8000"), a("[fd00::1]:8000"), b.clone()])
        .await;

    server.set("_mcp._tcp.test.", 0, [service(20, 0, 8001, "b.test.")]);
    started.finds(&[b]).await;
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_up_keeps_its_places() {
    let server = NameServer::start().await;
    server.set("a.test.", 0, [ip("10.0.0.1")]);
    server.set("b.test.", 0, [ip("10.0.0.2")]);
    let services = [service(0, 1, 80, "a.test."), service(0, 1, 80, "b.test.")];
    server.set("_mcp._tcp.test.", 0, services);
    let started = Started::new(server.config("srv", "_mcp._tcp.test"));
    started
        .finds(&[
            place("10.0.0.1:80", "a.test"),
            place("10.0.0.2:80", "b.test"),
        ])
        .await;

    server.break_name("a.test.");
    server.set("b.test.", 0, [ip("10.0.0.3")]);
    started
        .finds(&[
            place("10.0.0.1:80", "a.test"),
            place("10.0.0.3:80", "b.test"),
        ])
        .await;
}

#[tokio::test]
async fn a_name_is_looked_up_again_when_its_records_are_too_old_and_no_sooner_than_a_second() {
    let server = NameServer::start().await;
    server.set("mcp.test.", 0, [ip("10.0.0.1")]);
    let mut config = server.config("dns", "mcp.test:80");
    config["interval"] = json!("1h");
    let started = Started::new(config);
    started.finds(&[place("10.0.0.1:80", "mcp.test")]).await;
    let (since, asked) = (Instant::now(), server.zone.lock().asked);

    server.set("mcp.test.", 3600, [ip("10.0.0.2")]);
    started.finds(&[place("10.0.0.2:80", "mcp.test")]).await;
    assert!(since.elapsed() >= Duration::from_millis(800));
    assert_eq!(server.zone.lock().asked, asked + 2, "A and AAAA, once");
}

#[tokio::test]
async fn no_more_targets_are_looked_up_than_there_may_be_endpoints() {
    let server = NameServer::start().await;
    // UDP takes no more; each target is there four times.
    let target = |at: usize| format!("{:03}.t.", at % 300);
    for at in 0..300 {
        server.set(&target(at), 0, [ip("10.0.0.1")]);
    }
    let services = (0..1200).map(|at| service(0, 1, 80, &target(at)));
    let mut names = Names::new(Some(server.address));
    let targets = services.map(|service| match service {
        RData::SRV(service) => Target::from(service),
        _ => unreachable!("a service"),
    });
    let targets = targets.collect();
    let (places, _) = names.places(targets, &[]).await.expect("places");
    assert_eq!(places.len(), MAX_ENDPOINTS + 1);
    let asked = server.zone.lock().asked;
    assert!(asked <= 2 * (MAX_ENDPOINTS + 1 + 16), "{asked} questions");

    // Nor more addresses of one name taken: the first in order, whatever the order of the answer.
    server.zone.lock().asked = 0;
    let many = (0..60).rev().map(|at| service(0, 1, at + 1, "000.t."));
    server.set(
        "000.t.",
        0,
        (1..=9).rev().map(|at| ip(&format!("10.0.0.{at}"))),
    );
    let targets = many.map(|service| match service {
        RData::SRV(service) => Target::from(service),
        _ => unreachable!("a service"),
    });
    let (places, _) = names.places(targets.collect(), &[]).await.expect("places");
    assert_eq!(places.len(), MAX_ENDPOINTS + 1);
    assert!(places.is_sorted_by_key(|place| (place.address.port(), place.address)));
}
