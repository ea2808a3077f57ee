//! Running a program on a packet that nobody sent (BPF_PROG_TEST_RUN): for `explain`, and for tests.
//!
//! The program is the one that is loaded, the maps are those in force: flows are made, counters move. What is absent is
//! the network: a redirect is decided and not carried out, and no interface sees the packet.

use super::error::reason;
use super::{Datapath, DatapathError, Hook};
use aya::programs::{SchedClassifier, Xdp};
use aya::{TestRun, TestRunOptions};

/// How a packet arrives, or for [`Hook::TcEgress`] leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The interface, of this process's network namespace. For XDP one that has an XDP program attached: without, a
    /// driver keeps no record of the receive queue that the program could be shown.
    pub ifindex: u32,
    /// TC: payload bytes of each segment that the packet is yet to be cut into; 0 for an ordinary packet.
    pub gso_size: u32,
    /// XDP: bytes of driver metadata in front of the packet, which take from the room for outer headers. A multiple of
    /// 4; since Linux 6.8 at most 216, before 32.
    pub metadata: u32,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the program decided.
    pub action: Action,
    /// The frame as it left the program, from the Ethernet header on.
    pub frame: Vec<u8>,
}

/// What a program decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The host gets the packet.
    Pass,
    /// The packet is lost; the drop counters say why.
    Drop,
    /// XDP: back out of the interface it came from.
    SendBack,
    /// Out of another interface; in TC to a neighbour that the kernel resolves.
    Redirect,
    /// None that our programs choose.
    Unexpected(u32),
}

impl Action {
    fn of_xdp(number: u32) -> Action {
        // enum xdp_action, linux/bpf.h.
        match number {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::SendBack,
            4 => Action::Redirect,
            other => Action::Unexpected(other),
        }
    }

    fn of_tc(number: u32) -> Action {
        // TC_ACT_*, linux/pkt_cls.h.
        match number {
            0 => Action::Pass,
            2 => Action::Drop,
            7 => Action::Redirect,
            other => Action::Unexpected(other),
        }
    }
}

/// `struct xdp_md` has 6 words.
const XDP_CONTEXT_BYTES: usize = 24;
/// `struct __sk_buff`, and where its fields stand that a caller may set.
const SKB_CONTEXT_BYTES: usize = 192;
const SKB_IFINDEX: usize = 40;
const SKB_GSO_SIZE: usize = 176;
/// How much a program may add to a packet: the outer headers.
const ROOM: usize = 256;

impl Datapath {
    /// Runs the program of `hook` on a frame that arrives on (leaves by) the interface `ifindex`.
    ///
    /// # Errors
    /// Frames shorter than an Ethernet header or longer than a page less some 600 bytes; interfaces that do not fit
    /// [`Arrival::ifindex`].
    pub fn run(&self, hook: Hook, frame: &[u8], ifindex: u32) -> Result<Run, DatapathError> {
        self.run_arrival(hook, frame, &Arrival { ifindex, ..Arrival::default() })
    }

    /// As [`Datapath::run`], with more to say about the packet.
    pub fn run_arrival(&self, hook: Hook, frame: &[u8], arrival: &Arrival) -> Result<Run, DatapathError> {
        match hook {
            Hook::Xdp | Hook::XdpGeneric | Hook::XdpElseTc => self.run_xdp(hook, frame, arrival),
            Hook::TcIngress | Hook::TcEgress => self.run_tc(hook, frame, arrival),
        }
    }

    fn run_xdp(&self, hook: Hook, frame: &[u8], arrival: &Arrival) -> Result<Run, DatapathError> {
        let metadata = arrival.metadata as usize;
        let mut input = vec![0; metadata];
        input.extend_from_slice(frame);
        let mut context = [0u8; XDP_CONTEXT_BYTES];
        put(&mut context, 0, arrival.metadata);
        put(&mut context, 4, input.len() as u32);
        put(&mut context, 12, arrival.ifindex);
        let program: &Xdp = self.loaded(hook)?;
        let (number, mut frame) = test_run(program, hook, &input, &context, arrival.ifindex)?;
        // Programs that move the packet's start drop the metadata.
        if metadata > 0 && frame.starts_with(&input[..metadata]) {
            frame.drain(..metadata);
        }
        Ok(Run { action: Action::of_xdp(number), frame })
    }

    fn run_tc(&self, hook: Hook, frame: &[u8], arrival: &Arrival) -> Result<Run, DatapathError> {
        let mut context = [0u8; SKB_CONTEXT_BYTES];
        put(&mut context, SKB_IFINDEX, arrival.ifindex);
        put(&mut context, SKB_GSO_SIZE, arrival.gso_size);
        let program: &SchedClassifier = self.loaded(hook)?;
        let (number, frame) = test_run(program, hook, frame, &context, arrival.ifindex)?;
        Ok(Run { action: Action::of_tc(number), frame })
    }

    fn loaded<'a, P>(&'a self, hook: Hook) -> Result<&'a P, DatapathError>
    where
        &'a P: TryFrom<&'a aya::programs::Program, Error = aya::programs::ProgramError>,
    {
        self.ebpf
            .program(hook.program())
            .ok_or_else(|| DatapathError::Load(format!("the eBPF object has no program {}", hook.program())))?
            .try_into()
            .map_err(DatapathError::load)
    }
}

fn test_run<P>(
    program: &P,
    hook: Hook,
    input: &[u8],
    context: &[u8],
    ifindex: u32,
) -> Result<(u32, Vec<u8>), DatapathError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = aya::TestRunResult>,
{
    let mut output = vec![0; input.len() + ROOM];
    let options = TestRunOptions {
        data_in: Some(input),
        data_out: Some(&mut output),
        ctx_in: Some(context),
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).map_err(|error| DatapathError::Run {
        program: hook.program(),
        ifindex,
        bytes: input.len(),
        reason: reason(&error),
    })?;
    output.truncate(result.data_size_out as usize);
    Ok((result.return_value, output))
}

fn put(context: &mut [u8], offset: usize, value: u32) {
    context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
}
