//! CLI nouns and the full-screen console
