//! Makes the checks: one thread, and a task for each backend, most of which wait.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::plan::Target;
use super::probe::{self, Outcome, Roots, Through};
use super::schedule::Schedule;
use crate::ruleset::services::check::Probe;

/// Programs that run at a time.
const PROGRAMS: usize = 32;

/// What the checks are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Check this from now on, and say with that number what was found.
    Watch {
        id: u64,
        target: Target,
        start: Start,
    },
    Forget(u64),
}

/// When a backend is checked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At any time within its interval.
    Spread,
    AtOnce,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub id: u64,
    pub outcome: Outcome,
    pub at: SystemTime,
}

/// The running checks. They end when this is dropped, and the programs that they run too.
pub struct Checker {
    orders: Option<UnboundedSender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Checker {
    /// Begins. At most `at_a_time` checks have a connection open at a time; the others wait. `tell`
    /// is called with what they find, and must not wait. `through` is told beforehand of the ways to
    /// backends that are asked at their service's address.
    ///
    /// # Errors
    ///
    /// Where the kernel has no thread or no descriptors for it.
    pub fn start(
        at_a_time: usize,
        through: Arc<Through>,
        tell: impl Fn(Finding) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (orders, ordered) = unbounded_channel();
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let all = Arc::new(Shared {
            connections: Semaphore::new(at_a_time),
            programs: Semaphore::new(PROGRAMS.min(at_a_time)),
            roots: Roots::default(),
            through,
            tell: Box::new(tell),
        });
        let run = move || runtime.block_on(obey(ordered, all));
        let thread = thread::Builder::new().name("checks".to_owned()).spawn(run)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Has something else checked from now on.
    pub fn order(&self, orders: impl IntoIterator<Item = Order>) {
        for order in orders {
            if let Some(to) = &self.orders {
                // The thread only ends with this.
                let _ = to.send(order);
            }
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Shared {
    connections: Semaphore,
    programs: Semaphore,
    roots: Roots,
    through: Arc<Through>,
    tell: Box<dyn Fn(Finding) + Send + Sync>,
}

async fn obey(mut orders: UnboundedReceiver<Order>, all: Arc<Shared>) {
    let mut tasks: HashMap<u64, AbortHandle> = HashMap::new();
    let random = RandomState::new();
    while let Some(order) = orders.recv().await {
        let ended = match order {
            Order::Watch { id, target, start } => {
                let schedule = Schedule::new(target.check.interval, random.hash_one(id));
                let task = tokio::spawn(watch(id, target, start, schedule, Arc::clone(&all)));
                tasks.insert(id, task.abort_handle())
            }
            Order::Forget(id) => tasks.remove(&id),
        };
        if let Some(task) = ended {
            task.abort();
        }
    }
}

/// Checks a backend again and again.
async fn watch(id: u64, target: Target, start: Start, mut schedule: Schedule, all: Arc<Shared>) {
    if start == Start::Spread {
        sleep(schedule.first()).await;
    }
    loop {
        let place = match target.check.probe {
            Probe::Exec { .. } => &all.programs,
            _ => &all.connections,
        };
        // The wait for a place is not the backend's, so it is not part of its time.
        let Ok(place) = place.acquire().await else { return };
        let begun = Instant::now();
        let outcome = probe::check(&target, &all.roots, &all.through).await;
        drop(place);
        (all.tell)(Finding { id, outcome, at: SystemTime::now() });
        let pause: Duration = schedule.next();
        sleep(pause.saturating_sub(begun.elapsed())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::agent::health::probe::Verdict;
    use crate::ruleset::services::check::{Check, IfUnwatched, Through};

    const LONG: Duration = Duration::from_secs(60);

    fn watch(id: u64, place: SocketAddr, expect: Option<&str>, interval: Duration) -> Order {
        let probe = Probe::Tcp { send: None, expect: expect.map(str::to_owned) };
        let check = Check {
            probe,
            through: Through::Backend,
            port: None,
            interval,
            timeout: interval,
            fall: 1,
            rise: 1,
            if_unwatched: IfUnwatched::Keep,
        };
        let target = Target {
            service: "web".to_owned(),
            backend: id.to_string(),
            address: place.ip(),
            port: place.port(),
            way: None,
            check: Arc::new(check),
        };
        Order::Watch { id, target, start: Start::AtOnce }
    }

    fn started(at_a_time: usize) -> (Checker, Receiver<Finding>) {
        let (tell, told) = channel();
        let checker = Checker::start(at_a_time, Arc::default(), move |finding| {
            let _ = tell.send(finding);
        });
        (checker.unwrap(), told)
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let place = listener.local_addr().unwrap();
        (listener, place)
    }

    /// Backends that take a connection and never answer keep nobody else waiting.
    #[test]
    fn who_hangs_keeps_nobody_waiting() {
        let (_hangs, hangs_at) = listener();
        let (_answers, answers_at) = listener();
        let (checker, told) = started(1000);
        checker.order((0..100).map(|id| watch(id, hangs_at, Some("x"), LONG)));
        checker.order([watch(100, answers_at, None, Duration::from_millis(10))]);
        for _ in 0..5 {
            let finding = told.recv_timeout(LONG).unwrap();
            assert_eq!((finding.id, finding.outcome.verdict), (100, Verdict::Ok));
        }
        // Nor does it keep this from ending.
        drop(checker);
        while let Ok(finding) = told.recv() {
            assert_eq!(finding.id, 100);
        }
    }

    /// With fewer places than backends, each has its turn, and its time begins with that.
    #[test]
    fn some_at_a_time() {
        let (_hangs, hangs_at) = listener();
        let (checker, told) = started(2);
        let timeout = Duration::from_millis(50);
        checker.order((0..20).map(|id| watch(id, hangs_at, Some("x"), timeout)));
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 20 {
            let finding = told.recv_timeout(LONG).unwrap();
            assert!(matches!(finding.outcome.verdict, Verdict::Failed(_)), "{finding:?}");
            seen.insert(finding.id);
        }
        drop(checker);
    }

    #[test]
    fn what_is_forgotten_is_not_checked() {
        let (_answers, place) = listener();
        let (checker, told) = started(10);
        let often = Duration::from_millis(10);
        checker.order([watch(1, place, None, often)]);
        assert_eq!(told.recv_timeout(LONG).unwrap().id, 1);
        checker.order([Order::Forget(1), watch(2, place, None, often)]);
        while told.recv_timeout(LONG).unwrap().id == 1 {}
        for _ in 0..5 {
            assert_eq!(told.recv_timeout(LONG).unwrap().id, 2);
        }
    }
}
