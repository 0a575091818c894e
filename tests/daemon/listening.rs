//! What the daemon listens on for its peers, by OpenSSH's client and by ours; and Unix sockets that they want to reach.

use libtest_mimic::Trial;

use crate::kit::{Peer, peer_test};

mod clients;
mod policies;
mod ssh;
mod support;

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    let ssh = Peer::OpenSshClient;
    vec![
        peer_test("ssh_r_forwards_a_port_of_the_daemons_choice_byte_for_byte", [ssh], ssh::ssh_remote),
        peer_test("ssh_r_forwards_a_unix_socket", [ssh], ssh::ssh_remote_unix),
        peer_test("ssh_r_cancels_by_its_control_socket", [ssh], ssh::ssh_cancel),
        peer_test("ssh_l_reaches_a_port_and_a_unix_socket", [ssh], ssh::ssh_local),
        peer_test("ssh_r_is_refused_without_a_policy", [ssh], ssh::ssh_refused),
        peer_test("our_client_gets_connections_with_their_originator", NONE, clients::ours),
        peer_test("each_direction_of_a_connection_to_a_listener_ends_by_itself", NONE, clients::half_close),
        peer_test("a_cancelled_listener_is_gone_and_what_was_connected_goes_on", NONE, clients::cancel),
        peer_test("listeners_and_their_sockets_end_with_the_connection", NONE, clients::lost),
        peer_test("a_draining_connection_listens_no_more", NONE, clients::draining),
        peer_test("a_policy_and_the_permissions_decide_what_is_listened_on", NONE, policies::policies),
        peer_test("a_policy_that_panics_or_takes_too_long_refuses", NONE, policies::bad_policies),
        peer_test("other_hosts_reach_a_port_only_if_the_daemon_says_so", NONE, policies::gateway),
        peer_test("a_socket_is_its_owners_and_a_file_in_the_way_stays", NONE, clients::unix),
        peer_test("listeners_and_their_connections_are_bounded", NONE, clients::bounded),
        peer_test(
            "a_client_that_refuses_or_ignores_channels_costs_nothing_that_lasts",
            NONE,
            clients::refusing,
        ),
        peer_test("a_connection_that_only_listens_is_not_idle", NONE, clients::not_idle),
        peer_test("a_slow_reader_holds_a_forwarded_sender_up", NONE, clients::slow),
        peer_test(
            "a_unix_socket_is_reached_by_policy_and_not_by_a_crooked_path",
            NONE,
            policies::direct_socket,
        ),
    ]
}
