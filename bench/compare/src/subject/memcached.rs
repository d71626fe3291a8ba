//! Memcached: get of one or many keys, and set, over a Unix socket.

use std::io::Write;
use std::path::Path;

use super::Subject;
use super::wire::{Wire, number, protocol};
use crate::content::{Content, WrongContent};
use crate::error::{CompareError, Step};
use crate::orders::Gets;
use crate::picks::Pick;

/// A connection.
pub(crate) struct Memcached {
    wire: Wire,
}

impl Memcached {
    pub(crate) fn connect(socket: &Path) -> Result<Memcached, CompareError> {
        Ok(Memcached { wire: Wire::connect(socket)? })
    }

    /// The length of the next block, which must be the one that was picked: those that are not there
    /// are left out.
    fn length_of(&mut self, pick: &Pick) -> Result<usize, CompareError> {
        let Content { size_bytes, number: block, .. } = pick.content;
        let line = self.wire.line()?;
        let mut words = line.split(|byte| *byte == b' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(b"VALUE"), Some(name), Some(_flags), Some(length)) if name == pick.name => {
                number(length)
            }
            (Some(b"VALUE" | b"END"), ..) => {
                Err(CompareError::Missing { size_bytes, number: block })
            }
            _ => Err(protocol(line)),
        }
    }
}

impl Subject for Memcached {
    const REPLACES: bool = true;

    fn get(
        &mut self,
        _gets: &Gets,
        picks: &[Pick],
        mut look: impl FnMut(&Pick, &[u8]) -> Result<(), WrongContent>,
    ) -> Result<(), CompareError> {
        self.wire.request.extend_from_slice(b"get");
        for pick in picks {
            self.wire.request.push(b' ');
            self.wire.request.extend_from_slice(&pick.name);
        }
        self.wire.request.extend_from_slice(b"\r\n");
        self.wire.send()?;
        for pick in picks {
            let length = self.length_of(pick)?;
            look(pick, self.wire.block(length)?)?;
        }
        match self.wire.line()? {
            b"END" => Ok(()),
            line => Err(protocol(line)),
        }
    }

    fn put(&mut self, content: Content, _yields: bool) -> Result<(), CompareError> {
        let request = &mut self.wire.request;
        request.extend_from_slice(b"set ");
        request.extend_from_slice(&content.name());
        write!(request, " 0 0 {}\r\n", content.size_bytes).step("write a request")?;
        self.wire.append(content);
        self.wire.send()?;
        match self.wire.line()? {
            b"STORED" => Ok(()),
            line => Err(protocol(line)),
        }
    }
}
