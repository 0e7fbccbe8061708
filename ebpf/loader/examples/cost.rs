//! What one frame of each kind costs, with 0, 10, 100 and 1,024 rules: the net cost over an empty program, from a
//! repeated test-run. `cargo run --release -p weir-ebpf-loader --example cost`; needs CAP_BPF and CAP_NET_ADMIN.

#![allow(clippy::print_stdout)] // an example speaks to the person who runs it

use weir_ebpf_loader::measure::{self, Case, Rules};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<18} {:>16} {:>16} {:>16} {:>16}", "ns net", "no rules", "10", "100", "1024");
    for case in Case::ALL {
        let mut line = format!("{:<18}", case.name());
        for rules in Rules::ALL {
            let cost = measure::net_cost(case, rules, 20_000, 21)?;
            line +=
                &format!(" {:>4.0} ({:>3.0}-{:>4.0};{:>3.0})", cost.median_ns, cost.min_ns, cost.max_ns, cost.floor_ns);
        }
        println!("{line}");
    }
    Ok(())
}
