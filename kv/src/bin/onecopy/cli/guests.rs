//! Flags of `serve` about guests: who may come, and what each may have.

use super::values::{group, positive, user};
use clap::Args;
use onecopy::size::ByteSize;

/// Who may attach besides the user of the host.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who may attach")]
pub struct AllowArgs {
    /// Let this user attach too, by number or by name in /etc/passwd; may be given again
    /// [default: the user of the host alone]
    #[arg(long, value_name = "USER", env = "ONECOPY_ALLOW_UID", value_delimiter = ',',
          value_parser = user)]
    pub allow_uid: Vec<u32>,
    /// Let whoever runs with this group attach too, by number or by name in /etc/group; may be given
    /// again [default: none]
    #[arg(long, value_name = "GROUP", env = "ONECOPY_ALLOW_GID", value_delimiter = ',',
          value_parser = group)]
    pub allow_gid: Vec<u32>,
}

/// What one guest may have at most.
#[derive(Debug, Args)]
#[command(next_help_heading = "Quotas of each guest")]
pub struct QuotaArgs {
    /// Most slots granted to one guest and not published, 1 to 4294967295
    #[arg(long, value_name = "N", default_value_t = 65_536, env = "ONECOPY_GRANT_SLOTS_MAX",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub grant_slots_max: u32,
    /// Most bytes of them [default: a quarter of --size-max, or two of the largest blocks if that is
    /// more]
    #[arg(long, value_name = "SIZE", env = "ONECOPY_GRANT_BYTES_MAX", value_parser = positive)]
    pub grant_bytes_max: Option<ByteSize>,
    /// Most blocks that one guest process reads at once, 8 to 1048576, a multiple of 8; belongs to the
    /// segment
    #[arg(long, value_name = "N", default_value_t = 524_288, env = "ONECOPY_LEASES_MAX",
          value_parser = super::values::leases)]
    pub leases_max: u32,
    /// Most blocks that one guest has pinned, 0 to 4294967295
    #[arg(long, value_name = "N", default_value_t = 65_536, env = "ONECOPY_PINS_MAX")]
    pub pins_max: u32,
    /// Most requests of one guest that wait at the host for their answer, 1 to 4294967295 (what it has
    /// not taken from the ring is bounded by the ring)
    #[arg(long, value_name = "N", default_value_t = 256, env = "ONECOPY_REQUESTS_MAX",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub requests_max: u32,
}
