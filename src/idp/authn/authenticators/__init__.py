"""The authenticators, one per file. They never import each other; `app.py` defines their order."""
