"""What people see: the API documentation and a page for every error code.

Owns: templates and their assets, each with a content security policy of its own. Loads nothing from elsewhere.
"""
