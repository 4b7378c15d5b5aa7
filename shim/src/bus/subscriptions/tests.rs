use std::cell::RefCell;

use handlers::channel::Channel;

use super::*;

const LINGER: Duration = Duration::from_secs(5);

fn group(name: &str) -> Group {
    Group::Joined(Channel::from_key(&format!("acme/room:{name}")).unwrap())
}

/// Stands for the hub.
#[derive(Default)]
struct Members(RefCell<HashSet<Group>>);

impl Members {
    fn enter(&self, interest: &GroupSubscriptions, group: &Group) {
        self.0.borrow_mut().insert(group.clone());
        interest.mark_changed(group);
    }

    fn leave(&self, interest: &GroupSubscriptions, group: &Group) {
        self.0.borrow_mut().remove(group);
        interest.mark_changed(group);
    }

    fn steps(&self, interest: &GroupSubscriptions) -> SubscriptionChanges {
        interest.take_changes(Instant::now(), |group| self.0.borrow().contains(group))
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_is_listened_for_from_its_first_member_until_some_time_after_its_last() {
    let (interest, members, lobby) = (GroupSubscriptions::new(LINGER), Members::default(), group("lobby"));
    members.enter(&interest, &lobby);
    assert_eq!(members.steps(&interest), SubscriptionChanges { subscribe: vec![lobby.clone()], unsubscribe: vec![] });
    assert!(!interest.is_subscribed(std::slice::from_ref(&lobby)));
    interest.confirm_active(std::slice::from_ref(&lobby));
    assert!(interest.is_subscribed(std::slice::from_ref(&lobby)));
    members.leave(&interest, &lobby);
    assert_eq!(members.steps(&interest), SubscriptionChanges::default(), "it lingers");
    tokio::time::timeout(LINGER * 2, interest.wait_changed()).await.unwrap_or(());
    tokio::time::advance(LINGER).await;
    assert_eq!(members.steps(&interest), SubscriptionChanges { subscribe: vec![], unsubscribe: vec![lobby] });
    assert_eq!(interest.group_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_causes_nothing() {
    let (interest, members, lobby) = (GroupSubscriptions::new(LINGER), Members::default(), group("lobby"));
    members.enter(&interest, &lobby);
    members.steps(&interest);
    interest.confirm_active(std::slice::from_ref(&lobby));
    members.leave(&interest, &lobby);
    members.steps(&interest);
    members.enter(&interest, &lobby);
    assert_eq!(members.steps(&interest), SubscriptionChanges::default());
    tokio::time::advance(LINGER * 2).await;
    assert_eq!(members.steps(&interest), SubscriptionChanges::default());
    assert!(interest.is_subscribed(&[lobby]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_unsettles_all_until_it_is_confirmed_again() {
    let (interest, members) = (GroupSubscriptions::new(LINGER), Members::default());
    let (lobby, attic) = (group("lobby"), group("attic"));
    for group in [&lobby, &attic] {
        members.enter(&interest, group);
    }
    members.steps(&interest);
    interest.confirm_active(&[lobby.clone(), attic.clone()]);
    members.leave(&interest, &attic);
    assert_eq!(interest.reset_pending(|group| members.0.borrow().contains(group)), std::slice::from_ref(&lobby));
    assert!(!interest.is_subscribed(std::slice::from_ref(&lobby)));
    let settled = interest.wait_subscribed(std::slice::from_ref(&lobby));
    let confirmed = async { interest.confirm_active(std::slice::from_ref(&lobby)) };
    tokio::join!(settled, confirmed);
    assert_eq!(members.steps(&interest), SubscriptionChanges::default(), "the one that was left is not listened for");
}
