use std::cell::RefCell;

use handlers::channel::Channel;

use super::*;

const UNSUBSCRIBE_DELAY: Duration = Duration::from_secs(5);

fn group(name: &str) -> Group {
    Group::Joined(Channel::from_key(&format!("acme/room:{name}")).unwrap())
}

/// Group members, in place of the hub.
#[derive(Default)]
struct Members(RefCell<HashSet<Group>>);

impl Members {
    fn join(&self, subscriptions: &GroupSubscriptions, group: &Group) {
        self.0.borrow_mut().insert(group.clone());
        subscriptions.mark_changed(group);
    }

    fn leave(&self, subscriptions: &GroupSubscriptions, group: &Group) {
        self.0.borrow_mut().remove(group);
        subscriptions.mark_changed(group);
    }

    fn take_changes(&self, subscriptions: &GroupSubscriptions) -> SubscriptionChanges {
        subscriptions.take_changes(Instant::now(), |group| self.0.borrow().contains(group))
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_is_subscribed_from_its_first_member_until_a_delay_after_its_last() {
    let (subscriptions, members, lobby) =
        (GroupSubscriptions::new(UNSUBSCRIBE_DELAY), Members::default(), group("lobby"));
    members.join(&subscriptions, &lobby);
    assert_eq!(
        members.take_changes(&subscriptions),
        SubscriptionChanges { subscribe: vec![lobby.clone()], unsubscribe: vec![] }
    );
    assert!(!subscriptions.is_subscribed(std::slice::from_ref(&lobby)));
    subscriptions.confirm_active(std::slice::from_ref(&lobby));
    assert!(subscriptions.is_subscribed(std::slice::from_ref(&lobby)));
    members.leave(&subscriptions, &lobby);
    assert_eq!(
        members.take_changes(&subscriptions),
        SubscriptionChanges::default(),
        "the group is unsubscribed after a delay"
    );
    tokio::time::timeout(UNSUBSCRIBE_DELAY * 2, subscriptions.wait_changed()).await.unwrap_or(());
    tokio::time::advance(UNSUBSCRIBE_DELAY).await;
    assert_eq!(
        members.take_changes(&subscriptions),
        SubscriptionChanges { subscribe: vec![], unsubscribe: vec![lobby] }
    );
    assert_eq!(subscriptions.group_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_returns_within_the_delay_causes_no_command() {
    let (subscriptions, members, lobby) =
        (GroupSubscriptions::new(UNSUBSCRIBE_DELAY), Members::default(), group("lobby"));
    members.join(&subscriptions, &lobby);
    members.take_changes(&subscriptions);
    subscriptions.confirm_active(std::slice::from_ref(&lobby));
    members.leave(&subscriptions, &lobby);
    members.take_changes(&subscriptions);
    members.join(&subscriptions, &lobby);
    assert_eq!(members.take_changes(&subscriptions), SubscriptionChanges::default());
    tokio::time::advance(UNSUBSCRIBE_DELAY * 2).await;
    assert_eq!(members.take_changes(&subscriptions), SubscriptionChanges::default());
    assert!(subscriptions.is_subscribed(&[lobby]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_makes_all_groups_pending_until_they_are_confirmed_again() {
    let (subscriptions, members) = (GroupSubscriptions::new(UNSUBSCRIBE_DELAY), Members::default());
    let (lobby, attic) = (group("lobby"), group("attic"));
    for group in [&lobby, &attic] {
        members.join(&subscriptions, group);
    }
    members.take_changes(&subscriptions);
    subscriptions.confirm_active(&[lobby.clone(), attic.clone()]);
    members.leave(&subscriptions, &attic);
    assert_eq!(subscriptions.reset_pending(|group| members.0.borrow().contains(group)), std::slice::from_ref(&lobby));
    assert!(!subscriptions.is_subscribed(std::slice::from_ref(&lobby)));
    let subscribed = subscriptions.wait_subscribed(std::slice::from_ref(&lobby));
    let confirmed = async { subscriptions.confirm_active(std::slice::from_ref(&lobby)) };
    tokio::join!(subscribed, confirmed);
    assert_eq!(
        members.take_changes(&subscriptions),
        SubscriptionChanges::default(),
        "the group without members is not subscribed again"
    );
}
