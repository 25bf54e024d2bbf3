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
