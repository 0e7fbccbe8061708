//! Room 11c: the C border.
