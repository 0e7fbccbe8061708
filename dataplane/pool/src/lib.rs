//! Owns every frame
