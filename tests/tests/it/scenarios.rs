//! Scenarios: behaviour of the application for users and backends, in every world.
//!
//! Each is an `async fn name(world: &mut impl World)`; the table at the end lists them with their needs, and one
//! `in_world!` line per world turns them into tests.

mod backend;
mod conversation;
mod lifetime;
mod log;
mod resume;
mod rooms;

/// Turns each scenario of a table into a test of one world.
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

/// Lists every scenario, as tests of one world.
macro_rules! in_world {
    ($name:ident = $world:ty) => {
        tests_of!($name = $world:
            conversation::{
                a_user_writes_and_the_admin_receives,
                a_second_device_sees_the_same_conversation,
                a_user_without_to_writes_to_its_own_conversation,
                users_cannot_access_each_others_conversations,
                messages_to_everyone_reach_all_and_only_admins_send_them,
                ephemeral_messages_are_delivered_but_not_stored,
                tenants_are_isolated,
                any_subject_is_a_user,
            },
            resume::{
                reconnected_clients_resume_without_loss,
                welcome_contains_the_identity_and_the_channel_heads,
                a_resume_during_live_traffic_has_no_loss_and_no_duplicates,
                messages_dropped_by_retention_are_reported_as_a_gap(retaining = 5),
                a_position_of_another_epoch_is_reported_as_a_gap,
            },
            rooms::{
                members_join_send_and_leave,
                members_receive_the_presence_of_other_members,
                admins_receive_the_presence_of_users,
                topics_are_read_by_subscribers_and_written_by_admins_and_backends,
                tokens_grant_rooms_and_topics,
            },
            log::{
                the_same_id_is_one_message_with_one_ack,
                the_same_id_on_two_connections_concurrently_is_one_message,
                history_is_paged_backwards_by_clients_and_both_ways_by_backends,
                an_acknowledged_message_survives_a_crash,
            },
            backend::{
                a_push_reaches_exactly_its_audience,
                an_idempotency_key_makes_a_repeated_push_one_message,
                a_backend_lists_connections_and_their_channels,
                a_backend_closes_a_connection,
                a_revoked_user_is_rejected_until_the_revocation_is_withdrawn,
                a_rejected_call_returns_a_problem_document,
            },
            lifetime::{
                pings_of_both_kinds_are_answered,
                an_expired_token_closes_the_connection,
            },
        );
    };
}

in_world!(embedded = tests::world::Embedded);
in_world!(pods = tests::world::Pods);
in_world!(aws_local = tests::world::AwsLocal);
