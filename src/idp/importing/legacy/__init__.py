"""Exports of the four old services, read from their databases in one snapshot (`idp export-legacy`).

Each module has a function `records(database)` that yields the records of its service. Rows are read as JSON, so columns
that some versions of a service lack are simply absent.
"""
