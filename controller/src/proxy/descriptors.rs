//! File descriptors: clients may take many, never all.
//!
//! Whoever opens connections without end must not take away what requests under way need toward servers, or what the
//! rest of the process needs for probes, files and its API: a probe without a descriptor would count against a healthy
//! server. The kernel gives out the lowest free number, so a number tells how many are taken.

use std::io;

/// Never given to connections: for probes, API and metrics clients, files, netlink.
const RESERVED: u64 = 128;
/// Of the rest, one part in so many is for connections to servers alone.
const SERVERS_ONLY: u64 = 8;

/// Up to which descriptor connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The first number too many for a client's connection.
    pub clients: u64,
    /// The first number too many for a connection to a server.
    pub servers: u64,
}

impl Descriptors {
    /// The shares of a process that may open `limit` descriptors.
    pub const fn of(limit: u64) -> Descriptors {
        let reserved = if limit / 4 < RESERVED { limit / 4 } else { RESERVED };
        let servers = limit - reserved;
        Descriptors { clients: servers - servers / SERVERS_ONLY, servers }
    }

    /// The shares of this process as it is now.
    pub fn of_process() -> io::Result<Descriptors> {
        Ok(Descriptors::of(limits()?.rlim_cur))
    }
}

/// Lets this process open as many descriptors as it is allowed to: the default is meant for programs that use
/// select(2). Returns the limit.
pub fn raise_limit() -> io::Result<u64> {
    let mut limits = limits()?;
    if limits.rlim_cur < limits.rlim_max {
        limits.rlim_cur = limits.rlim_max;
        // SAFETY: the structure lives across the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limits.rlim_cur)
}

fn limits() -> io::Result<libc::rlimit> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives across the call, which fills it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_some_for_servers_and_both_for_the_rest() {
        assert_eq!(Descriptors::of(1024), Descriptors { clients: 784, servers: 896 });
        assert_eq!(Descriptors::of(524_288), Descriptors { clients: 458_640, servers: 524_160 });
        for limit in [16, 64, 256, 1024, u64::MAX] {
            let shares = Descriptors::of(limit);
            assert!(shares.clients < shares.servers && shares.servers < limit, "{limit}: {shares:?}");
        }
    }
}
