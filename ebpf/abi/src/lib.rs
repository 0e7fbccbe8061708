//! Words that the classifier and user space share
#![no_std]
