//! Texts that are longer than a frame.

use crate::support::{Serving, guest, host_options, place, soon};
use onecopy_transport::host::HostOptions;
use std::thread;

// r[verify link.text]
#[test]
fn the_smallest_ring_tells_figures_and_audit_whole() {
    let (_base, segment) = place();
    let host = Serving::start(HostOptions {
        ring_capacity_bytes: 1 << 10,
        inline_bytes_max: 248,
        ..host_options(&segment)
    });
    let guest = guest(&segment);
    let names: Vec<&str> =
        host.handle.stats(soon()).unwrap().iter().map(|(name, _)| *name).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let json = guest.host_stats(soon()).unwrap();
                    assert!(json.len() > 2 * 256, "more than a frame takes: {json}");
                    let fields = json.strip_prefix('{').and_then(|json| json.strip_suffix('}'));
                    let fields = fields.unwrap().split(',').map(|field| field.split_once(':'));
                    let found: Vec<_> =
                        fields.map(|field| field.unwrap().0.trim_matches('"')).collect();
                    assert_eq!(found, names, "{json}");
                    assert!(guest.host_audit(soon()).unwrap().0);
                }
            });
        }
    });
    host.assert_clean();
}
