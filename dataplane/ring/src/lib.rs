//! Shared-memory ring layouts
