/** What must happen sometimes: a set of histories that never gets to one of these is not testing enough. */

/** Each with what has to happen for it to count. */
export const MARKS = {
  crash_after_ack: 'the process died between a receiver’s 2xx and its record',
  crash_before_fanout: 'the process died between the upstream’s final answer and its record',
  crash_between_commit_and_answer: 'the process died when the commit was on disk and nobody had been told',
  crash_during_commit: 'the power failed while a commit was being written: the log ends in half of it',
  power_loss: 'the power failed: what was not synced is gone',
  restart: 'a graceful stop and a new start',
  damaged_exit: 'the disk failed a commit and the process ended itself',
  disk_full_degraded: 'the disk was full for a while',
  commit_without_room: 'a commit found no room, and what had happened in the world waited for some',
  busy_retry: 'a foreign writer held the lock and a commit had to wait',
  clock_jump_back: 'the wall clock was set back',
  clock_jump_forward: 'the wall clock was set forward',
  sleep_resume: 'the process was stopped for a while with work under way',
  late_result_fenced: 'a result came under a lease that was lost, and changed nothing',
  lease_expired_rescued: 'an item was claimed again because its lease had ended',
  shutdown_returned_lease: 'a stop gave back what was under way',
  upstream_outage: 'a query met an outage',
  throttled: 'the upstream throttled',
  refused_paused: 'the upstream refused the credential, and it was paused',
  foreign_answer_ignored: 'the upstream answered about another task',
  confirmed_failure: 'a task failed after several answers alike',
  hiccup_survived: 'a task succeeded after answers that looked like its failure',
  partial_success: 'a task finished with failed items',
  task_timed_out: 'a task expired at its deadline',
  canceled_while_pending: 'a task was canceled before it ended',
  batch_of_several: 'one query carried several tasks',
  late_subscriber: 'an endpoint subscribed to a task that had settled, and was told',
  known_registration: 'a task was registered again and answered with the same ids',
  duplicate_delivery_same_id: 'a receiver that had answered 2xx got the same event again, with the same id and bytes',
  schedule_exhausted: 'a delivery used up its schedule',
  retry_after_obeyed: 'a Retry-After was longer than the schedule',
  retry_after_clamped: 'a Retry-After was longer than anybody may ask for',
  retry_after_garbage: 'a Retry-After was no number and no date',
  own_fault_given_back: 'an attempt failed by our own fault and cost nothing',
  endpoint_gone: 'a 410 disabled an endpoint',
  endpoint_auto_paused: 'five days of nothing but failures disabled an endpoint',
  endpoint_probed: 'an endpoint that is disabled for failing was tried again',
  endpoint_healed: 'a probe succeeded and enabled its endpoint',
  event_filtered: 'an endpoint that did not choose an event was not told of it',
  operator_told: 'the operator’s endpoint got an event of the daemon itself',
  endpoint_resumed_backlog: 'an endpoint that was paused or disabled with a backlog was resumed',
  manual_resend: 'a person had a settled delivery sent again',
  dns_mixed_answer_blocked: 'a name answered with a private address and nothing was sent',
  ip_literal_blocked: 'a callback to a private address was refused',
  two_secrets_signed: 'a POST carried two signatures',
  key_pair_signed: 'a POST carried a signature by a key pair',
  job_queued: 'a job queued deliveries again',
  job_resumed: 'a process began with a job that another one had left in its middle',
  endpoint_deleted: 'an endpoint was deleted',
  backlog_dropped: 'an endpoint was deleted with a backlog, which was dropped',
  backlog_dropped_later: 'what was under way when its endpoint was deleted was dropped afterwards',
  retention_forgot: 'tasks past their retention were deleted',
} as const

export type Mark = keyof typeof MARKS

/** Marks of the catalogue that have no subject in this program, or have it in a part that is tried elsewhere. */
export const NOT_YET: Readonly<Record<string, string>> = {
  crash_in_migration: 'migrations run before the first port call; test/e2e and the store’s own tests open old files',
  batch_partial: 'one Aidge query is about one task; an upstream answers for each task it was asked about',
  batch_bisected: 'as above: no id can poison another’s query',
  upstream_circuit_open: 'there is no breaker: back-off of each task and the credential’s pause do its work',
  slow_start_active: 'the rate factor’s additive increase is the slow start; core/budget tests hold it',
  keepalive_race_retried: 'below the Post port: test/webhook/hostile.test.ts',
  ballast_released:
    'the ballast is a file beside the database, and virtual disks have no bytes: test/e2e/process-faults.test.ts',
  idempotent_replay: 'there are no idempotency keys; known_registration is the natural key’s mark',
  idempotent_conflict: 'there are no idempotency keys',
  poison_quarantined: 'as batch_bisected',
  task_lost: 'Aidge has no answer that says so; such tasks expire',
}

/** What hits a daemon as a whole. */
export type Blow = 'crash' | 'power_loss' | 'store' | 'busy' | 'stopped' | 'clock_back' | 'clock_forward' | 'restart'

export const MARK_OF_BLOW: Partial<Record<Blow, Mark>> = {
  power_loss: 'power_loss',
  restart: 'restart',
  clock_back: 'clock_jump_back',
  clock_forward: 'clock_jump_forward',
}
