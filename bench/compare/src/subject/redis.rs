//! Redis: GET, MGET and SET over a Unix socket.

use std::io::Write;
use std::path::Path;

use super::Subject;
use super::wire::{Wire, number, protocol};
use crate::content::{Content, WrongContent};
use crate::error::{CompareError, Step};
use crate::orders::Gets;
use crate::picks::Pick;

/// A connection.
pub(crate) struct Redis {
    wire: Wire,
}

impl Redis {
    pub(crate) fn connect(socket: &Path) -> Result<Redis, CompareError> {
        Ok(Redis { wire: Wire::connect(socket)? })
    }

    /// Begins a command of so many parts.
    fn command(&mut self, parts: usize, name: &str) -> Result<(), CompareError> {
        let request = &mut self.wire.request;
        write!(request, "*{parts}\r\n${}\r\n{name}\r\n", name.len()).step("write a request")
    }

    fn key(&mut self, name: &[u8]) -> Result<(), CompareError> {
        let request = &mut self.wire.request;
        write!(request, "${}\r\n", name.len()).step("write a request")?;
        request.extend_from_slice(name);
        request.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The number behind a mark.
    fn count(&mut self, mark: u8) -> Result<usize, CompareError> {
        match self.wire.line()? {
            [first, digits @ ..] if *first == mark => number(digits),
            line => Err(protocol(line)),
        }
    }
}

impl Subject for Redis {
    const REPLACES: bool = true;

    fn get(
        &mut self,
        _gets: &Gets,
        picks: &[Pick],
        mut look: impl FnMut(&Pick, &[u8]) -> Result<(), WrongContent>,
    ) -> Result<(), CompareError> {
        let command = if picks.len() == 1 { "GET" } else { "MGET" };
        self.command(picks.len() + 1, command)?;
        for pick in picks {
            self.key(&pick.name)?;
        }
        self.wire.send()?;
        if picks.len() > 1 {
            let answered = self.count(b'*')?;
            if answered != picks.len() {
                return Err(CompareError::Count { blocks: picks.len(), answered });
            }
        }
        for pick in picks {
            let length = self.count(b'$')?;
            look(pick, self.wire.block(length)?)?;
        }
        Ok(())
    }

    fn put(&mut self, content: Content, _yields: bool) -> Result<(), CompareError> {
        self.command(3, "SET")?;
        self.key(&content.name())?;
        let size_bytes = content.size_bytes;
        write!(self.wire.request, "${size_bytes}\r\n").step("write a request")?;
        self.wire.append(content);
        self.wire.send()?;
        match self.wire.line()? {
            b"+OK" => Ok(()),
            line => Err(protocol(line)),
        }
    }
}
