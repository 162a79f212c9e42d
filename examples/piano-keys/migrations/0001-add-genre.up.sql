-- New songs have a genre at once; those that are there get theirs page by page, so no row is written under a lock.
ALTER TABLE songs ADD COLUMN genre text;
ALTER TABLE songs ALTER COLUMN genre SET DEFAULT 'unknown';
