//! Ring to batch to feature to records
