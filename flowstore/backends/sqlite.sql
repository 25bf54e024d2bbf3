-- Every statement of the SQLite engine, by name. Format 1 of the file (PRAGMA user_version).
-- Times are microseconds since the Unix epoch. For people: SELECT * FROM results;

-- name: schema
CREATE TABLE namespace (
    ns INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE task (
    task INTEGER PRIMARY KEY,
    ns INTEGER NOT NULL REFERENCES namespace,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    stage INTEGER NOT NULL,  -- 4 * retries + rank of the status; a record advances by it
    version INTEGER NOT NULL,
    task_name TEXT,
    submitted_at INTEGER,
    expires_at INTEGER,
    head TEXT NOT NULL,  -- JSON: error, started_at, finished_at, worker_id, parent_id, labels, progress
    body TEXT NOT NULL,  -- JSON: result, args, kwargs
    retries INTEGER AS (stage / 4) VIRTUAL,
    sort INTEGER AS (coalesce(-submitted_at, 9223372036854775807)) VIRTUAL,
    UNIQUE (ns, id)
) STRICT;

CREATE INDEX task_by_status ON task (ns, status, sort, id);
CREATE INDEX task_by_name ON task (ns, task_name, status, sort, id) WHERE task_name IS NOT NULL;
CREATE INDEX task_by_expiry ON task (ns, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tally (
    ns INTEGER NOT NULL,
    status TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    PRIMARY KEY (ns, status)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tally_insert AFTER INSERT ON task BEGIN
    INSERT INTO tally VALUES (new.ns, new.status, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;

CREATE TRIGGER tally_update AFTER UPDATE OF status ON task WHEN new.status <> old.status BEGIN
    UPDATE tally SET tasks = tasks - 1 WHERE ns = old.ns AND status = old.status;
    INSERT INTO tally VALUES (new.ns, new.status, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;

CREATE TRIGGER tally_delete AFTER DELETE ON task BEGIN
    UPDATE tally SET tasks = tasks - 1 WHERE ns = old.ns AND status = old.status;
END;

CREATE VIEW results AS
SELECT
    namespace.name AS namespace, id, status, retries, task_name, version,
    strftime('%Y-%m-%d %H:%M:%f', submitted_at / 1e6, 'unixepoch') AS submitted_at,
    head ->> 'started_at' AS started_at,
    head ->> 'finished_at' AS finished_at,
    strftime('%Y-%m-%d %H:%M:%f', expires_at / 1e6, 'unixepoch') AS expires_at,
    head ->> 'worker_id' AS worker_id,
    head ->> '$.error.type' AS error_type,
    head ->> '$.error.message' AS error_message,
    body -> 'result' AS result
FROM task JOIN namespace USING (ns);

-- name: add_namespace
INSERT INTO namespace (name) VALUES (:name) ON CONFLICT DO NOTHING;

-- name: find_namespace
SELECT ns FROM namespace WHERE name = :name;

-- The next three take their values by position, which is bound faster than names are.

-- name: commit_advance
-- ns, id, status, stage, task_name, submitted_at, expires_at, head, body, now, ceiling, now
INSERT INTO task (ns, id, status, stage, version, task_name, submitted_at, expires_at, head, body)
VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?)
ON CONFLICT (ns, id) DO UPDATE SET
    status = excluded.status,
    stage = excluded.stage,
    version = CASE WHEN expires_at <= ? THEN 1 ELSE version + 1 END,
    task_name = excluded.task_name,
    submitted_at = excluded.submitted_at,
    expires_at = excluded.expires_at,
    head = excluded.head,
    body = excluded.body
WHERE (stage <= ? AND version < 9007199254740991) OR expires_at <= ?;

-- name: commit_version
-- status, stage, task_name, submitted_at, expires_at, head, body, ns, id, if_version, now
UPDATE task SET
    status = ?,
    stage = ?,
    version = version + 1,
    task_name = ?,
    submitted_at = ?,
    expires_at = ?,
    head = ?,
    body = ?
WHERE ns = ? AND id = ? AND version = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: standing
-- ns, id, now
SELECT version, stage FROM task WHERE ns = ? AND id = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: fetch
SELECT id, status, stage, version, task_name, submitted_at, expires_at, CAST(head AS BLOB), {body}
FROM task WHERE ns = ? AND id IN ({ids});

-- name: scan_branch
SELECT id, status, stage, version, task_name, submitted_at, expires_at, CAST(head AS BLOB), {body}, sort
FROM task
WHERE ns = :ns AND status = :{status} {and_name} {and_after} AND (expires_at IS NULL OR expires_at > :now)

-- name: count
SELECT status, tasks FROM tally WHERE ns = :ns AND tasks > 0;

-- name: remove
DELETE FROM task WHERE ns = :ns AND id = :id RETURNING id, expires_at;

-- name: has_expired
SELECT 1 FROM task WHERE ns = :ns AND expires_at <= :now LIMIT 1;

-- name: purge_expired
DELETE FROM task WHERE task IN (
    SELECT task FROM task WHERE ns = :ns AND expires_at <= :now ORDER BY expires_at LIMIT :limit
) RETURNING id, expires_at;

-- name: purge_everything
DELETE FROM task WHERE task IN (
    SELECT task FROM task WHERE ns = :ns LIMIT :limit
) RETURNING id, expires_at;
