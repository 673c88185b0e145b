//! Frames sent beside the test, as fast as possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::patience::{EVENT, patient};
use super::{Lab, Port};

/// Frames after which it stops, in case a test goes wrong.
const MOST: u64 = 20_000_000;
/// Time after which it stops.
const LONGEST: Duration = Duration::from_secs(600);
/// Frames sent between two looks at the clock.
const BURST: u64 = 64;

/// A thread that sends the same frames over and over, until it is dropped.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts sending, and returns when the first frames are sent.
    #[track_caller]
    pub fn start<F: Into<Vec<u8>>>(port: Port, frames: impl IntoIterator<Item = F>) -> Self {
        let frames: Vec<Vec<u8>> = frames.into_iter().map(F::into).collect();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            move || send_until(&port, &frames, &stop, &sent)
        });
        let traffic = Self { stop, sent, thread: Some(thread) };
        traffic.wait_for(1);
        traffic
    }

    /// How many the kernel has taken so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until `more` frames were sent from now on.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let wanted = self.sent() + more;
        let deadline = Instant::now() + patient(EVENT);
        while self.sent() < wanted {
            assert!(Instant::now() < deadline, "the sending thread does not send");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Stops sending, and returns how many frames the kernel has taken.
    #[track_caller]
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("stopped once").join().expect("the sending thread");
        self.sent()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic is ignored: a test that drops this without `stop` is panicking already.
            let _ = thread.join();
        }
    }
}

fn send_until(port: &Port, frames: &[Vec<u8>], stop: &AtomicBool, sent: &AtomicU64) {
    let begun = Instant::now();
    let mut next = frames.iter().cycle();
    while !stop.load(Ordering::Relaxed)
        && sent.load(Ordering::Relaxed) < MOST
        && begun.elapsed() < patient(LONGEST)
    {
        for frame in next.by_ref().take(BURST as usize) {
            port.send(frame);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Lab {
    /// Frames that one end of a veth could not hand to the other, whose queue was full: the sender
    /// counts them as sent, and no program sees them.
    #[track_caller]
    pub fn dropped_at(&self, role: &str, interface: &str) -> u64 {
        let output = self.ip(role, ["-json", "-statistics", "link", "show", "dev", interface]);
        let dropped = output.json()[0]["stats64"]["tx"]["dropped"].as_u64();
        dropped.unwrap_or_else(|| panic!("no tx dropped in {}", output.stdout))
    }
}
