//! The Unix socket where guests attach, and what goes over it: records with descriptors and
//! credentials, and bytes that wake.

mod attach_socket;
mod connect;
mod credentials;
mod error;
mod listener;

pub use attach_socket::{AttachSocket, Polled, Received, WakeByte};
pub use connect::ConnectError;
pub use credentials::{Allowed, Credentials, NotAllowed};
pub use error::{ReceiveError, SendError, SocketError};
pub use listener::{AcceptError, AttachListener, BindError, SocketMode};
pub use onecopy_shm::sys_socket::DESCRIPTORS_MAX;
