//! Windows per source and message type
