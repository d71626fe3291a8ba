//! `peers` and `peers settle`.

use super::Common;
use clap::{Args, Subcommand};

const PEERS_HELP: &str = "\
A guest that is silent, or whose socket is closed, is suspect: it gets no new slots,
and what it holds waits until its process is proven dead. Without a host the list is
read from the segment's tables, as the next host would find them.

With --json: live, written_off_slots, written_off_bytes and peers, each with serial,
pid (0 where the host has no number for it), uid, role, state, attached, suspect
(null, or reason, seconds and text), granted_slots, granted_bytes, quarantined_slots,
quarantined_bytes, leases (of its process) and pins (null without a host).";

#[derive(Debug, Args)]
#[command(after_help = PEERS_HELP, args_conflicts_with_subcommands = true)]
pub struct PeersArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Option<PeersCommand>,
}

#[derive(Debug, Subcommand)]
pub enum PeersCommand {
    /// End the wait for a peer whose death is not proven; nothing is freed without a proof
    Settle(SettleArgs),
}

const SETTLE_HELP: &str = "\
--kill sends SIGKILL through the descriptor that the host holds of the process, waits
for its end and says what came back. It may be any peer.

--write-off gives up what the peer holds: its slots, and blocks that it may be reading,
are never used again until the segment is made anew, whatever becomes of the process
and the host; blocks that it may be reading are not found any more. A peer in good
standing is refused.

Only the host's own user and root may settle a peer.";

#[derive(Debug, Args)]
#[command(after_help = SETTLE_HELP)]
pub struct SettleArgs {
    /// Which peer: the serial that `peers` lists
    #[arg(value_name = "SERIAL", value_parser = clap::value_parser!(u32).range(1..))]
    pub serial: u32,
    /// Kill its process, wait for the proof and take back what it held
    #[arg(long, required_unless_present = "write_off", conflicts_with = "write_off")]
    pub kill: bool,
    /// Never use again what it holds, and forget it
    #[arg(long)]
    pub write_off: bool,
    #[command(flatten)]
    pub common: Common,
}
