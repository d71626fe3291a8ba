//! What guests asked an earlier host to keep is kept until they have come back and asked again.

use super::Host;
use super::core::Core;
use crate::service::{Service, ServiceContext};
use std::time::Instant;

impl<S: Service> Host<S> {
    /// After a restart, if there is somebody who may come back.
    // r[impl host.guard]
    pub(super) fn put_guard_up(&mut self) {
        let grace = self.core.options.restart_grace;
        if !grace.is_zero() && self.somebody_may_come_back() {
            self.guard_up = true;
            self.guard_until = Instant::now().checked_add(grace);
            self.core.guard_service(true);
        }
    }

    /// When nobody is left who may come back, or they had their time.
    // r[impl host.guard]
    pub(super) fn lift_guard_if_due(&mut self) {
        if !self.guard_up {
            return;
        }
        let is_late = self.guard_until.is_some_and(|until| Instant::now() >= until);
        if is_late || !self.somebody_may_come_back() {
            self.guard_up = false;
            let guests = self.core.earlier_guests();
            tracing::info!(guests, "guests of the host before are waited for no longer");
            self.core.guard_service(false);
        }
    }

    fn somebody_may_come_back(&self) -> bool {
        self.core.earlier_guests() > 0
    }
}

impl<S: Service> Core<S> {
    /// Attaches to an earlier host whose guests are neither back nor proven dead.
    pub fn earlier_guests(&self) -> u64 {
        self.leases.iter().filter(|leases| leases.is_earlier).count() as u64
    }

    fn guard_service(&mut self, up: bool) {
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.guard(up, &mut context);
    }

    /// Lets the service note what the next host is to know.
    pub fn tick_service(&mut self) {
        let mut context = ServiceContext { pool: &mut self.pool, clock_s: self.clock_s };
        self.service.tick(&mut context);
    }
}
