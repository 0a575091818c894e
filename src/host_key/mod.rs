//! Who the server is: known_hosts, pinned keys, certificates, policies.
