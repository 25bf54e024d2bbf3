-- Every statement of the SQLite engine, by name. Values are bound by position, which is faster than by name.

-- name: compatibility
SELECT oldest_writer, oldest_reader FROM compatibility;

-- name: add_namespace
INSERT INTO namespace (name) VALUES (?) ON CONFLICT DO NOTHING;

-- name: find_namespace
SELECT ns FROM namespace WHERE name = ?;

-- name: namespaces
-- A number stays with its name for ever, as others may have it open. One that was dropped is marked by an item, and
-- shown again once there is something else in it.
SELECT name FROM namespace
WHERE NOT EXISTS (SELECT 1 FROM item WHERE item.ns = namespace.ns AND item.task = 0 AND section = -2)
    OR EXISTS (SELECT 1 FROM item WHERE item.ns = namespace.ns AND item.task = 0 AND section > -2)
    OR EXISTS (SELECT 1 FROM task WHERE task.ns = namespace.ns);

-- name: mark_dropped
INSERT OR IGNORE INTO item VALUES (?, 0, -2, '', 1, ?, 0, '');

-- name: unmark_dropped
DELETE FROM item WHERE ns = (SELECT ns FROM namespace WHERE name = ?) AND task = 0 AND section = -2;

-- name: has_tasks
SELECT 1 FROM task WHERE ns = ? LIMIT 1;

-- name: some_items
SELECT ns, task, section, key FROM item WHERE ns = ? AND task = 0 AND section > -2 LIMIT ?;

-- name: lost_items
SELECT ns, task, section, key FROM item WHERE ns = ? AND task > 0 LIMIT ?;

-- name: lost_facets
SELECT ns, facet, status, sort, id FROM facet WHERE ns = ? LIMIT ?;

-- name: lost_times
SELECT ns, at, key, id FROM timeline WHERE ns = ? LIMIT ?;

-- name: drop_tally
DELETE FROM tally WHERE ns = ?;

-- name: stored
-- What a write has to know of a record, in the order of the fields of Stored.
SELECT task, id, status, stage, version, submitted_at, finished_at, expires_at,
    CAST(fixed AS BLOB), CAST(facets AS BLOB), checksum
FROM task WHERE ns = ? AND id IN ({ids});

-- name: last_task
-- Or of one whose row somebody removed by hand: the next one must not find its belongings.
SELECT max(
    coalesce((SELECT max(task) FROM task), 0),
    coalesce((SELECT task FROM item WHERE ns = ? ORDER BY task DESC LIMIT 1), 0)
);

-- name: insert
INSERT INTO task VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update
-- The same values.
UPDATE task SET
    status = ?4, stage = ?5, version = ?6, submitted_at = ?7, started_at = ?8, finished_at = ?9, due_at = ?10,
    updated_at = ?11, expires_at = ?12, checksum = ?13, fixed = ?14, facets = ?15, head = ?16, progress = ?17,
    body = ?18
WHERE task = ?1;

-- name: update_beside
-- The same values but for the last one: the body stays.
UPDATE task SET
    status = ?4, stage = ?5, version = ?6, submitted_at = ?7, started_at = ?8, finished_at = ?9, due_at = ?10,
    updated_at = ?11, expires_at = ?12, checksum = ?13, fixed = ?14, facets = ?15, head = ?16, progress = ?17
WHERE task = ?1;

-- name: add_tally
INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks;

-- name: add_facet
REPLACE INTO facet VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: drop_facet
DELETE FROM facet WHERE ns = ? AND facet = ? AND status = ? AND sort = ? AND id = ?;

-- name: drop_lost_facets
DELETE FROM facet WHERE ns = ? AND id = ?;

-- name: log
INSERT INTO item VALUES (?, ?, 0, ?, 1, ?, ?, ?);

-- name: log_time
-- Where somebody gave a record another id by hand, it may be left of the one that had this id.
REPLACE INTO timeline VALUES (?, ?, ?, ?, ?);

-- name: drop_log
DELETE FROM item WHERE ns = ? AND task = ? AND section = 0 RETURNING at, key;

-- name: trim_log
DELETE FROM item WHERE ns = ?1 AND task = ?2 AND section = 0 AND key <= (
    SELECT key FROM item WHERE ns = ?1 AND task = ?2 AND section = 0 ORDER BY key DESC LIMIT 1 OFFSET ?3
) RETURNING at, key;

-- name: drop_time
DELETE FROM timeline WHERE ns = ? AND at = ? AND key = ? AND id = ?;

-- name: drop_items
DELETE FROM item WHERE ns = ? AND task = ?;

-- name: drop_task
DELETE FROM task WHERE task = ?;

-- name: expired
SELECT task, id, status, stage, version, submitted_at, finished_at, expires_at,
    CAST(fixed AS BLOB), CAST(facets AS BLOB), checksum
FROM task WHERE ns = ? AND expires_at <= ? ORDER BY expires_at LIMIT ?;

-- name: anything
SELECT task, id, status, stage, version, submitted_at, finished_at, expires_at,
    CAST(fixed AS BLOB), CAST(facets AS BLOB), checksum
FROM task WHERE ns = ? LIMIT ?;

-- name: open_task
SELECT task, version, typeof(body) IN ('text', 'blob') FROM task
WHERE ns = ? AND id = ? AND stage BETWEEN ? AND ? AND status IN (0, 1, 2)
    AND (expires_at IS NULL OR expires_at > ?);

-- name: report
UPDATE task SET progress = ? WHERE task = ?;

-- name: report_beside
INSERT INTO item VALUES (?, ?, -1, '', ?, ?, 0, ?)
ON CONFLICT DO UPDATE SET version = excluded.version, at = excluded.at, value = excluded.value;

-- name: expire
UPDATE task SET expires_at = ?, checksum = ?
WHERE ns = ? AND id = ? AND version = ? AND checksum = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: last_key
SELECT max(key) FROM item WHERE ns = ? AND task = ? AND section = ?;

-- name: item_version
SELECT version FROM item WHERE ns = ? AND task = ? AND section = ? AND key = ?;

-- name: put
INSERT INTO item VALUES (?, ?, ?, ?, 1, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    version = version + 1, at = excluded.at, checksum = excluded.checksum, value = excluded.value
RETURNING version;

-- name: add_item
INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: drop_item
DELETE FROM item WHERE ns = ? AND task = ? AND section = ? AND key = ?;

-- name: trim
DELETE FROM item WHERE ns = ?1 AND task = ?2 AND section = ?3 AND key <= (
    SELECT key FROM item WHERE ns = ?1 AND task = ?2 AND section = ?3 ORDER BY key DESC LIMIT 1 OFFSET ?4
);

-- name: owner
SELECT task FROM task WHERE ns = ? AND id = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: items
SELECT key, version, at, checksum, CAST(value AS BLOB) FROM item
WHERE ns = ? AND task = ? AND section = ? {and_key} ORDER BY key DESC LIMIT ?;

-- name: owned
SELECT id, expires_at, key, item.version, at, item.checksum, CAST(value AS BLOB)
FROM task CROSS JOIN item ON item.ns = task.ns AND item.task = task.task AND section = {section}
WHERE task.ns = ? AND id IN ({ids}) ORDER BY id, key;

-- name: timeline
SELECT timeline.id, timeline.key, version, timeline.at, checksum, CAST(value AS BLOB)
FROM timeline CROSS JOIN item  -- the sign: else the types of the two keys keep the fourth column from the search
    ON item.ns = timeline.ns AND item.task = timeline.task AND section = 0 AND item.key = +timeline.key
WHERE timeline.ns = ? AND (timeline.at, timeline.key, timeline.id) > (?, ?, ?) AND timeline.at <= ?
ORDER BY timeline.at, timeline.key, timeline.id LIMIT ?;

-- name: timeline_back
SELECT timeline.id, timeline.key, version, timeline.at, checksum, CAST(value AS BLOB)
FROM timeline CROSS JOIN item  -- the sign: as in timeline
    ON item.ns = timeline.ns AND item.task = timeline.task AND section = 0 AND item.key = +timeline.key
WHERE timeline.ns = ? AND (timeline.at, timeline.key, timeline.id) < (?, ?, ?) AND timeline.at >= ?
ORDER BY timeline.at DESC, timeline.key DESC, timeline.id DESC LIMIT ?;

-- name: columns
-- The progress may be in an item, see writes.py; one of an earlier version is over.
{table}.id AS id, task.status, stage, version, submitted_at, started_at, finished_at, due_at, updated_at, expires_at,
    CAST(task.fixed AS BLOB), CAST(facets AS BLOB), checksum, CAST(head AS BLOB), {body},
    CAST(CASE WHEN task.status > 2 THEN progress ELSE coalesce((
        SELECT value FROM item
        WHERE item.ns = task.ns AND item.task = task.task AND section = -1 AND key = '' AND item.version = task.version
    ), progress) END AS BLOB)

-- name: read
SELECT {columns} FROM task WHERE ns = ? AND id IN ({ids});

-- name: scan_range
SELECT {columns}, facet.sort AS sort FROM facet CROSS JOIN task ON task.task = facet.task
WHERE facet.ns = ?1 AND facet.facet = {facet} AND facet.status = {status}
    AND (facet.sort, facet.id) {after} (?3, ?4) AND facet.sort {until} ?5
    AND (expires_at IS NULL OR expires_at > ?2)

-- name: merged_range
SELECT status, sort, id, task FROM facet
WHERE ns = ?1 AND facet = {facet} AND status = {status} AND (sort, id) {after} (?3, ?4) AND sort {until} ?5

-- name: scan_merged
-- Conditions on each range would walk it to its own first match, even where another one fills the page: a status
-- without any match to its end. The inner LIMIT keeps its order, and SQLite from moving the conditions into it.
SELECT {columns}, merged.sort AS sort FROM (
    {ranges} ORDER BY sort {direction}, id {direction} LIMIT -1
) AS merged CROSS JOIN task ON task.task = merged.task
WHERE (expires_at IS NULL OR expires_at > ?2) {conditions}
LIMIT ?6

-- name: and_facet
AND EXISTS (
    SELECT 1 FROM facet AS other
    WHERE other.ns = ?1 AND other.facet IN ({facets}) AND other.status = merged.status
        AND other.sort = {sort} AND other.id = merged.id
)

-- name: and_fixed
AND task.fixed IS {negated} NULL

-- name: count
SELECT status, tasks FROM tally WHERE ns = ? AND tasks > 0;

-- name: counted_place
SELECT sort, id FROM facet
WHERE ns = ?1 AND facet = {facet} AND status = {status} AND (sort, id) > (?2, ?3) AND sort <= ?4

-- name: last_counted
-- The place of the last entry that a count may look at, and then, if there is one, that of the next.
{ranges} ORDER BY sort, id LIMIT 2 OFFSET ?5

-- name: counted_range
SELECT {status}, count(*) FROM facet AS merged {join}
WHERE merged.ns = ?1 AND merged.facet = {facet} AND merged.status = {status}
    AND (merged.sort, merged.id) > (?2, ?3) AND (merged.sort, merged.id) <= (?4, ?5) {conditions}

-- name: join_task
CROSS JOIN task ON task.task = {table}.task

-- name: next_facet
SELECT facet, fixed FROM facet WHERE ns = ? AND facet >= ? ORDER BY facet LIMIT 1;

-- name: is_also_free
SELECT 1 FROM facet WHERE ns = ? AND facet = ? AND NOT fixed LIMIT 1;

-- name: add_minute
-- A number that large is of no count, and would become a floating-point one.
INSERT INTO minute VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = CASE WHEN n < 4611686018427387904 THEN n + excluded.n ELSE n END;

-- name: add_hour
INSERT INTO hour VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = CASE WHEN n < 4611686018427387904 THEN n + excluded.n ELSE n END;

-- name: mark_of_hours
-- An item without a value, like the mark of a namespace that was dropped.
SELECT at FROM item WHERE ns = ? AND task = 0 AND section = -3 AND key = ?;

-- name: set_mark_of_hours
REPLACE INTO item VALUES (?, 0, -3, ?, 1, ?, 0, '');

-- name: drop_marks_of_hours
DELETE FROM item WHERE ns = ? AND task = 0 AND section = -3;

-- name: first_minute
SELECT at FROM minute WHERE ns = ? AND series = ? AND at >= ? ORDER BY at LIMIT 1;

-- name: close_hour
INSERT INTO hour SELECT ns, series, ?3, bucket, sum(n) FROM minute
WHERE ns = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 GROUP BY bucket
ON CONFLICT DO UPDATE SET n = n + excluded.n;

-- name: first_hour
SELECT at FROM hour WHERE ns = ? AND series = ? AND at >= ? ORDER BY at LIMIT 1;

-- name: add_up_hour
-- The total is at the end of time, where nobody looks who asks for hours or drops old ones.
INSERT INTO hour SELECT ns, series, 9223372036854775807, bucket, n FROM hour
WHERE ns = ?1 AND series = ?2 AND at >= ?3 AND at < ?4
ON CONFLICT DO UPDATE SET n = CASE WHEN n < 4611686018427387904 THEN n + excluded.n ELSE n END;

-- name: total
-- What is added up, hours that are closed and not yet added up, and minutes of hours that are not closed.
SELECT bucket, n FROM hour WHERE ns = ?1 AND series = ?2 AND at = ?5
UNION ALL
SELECT bucket, n FROM hour WHERE ns = ?1 AND series = ?2 AND at >= ?3 AND at < min(?4, ?5)
UNION ALL
SELECT bucket, n FROM minute WHERE ns = ?1 AND series = ?2 AND at >= ?4;

-- name: add_group
INSERT INTO error_group VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    first_at = min(first_at, excluded.first_at), n = n + excluded.n,
    value = CASE WHEN excluded.last_at < last_at THEN value ELSE excluded.value END,
    last_at = max(last_at, excluded.last_at);

-- name: trim_groups
DELETE FROM error_group WHERE ns = ?1 AND fingerprint IN (
    SELECT fingerprint FROM error_group WHERE ns = ?1 ORDER BY last_at DESC, fingerprint DESC LIMIT -1 OFFSET ?2
);

-- name: minutes
SELECT at, bucket, n FROM minute WHERE ns = ? AND series = ? AND at >= ? AND at < ? ORDER BY at, bucket;

-- name: hours
SELECT at, bucket, n FROM hour WHERE ns = ? AND series = ? AND at >= ? AND at < ? ORDER BY at, bucket;

-- name: summed_minutes
SELECT at - (at - ?6) % ?5 AS span, bucket, sum(n) FROM minute
WHERE ns = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 GROUP BY span, bucket ORDER BY span, bucket;

-- name: summed_hours
SELECT at - (at - ?6) % ?5 AS span, bucket, sum(n) FROM hour
WHERE ns = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 GROUP BY span, bucket ORDER BY span, bucket;

-- name: groups
SELECT fingerprint, n, first_at, last_at, CAST(value AS BLOB) FROM error_group WHERE ns = ?;

-- name: group
SELECT fingerprint, n, first_at, last_at, CAST(value AS BLOB) FROM error_group WHERE ns = ? AND fingerprint = ?;

-- name: next_in_minute
SELECT series FROM minute WHERE ns = ? AND series > ? ORDER BY series LIMIT 1;

-- name: next_in_hour
SELECT series FROM hour WHERE ns = ? AND series > ? ORDER BY series LIMIT 1;

-- name: first_in_minute
SELECT series FROM minute WHERE ns = ? AND series >= ? ORDER BY series LIMIT 1;

-- name: first_in_hour
SELECT series FROM hour WHERE ns = ? AND series >= ? ORDER BY series LIMIT 1;

-- name: drop_minutes
DELETE FROM minute WHERE ns = ? AND series = ? AND at < ?;

-- name: drop_hours
DELETE FROM hour WHERE ns = ? AND series = ? AND at < ?;

-- name: drop_groups
DELETE FROM error_group WHERE ns = ? AND last_at < ?;

-- name: some_minutes
SELECT ns, series, at, bucket FROM minute WHERE ns = ? LIMIT ?;

-- name: drop_minute
DELETE FROM minute WHERE ns = ? AND series = ? AND at = ? AND bucket = ?;

-- name: some_hours
SELECT ns, series, at, bucket FROM hour WHERE ns = ? LIMIT ?;

-- name: drop_hour
DELETE FROM hour WHERE ns = ? AND series = ? AND at = ? AND bucket = ?;

-- name: some_groups
SELECT ns, fingerprint FROM error_group WHERE ns = ? LIMIT ?;

-- name: drop_group
DELETE FROM error_group WHERE ns = ? AND fingerprint = ?;
