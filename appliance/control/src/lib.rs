//! The one Config and the control-socket messages
