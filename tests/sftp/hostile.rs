//! Servers that do not keep to the protocol: values and errors, within their time, and nothing outside of the directory.

use libtest_mimic::Trial;

use crate::kit::peer_test;

mod files;
mod listings;
pub(crate) mod server;
mod session;

pub(crate) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($module:ident::$name:ident),* $(,)?) => {
            vec![$(peer_test(concat!("hostile::", stringify!($name)), [], $module::$name)),*]
        };
    }
    trials![
        session::an_answer_to_nothing_ends_the_session_with_a_word_about_it,
        session::an_answer_of_another_kind_is_an_error_of_its_request_alone,
        session::a_packet_of_no_or_too_many_bytes_ends_the_session,
        session::an_end_within_a_packet_is_an_error_for_all_who_wait,
        session::hello_must_be_hello_of_version_3,
        session::a_silent_server_is_a_timeout,
        session::a_server_that_trickles_one_packet_for_ever_is_a_timeout,
        session::a_lost_answer_is_a_timeout_while_others_come,
        files::more_data_than_was_asked_for_is_an_error,
        files::a_handle_without_measure_is_an_error,
        listings::a_count_of_names_is_not_believed,
        listings::an_endless_listing_is_refused,
        listings::a_listing_of_empty_pages_ends,
        listings::names_that_lead_out_are_written_nowhere,
        session::limits_without_sense_are_lived_with,
        files::short_answers_are_asked_on_and_put_together,
        session::an_answer_that_comes_twice_ends_the_session,
        files::handles_of_no_and_of_256_bytes_go_back_as_they_came,
        session::limits_that_are_offered_and_not_told_are_done_without,
        listings::names_without_end_are_refused_whether_long_or_dots,
        listings::a_listing_whose_page_was_given_up_is_not_taken_for_whole,
        files::a_file_that_ends_early_is_an_error_and_what_came_stays,
        files::a_status_in_the_place_of_data_is_the_error_of_the_file,
        session::an_answer_in_crumbs_is_put_together,
        session::words_on_stderr_are_not_in_the_way,
        files::an_upload_that_cannot_be_written_on_is_cut_to_what_is_known,
        session::noise_is_never_a_panic,
    ]
}
