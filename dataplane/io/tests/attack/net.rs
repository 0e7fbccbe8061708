//! A network namespace of the test's own: it is gone when the last process in it ends.

use std::process::Command;

/// Moves the calling thread, and what it starts, into a new network namespace.
pub(crate) fn private_namespace() -> std::io::Result<()> {
    // SAFETY: a new network namespace changes nothing but what sockets and /proc/sys/net of this thread refer to.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Makes a pair of connected interfaces, both up and without IPv6 chatter; gives the number of the second.
pub(crate) fn veth(one: &str, other: &str) -> std::io::Result<u32> {
    run(&["link", "add", one, "type", "veth", "peer", "name", other])?;
    for name in [one, other] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1").ok();
        run(&["link", "set", name, "up"])?;
    }
    weir_dataplane_io::net::interface_index(other).map_err(|error| error.cause)
}

fn run(arguments: &[&str]) -> std::io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))))
}
