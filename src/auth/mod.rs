//! Who we are: identities, agents, prompters, and the order they are tried in.
