//! Ctrl-C: SIGINT, SIGTERM or SIGHUP removes every lab of this process, then ends it.

use crate::layout::Layout;
use crate::removal;
use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What else an interrupt does.
static BEFORE_REMOVAL: Mutex<Option<fn()>> = Mutex::new(None);

/// An interrupt calls `action` before it removes labs: to put a terminal right, for example.
pub fn on_interrupt(action: fn()) {
    *BEFORE_REMOVAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(action);
}

/// Labs of this process, and whether the handler runs. Also the turn: who holds it may change the lab's networks.
static LABS: Mutex<Labs> = Mutex::new(Labs { standing: Vec::new(), handler_runs: false });

struct Labs {
    standing: Vec<Layout>,
    handler_runs: bool,
}

/// While it lives, an interrupt removes the lab it was made for.
#[derive(Debug)]
pub(crate) struct Registered(Layout);

impl Drop for Registered {
    fn drop(&mut self) {
        forget(&self.0);
    }
}

/// From now on an interrupt removes this lab.
pub(crate) fn register(layout: &Layout) -> Result<Registered> {
    let mut labs = lock();
    if !labs.handler_runs {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("watch for Ctrl-C")?;
        std::thread::Builder::new().name("lab-interrupt".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end_process(signal);
            }
        })?;
        labs.handler_runs = true;
    }
    labs.standing.push(layout.clone());
    Ok(Registered(layout.clone()))
}

/// An interrupt no longer concerns this lab.
pub(crate) fn forget(layout: &Layout) {
    lock().standing.retain(|standing| standing != layout);
}

/// Waits until nobody else changes networks of a lab. An interrupt keeps the turn for good.
pub(crate) fn turn() -> impl Drop {
    Turn(lock())
}

struct Turn(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, Labs>);

impl Drop for Turn {
    fn drop(&mut self) {}
}

fn end_process(signal: i32) -> ! {
    let action = *BEFORE_REMOVAL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(action) = action {
        action();
    }
    let labs = lock();
    for layout in &labs.standing {
        eprintln!("interrupted: removing lab {:?}", layout.id());
        if let Err(error) = removal::remove(layout) {
            eprintln!("lab {:?}: {error:#}", layout.id());
        }
        let _ = std::fs::remove_file(layout.lock_file());
    }
    // The shell's convention for "ended by signal N". The turn is never given back.
    std::process::exit(128 + signal)
}

fn lock() -> MutexGuard<'static, Labs> {
    LABS.lock().unwrap_or_else(PoisonError::into_inner)
}
