"""One authenticator a file. They never import each other, and `app.py` says in which order they are asked."""
