//! Tasks of one thread: a slab of futures, a queue of those that can go on, and wakers that any thread may use.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Tasks that can go on, in order.
type Ready = Rc<RefCell<VecDeque<TaskId>>>;

thread_local! {
    /// The [`Remote`] of the reactor running on this thread, and its ready queue.
    static LOCAL: RefCell<Option<(Arc<Remote>, Ready)>> = const { RefCell::new(None) };
}

/// A slot and the generation of its use, so that a late wake-up never reaches the slot's next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId {
    slot: u32,
    generation: u32,
}

/// What other threads see of a reactor: the tasks they have woken, and the eventfd that ends its wait.
#[derive(Debug)]
pub struct Remote {
    woken: Mutex<Vec<TaskId>>,
    /// Written to when `woken` becomes non-empty.
    pub event: OwnedFd,
}

impl Remote {
    pub fn new(event: OwnedFd) -> Remote {
        Remote { woken: Mutex::new(Vec::new()), event }
    }

    fn push(&self, id: TaskId) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let first = woken.is_empty();
        woken.push(id);
        drop(woken);
        if first {
            // The only failure is a full counter, and then the reader is already due to wake.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

struct TaskWaker {
    id: TaskId,
    /// Set while the task is in this thread's queue, so that it is not there twice. Only this thread looks at it: what
    /// others knew of it might be old, and the wake-up they leave out the one that counts.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let here = LOCAL.with_borrow(|local| match local {
            Some((remote, ready)) if Arc::ptr_eq(remote, &self.remote) => {
                if !self.queued.load(Ordering::Relaxed) {
                    self.queued.store(true, Ordering::Relaxed);
                    ready.borrow_mut().push_back(self.id);
                }
                true
            }
            _ => false,
        });
        if !here {
            self.remote.push(self.id);
        }
    }
}

/// What a step of a task needs.
type Run = (Pin<Box<dyn Future<Output = ()>>>, Waker);

struct Task {
    generation: u32,
    /// Taken out while the task runs. The waker goes along: to clone it would cost two atomic operations a step.
    run: Option<Run>,
    handle: Arc<TaskWaker>,
}

/// The tasks of one reactor.
pub struct Executor {
    tasks: RefCell<Slab<Task>>,
    ready: Ready,
    remote: Arc<Remote>,
    generation: Cell<u32>,
}

impl Executor {
    /// Makes `remote`'s reactor the one of this thread, until the executor is dropped.
    pub fn new(remote: Arc<Remote>) -> Executor {
        let ready = Rc::new(RefCell::new(VecDeque::new()));
        LOCAL.set(Some((remote.clone(), ready.clone())));
        Executor { tasks: RefCell::default(), ready, remote, generation: Cell::new(0) }
    }

    /// Takes a task on; it runs for the first time in the next turn.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.generation.set(self.generation.get().wrapping_add(1));
        let generation = self.generation.get();
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("fewer than 2^32 tasks fit in memory");
        let id = TaskId { slot, generation };
        let handle = Arc::new(TaskWaker { id, queued: AtomicBool::new(true), remote: self.remote.clone() });
        let waker = Waker::from(handle.clone());
        entry.insert(Task { generation, run: Some((Box::pin(future), waker)), handle });
        self.ready.borrow_mut().push_back(id);
    }

    /// True while a task can go on.
    pub fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Runs every task that can go on now, once. Tasks that become ready meanwhile wait for the next turn, so that
    /// sockets and timers are looked at between.
    pub fn turn(&self) {
        let count = self.ready.borrow().len();
        for _ in 0..count {
            let Some(id) = self.ready.borrow_mut().pop_front() else { return };
            self.run(id);
        }
    }

    fn run(&self, id: TaskId) {
        let slot = id.slot as usize;
        let taken =
            self.tasks.borrow_mut().get_mut(slot).filter(|task| task.generation == id.generation).and_then(
                |task| {
                    // Before the poll: a wake-up during it must queue the task again.
                    task.handle.queued.store(false, Ordering::Relaxed);
                    task.run.take()
                },
            );
        let Some((mut future, waker)) = taken else { return };
        // One connection's panic must not end the thread, and with it every other connection. Unwind safe: the future is
        // never polled again, and what tasks share is only borrowed within one step.
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        if let Ok(Poll::Pending) = polled {
            self.tasks.borrow_mut()[slot].run = Some((future, waker));
        } else {
            if polled.is_err() {
                log::error!("a task of this worker panicked; its connection is closed");
            }
            let task = self.tasks.borrow_mut().remove(slot);
            // Dropped only now: their destructors may spawn or wake.
            drop((future, task));
        }
    }

    /// Queues what other threads have woken. Call after the eventfd was read.
    pub fn take_remote(&self) {
        let woken = std::mem::take(&mut *self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner));
        self.ready.borrow_mut().extend(woken);
    }

    /// Wakes every task: for rare changes that any of them may be waiting for.
    pub fn wake_all(&self) {
        let handles: Vec<_> = self.tasks.borrow().iter().map(|(_, task)| task.handle.clone()).collect();
        handles.iter().for_each(|handle| handle.wake_by_ref());
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Futures may hold sockets and timers of the reactor: they go first.
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
        LOCAL.set(None);
    }
}
