//! When a guest that polls asks the system about its host.

use super::scripted::Areas;
use crate::format::HostState;
use crate::guest::pulse::{Pulse, SILENT_INTERVALS, Sign};
use std::time::{Duration, Instant};

// r[verify guest.polling.host-gone]
#[test]
fn the_system_is_asked_once_for_each_long_silence_and_never_while_the_host_beats() {
    const INTERVAL: Duration = Duration::from_millis(10);
    let areas = Areas::new();
    let control = &areas.control;
    let mut pulse = Pulse::new(control, INTERVAL);
    let mut now = Instant::now();
    for beat in 1..3 * u64::from(SILENT_INTERVALS) {
        now += INTERVAL;
        control.set_host_heartbeat(beat);
        assert_eq!(pulse.look(control, now), Sign::Beats);
        assert_eq!(pulse.look(control, now), Sign::Nothing);
    }
    for _ in 0..2 {
        now += INTERVAL * (SILENT_INTERVALS - 1);
        assert_eq!(pulse.look(control, now), Sign::Nothing);
        now += INTERVAL;
        assert_eq!(pulse.look(control, now), Sign::Silent);
    }
    control.set_host_state(HostState::Left);
    assert_eq!(pulse.look(control, now), Sign::Nothing);
    now += INTERVAL;
    assert_eq!(pulse.look(control, now), Sign::Silent);
    control.set_boot_epoch(control.boot_epoch() + 1);
    control.set_host_heartbeat(1 << 40);
    assert_eq!(pulse.look(control, now), Sign::Replaced);
}
