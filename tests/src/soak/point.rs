//! What a process was doing when it was killed, as it had said itself.

/// A step of a guest or of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Started, nothing done yet.
    Starting,
    /// Attaching for the first time.
    Attaching,
    /// Attaching again, because the host went away.
    Reattaching,
    /// Between two operations, with nothing leased.
    Resting,
    /// Between two operations, with blocks leased.
    Holding,
    /// Asking for slots.
    Reserving,
    /// Writing into a slot.
    Filling,
    /// Publishing one filled slot.
    Publishing,
    /// Publishing several filled slots.
    PublishingMany,
    /// Storing one block with a copy.
    Storing,
    /// Storing several blocks with a copy.
    StoringMany,
    /// Looking blocks up.
    LookingUp,
    /// Reading what was found.
    Verifying,
    /// Asking whether keys are there.
    Asking,
    /// Deleting.
    Deleting,
    /// Pinning.
    Pinning,
    /// Unpinning.
    Unpinning,
    /// Letting go of leases or of unpublished slots.
    LettingGo,
    /// Asking for figures, or for nothing.
    Pinging,
    /// Looking for all keys that must be there.
    Sweeping,
    /// Saying goodbye.
    Detaching,
    /// Waiting, because the supervisor wants quiet.
    Paused,
    /// The host: taking the segment over, or making it.
    TakingOver,
    /// The host: auditing itself before it serves.
    Auditing,
    /// The host: serving.
    Serving,
    /// The host: saying goodbye.
    Leaving,
}

/// Bits of a word that say since when, in nanoseconds: two years.
const SINCE_BITS: u32 = 56;

impl Point {
    /// Every point, in the order of its code.
    pub const ALL: [Point; 26] = [
        Point::Starting,
        Point::Attaching,
        Point::Reattaching,
        Point::Resting,
        Point::Holding,
        Point::Reserving,
        Point::Filling,
        Point::Publishing,
        Point::PublishingMany,
        Point::Storing,
        Point::StoringMany,
        Point::LookingUp,
        Point::Verifying,
        Point::Asking,
        Point::Deleting,
        Point::Pinning,
        Point::Unpinning,
        Point::LettingGo,
        Point::Pinging,
        Point::Sweeping,
        Point::Detaching,
        Point::Paused,
        Point::TakingOver,
        Point::Auditing,
        Point::Serving,
        Point::Leaving,
    ];

    /// As one word, with the time since when.
    pub(super) fn to_word(self, since_ns: u64) -> u64 {
        (self as u64) << SINCE_BITS | (since_ns & ((1 << SINCE_BITS) - 1))
    }

    /// A word; what is no point reads as the first one.
    pub(super) fn from_word(word: u64) -> (Point, u64) {
        let code = (word >> SINCE_BITS) as usize;
        let point = Point::ALL.get(code).copied().unwrap_or(Point::Starting);
        (point, word & ((1 << SINCE_BITS) - 1))
    }

    /// Whether a guest at this point waits for nobody.
    pub fn is_idle(self) -> bool {
        matches!(self, Point::Resting | Point::Holding | Point::Paused)
    }

    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Point::Starting => "starting",
            Point::Attaching => "attaching",
            Point::Reattaching => "reattaching",
            Point::Resting => "resting",
            Point::Holding => "holding",
            Point::Reserving => "reserving",
            Point::Filling => "filling",
            Point::Publishing => "publishing",
            Point::PublishingMany => "publishing_many",
            Point::Storing => "storing",
            Point::StoringMany => "storing_many",
            Point::LookingUp => "looking_up",
            Point::Verifying => "verifying",
            Point::Asking => "asking",
            Point::Deleting => "deleting",
            Point::Pinning => "pinning",
            Point::Unpinning => "unpinning",
            Point::LettingGo => "letting_go",
            Point::Pinging => "pinging",
            Point::Sweeping => "sweeping",
            Point::Detaching => "detaching",
            Point::Paused => "paused",
            Point::TakingOver => "taking_over",
            Point::Auditing => "auditing",
            Point::Serving => "serving",
            Point::Leaving => "leaving",
        }
    }
}
