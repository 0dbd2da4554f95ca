"""The journal on PostgreSQL, shared by any number of processes. psycopg is imported only if it is used."""
