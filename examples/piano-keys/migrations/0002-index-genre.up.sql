CREATE INDEX CONCURRENTLY songs_genre ON songs (genre);
