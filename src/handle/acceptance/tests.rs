//! Which open finds which listener.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn tcp(address: &str, port: u16) -> ListenRequest {
    ListenRequest::Tcpip { address: address.into(), port }
}

fn open(address: &str, port: u16) -> OpenRequest {
    OpenRequest::ForwardedTcpip {
        address: address.into(),
        port,
        originator_address: "192.0.2.1".into(),
        originator_port: 1,
    }
}

/// A table of listeners, and which of them made something last.
struct Fixture {
    table: Arc<Acceptance>,
    last: Arc<AtomicUsize>,
    count: usize,
}

impl Fixture {
    fn new() -> Self {
        Self { table: Arc::default(), last: Arc::default(), count: 0 }
    }

    fn maker(&mut self) -> Maker {
        self.count += 1;
        let (last, number) = (Arc::clone(&self.last), self.count);
        Arc::new(move |_| {
            last.store(number, Ordering::Relaxed);
            None
        })
    }

    fn pending(&mut self, asked: ListenRequest) -> Ticket {
        let make = self.maker();
        self.table.listener(asked, make).unwrap()
    }

    fn listens(&mut self, asked: ListenRequest) -> Ticket {
        let ticket = self.pending(asked.clone());
        ticket.settle(asked);
        ticket
    }

    /// The number of the listener that is found.
    fn found(&self, request: OpenRequest) -> Option<usize> {
        match self.table.find(&request) {
            Found::Asked(make) => {
                let _ = make(request);
                Some(self.last.swap(0, Ordering::Relaxed))
            }
            Found::Wait(_) | Found::Nothing => None,
        }
    }
}

#[test]
fn what_was_not_asked_for_is_not_found() {
    let mut fixture = Fixture::new();
    let _listener = fixture.listens(tcp("localhost", 80));
    for request in [
        open("localhost", 81),
        OpenRequest::ForwardedStreamlocal { path: "localhost".into() },
        OpenRequest::AuthAgent,
        OpenRequest::X11 { originator_address: String::new(), originator_port: 0 },
        OpenRequest::Session,
    ] {
        assert!(matches!(fixture.table.find(&request), Found::Nothing), "{request:?}");
    }
}

#[test]
fn the_same_words_win_then_the_only_one_on_the_port_then_the_meaning() {
    let mut fixture = Fixture::new();
    let _one = fixture.listens(tcp("", 80));
    assert_eq!(fixture.found(open("0.0.0.0", 80)), Some(1));
    assert_eq!(fixture.found(open("198.51.100.7", 80)), Some(1), "the only one on that port");
    let _two = fixture.listens(tcp("localhost", 80));
    let _three = fixture.listens(tcp("203.0.113.5", 80));
    for (address, found) in
        [("", 1), ("*", 1), ("::", 1), ("localhost", 2), ("127.0.0.1", 2), ("::1", 2), ("203.0.113.5", 3)]
    {
        assert_eq!(fixture.found(open(address, 80)), Some(found), "{address}");
    }
    assert_eq!(fixture.found(open("198.51.100.7", 80)), None, "nobody can tell which");
}

#[test]
fn an_open_that_is_there_before_the_answer_waits_for_it() {
    let mut fixture = Fixture::new();
    let asked = fixture.pending(tcp("localhost", 0));
    let Found::Wait(changed) = fixture.table.find(&open("localhost", 4711)) else {
        panic!("it may be for the listener whose port is not known yet")
    };
    assert!(!changed.has_changed().unwrap());
    asked.settle(tcp("localhost", 4711));
    assert!(changed.has_changed().unwrap());
    assert_eq!(fixture.found(open("localhost", 4711)), Some(1));
    assert_eq!(fixture.found(open("localhost", 4712)), None);
    drop(asked);
    assert!(matches!(fixture.table.find(&open("localhost", 4711)), Found::Nothing));
}

#[test]
fn a_refused_listener_lets_go_of_the_opens_that_wait() {
    let mut fixture = Fixture::new();
    let asked = fixture.pending(ListenRequest::Streamlocal { path: "/run/s".into() });
    let request = OpenRequest::ForwardedStreamlocal { path: "/run/s".into() };
    let Found::Wait(changed) = fixture.table.find(&request) else { panic!("it was asked for") };
    drop(asked);
    assert!(changed.has_changed().unwrap());
    assert!(matches!(fixture.table.find(&request), Found::Nothing));
}

#[test]
fn the_same_cannot_be_asked_for_twice_but_for_any_port() {
    let mut fixture = Fixture::new();
    let first = fixture.listens(tcp("localhost", 80));
    let make = fixture.maker();
    assert!(fixture.table.listener(tcp("localhost", 80), Arc::clone(&make)).is_err());
    drop(first);
    let _again = fixture.table.listener(tcp("localhost", 80), Arc::clone(&make)).unwrap();
    let _any = fixture.table.listener(tcp("localhost", 0), Arc::clone(&make)).unwrap();
    let _any_too = fixture.table.listener(tcp("localhost", 0), Arc::clone(&make)).unwrap();
    let agent = fixture.table.agent(Arc::clone(&make)).unwrap();
    assert!(fixture.table.agent(Arc::clone(&make)).is_err());
    drop(agent);
    assert!(fixture.table.agent(make).is_ok());
}

#[test]
fn displays_are_asked_from_the_newest_on_until_one_makes_something() {
    let mut fixture = Fixture::new();
    let (one, two) = (fixture.maker(), fixture.maker());
    let _one = fixture.table.display(one);
    let two = fixture.table.display(two);
    let x11 = OpenRequest::X11 { originator_address: String::new(), originator_port: 0 };
    // None of them makes anything here: the oldest was asked last.
    assert_eq!(fixture.found(x11.clone()), Some(1));
    drop(two);
    assert_eq!(fixture.found(x11), Some(1));
}
