-- A project as format 1 wrote it: one image, two classes, two objects, one edit undone.
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    page INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'untouched',
    fully_labelled INTEGER NOT NULL DEFAULT 0,
    excluded INTEGER NOT NULL DEFAULT 0,
    split TEXT,
    problem TEXT,
    UNIQUE (path, page)
);
CREATE TABLE classes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    color TEXT NOT NULL
);
CREATE TABLE objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id INTEGER NOT NULL REFERENCES images (id) DEFERRABLE INITIALLY DEFERRED,
    class_id INTEGER NOT NULL REFERENCES classes (id) DEFERRABLE INITIALLY DEFERRED,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    counts TEXT NOT NULL,
    prompts TEXT NOT NULL DEFAULT '{}',
    clicks INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    adapter TEXT,
    hand_corrected INTEGER NOT NULL DEFAULT 0,
    excluded INTEGER NOT NULL DEFAULT 0,
    source TEXT NOT NULL DEFAULT 'user',
    z INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX objects_image ON objects (image_id, z, id);
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    changes TEXT NOT NULL,
    created REAL NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX history_undone ON history (undone, id);

INSERT INTO settings VALUES ('images_root', '{"relative":"../images","absolute":"/nowhere"}');
INSERT INTO images VALUES (1, '0.png', 0, 'ab', 4, 2, 'in_progress', 1, 0, 'val', NULL);
INSERT INTO classes VALUES (1, 'cell', '#e69f00');
INSERT INTO objects VALUES
    (1, 1, 1, 2, 4, '323', '{"points":[[1.0,1.0,1]]}', 1, 2.5, NULL, 0, 0, 'user', 1);
INSERT INTO history VALUES
    (1, 'Add class cell', '[["classes",1,null,{"name":"cell","color":"#e69f00"}]]', 1700000000, 0),
    (2, 'Add object', '[["objects",1,null,{"image_id":1,"class_id":1,"height":2,"width":4,'
        || '"counts":"323","prompts":"{\"points\":[[1.0,1.0,1]]}","clicks":1,"seconds":2.5,'
        || '"adapter":null,"hand_corrected":0,"excluded":0,"source":"user","z":1}]]',
        1700000001, 0),
    (3, 'Mark image as done', '[["images",1,{"state":"in_progress"},{"state":"done"}]]',
        1700000002, 1);
PRAGMA application_id = 1230196051;
PRAGMA user_version = 1;
