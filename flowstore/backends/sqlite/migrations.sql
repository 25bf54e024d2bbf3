-- The steps from one format of the file to the next. Never edit one: files of every format may turn up.

-- name: to_3
-- SQLite 3.40 looked through all labels of the namespace at each update of a labelled task.
DROP TRIGGER label_update;

CREATE TRIGGER label_update BEFORE UPDATE OF version ON task WHEN json_valid(old.labels) BEGIN
    DELETE FROM label
    WHERE ns = old.ns AND status = old.status AND sort = old.sort AND id = old.id
        AND label IN (SELECT value FROM json_each(old.labels));
END;

DROP TRIGGER label_delete;

CREATE TRIGGER label_delete AFTER DELETE ON task WHEN json_valid(old.labels) BEGIN
    DELETE FROM label
    WHERE ns = old.ns AND status = old.status AND sort = old.sort AND id = old.id
        AND label IN (SELECT value FROM json_each(old.labels));
END;

CREATE TABLE compatibility (  -- the oldest formats whose programs may write and read this file
    oldest_writer INTEGER NOT NULL,
    oldest_reader INTEGER NOT NULL
) STRICT;

INSERT INTO compatibility VALUES (3, 3);

-- name: to_4
-- Numbers instead of text, one table of facets instead of seven indexes, items instead of transitions and kept
-- values, and no triggers. Python carries the rows over.
DROP VIEW results;
DROP TRIGGER tally_insert;
DROP TRIGGER tally_update;
DROP TRIGGER tally_delete;
DROP TRIGGER label_update;
DROP TRIGGER label_delete;
DROP TRIGGER log_insert;
DROP TRIGGER log_update;
DROP TRIGGER replace_expired;
DROP TRIGGER delete_belongings;
DROP TRIGGER refuse_head;
DROP INDEX task_by_status;
DROP INDEX task_by_run;
DROP INDEX task_by_step;
DROP INDEX task_by_parent;
DROP INDEX task_by_root;
DROP INDEX task_by_worker;
DROP INDEX task_by_expiry;
DROP INDEX transition_by_time;
DROP TABLE tally;
DROP TABLE label;
ALTER TABLE task RENAME TO task_3;
UPDATE compatibility SET oldest_writer = 4, oldest_reader = 4;

-- name: tasks_3
SELECT task, ns, id, status, stage, version, task_name, submitted_at, expires_at, CAST(head AS BLOB),
    CAST(body AS BLOB), CAST(progress AS BLOB), parent_id, root_id, worker_id, labels, logged_at
FROM task_3;

-- name: transitions_3
SELECT task_3.ns, task, task_3.id, seq, at, transition.status, transition.stage, transition.worker_id
FROM transition JOIN task_3 ON task_3.ns = transition.ns AND task_3.id = transition.id;

-- name: kept_3
SELECT kept.ns, coalesce(task, 0), owner, section, key, kept.version, at, CAST(value AS BLOB)
FROM kept LEFT JOIN task_3 ON task_3.ns = kept.ns AND task_3.id = owner
WHERE owner = '' OR task IS NOT NULL;

-- name: end_3
DROP TABLE task_3;
DROP TABLE transition;
DROP TABLE kept;
