"""SQL over shard sets: a DuckDB that reads their shards, and can neither write nor read on.

    from lopd_store.sql.session import query

    query({"a": signal}, "select avg(advantage) from tokens where position < 10").fetchall()

`session.py` opens and locks it, `statements.py` says what runs, `views.py` and `macros.py` what can
be asked, `selecting.py` finds rows by a condition. DuckDB is imported with these modules, never by
`import lopd_store`.
"""
