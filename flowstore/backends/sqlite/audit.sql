-- What an audit looks at, by name. Each statement is bounded by the rows that it looks at, not by those that it finds.
-- `sound`: it is as it should be for sure, which is nearly all; of the rest Python decides. See audit.py.

-- name: ids
SELECT task, CAST(id AS BLOB) FROM task INDEXED BY sqlite_autoindex_task_1
WHERE ns = ?1 AND id > CAST(?2 AS TEXT) AND id < ?3 ORDER BY id LIMIT ?4;

-- name: records
-- The numbers of the rows are given as a JSON array.
SELECT task.task, task.id, status, submitted_at, finished_at, expires_at, CAST(fixed AS BLOB), CAST(facets AS BLOB),
    EXISTS (SELECT 1 FROM item WHERE item.ns = ?1 AND item.task = task.task AND section = 0),
    EXISTS (SELECT 1 FROM item WHERE item.ns = ?1 AND item.task = task.task AND section = 1),
    EXISTS (SELECT 1 FROM item WHERE item.ns = ?1 AND item.task = task.task AND section = 2),
    EXISTS (
        SELECT 1 FROM facet
        WHERE facet.ns = ?1 AND facet = '' AND facet.status = task.status AND facet.id = task.id
            AND sort = coalesce(-submitted_at, 9223372036854775807) AND facet.task = task.task AND NOT facet.fixed
    )
    AND (facets IS NULL OR CASE WHEN json_valid(task.facets) THEN NOT EXISTS (
        SELECT 1 FROM json_each(task.facets) AS own WHERE NOT EXISTS (
            SELECT 1 FROM facet
            WHERE facet.ns = ?1 AND facet = own.value AND facet.status = task.status AND facet.id = task.id
                AND sort = coalesce(CASE WHEN substr(own.value, 1, 1) = '~' THEN -finished_at ELSE -submitted_at END,
                    9223372036854775807)
                AND facet.task = task.task AND facet.fixed = 0
        )
    ) END)
    AND (task.fixed IS NULL OR CASE WHEN json_valid(task.fixed) THEN NOT EXISTS (
        SELECT 1 FROM json_each(task.fixed) AS own WHERE NOT EXISTS (
            SELECT 1 FROM facet
            WHERE facet.ns = ?1 AND facet = own.value AND facet.status = task.status AND facet.id = task.id
                AND sort = coalesce(CASE WHEN substr(own.value, 1, 1) = '~' THEN -finished_at ELSE -submitted_at END,
                    9223372036854775807)
                AND facet.task = task.task AND facet.fixed = 1
        )
    ) END)
    AND NOT EXISTS (
        SELECT 1 FROM item WHERE item.ns = ?1 AND item.task = task.task AND section = 0 AND NOT EXISTS (
            SELECT 1 FROM timeline
            WHERE timeline.ns = ?1 AND timeline.at = item.at AND timeline.key = item.key AND timeline.id = task.id
                AND timeline.task = item.task
        )
    )
    AND (expires_at IS NULL OR EXISTS (
        SELECT 1 FROM task AS due INDEXED BY task_by_expiry
        WHERE due.ns = ?1 AND due.expires_at = task.expires_at AND due.task = task.task
    )) AS sound
FROM json_each(?2) AS wanted CROSS JOIN task ON task.task = wanted.value WHERE task.ns = ?1;

-- name: number
SELECT task FROM task WHERE ns = ? AND id = ?;

-- name: listed_id
SELECT id FROM facet WHERE ns = ? AND facet = '' AND status = ? AND sort = ? AND task = ?;

-- name: is_listed
SELECT task, fixed FROM facet WHERE ns = ? AND facet = ? AND status = ? AND sort = ? AND id = ?;

-- name: is_due
SELECT 1 FROM task INDEXED BY task_by_expiry
WHERE ns = ?1 AND expires_at = ?2 AND task = ?3 AND expires_at IS NOT NULL;

-- name: untimed
SELECT at, key FROM item WHERE ns = ?1 AND task = ?2 AND section = 0 AND NOT EXISTS (
    SELECT 1 FROM timeline
    WHERE timeline.ns = item.ns AND timeline.at = item.at AND timeline.key = item.key AND timeline.id = ?3
        AND timeline.task = item.task
);

-- name: next_range
SELECT facet, status FROM facet WHERE ns = ? AND (facet, status) > (?, ?) ORDER BY facet, status LIMIT 1;

-- name: entries
-- What has an escape in its facets may only look as if it had this one.
SELECT facet.sort, facet.id, facet.task, facet.fixed, CASE
    WHEN facet.id < ?6 OR facet.id >= ?7 THEN 1
    ELSE EXISTS (
        SELECT 1 FROM task
        WHERE task.task = facet.task AND task.ns = ?1 AND task.id = facet.id AND task.status = ?3
            AND facet.sort = coalesce(CASE WHEN substr(?2, 1, 1) = '~' THEN -finished_at ELSE -submitted_at END,
                9223372036854775807)
            AND CASE
                WHEN ?2 = '' THEN NOT facet.fixed AND EXISTS (
                    SELECT 1 FROM task AS known INDEXED BY sqlite_autoindex_task_1
                    WHERE known.ns = ?1 AND known.id = facet.id AND known.task = facet.task
                )
                WHEN facet.fixed = 0 THEN instr(task.facets, ?8) > 0 AND instr(task.facets, '\') = 0
                WHEN facet.fixed = 1 THEN instr(task.fixed, ?8) > 0 AND instr(task.fixed, '\') = 0
            END
    )
END AS sound
FROM facet
WHERE facet.ns = ?1 AND facet.facet = ?2 AND facet.status = ?3 AND (facet.sort, facet.id) < (?4, ?5)
ORDER BY facet.sort DESC, facet.id DESC LIMIT ?9;

-- name: times
SELECT at, key, id, task, CASE
    WHEN id < ?5 OR id >= ?6 THEN 1
    ELSE EXISTS (
        SELECT 1 FROM item
        WHERE item.ns = ?1 AND item.task = timeline.task AND section = 0 AND item.key = +timeline.key
            AND item.at = timeline.at
    ) AND EXISTS (
        SELECT 1 FROM task WHERE task.task = timeline.task AND task.ns = ?1 AND task.id = timeline.id
    )
END AS sound
FROM timeline WHERE ns = ?1 AND (at, key, id) > (?2, ?3, ?4) ORDER BY at, key, id LIMIT ?7;

-- name: dues
SELECT expires_at, task, EXISTS (
    SELECT 1 FROM task NOT INDEXED
    WHERE task.task = due.task AND +task.ns = ?1 AND task.expires_at = due.expires_at
) AS sound
FROM task AS due INDEXED BY task_by_expiry
WHERE ns = ?1 AND (expires_at, task) > (?2, ?3) AND expires_at IS NOT NULL ORDER BY expires_at, task LIMIT ?4;

-- name: items
SELECT task, section, key, task = 0 OR EXISTS (
    SELECT 1 FROM task WHERE task.task = item.task AND task.ns = ?1
) AS sound
FROM item WHERE ns = ?1 AND (task, section, key) > (?2, ?3, ?4) ORDER BY task, section, key LIMIT ?5;

-- name: tally
SELECT status, sum(tasks), sum(listed) FROM (
    SELECT status, tasks, 0 AS listed FROM tally WHERE ns = ?1
    UNION ALL
    SELECT status, 0, count(*) FROM facet WHERE ns = ?1 AND facet = '' GROUP BY status
) GROUP BY status HAVING sum(tasks) <> sum(listed);

-- name: set_tally
REPLACE INTO tally VALUES (?, ?, ?);

-- name: reindex_ids
REINDEX sqlite_autoindex_task_1;

-- name: reindex_expiry
REINDEX task_by_expiry;
