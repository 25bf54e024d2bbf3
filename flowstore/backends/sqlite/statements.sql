-- Every statement of the SQLite engine, by name. Format 3 of the file (PRAGMA user_version).
-- Times are microseconds since the Unix epoch. For people: SELECT * FROM results;

-- name: schema
CREATE TABLE compatibility (  -- the oldest formats whose programs may write and read this file
    oldest_writer INTEGER NOT NULL,
    oldest_reader INTEGER NOT NULL
) STRICT;

INSERT INTO compatibility VALUES (3, 3);

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
    head TEXT NOT NULL,  -- JSON: error, started_at, finished_at
    body TEXT NOT NULL,  -- JSON: result, args, kwargs
    progress TEXT,  -- JSON: done, total, note
    parent_id TEXT,
    root_id TEXT,  -- NULL for a task without a parent, which is a root itself
    worker_id TEXT,
    labels TEXT,  -- JSON: a list, sorted
    logged_at INTEGER,  -- of the last write, NULL where it left no transition
    retries INTEGER AS (stage / 4) VIRTUAL,
    sort INTEGER AS (coalesce(-submitted_at, 9223372036854775807)) VIRTUAL,
    UNIQUE (ns, id)
) STRICT;

CREATE INDEX task_by_status ON task (ns, status, sort, id);
CREATE INDEX task_by_run ON task (ns, task_name, status, sort, id)
    WHERE task_name IS NOT NULL AND parent_id IS NULL;
CREATE INDEX task_by_step ON task (ns, task_name, status, sort, id)
    WHERE task_name IS NOT NULL AND parent_id IS NOT NULL;
CREATE INDEX task_by_parent ON task (ns, parent_id, status, sort, id) WHERE parent_id IS NOT NULL;
CREATE INDEX task_by_root ON task (ns, root_id, status, sort, id)
    WHERE root_id <> parent_id;  -- those of the children are found by the parent
CREATE INDEX task_by_worker ON task (ns, worker_id, status, sort, id) WHERE worker_id IS NOT NULL;
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

CREATE TABLE label (
    ns INTEGER NOT NULL,
    label TEXT NOT NULL,
    status TEXT NOT NULL,
    sort INTEGER NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (ns, label, status, sort, id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER label_update BEFORE UPDATE OF version ON task WHEN json_valid(old.labels) BEGIN
    DELETE FROM label
    WHERE ns = old.ns AND status = old.status AND sort = old.sort AND id = old.id
        AND label IN (SELECT value FROM json_each(old.labels));
END;

CREATE TRIGGER label_delete AFTER DELETE ON task WHEN json_valid(old.labels) BEGIN
    DELETE FROM label
    WHERE ns = old.ns AND status = old.status AND sort = old.sort AND id = old.id
        AND label IN (SELECT value FROM json_each(old.labels));
END;

CREATE TABLE transition (
    ns INTEGER NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,  -- the version of the task that was written
    at INTEGER NOT NULL,
    status TEXT NOT NULL,
    stage INTEGER NOT NULL,
    worker_id TEXT,
    PRIMARY KEY (ns, id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX transition_by_time ON transition (ns, at, seq, id);

CREATE TABLE kept (
    ns INTEGER NOT NULL,
    owner TEXT NOT NULL,  -- the id of a task, '' for the namespace
    section TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    value TEXT NOT NULL,  -- JSON
    PRIMARY KEY (ns, owner, section, key)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER log_insert AFTER INSERT ON task WHEN new.logged_at IS NOT NULL BEGIN
    INSERT INTO transition
    VALUES (new.ns, new.id, new.version, new.logged_at, new.status, new.stage, new.worker_id);
END;

CREATE TRIGGER log_update AFTER UPDATE OF version ON task WHEN new.logged_at IS NOT NULL BEGIN
    INSERT INTO transition
    VALUES (new.ns, new.id, new.version, new.logged_at, new.status, new.stage, new.worker_id);
END;

CREATE TRIGGER replace_expired BEFORE UPDATE OF version ON task WHEN new.version = 1 BEGIN
    DELETE FROM transition WHERE ns = old.ns AND id = old.id;
    DELETE FROM kept WHERE ns = old.ns AND owner = old.id;
END;

CREATE TRIGGER delete_belongings AFTER DELETE ON task BEGIN
    DELETE FROM transition WHERE ns = old.ns AND id = old.id;
    DELETE FROM kept WHERE ns = old.ns AND owner = old.id;
END;

-- Lets commit_child, the fast way, fail for a new record that already has children: they need a new root, and
-- one of them may be the parent.
CREATE TRIGGER refuse_head AFTER INSERT ON task WHEN new.parent_id IS NOT NULL BEGIN
    SELECT raise(ABORT, 'has children') FROM task WHERE ns = new.ns AND parent_id = new.id;
END;

CREATE VIEW results AS
SELECT
    namespace.name AS namespace, id, status, retries, task_name, version,
    strftime('%Y-%m-%d %H:%M:%f', submitted_at / 1e6, 'unixepoch') AS submitted_at,
    head ->> 'started_at' AS started_at,
    head ->> 'finished_at' AS finished_at,
    strftime('%Y-%m-%d %H:%M:%f', expires_at / 1e6, 'unixepoch') AS expires_at,
    worker_id, parent_id, root_id, labels, progress,
    head ->> '$.error.type' AS error_type,
    head ->> '$.error.message' AS error_message,
    body -> 'result' AS result
FROM task JOIN namespace USING (ns);

-- name: compatibility
SELECT oldest_writer, oldest_reader FROM compatibility;

-- name: add_namespace
INSERT INTO namespace (name) VALUES (:name) ON CONFLICT DO NOTHING;

-- name: find_namespace
SELECT ns FROM namespace WHERE name = :name;

-- The next three take their values by position, which binds faster than by name.

-- name: commit_advance
-- ns, id, status, stage, task_name, submitted_at, expires_at, head, body, progress, worker_id, labels,
-- logged_at, now three times, ceiling, now
INSERT INTO task (
    ns, id, status, stage, version, task_name, submitted_at, expires_at, head, body, progress,
    worker_id, labels, logged_at
)
VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (ns, id) DO UPDATE SET
    status = excluded.status,
    stage = excluded.stage,
    version = CASE WHEN expires_at <= ? THEN 1 ELSE version + 1 END,
    task_name = excluded.task_name,
    submitted_at = excluded.submitted_at,
    expires_at = excluded.expires_at,
    head = excluded.head,
    body = excluded.body,
    progress = excluded.progress,
    parent_id = CASE WHEN expires_at <= ? THEN NULL ELSE parent_id END,
    root_id = CASE WHEN expires_at <= ? THEN NULL ELSE root_id END,
    worker_id = excluded.worker_id,
    labels = excluded.labels,
    logged_at = excluded.logged_at
WHERE (stage <= ? AND version < 9007199254740991) OR expires_at <= ?;

-- name: commit_child
-- commit_advance with a parent: ns, id, status, stage, task_name, submitted_at, expires_at, head, body,
-- progress, parent_id, root_id, worker_id, labels, logged_at, ceiling, now. Writes nothing over an expired
-- record or one with another parent or none, and fails for a new record with children.
INSERT INTO task (
    ns, id, status, stage, version, task_name, submitted_at, expires_at, head, body, progress,
    parent_id, root_id, worker_id, labels, logged_at
)
VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (ns, id) DO UPDATE SET
    status = excluded.status,
    stage = excluded.stage,
    version = version + 1,
    task_name = excluded.task_name,
    submitted_at = excluded.submitted_at,
    expires_at = excluded.expires_at,
    head = excluded.head,
    body = excluded.body,
    progress = excluded.progress,
    worker_id = excluded.worker_id,
    labels = excluded.labels,
    logged_at = excluded.logged_at
WHERE stage <= ? AND version < 9007199254740991 AND parent_id = excluded.parent_id
    AND (expires_at IS NULL OR expires_at > ?);

-- name: root
SELECT coalesce(root_id, id) FROM task WHERE ns = ? AND id = ?;

-- name: join_family
UPDATE task SET parent_id = :parent, root_id = :root WHERE ns = :ns AND id = :id;

-- name: add_label
INSERT INTO label VALUES (?, ?, ?, ?, ?);

-- name: commit_version
-- status, stage, task_name, submitted_at, expires_at, head, body, progress, worker_id, labels, logged_at,
-- ns, id, if_version, now
UPDATE task SET
    status = ?,
    stage = ?,
    version = version + 1,
    task_name = ?,
    submitted_at = ?,
    expires_at = ?,
    head = ?,
    body = ?,
    progress = ?,
    worker_id = ?,
    labels = ?,
    logged_at = ?
WHERE ns = ? AND id = ? AND version = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: standing
-- ns, id, now
SELECT version, stage FROM task WHERE ns = ? AND id = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: family
-- What a new parent depends on: the parent so far, and whether the task has children.
SELECT
    (
        SELECT parent_id FROM task
        WHERE ns = :ns AND id = :id AND (expires_at IS NULL OR expires_at > :now)
    ),
    EXISTS (SELECT 1 FROM task WHERE ns = :ns AND parent_id = :id);

-- name: is_ancestor
WITH RECURSIVE ancestor (id) AS (
    VALUES (:parent)
    UNION
    SELECT parent_id FROM ancestor CROSS JOIN task USING (id) WHERE ns = :ns AND parent_id IS NOT NULL
)
SELECT 1 FROM ancestor WHERE id = :id;

-- name: move_descendants
WITH RECURSIVE descendant (id) AS (
    VALUES (:id)
    UNION
    SELECT task.id FROM descendant CROSS JOIN task ON ns = :ns AND parent_id = descendant.id
)
UPDATE task SET root_id = :root WHERE ns = :ns AND id IN (SELECT id FROM descendant) AND id <> :id;

-- name: drop_oldest
DELETE FROM transition WHERE ns = :ns AND id = :id AND seq <= (
    SELECT seq FROM transition WHERE ns = :ns AND id = :id ORDER BY seq DESC LIMIT 1 OFFSET :keep
);

-- name: report
-- progress, ns, id, lowest stage, highest stage, now
UPDATE task SET progress = ?
WHERE ns = ? AND id = ? AND stage BETWEEN ? AND ? AND status IN ('pending', 'running', 'retrying')
    AND (expires_at IS NULL OR expires_at > ?);

-- name: columns
{table}.id AS id, {table}.status, stage, version, task_name, submitted_at, expires_at, CAST(head AS BLOB),
    {body}, CAST(progress AS BLOB), parent_id, root_id, worker_id, labels

-- name: fetch
SELECT {columns} FROM task WHERE ns = ? AND id IN ({ids});

-- name: scan_branch
SELECT {columns}, {table}.sort AS sort FROM {source}
WHERE {table}.ns = :ns AND {table}.status = :{status} AND {conditions} {and_after}
    AND (expires_at IS NULL OR expires_at > :now)

-- name: count
SELECT status, tasks FROM tally WHERE ns = :ns AND tasks > 0;

-- name: count_where
SELECT status, count(*) FROM ({branches}) GROUP BY status;

-- name: count_branch
SELECT {table}.status AS status FROM {source} WHERE {table}.ns = :ns AND {conditions}

-- name: names
WITH RECURSIVE found (name) AS (
    SELECT min(task_name) FROM task WHERE ns = :ns AND task_name IS NOT NULL AND parent_id IS NULL
    UNION ALL
    SELECT (SELECT min(task_name) FROM task WHERE ns = :ns AND task_name > name AND parent_id IS NULL)
    FROM found WHERE name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: namespaces
SELECT name FROM namespace;

-- name: history
SELECT at, seq, id, status, stage, worker_id FROM transition
WHERE ns = :ns AND (at, seq, id) > (:after_at, :after_seq, :after_id) AND at <= :end
ORDER BY at, seq, id LIMIT :limit;

-- name: history_of_task
SELECT at, seq, id, status, stage, worker_id FROM transition INDEXED BY sqlite_autoindex_transition_1
WHERE ns = :ns AND id = :id AND (at, seq, id) > (:after_at, :after_seq, :after_id) AND at <= :end
    AND EXISTS (
        SELECT 1 FROM task
        WHERE task.ns = :ns AND task.id = :id AND (expires_at IS NULL OR expires_at > :now)
    )
ORDER BY at, seq, id LIMIT :limit;

-- name: history_first
SELECT at, seq, id, status, stage, worker_id FROM transition AS first
WHERE ns = :ns AND (at, seq, id) > (:after_at, :after_seq, :after_id) AND at <= :end
    AND NOT EXISTS (
        SELECT 1 FROM transition AS earlier INDEXED BY sqlite_autoindex_transition_1
        WHERE earlier.ns = :ns AND earlier.id = first.id AND earlier.at >= :start
            AND (earlier.at, earlier.seq) < (first.at, first.seq)
    )
ORDER BY at, seq, id LIMIT :limit;

-- name: owner
SELECT 1 FROM task WHERE ns = :ns AND id = :owner AND (expires_at IS NULL OR expires_at > :now);

-- name: last_key
SELECT max(key) FROM kept WHERE ns = :ns AND owner = :owner AND section = :section;

-- name: put_version
SELECT version FROM kept WHERE ns = :ns AND owner = :owner AND section = :section AND key = :key;

-- name: put
INSERT INTO kept VALUES (:ns, :owner, :section, :key, 1, :now, :value)
ON CONFLICT DO UPDATE SET version = version + 1, at = excluded.at, value = excluded.value;

-- name: put_nothing
DELETE FROM kept WHERE ns = :ns AND owner = :owner AND section = :section AND key = :key;

-- name: keep_last
DELETE FROM kept WHERE ns = :ns AND owner = :owner AND section = :section AND key <= (
    SELECT key FROM kept WHERE ns = :ns AND owner = :owner AND section = :section
    ORDER BY key DESC LIMIT 1 OFFSET :keep
);

-- name: kept
SELECT key, version, at, CAST(value AS BLOB) FROM kept
WHERE ns = :ns AND owner = :owner AND section = :section AND (:owner = '' OR EXISTS (
    SELECT 1 FROM task WHERE ns = :ns AND id = :owner AND (expires_at IS NULL OR expires_at > :now)
)) {and_key} ORDER BY key {direction} LIMIT :limit;

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
