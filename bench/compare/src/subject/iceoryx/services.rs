//! The services and their ends.

use std::fmt::Display;
use std::path::{Path as FilePath, PathBuf};

use iceoryx2::port::client::Client;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    Config, FileName, LogLevel, Node, NodeBuilder, Path, SemanticString, ServiceName,
    SignalHandlingMode, ipc, set_log_level,
};
use iceoryx2::service::port_factory::publish_subscribe;
use iceoryx2::service::port_factory::request_response;

use crate::error::CompareError;
use crate::plan::{BATCH_BYTES, BATCH_MAX};

/// Processes at most: the guests, who fills, who puts, and the owner.
const PROCESSES_MAX: usize = 24;

/// Says in which step iceoryx2 failed.
pub(super) trait Told<T> {
    fn told(self, step: &'static str) -> Result<T, CompareError>;
}

impl<T, E: Display> Told<T> for Result<T, E> {
    fn told(self, step: &'static str) -> Result<T, CompareError> {
        self.map_err(|error| CompareError::Iceoryx { step, text: error.to_string() })
    }
}

/// What the files of one run are called, so that it meets no other run and leaves nothing.
pub(crate) struct Names {
    directory: PathBuf,
    /// What the names of its shared memory in `/dev/shm` begin with.
    pub(crate) prefix: String,
}

impl Names {
    /// For the run that has this directory to itself.
    pub(crate) fn of(directory: &FilePath) -> Names {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        Names { directory: directory.join("iceoryx2"), prefix: format!("{name}_iox2_") }
    }

    /// Makes this process a node.
    pub(super) fn node(&self) -> Result<Node<ipc::Service>, CompareError> {
        set_log_level(LogLevel::Error);
        let mut config = Config::default();
        let root =
            Path::new(self.directory.as_os_str().as_encoded_bytes()).told("name the files")?;
        config.global.set_root_path(&root);
        config.global.prefix = FileName::new(self.prefix.as_bytes()).told("name the files")?;
        NodeBuilder::new()
            .config(&config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()
            .told("make a node")
    }
}

/// The end that asks for blocks.
pub(super) struct Asking {
    pub(super) port: Client<ipc::Service, [u64], (), [u64], ()>,
    _service: Blocks,
}

/// The end that answers.
pub(super) struct Answering {
    pub(super) port: Server<ipc::Service, [u64], (), [u64], ()>,
    _service: Blocks,
}

/// The end that publishes blocks and hears that they were seen.
pub(super) struct Handing {
    pub(super) blocks: Publisher<ipc::Service, [u64], ()>,
    pub(super) seen: Subscriber<ipc::Service, u64, ()>,
}

/// The end that takes them.
pub(super) struct Taking {
    pub(super) blocks: Subscriber<ipc::Service, [u64], ()>,
    pub(super) seen: Publisher<ipc::Service, u64, ()>,
}

type Blocks = request_response::PortFactory<ipc::Service, [u64], (), [u64], ()>;
type Handed = publish_subscribe::PortFactory<ipc::Service, [u64], ()>;
type Seen = publish_subscribe::PortFactory<ipc::Service, u64, ()>;

/// Blocks that may be on their way to one that asked.
fn batch_max(size_bytes: u64) -> usize {
    if size_bytes == BATCH_BYTES { BATCH_MAX } else { 1 }
}

fn name(kind: &str, size_bytes: u64) -> Result<ServiceName, CompareError> {
    let name = format!("{kind}/{size_bytes}");
    ServiceName::new(&name).told("name a service")
}

fn blocks(node: &Node<ipc::Service>, size_bytes: u64) -> Result<Blocks, CompareError> {
    node.service_builder(&name("get", size_bytes)?)
        .request_response::<[u64], [u64]>()
        .max_servers(1)
        .max_clients(PROCESSES_MAX)
        .max_nodes(PROCESSES_MAX)
        .max_active_requests_per_client(1)
        .max_loaned_requests(1)
        .max_response_buffer_size(batch_max(size_bytes))
        .max_borrowed_responses_per_pending_response(1)
        .enable_safe_overflow_for_requests(false)
        .enable_safe_overflow_for_responses(false)
        .open_or_create()
        .told("open a service of blocks")
}

fn handed(node: &Node<ipc::Service>, size_bytes: u64) -> Result<Handed, CompareError> {
    node.service_builder(&name("put", size_bytes)?)
        .publish_subscribe::<[u64]>()
        .max_publishers(1)
        .max_subscribers(1)
        .max_nodes(PROCESSES_MAX)
        .open_or_create()
        .told("open a service of puts")
}

fn seen(node: &Node<ipc::Service>, size_bytes: u64) -> Result<Seen, CompareError> {
    node.service_builder(&name("seen", size_bytes)?)
        .publish_subscribe::<u64>()
        .max_publishers(1)
        .max_subscribers(1)
        .max_nodes(PROCESSES_MAX)
        .open_or_create()
        .told("open a service of acknowledgements")
}

pub(super) fn asking(node: &Node<ipc::Service>, size_bytes: u64) -> Result<Asking, CompareError> {
    let service = blocks(node, size_bytes)?;
    let slice = batch_max(size_bytes);
    let port = service.client_builder().initial_max_slice_len(slice).create();
    Ok(Asking { port: port.told("make a requesting end")?, _service: service })
}

pub(super) fn answering(
    node: &Node<ipc::Service>,
    size_bytes: u64,
) -> Result<Answering, CompareError> {
    let service = blocks(node, size_bytes)?;
    let words = size_bytes as usize / 8;
    let port = service.server_builder().initial_max_slice_len(words).create();
    Ok(Answering { port: port.told("make an answering end")?, _service: service })
}

pub(super) fn handing(node: &Node<ipc::Service>, size_bytes: u64) -> Result<Handing, CompareError> {
    let words = size_bytes as usize / 8;
    let blocks =
        handed(node, size_bytes)?.publisher_builder().initial_max_slice_len(words).create();
    let seen = seen(node, size_bytes)?.subscriber_builder().create();
    let blocks = blocks.told("make a publishing end")?;
    Ok(Handing { blocks, seen: seen.told("make a subscribing end")? })
}

pub(super) fn taking(node: &Node<ipc::Service>, size_bytes: u64) -> Result<Taking, CompareError> {
    let blocks = handed(node, size_bytes)?.subscriber_builder().create();
    let seen = seen(node, size_bytes)?.publisher_builder().create();
    let blocks = blocks.told("make a subscribing end")?;
    Ok(Taking { blocks, seen: seen.told("make a publishing end")? })
}
