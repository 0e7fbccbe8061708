//! Loads, attaches, pins and replaces the classifier
