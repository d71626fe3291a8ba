//! A guest of a soak: a process that uses the cache as the seed says and checks every answer, until
//! it is killed or told to end.

mod churn;
mod kept;
mod link;
mod read;
mod sweep;
mod trouble;

pub use link::SEGMENT;

use super::blocks::Name;
use super::board::{Board, BoardError, Count, Order};
use super::findings::{self, Finding};
use super::journal::Journal;
use super::point::Point;
use super::profile::Profile;
use crate::harness::Random;
use onecopy::cache::{Block, Cache, Fill};
use onecopy_transport::format::Role;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trouble::Trouble;

/// How a guest process is started.
#[derive(Clone, Debug, clap::Args)]
pub struct GuestArgs {
    /// Directory of the soak.
    #[arg(long)]
    pub dir: PathBuf,
    /// Which place on the board is this guest's.
    #[arg(long)]
    pub place: u32,
    /// Seed of what it does.
    #[arg(long)]
    pub seed: u64,
    /// Kind of the campaign.
    #[arg(long)]
    pub profile: Profile,
    /// Process id of the supervisor.
    #[arg(long)]
    pub supervisor: u32,
    /// How long an operation may take, in seconds.
    #[arg(long)]
    pub patience: f64,
    /// What it does wrong on purpose.
    #[arg(long)]
    pub sabotage: Option<Sabotage>,
}

impl Sabotage {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Sabotage::Corrupt => "corrupt",
            Sabotage::Lose => "lose",
            Sabotage::Unpin => "unpin",
            Sabotage::Leak => "leak",
            Sabotage::Hang => "hang",
            Sabotage::Crash => "crash",
        }
    }
}

/// What a guest can do wrong on purpose, so that it can be seen that a soak fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// Publish a block with a wrong byte.
    Corrupt,
    /// Delete blocks that others count on.
    Lose,
    /// Delete a block that it has pinned.
    Unpin,
    /// Keep a slot when everything is to be let go of.
    Leak,
    /// Take longer than an operation may.
    Hang,
    /// End without having been told to.
    Crash,
}

/// Blocks that are kept leased at most.
const HELD_MAX: usize = 12;
/// Places of which one is a reader.
const READER_EVERY: u32 = 4;

/// A leased block that is read again when it is let go of.
struct Held {
    name: Name,
    block: Block,
    until: u64,
}

/// The guest.
struct Worker {
    args: GuestArgs,
    board: Board,
    run: u64,
    random: Random,
    cache: Option<Cache>,
    /// Whether the cache does, or this program.
    attaches_by_itself: bool,
    /// Whatever earlier processes of this place have sent, they sent it in this era or before.
    era_of_start: u64,
    /// Pins that the cache could not restore, as far as that was noticed.
    pins_lost: u64,
    held: VecDeque<Held>,
    /// Slots that are reserved and not published.
    fills: Vec<Fill>,
    /// Blocks that this attach has pinned, each as often as it is in here.
    pins: Vec<Name>,
    operations: u64,
}

/// Runs a guest until it is told to end.
///
/// # Errors
/// [`BoardError`]: it was not started by a soak.
pub fn run(args: GuestArgs) -> Result<(), BoardError> {
    let board = Board::open(&args.dir)?;
    board.set_point(args.place, Point::Starting);
    let (run, era_of_start) = (board.run(), board.era());
    let mut random = Random::new(args.seed);
    let attaches_by_itself = random.below(8) >= 4;
    let worker = Worker {
        args,
        board,
        run,
        random,
        cache: None,
        attaches_by_itself,
        era_of_start,
        pins_lost: 0,
        held: VecDeque::new(),
        fills: Vec::new(),
        pins: Vec::new(),
        operations: 0,
    };
    worker.work();
    Ok(())
}

impl Worker {
    fn work(mut self) {
        let mut paused = None;
        loop {
            let ordered = self.board.ordered();
            match ordered.order {
                Order::Work => {
                    paused = None;
                    self.step();
                }
                Order::Pause | Order::Verify if paused == Some(ordered.number) => {
                    std::thread::sleep(Duration::from_micros(500));
                }
                Order::Pause | Order::Verify => {
                    if ordered.order == Order::Verify {
                        let result = self.verify_share(ordered.number);
                        self.note(result);
                    }
                    self.part();
                    self.at(Point::Paused);
                    self.board.set_paused_at(self.args.place, ordered.number);
                    paused = Some(ordered.number);
                }
                Order::End => {
                    self.end();
                    return;
                }
            }
        }
    }

    /// One operation, and what it may lead to.
    fn step(&mut self) {
        let result = self.ensure_attached().and_then(|()| self.operate());
        self.operations += 1;
        self.count(Count::Operations, 1);
        self.note(result);
        self.rest();
    }

    fn operate(&mut self) -> Result<(), Trouble> {
        self.let_go_due();
        match self.args.sabotage {
            Some(Sabotage::Hang) if self.operations == 20 => self.hang(),
            Some(Sabotage::Crash) if self.operations == 20 => std::process::exit(3),
            _ => {}
        }
        if self.args.profile.keeps_all() { self.operate_kept() } else { self.operate_churn() }
    }

    /// What came of an operation.
    fn note(&mut self, result: Result<(), Trouble>) {
        match result {
            Ok(()) => {}
            Err(Trouble::Gone) => self.count(Count::HostsLost, 1),
            Err(Trouble::Refused(_)) => self.count(Count::Refused, 1),
            Err(Trouble::Late(what)) => self.find(Count::Late, what),
            Err(Trouble::Broken(what)) => self.find(Count::Broken, what),
        }
    }

    /// A little pause after some operations, so that there are kills in between as well.
    fn rest(&mut self) {
        self.at(if self.held.is_empty() { Point::Resting } else { Point::Holding });
        match self.random.below(8) {
            0 => std::thread::sleep(Duration::from_micros(self.random.below(400))),
            1 => std::thread::yield_now(),
            _ => {}
        }
    }

    /// In the middle of a fill, now and then: most are over too soon to be killed in.
    fn dawdle(&mut self) {
        if self.random.below(8) == 0 {
            std::thread::sleep(Duration::from_micros(self.random.below(300)));
        }
    }

    fn at(&self, point: Point) {
        self.board.set_point(self.args.place, point);
    }

    fn count(&self, count: Count, number: u64) {
        self.board.add(self.args.place, count, number);
    }

    fn find(&self, count: Count, what: String) {
        self.count(count, 1);
        let place = self.args.place;
        findings::tell(&self.args.dir, &Finding { count, text: format!("guest {place}: {what}") });
    }

    fn role(&self) -> Role {
        if self.args.place % READER_EVERY == READER_EVERY - 1 { Role::Reader } else { Role::Writer }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.args.patience)
    }

    fn until(&self) -> Instant {
        Instant::now() + self.patience()
    }

    fn journal(&self) -> Journal<'_> {
        Journal::new(&self.board, self.args.place)
    }

    fn hang(&self) {
        self.at(Point::LookingUp);
        std::thread::sleep(Duration::from_secs(3600));
    }
}
