//! Waiting: everything that the master listens to, in one poll(2), turned into events.
//!
//! poll and not epoll: an epoll instance would be shared with every fork, and the set is small and
//! changes with each child.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::clients::ClientId;
use crate::reload::Reload;
use crate::signals::Request;
use crate::supervisor::{Event, Supervisor};
use crate::workers::Process;

/// The longest wait. Whatever is due has a deadline, so this only keeps the number in range.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How long to pause when poll itself fails, which is for want of kernel memory: it may come back.
const POLL_FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// Where an event may come from.
#[derive(Clone, Copy)]
enum Source {
    /// The channel of a worker.
    Worker(Pid),
    /// The channel of the broker.
    Broker,
    /// The report pipe of the compile child.
    CompileReport,
    /// New clients of the control socket.
    ControlListener,
    /// A client of the control socket.
    Client(ClientId),
    /// The signalfd.
    Signals,
}

impl Supervisor<'_> {
    /// Waits until something happens or something is due.
    pub(crate) fn wait(&mut self) -> Vec<Event> {
        let ready = self.ready_sources();
        let now = Instant::now();
        let mut events = Vec::new();
        for source in ready {
            match source {
                Source::Worker(pid) => self.take_reports(pid, &mut events),
                Source::Broker => self.take_broker_reports(&mut events),
                Source::CompileReport => {
                    if let Reload::Compiling { child, .. } = &mut self.reload {
                        child.read();
                    }
                }
                Source::ControlListener => self.clients.accept(now),
                Source::Client(id) => {
                    let request = self.clients.advance(id, now);
                    events.extend(request.map(|request| Event::Control(id, request)));
                }
                Source::Signals => self.take_signals(&mut events),
            }
        }
        events
    }

    /// Those that have something. Signals come last: what a worker said was said before it died.
    fn ready_sources(&self) -> Vec<Source> {
        let mut sources = Vec::new();
        let mut files = Vec::new();
        for process in self.processes().map(|running| running.process).filter(|it| it.connected) {
            sources.push(Source::Worker(process.pid));
            files.push(PollFd::new(process.channel.as_fd(), self.interest(process)));
        }
        if let Some(process) = self.broker.process.as_ref().filter(|process| process.connected) {
            sources.push(Source::Broker);
            files.push(PollFd::new(process.channel.as_fd(), self.interest(process)));
        }
        if let Reload::Compiling { child, .. } = &self.reload
            && let Some(pipe) = child.pipe()
        {
            sources.push(Source::CompileReport);
            files.push(PollFd::new(pipe, PollFlags::POLLIN));
        }
        if let Some(listener) = self.clients.listener() {
            sources.push(Source::ControlListener);
            files.push(PollFd::new(listener, PollFlags::POLLIN));
        }
        for (id, client, interest) in self.clients.interests() {
            sources.push(Source::Client(id));
            files.push(PollFd::new(client, interest));
        }
        sources.push(Source::Signals);
        files.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));

        match poll(&mut files, self.wait_timeout()) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Vec::new(),
            Err(error) => {
                tracing::error!(%error, "cannot wait for events");
                std::thread::sleep(POLL_FAILURE_PAUSE);
                return Vec::new();
            }
        }
        let ready = sources.into_iter().zip(&files).filter(|(_, file)| file.any() == Some(true));
        ready.map(|(source, _)| source).collect()
    }

    /// What a child has to say, and room for what it is still to be told.
    fn interest(&self, process: &Process) -> PollFlags {
        match process.told == self.servers.revision() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        }
    }

    /// Time to the next deadline, rounded up, so that it has passed when the wait is over.
    fn wait_timeout(&self) -> PollTimeout {
        let Some(deadline) = self.next_deadline() else { return PollTimeout::NONE };
        let wait = deadline.saturating_duration_since(Instant::now()).min(WAIT_MAX);
        let wait_ms = wait.as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(wait_ms).expect("an hour of milliseconds fits")
    }

    fn take_reports(&mut self, pid: Pid, events: &mut Vec<Event>) {
        let Some(process) = self.process_mut(pid) else { return };
        match process.reports() {
            Ok(reports) => {
                events.extend(reports.into_iter().map(|report| Event::Report(pid, report)));
            }
            Err(error) => {
                self.kill_worker(pid, &format!("its report is not one: {error}"));
            }
        }
    }

    fn take_broker_reports(&mut self, events: &mut Vec<Event>) {
        let Some(process) = &mut self.broker.process else { return };
        match process.reports() {
            Ok(reports) => events.extend(reports.into_iter().map(Event::BrokerReport)),
            Err(error) => self.kill_broker(&format!("its report is not one: {error}")),
        }
    }

    fn take_signals(&self, events: &mut Vec<Event>) {
        while let Some(request) = self.signals.next() {
            events.push(Event::Signal(request));
            if request == Request::Reap {
                reap(events);
            }
        }
    }
}

/// Collects every child that is dead, or stands still: one signal may stand for many.
fn reap(events: &mut Vec<Event>) {
    loop {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        match waitpid(None, Some(flags)) {
            Err(_) | Ok(WaitStatus::StillAlive) => return,
            Ok(WaitStatus::Stopped(pid, signal)) => events.push(Event::ChildStopped(pid, signal)),
            Ok(WaitStatus::Continued(pid)) => events.push(Event::ChildContinued(pid)),
            Ok(ended) => {
                events.extend(ended.pid().map(|pid| Event::ChildExited(pid, ended)));
            }
        }
    }
}
