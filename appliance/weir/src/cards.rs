//! Giving the host's cards back as they were: at the end of `weir up`, and by `weir down` for a weir that was killed.

use std::path::Path;

use weir_dataplane_io::nic::{Kind, Ledger, View};

/// Puts back what the ledger at `path` says was changed, and says what could not be; gives the number that was put back.
pub(crate) fn give_back(path: &Path, kind: Kind) -> usize {
    let mut ledger = match Ledger::open(path) {
        Ok(ledger) => ledger,
        Err(error) => {
            tracing::error!("cards are left as they are: {error}");
            return 0;
        }
    };
    let before = ledger.changed().count();
    if before == 0 {
        return 0;
    }
    let refusals = ledger.undo(&View::live(), kind);
    for refusal in &refusals {
        if refusal.pending {
            tracing::error!("a card is left changed: {}; try `weir down` again", refusal.line);
        } else {
            tracing::warn!("{}", refusal.line);
        }
    }
    before - ledger.changed().count()
}
