/** The documented way in through SQL (docs/sql.md): views over the `_` tables. They gain columns and lose none. */

import type Database from 'better-sqlite3'

/** Grows by one with each change of a view below. */
export const VIEWS_VERSION = 7

/** `name` as ISO 8601 text and `name_ms` as whole milliseconds. */
function instant(expression: string, name: string): string {
  return `strftime('%Y-%m-%dT%H:%M:%fZ', ${expression} / 1000.0, 'unixepoch') as ${name}, ${expression} as ${name}_ms`
}

const VIEWS: Readonly<Record<string, string>> = {
  tasks: `
    select t.id, t.task_id, t.kind, t.status, t.credential, t.metadata,
      ${instant('t.registered_at', 'registered_at')}, ${instant('t.submitted_at', 'submitted_at')},
      ${instant('t.deadline_at', 'deadline_at')}, ${instant('t.next_poll_at', 'next_poll_at')},
      ${instant('t.settled_at', 'settled_at')},
      t.poll_count, t.last_observation, t.event_id,
      json_extract(e.outcome, '$.partial') as partial,
      json_extract(e.outcome, '$.error.code') as error_code,
      json_extract(e.outcome, '$.error.upstreamCode') as error_upstream_code,
      json_extract(e.outcome, '$.error.message') as error_message,
      json_extract(e.outcome, '$.imageCount') as image_count
    from _tasks t left join _events e on e.task_id = t.id`,
  events: `
    select e.id, e.task_id as task, t.task_id, t.kind, e.type, ${instant('e.created_at', 'created_at')},
      length(cast(e.body as blob)) as body_bytes, e.body
    from _events e left join _tasks t on t.id = e.task_id`,
  deliveries: `
    select d.id, d.event_id, e.type as event_type, e.task_id as task, t.task_id, d.endpoint_id, p.url as callback_url,
      d.status, p.status as endpoint_status, d.attempt_count,
      ${instant('d.next_attempt_at', 'next_attempt_at')}, ${instant('d.created_at', 'created_at')},
      ${instant("iif(d.status = 'pending', null, d.settled_at)", 'settled_at')},
      d.last_status_code, d.last_failure
    from _deliveries d
      join _events e on e.id = d.event_id left join _tasks t on t.id = e.task_id join _endpoints p on p.id = d.endpoint_id`,
  endpoint_health: `
    select p.id, p.url, p.host, p.name, p.status, p.disabled_reason, p.is_operator,
      ${instant('p.failing_since', 'failing_since')}, ${instant('p.probe_at', 'probe_at')}, p.probe_count,
      (select count(*) from _deliveries d where d.endpoint_id = p.id and d.status = 'pending') as pending_count
    from _endpoints p where p.status <> 'deleted'`,
  attempts: `
    select a.id, a.delivery_id, d.event_id, d.endpoint_id, a.attempt_number, a.is_manual, a.is_probe, a.verdict,
      ${instant('a.started_at', 'started_at')}, a.duration_ms, a.status_code, a.failure, a.detail,
      ${instant('a.next_attempt_at', 'next_attempt_at')},
      a.response_excerpt, a.response_truncated, a.response_headers, a.remote_address,
      json_extract(a.timings, '$.dnsMs') as dns_ms, json_extract(a.timings, '$.connectMs') as connect_ms,
      json_extract(a.timings, '$.tlsMs') as tls_ms, json_extract(a.timings, '$.answerMs') as answer_ms
    from _attempts a join _deliveries d on d.id = a.delivery_id`,
  polls: `
    select p.task_id as task, t.task_id, t.kind, p.poll_number, ${instant('p.asked_at', 'asked_at')}, p.duration_ms,
      p.observation, p.detail, p.http_status, p.request_id, ${instant('p.next_poll_at', 'next_poll_at')}, p.reason,
      p.first_number as first_poll_number, ${instant('p.first_asked_at', 'first_asked_at')},
      p.poll_number - p.first_number + 1 as run_length
    from _polls p join _tasks t on t.id = p.task_id`,
  cadence: `
    select kind, completion_count, median_ms, p90_ms, round(unfinished_share, 3) as unfinished_share,
      poll_cost_ms, plan, ${instant('updated_at', 'updated_at')}
    from _cadence`,
  counts: 'select name, n from _counts',
}

const OUR_VIEWS: ReadonlySet<string> = new Set([...Object.keys(VIEWS), 'ringback_schema'])

/**
 * Does `change` while the views that operators made over ours are out of the way: SQLite changes no table while a view
 * reads something that is not there for the moment.
 */
export function withoutForeignViews(db: Database.Database, change: () => void): void {
  const views = db.prepare<[], { name: string; sql: string }>(`select name, sql from sqlite_schema where type = 'view'`)
  const foreign = views.all().filter(({ name }) => !OUR_VIEWS.has(name))
  for (const { name } of foreign) db.exec(`drop view "${name.replaceAll('"', '""')}"`)
  try {
    change()
  } finally {
    for (const { sql } of foreign) db.exec(sql)
  }
}

/** Makes the views anew when they are not those of this version. `schemaVersion` is the newest migration's instant. */
export function installViews(db: Database.Database, schemaVersion: number): void {
  const version = `${schemaVersion}.${VIEWS_VERSION}`
  const current = db.prepare<[], { value: string }>(`select value from _meta where key = 'views_version'`).get()
  if (current?.value === version) return
  db.transaction(() => {
    for (const [name, select] of Object.entries(VIEWS))
      db.exec(`drop view if exists ${name}; create view ${name} as ${select}`)
    db.exec(`drop view if exists ringback_schema; create view ringback_schema as
      select ${schemaVersion} as schema_version, ${VIEWS_VERSION} as views_version,
        (select value from _meta where key = 'database_id') as database_id`)
    db.prepare(`insert or replace into _meta (key, value) values ('views_version', ?)`).run(version)
  }).immediate()
}
