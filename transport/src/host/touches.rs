//! Taking the uses that guests have noted in their touch logs.

use super::core::Core;
use super::peer::Peer;
use crate::service::{Service, ServiceContext};
use crate::touch::TouchReader;

impl<S: Service> Core<S> {
    /// Takes what these guests have noted.
    // r[impl touch.taken]
    pub fn take_touches_of(&mut self, peers: &mut [Peer]) {
        for link in peers.iter_mut().filter_map(|peer| peer.link.as_mut()) {
            link.rings.touches.renew();
            self.take_touches(&mut link.rings.touches);
        }
    }

    /// Takes what one guest has noted and tells the service, so far as its share of this turn goes.
    // r[impl touch.before_request]
    #[inline]
    pub fn take_touches(&mut self, touches: &mut TouchReader) {
        let Core { service, pool, clock_s, counters, .. } = self;
        let mut context = ServiceContext { pool, clock_s: *clock_s };
        let taken = touches.take(|slot| service.used(slot, &mut context));
        counters.touches += taken.touches;
        counters.touches_lost = counters.touches_lost.saturating_add(taken.lost);
    }
}

#[cfg(test)]
mod tests;
