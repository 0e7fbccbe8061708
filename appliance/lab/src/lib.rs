//! Namespaces, veth pairs and traffic
