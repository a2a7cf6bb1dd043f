//! What a program must not inherit.

use std::fs;
use std::os::fd::RawFd;

/// Closes all descriptors but the standard ones: what the gateway inherited itself, from a shell or
/// a service manager, would be passed on to every program. Its own are closed by `exec`.
///
/// Comes first in `main`, when nothing of this process can own one of them.
pub(crate) fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    // Collected, so that the folder's own is closed before.
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // The folder's own is not open any more.
        let _ = nix::unistd::close(descriptor);
    }
}
