//! Looks names up, in threads: libc's resolver waits, and it is the one that the operator
//! configured (`/etc/hosts`, `nsswitch.conf`, search domains).

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use heritage::NAMES_MAX;
use mio::Waker;

/// Look-ups at once, so that a name whose servers are silent holds up few others. libc gives up
/// after some ten seconds.
const THREADS: usize = 4;

/// A name, and its addresses or the reason for none.
pub(crate) type Answer = (String, Result<Vec<SocketAddr>, String>);

/// The threads' other side. They end with the process.
#[derive(Debug)]
pub(crate) struct Resolver {
    questions: SyncSender<String>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// Starts the threads, which wake the event loop for each answer.
    pub(crate) fn start(waker: Waker) -> io::Result<Self> {
        // Each name is in one of the queues at most once: they are never full.
        let (questions, asked) = sync_channel(NAMES_MAX);
        let (answered, answers) = sync_channel(NAMES_MAX);
        let (asked, waker) = (Arc::new(Mutex::new(asked)), Arc::new(waker));
        for _ in 0..THREADS {
            let (asked, answered, waker) = (asked.clone(), answered.clone(), waker.clone());
            thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || answer_all(&asked, &answered, &waker))?;
        }
        Ok(Resolver { questions, answers })
    }

    /// Looks a name up; the answer comes some time.
    pub(crate) fn ask(&self, name: String) {
        self.questions.try_send(name).expect("the threads live, and each name is asked for once");
    }

    /// The next answer, if there is one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// What each thread does, until the event loop is gone.
fn answer_all(asked: &Mutex<Receiver<String>>, answered: &SyncSender<Answer>, waker: &Waker) {
    loop {
        let next = asked.lock().expect("no holder panics").recv();
        let Ok(name) = next else { return };
        let addresses = name.to_socket_addrs().map(Iterator::collect);
        let answer = (name, addresses.map_err(|error| error.to_string()));
        if answered.send(answer).is_err() {
            return;
        }
        // Failing that, the answer is found at the next turn of the loop.
        let _ = waker.wake();
    }
}
