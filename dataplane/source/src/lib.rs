//! Captures put on a ring of the kernel's layout
