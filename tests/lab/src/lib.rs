//! The lab: hosts, networks and servers of the two-region tutorial, in network namespaces.
