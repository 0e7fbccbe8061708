//! Every kernel call of the data plane
