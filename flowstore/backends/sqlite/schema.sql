-- Format 4 of the file (PRAGMA user_version). Times are microseconds since the Unix epoch.
-- For people: SELECT * FROM results;

-- name: file
CREATE TABLE compatibility (  -- the oldest formats whose programs may write and read this file
    oldest_writer INTEGER NOT NULL,
    oldest_reader INTEGER NOT NULL
) STRICT;

CREATE TABLE namespace (
    ns INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- name: records
CREATE TABLE task (
    task INTEGER PRIMARY KEY,
    ns INTEGER NOT NULL REFERENCES namespace,
    id TEXT NOT NULL,
    status INTEGER NOT NULL,  -- 0 pending, 1 running, 2 retrying, 3 success, 4 failed, 5 cancelled
    stage INTEGER NOT NULL,  -- 4 * retries + rank of the status; a record advances by it
    version INTEGER NOT NULL,
    submitted_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    due_at INTEGER,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    checksum INTEGER NOT NULL,
    fixed TEXT,  -- JSON: the facets that never change
    facets TEXT,  -- JSON: the other facets
    head TEXT NOT NULL,  -- JSON: error
    progress TEXT,  -- JSON: done, total, note
    body ANY NOT NULL,  -- JSON: result, args, kwargs; a BLOB if it is encoded in another way. The last
    -- column, because whoever reads those before it does not touch its overflow pages.
    UNIQUE (ns, id)
) STRICT;

CREATE INDEX task_by_expiry ON task (ns, expires_at) WHERE expires_at IS NOT NULL;

-- One row for each listing that a record is in; the facet '' lists them all. Backwards, because SQLite packs
-- its pages well only if most rows are added at the end of a range: 61 bytes for a row instead of 100.
CREATE TABLE facet (
    ns INTEGER NOT NULL,
    facet TEXT NOT NULL,
    status INTEGER NOT NULL,
    sort INTEGER NOT NULL,  -- minus the time of submission, or of the end where the facet begins with '~'
    id TEXT NOT NULL,
    task INTEGER NOT NULL,
    fixed INTEGER NOT NULL,
    PRIMARY KEY (ns, facet, status, sort DESC, id DESC)
) STRICT, WITHOUT ROWID;

CREATE TABLE tally (
    ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    PRIMARY KEY (ns, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE item (
    ns INTEGER NOT NULL,
    task INTEGER NOT NULL,  -- the owner, 0 for the namespace
    section INTEGER NOT NULL,  -- 0 history, 1 data, 2 checkpoint, 3 worker, 4 app
    key ANY NOT NULL,  -- in the history the version that was written, an integer; text otherwise
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    value ANY NOT NULL,  -- JSON, or a BLOB
    PRIMARY KEY (ns, task, section, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE timeline (  -- the history of all records by time
    ns INTEGER NOT NULL,
    at INTEGER NOT NULL,
    key INTEGER NOT NULL,
    id TEXT NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (ns, at, key, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE minute (  -- statistics
    ns INTEGER NOT NULL,
    series TEXT NOT NULL,  -- '=' and a task name, '~' names beyond the first thousand, '!' and an error group
    at INTEGER NOT NULL,  -- the beginning of the minute
    bucket TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (ns, series, at, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE hour (  -- the same by the hour
    ns INTEGER NOT NULL,
    series TEXT NOT NULL,
    at INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (ns, series, at, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE error_group (  -- errors of one kind
    ns INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    n INTEGER NOT NULL,
    value ANY NOT NULL,
    PRIMARY KEY (ns, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE VIEW results AS
SELECT
    namespace.name AS namespace, id,
    CASE status
        WHEN 0 THEN 'pending' WHEN 1 THEN 'running' WHEN 2 THEN 'retrying'
        WHEN 3 THEN 'success' WHEN 4 THEN 'failed' WHEN 5 THEN 'cancelled'
    END AS status,
    stage / 4 AS retries,
    (
        SELECT substr(value, instr(value, ':') + 1) FROM json_each(facets)
        WHERE value GLOB 'run:*' OR value GLOB 'step:*'
    ) AS task_name,
    version,
    strftime('%Y-%m-%d %H:%M:%f', submitted_at / 1e6, 'unixepoch') AS submitted_at,
    strftime('%Y-%m-%d %H:%M:%f', started_at / 1e6, 'unixepoch') AS started_at,
    strftime('%Y-%m-%d %H:%M:%f', finished_at / 1e6, 'unixepoch') AS finished_at,
    strftime('%Y-%m-%d %H:%M:%f', due_at / 1e6, 'unixepoch') AS due_at,
    strftime('%Y-%m-%d %H:%M:%f', updated_at / 1e6, 'unixepoch') AS updated_at,
    strftime('%Y-%m-%d %H:%M:%f', expires_at / 1e6, 'unixepoch') AS expires_at,
    (SELECT substr(value, 8) FROM json_each(facets) WHERE value GLOB 'worker:*') AS worker_id,
    substr(fixed ->> '$[0]', instr(fixed ->> '$[0]', ':') + 1) AS parent_id,
    substr(fixed ->> '$[#-1]', instr(fixed ->> '$[#-1]', ':') + 1) AS root_id,
    (SELECT json_group_array(substr(value, 7)) FROM json_each(facets) WHERE value GLOB 'label:*') AS labels,
    progress,
    head ->> '$.error.type' AS error_type,
    head ->> '$.error.message' AS error_message,
    CASE typeof(body) WHEN 'text' THEN body -> 'result' END AS result
FROM task JOIN namespace USING (ns);
