//! Scenarios: what people and backends do with the application, whatever runs it.
//!
//! Each is an `async fn name(world: &mut impl World)`; the table at the end says in which worlds it runs and what it needs
//! there. A new world is one more `in_world!` line at the end.

mod backend;
mod conversation;
mod lifetime;
mod log;
mod resume;
mod rooms;

/// Makes each scenario of a table a test of one world.
macro_rules! tests_of {
    ($name:ident = $world:ty: $($module:ident::{$($scenario:ident $(($($need:ident = $value:expr),*))?),* $(,)?}),* $(,)?) => {
        mod $name {
            use tests::world::{Needs, World};
            $(mod $module {
                use super::{Needs, World};
                $(#[tokio::test]
                async fn $scenario() {
                    if !<$world>::is_available().await {
                        return;
                    }
                    let needs = Needs::default()$($(.$need($value))*)?;
                    let mut world = <$world>::start(needs).await;
                    super::super::$module::$scenario(&mut world).await;
                    world.finish().await;
                })*
            })*
        }
    };
}

/// Every scenario, as tests of one world.
macro_rules! in_world {
    ($name:ident = $world:ty) => {
        tests_of!($name = $world:
            conversation::{
                a_user_writes_and_the_admin_receives,
                a_second_device_sees_the_same_conversation,
                a_user_without_to_writes_to_its_own_conversation,
                users_keep_out_of_each_others_conversations,
                everyone_hears_what_admins_say_to_everyone,
                typing_reaches_who_is_there_and_is_not_kept,
                tenants_are_apart,
            },
            resume::{
                both_come_back_and_have_missed_nothing,
                welcome_says_who_one_is_and_where_ones_channels_stand,
                a_resume_within_live_traffic_misses_nothing_and_repeats_nothing,
                messages_that_retention_dropped_are_told_as_a_gap(retaining = 5),
                a_position_of_another_epoch_is_told_as_a_gap,
            },
            rooms::{
                a_room_is_joined_spoken_in_and_left,
                a_room_hears_who_comes_and_goes,
                admins_hear_which_users_come_and_go,
                topics_are_read_by_subscribers_and_written_by_admins_and_backends,
            },
            log::{
                the_same_id_is_one_message_with_one_ack,
                the_same_id_on_two_connections_at_once_is_one_message,
                history_is_paged_backwards_by_clients_and_both_ways_by_backends,
                an_acknowledged_message_survives_a_crash,
            },
            backend::{
                a_push_reaches_its_audience_and_nobody_else,
                an_idempotency_key_makes_a_repeated_push_one_message,
                a_backend_sees_who_is_connected_and_where,
                a_backend_ends_a_connection,
                a_call_that_is_refused_says_why,
            },
            lifetime::{
                pings_of_both_kinds_are_answered,
                a_token_that_runs_out_ends_the_connection,
            },
        );
    };
}

in_world!(embedded = tests::world::Embedded);
in_world!(pods = tests::world::Pods);
in_world!(aws_local = tests::world::AwsLocal);
