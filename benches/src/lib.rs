//! Speed beside the field's own tools
