//! Scheduling without processes.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::invocation::InvocationEvent;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> FunctionLimits {
    FunctionLimits {
        timeout: SECOND * 3,
        init_timeout: SECOND * 10,
        idle_timeout: SECOND * 60,
        min_processes: 0,
        max_processes: 2,
        concurrency: 1,
        queue_capacity: 1,
    }
}

struct Bench {
    pool: SandboxPool,
    now: Instant,
}

impl Bench {
    fn new(limits: FunctionLimits) -> Self {
        Self { pool: SandboxPool::new(limits), now: Instant::now() }
    }

    fn submit(&mut self, id: &str) -> Result<(Vec<SandboxId>, oneshot::Receiver<InvocationResult>), InvokeError> {
        let event = InvocationEvent {
            request_id: id.into(),
            nonce: format!("nonce of {id}").into(),
            trace_id: "trace".into(),
            payload: Bytes::new(),
        };
        let (reply, answer) = oneshot::channel();
        Ok((self.pool.submit(self.now, PendingInvocation { event, reply, deadline: None })?, answer))
    }

    fn poll(&mut self, id: SandboxId) -> PollOutcome {
        self.pool.poll(self.now, id)
    }

    fn delivered(&mut self, id: SandboxId) -> String {
        match self.poll(id) {
            PollOutcome::Deliver(delivery) => delivery.event.request_id.to_string(),
            PollOutcome::Wait(_) => panic!("the queue is empty"),
            PollOutcome::Reject => panic!("the poll is rejected"),
        }
    }

    fn parked(&mut self, id: SandboxId) -> oneshot::Receiver<DispatchedEvent> {
        match self.poll(id) {
            PollOutcome::Wait(event) => event,
            PollOutcome::Deliver(_) | PollOutcome::Reject => panic!("the poll does not wait"),
        }
    }

    fn finish(&mut self, id: SandboxId, request: &str) {
        self.pool.check_request(id, request, None).unwrap();
        self.pool.finish_request(self.now, id, request, Ok(Bytes::from_static(b"{}"))).unwrap();
    }
}

fn outcome(mut answer: oneshot::Receiver<InvocationResult>) -> Option<InvocationResult> {
    answer.try_recv().ok()
}

#[test]
fn one_sandbox_per_concurrent_invocation_then_the_queue_then_throttling() {
    let mut bench = Bench::new(limits());
    let (first, one) = bench.submit("a").unwrap();
    let (second, _two) = bench.submit("b").unwrap();
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!((bench.delivered(first[0]), bench.delivered(second[0])), ("a".to_owned(), "b".to_owned()));
    let (none, three) = bench.submit("c").unwrap();
    assert!(none.is_empty());
    assert_eq!(bench.submit("d").unwrap_err(), InvokeError::Throttled);
    bench.finish(first[0], "a");
    assert_eq!(outcome(one).unwrap().unwrap(), "{}");
    assert_eq!(bench.delivered(first[0]), "c");
    drop(three);
}

#[test]
fn the_most_recently_used_sandbox_is_used_first() {
    let mut bench = Bench::new(limits());
    let ((first, _a), (second, _b)) = (bench.submit("a").unwrap(), bench.submit("b").unwrap());
    bench.delivered(first[0]);
    bench.delivered(second[0]);
    bench.finish(first[0], "a");
    bench.finish(second[0], "b");
    let (mut cold, mut warm) = (bench.parked(first[0]), bench.parked(second[0]));
    let (_, _c) = bench.submit("c").unwrap();
    assert!(warm.try_recv().is_ok() && cold.try_recv().is_err());
}

#[test]
fn a_closed_poll_loses_no_invocation() {
    let mut bench = Bench::new(limits());
    let (due, _a) = bench.submit("a").unwrap();
    assert_eq!(bench.delivered(due[0]), "a");
    assert_eq!(bench.delivered(due[0]), "a", "the same event is delivered until it has a response");
    bench.finish(due[0], "a");
    drop(bench.parked(due[0]));
    let (due_again, _b) = bench.submit("b").unwrap();
    assert_eq!(due_again.len(), 1, "no poll is open, so another process is started");
    assert_eq!(bench.delivered(due[0]), "b");
}

#[test]
fn responses_are_checked() {
    let mut bench = Bench::new(limits());
    let (due, _a) = bench.submit("a").unwrap();
    let id = due[0];
    assert_eq!(bench.pool.check_request(id, "a", None), Err(RuntimeCallError::InvalidState), "before any /next");
    bench.delivered(id);
    assert_eq!(bench.pool.check_request(id, "b", None), Err(RuntimeCallError::UnknownRequest));
    assert_eq!(bench.pool.check_request(id, "a", Some("another nonce")), Err(RuntimeCallError::UnknownRequest));
    assert_eq!(bench.pool.check_request(id, "a", Some("nonce of a")), Ok(()));
    bench.finish(id, "a");
    assert_eq!(bench.pool.check_request(id, "a", None), Err(RuntimeCallError::InvalidState), "twice");
    assert_eq!(
        bench.pool.report_init_error(bench.now, id, InvokeError::Stopped),
        Err(RuntimeCallError::InvalidState),
        "the sandbox is initialized"
    );
}

#[test]
fn a_timeout_kills_and_the_next_invocation_gets_another_sandbox() {
    let mut bench = Bench::new(limits());
    let (due, answer) = bench.submit("a").unwrap();
    bench.delivered(due[0]);
    let SandboxAction::CheckAt(at) = bench.pool.check_sandbox(bench.now, due[0]) else {
        panic!("the deadline has not passed")
    };
    assert_eq!(at, bench.now + SECOND * 3);
    bench.now = at;
    assert_eq!(bench.pool.check_sandbox(bench.now, due[0]), SandboxAction::Kill);
    assert_eq!(outcome(answer), Some(Err(InvokeError::TimedOut)));
    assert_eq!(bench.pool.check_request(due[0], "a", None), Err(RuntimeCallError::InvalidState));
    assert_eq!(bench.submit("b").unwrap().0.len(), 1);
}

#[test]
fn a_crash_fails_only_the_running_invocation() {
    let mut bench = Bench::new(limits());
    let ((due, a), (_, b)) = (bench.submit("a").unwrap(), bench.submit("b").unwrap());
    bench.delivered(due[0]);
    bench.pool.remove_exited(bench.now, due[0], SandboxExit::default());
    let reason = "Runtime exited without providing a reason".to_owned();
    assert_eq!(outcome(a), Some(Err(InvokeError::Exited { reason })));
    assert_eq!(outcome(b), None);
}

#[test]
fn a_failed_start_is_reported_and_delays_the_next_one() {
    let mut bench = Bench::new(limits());
    let (due, a) = bench.submit("a").unwrap();
    let failure = InvokeError::function_error("Runtime.ImportModuleError", "no module");
    bench.pool.report_init_error(bench.now, due[0], failure.clone()).unwrap();
    assert!(bench.pool.remove_exited(bench.now, due[0], SandboxExit::default()).is_empty());
    assert_eq!(outcome(a), Some(Err(failure.clone())));
    assert_eq!(bench.submit("b").unwrap_err(), failure, "within the delay");
    bench.now += Duration::from_millis(100);
    let (due, _c) = bench.submit("c").unwrap();
    assert_eq!(due.len(), 1);
    bench.pool.remove_exited(bench.now, due[0], SandboxExit { failure: Some(failure), ..SandboxExit::default() });
    bench.now += Duration::from_millis(199);
    assert!(bench.submit("d").is_err(), "the delay doubles");
}

#[test]
fn an_idle_sandbox_is_retired_unless_it_is_provisioned() {
    let mut bench = Bench::new(FunctionLimits { min_processes: 1, ..limits() });
    let provisioned = bench.pool.schedule_starts(bench.now);
    assert_eq!(provisioned.len(), 1);
    let _first = bench.parked(provisioned[0]);
    let (_, _a) = bench.submit("a").unwrap();
    let (due, _b) = bench.submit("b").unwrap();
    bench.delivered(due[0]);
    bench.finish(due[0], "b");
    bench.finish(provisioned[0], "a");
    let (_one, _two) = (bench.parked(provisioned[0]), bench.parked(due[0]));
    bench.now += SECOND * 60;
    assert_eq!(bench.pool.check_sandbox(bench.now, due[0]), SandboxAction::Retire);
    assert!(matches!(bench.pool.check_sandbox(bench.now, provisioned[0]), SandboxAction::CheckAt(_)));
    assert!(bench.pool.remove_exited(bench.now, due[0], SandboxExit::default()).is_empty());
    let replaced = bench.pool.remove_exited(bench.now, provisioned[0], SandboxExit::default());
    assert_eq!(replaced.len(), 1, "a provisioned sandbox that exits is replaced");
}

#[test]
fn concurrent_invocations_share_a_process_and_time_out_separately() {
    let mut bench = Bench::new(FunctionLimits { concurrency: 2, max_processes: 1, queue_capacity: 0, ..limits() });
    let ((due, a), (none, b)) = (bench.submit("a").unwrap(), bench.submit("b").unwrap());
    assert!(none.is_empty());
    let id = due[0];
    assert_eq!((bench.delivered(id), bench.delivered(id)), ("a".to_owned(), "b".to_owned()));
    assert!(matches!(bench.poll(id), PollOutcome::Reject));
    bench.finish(id, "b");
    assert!(outcome(b).unwrap().is_ok());
    bench.now += SECOND * 3;
    assert!(matches!(bench.pool.check_sandbox(bench.now, id), SandboxAction::CheckAt(_)));
    assert_eq!(outcome(a), Some(Err(InvokeError::TimedOut)));
    assert_eq!(bench.pool.check_request(id, "a", None), Err(RuntimeCallError::TimedOut));
    let _waits = bench.parked(id);
    let (_, _c) = bench.submit("c").unwrap();
    assert_eq!(bench.pool.check_sandbox(bench.now + SECOND * 3, id), SandboxAction::CheckAt(bench.now + SECOND * 63));
}

#[test]
fn a_stopped_pool_rejects_invocations() {
    let mut bench = Bench::new(limits());
    let (_, a) = bench.submit("a").unwrap();
    bench.pool.stop();
    assert_eq!(outcome(a), Some(Err(InvokeError::Stopped)));
    assert_eq!(bench.submit("b").unwrap_err(), InvokeError::Stopped);
    assert!(bench.pool.schedule_starts(bench.now).is_empty());
}

#[test]
fn output_after_a_response_belongs_to_the_last_request() {
    let mut bench = Bench::new(limits());
    let (started, _one) = bench.submit("a").unwrap();
    let id = started[0];
    assert_eq!(bench.pool.current_request_id(id), None);
    bench.delivered(id);
    assert_eq!(bench.pool.current_request_id(id).as_deref(), Some("a"));
    bench.finish(id, "a");
    assert_eq!(bench.pool.current_request_id(id).as_deref(), Some("a"), "its last line may still be in the pipe");
    let (_none, _two) = bench.submit("b").unwrap();
    bench.delivered(id);
    assert_eq!(bench.pool.current_request_id(id).as_deref(), Some("b"));
    let mut many = Bench::new(FunctionLimits { concurrency: 2, ..limits() });
    let (started, _three) = many.submit("a").unwrap();
    let id = started[0];
    many.delivered(id);
    assert_eq!(many.pool.current_request_id(id), None, "the output of concurrent requests cannot be attributed");
}

#[test]
fn a_timed_out_initialization_is_repeated_once_under_the_timeout_of_the_invocation() {
    let timed_out = || SandboxExit { init_timed_out: true, ..SandboxExit::default() };
    let mut bench = Bench::new(limits());
    let (first, answer) = bench.submit("a").unwrap();
    bench.now += SECOND * 10;
    assert_eq!(bench.pool.check_sandbox(bench.now, first[0]), SandboxAction::Kill);
    let second = bench.pool.remove_exited(bench.now, first[0], timed_out());
    assert_eq!(second.len(), 1);
    let deadline = bench.now + SECOND * 3;
    assert_eq!(bench.pool.check_sandbox(bench.now, second[0]), SandboxAction::CheckAt(deadline));
    bench.now += SECOND * 2;
    let PollOutcome::Deliver(delivery) = bench.poll(second[0]) else { panic!("the invocation waits") };
    assert_eq!(delivery.deadline, deadline, "the initialization is part of the invocation");
    bench.finish(second[0], "a");
    assert!(outcome(answer).unwrap().is_ok());

    let mut bench = Bench::new(limits());
    let (first, answer) = bench.submit("a").unwrap();
    let second = bench.pool.remove_exited(bench.now, first[0], timed_out());
    assert!(bench.pool.remove_exited(bench.now, second[0], timed_out()).is_empty());
    assert_eq!(outcome(answer), Some(Err(InvokeError::TimedOut)));
    assert_eq!(bench.submit("b").unwrap_err(), InvokeError::TimedOut, "within the delay");
}

#[test]
fn an_initialization_for_no_invocation_is_not_repeated() {
    let mut bench = Bench::new(limits());
    let (first, answer) = bench.submit("a").unwrap();
    drop(answer);
    let exit = SandboxExit { init_timed_out: true, ..SandboxExit::default() };
    assert!(bench.pool.remove_exited(bench.now, first[0], exit).is_empty());
    assert!(matches!(bench.submit("b").unwrap_err(), InvokeError::Function { kind, .. } if kind == "Sandbox.Timedout"));
}

#[test]
fn replaced_sandboxes_finish_their_invocations() {
    let mut bench = Bench::new(FunctionLimits { max_processes: 1, ..limits() });
    let (old, answer) = bench.submit("a").unwrap();
    bench.delivered(old[0]);
    assert!(bench.pool.replace_sandboxes(bench.now, bench.pool.limits.clone()).is_empty(), "nothing is queued");
    assert!(matches!(bench.pool.check_sandbox(bench.now, old[0]), SandboxAction::CheckAt(_)));
    let (new, _b) = bench.submit("b").unwrap();
    assert_eq!((new.len(), bench.pool.process_count()), (1, 2));
    assert_eq!(bench.delivered(new[0]), "b");
    bench.finish(old[0], "a");
    assert!(outcome(answer).unwrap().is_ok());
    let mut poll = bench.parked(old[0]);
    let (none, _c) = bench.submit("c").unwrap();
    assert!(none.is_empty() && poll.try_recv().is_err(), "the old process receives nothing");
    assert_eq!(bench.pool.check_sandbox(bench.now, old[0]), SandboxAction::Retire);
    assert!(bench.pool.remove_exited(bench.now, old[0], SandboxExit::default()).is_empty());
    assert_eq!(bench.pool.process_count(), 1);
}

#[test]
fn an_idle_sandbox_is_replaced_at_once_and_a_failed_one_does_not_count() {
    let mut bench = Bench::new(FunctionLimits { min_processes: 1, ..limits() });
    let old = bench.pool.schedule_starts(bench.now);
    let new = bench.pool.replace_sandboxes(bench.now, bench.pool.limits.clone());
    assert_eq!((new.len(), bench.pool.check_sandbox(bench.now, old[0])), (1, SandboxAction::Retire));
    bench.pool.remove_exited(bench.now, old[0], SandboxExit::default());
    assert!(!bench.pool.backoff.is_active(bench.now), "the old program did not fail");
}
